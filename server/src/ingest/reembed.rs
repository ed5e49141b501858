//! Another model or precision for a whole collection: every picture embedded anew, then the switch.
//! Interrupted, the old model goes on answering, and the next run embeds only what is left.
use super::files::file_of;
use super::prepare::{PrepareError, Prepared, failure, hash, read};
use super::{Failure, Ingest, IngestError, Job, Model, Report, reason};
use crate::catalog::{CatalogError, Origin, Picture, PictureId};

impl Ingest {
    /// Embeds what the new model lacks and makes it the collection's. A picture whose file cannot be
    /// read is told; it can be found again once its folder has been indexed.
    pub(super) fn reembed(&self, job: &Job<'_>, report: &mut Report) -> Result<(), IngestError> {
        let Model { id, precision, .. } = &self.model;
        let left = self.wait(self.catalog.reader.not_embedded(id, precision))?;
        self.pipeline(job, left.len(), report, &|at| self.prepare_again(left[at]))?;
        if !job.cancelled() {
            self.wait(self.catalog.switch_model(&self.model.id))?;
        }
        Ok(())
    }

    fn prepare_again(&self, id: PictureId) -> Result<Prepared, CatalogError> {
        let Some(picture) = self.wait(self.catalog.reader.get(id))? else {
            // It lost its last place and goes with the next sweep.
            let path = format!("picture {id}");
            return Ok(Prepared::Failed(Failure { path, reason: "no file holds it".into() }, None));
        };
        let path = match file_of(&self.catalog.folder, &picture) {
            Ok(path) => path,
            Err(error) => {
                let path = picture.summary.path;
                return Ok(Prepared::Failed(Failure { path, reason: reason(&error) }, None));
            }
        };
        let prepared = read(&path).and_then(|(mut place, bytes)| {
            if hash(&bytes) != picture.hash {
                return Err(PrepareError::Changed);
            }
            place.path.clone_from(&path);
            Ok(Prepared::New(origin(&picture, place), Box::new(self.decode(&bytes, picture.hash)?)))
        });
        Ok(prepared.unwrap_or_else(|error| Prepared::Failed(failure(&path, &error), None)))
    }
}

fn origin(picture: &Picture, place: crate::catalog::Place) -> Origin {
    match &picture.upload {
        Some(name) => Origin::Upload(name.clone()),
        None => Origin::Place(place),
    }
}
