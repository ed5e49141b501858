//! Pictures that are embedded, stored and made findable together.
use clip::Embedding;
use clip::image::PixelValues;

use super::prepare::{Decoded, failure};
use super::{EmbedFailure, Failure, Ingest, IngestError};
use crate::catalog::{ContentHash, NewPicture, Origin, Status};

/// Pictures in one run of the model and one transaction: enough to fill both, little to lose.
pub(super) const BATCH: usize = 16;

/// Why the model has no embedding for a picture.
#[derive(Debug, thiserror::Error)]
#[error("the model cannot embed the picture")]
pub(super) struct NotEmbedded(#[source] Box<dyn std::error::Error + Send + Sync>);

/// What came of a batch.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) indexed: u64,
    pub(super) unchanged: u64,
    pub(super) failed: Vec<(Failure, ContentHash)>,
}

impl Ingest {
    /// Embeds and stores pictures; what the model cannot embed is told one by one.
    pub(super) fn store(&self, batch: Vec<(Origin, Decoded)>) -> Result<Stored, IngestError> {
        let mut stored = Stored::default();
        let (origins, decoded): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let (pictures, values): (Vec<_>, Vec<_>) = decoded.into_iter().map(Decoded::split).unzip();
        let mut embedded = Vec::with_capacity(pictures.len());
        for ((origin, picture), result) in
            origins.into_iter().zip(pictures).zip(self.embed_each(values)?)
        {
            match result {
                Ok(embedding) => embedded.push(picture.complete(origin, embedding)),
                Err(error) => stored.failed.push((named(&origin, &error), picture.hash)),
            }
        }
        self.commit(&embedded, &mut stored)?;
        Ok(stored)
    }

    /// One result for each image; where the batch fails, each is tried alone to find the culprit.
    fn embed_each(
        &self,
        values: Vec<PixelValues>,
    ) -> Result<Vec<Result<Embedding, NotEmbedded>>, IngestError> {
        if let [_] = values[..] {
            return Ok(vec![self.embed_one(values)?]);
        }
        let expected = values.len();
        match self.model.embedder.embed_images(values.clone()) {
            Ok(embeddings) if embeddings.len() == expected => {
                Ok(embeddings.into_iter().map(Ok).collect())
            }
            _ => values.into_iter().map(|one| self.embed_one(vec![one])).collect(),
        }
    }

    fn embed_one(
        &self,
        one: Vec<PixelValues>,
    ) -> Result<Result<Embedding, NotEmbedded>, IngestError> {
        match self.model.embedder.embed_images(one) {
            Ok(mut embeddings) => {
                Ok(embeddings.pop().ok_or(NotEmbedded("no embedding came".into())))
            }
            Err(EmbedFailure::Images(error)) => Ok(Err(NotEmbedded(error))),
            Err(EmbedFailure::Stopped(error)) => Err(IngestError::Model(error)),
        }
    }

    /// The transaction, then the index.
    fn commit(&self, pictures: &[NewPicture], stored: &mut Stored) -> Result<(), IngestError> {
        if pictures.is_empty() {
            return Ok(());
        }
        let _changing = self.change();
        let added = self.wait(self.catalog.add(&self.model.id, &self.model.precision, pictures))?;
        let fresh = |status| status == Status::Indexed;
        let indexed = added.iter().filter(|one| fresh(one.status)).count() as u64;
        stored.indexed += indexed;
        stored.unchanged += added.len() as u64 - indexed;
        if let Some(index) = &self.index {
            let vectors = added.iter().zip(pictures).filter(|(one, _)| fresh(one.status));
            index.insert_all(vectors.map(|(one, picture)| (one.id.key(), &picture.embedding)))?;
        }
        Ok(())
    }
}

/// A picture while its pixels are with the model.
pub(super) struct Waiting {
    pub(super) hash: ContentHash,
    width: u32,
    height: u32,
    format: &'static str,
    size_bytes: u64,
}

impl Decoded {
    pub(super) fn split(self) -> (Waiting, PixelValues) {
        let Self { hash, width, height, format, size_bytes, values } = self;
        (Waiting { hash, width, height, format, size_bytes }, values)
    }
}

impl Waiting {
    pub(super) fn complete(self, origin: Origin, embedding: Embedding) -> NewPicture {
        let Self { hash, width, height, format, size_bytes } = self;
        NewPicture { hash, width, height, format, size_bytes, origin, embedding }
    }
}

fn named(origin: &Origin, error: &NotEmbedded) -> Failure {
    match origin {
        Origin::Place(place) => failure(&place.path, error),
        Origin::Upload(name) => failure(name.as_ref(), error),
    }
}
