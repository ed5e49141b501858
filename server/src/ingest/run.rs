//! Indexing folders, from the walk to the report.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::batch::BATCH;
use super::collect::Collector;
use super::prepare::{Claims, Prepared};
use super::walk::{Walked, walk};
use super::{Ingest, IngestError, Job, ModelChange, Report, files};
use crate::catalog::{CatalogError, Place};

/// What is left to do after a look at the catalog.
struct Plan {
    /// Files that are new or have changed.
    files: Vec<Place>,
    /// Files that are known and have not.
    unchanged: u64,
    /// Known places where no file is any more.
    gone: Vec<PathBuf>,
}

impl Ingest {
    /// Takes the pictures below the job's paths into the collection and forgets those that have gone
    /// from below them.
    ///
    /// # Errors
    /// [`IngestError::Root`] and [`IngestError::EmptyRoot`] before anything is changed; what the
    /// catalog refuses at any time, with all before it kept. A bad file is no error but in the report.
    pub fn index(&self, job: &Job<'_>) -> Result<Report, IngestError> {
        let started = Instant::now();
        let walked = walk(job.roots, self.catalog.folder.path())?;
        let plan = self.plan(&walked)?;
        let mut report =
            Report { failed: walked.failed, unchanged: plan.unchanged, ..Report::default() };
        let claims = Claims::default();
        self.pipeline(job, plan.files.len(), &mut report, &|at| {
            self.prepare(&plan.files[at], &claims)
        })?;
        if self.model_change == ModelChange::Reembed && !job.cancelled() {
            self.reembed(job, &mut report)?;
        }
        if !job.cancelled() {
            report.removed = self.forget(&plan.gone)?;
        }
        // Threads finish in any order; a report reads the same every time.
        report.failed.sort();
        report.interrupted = job.cancelled();
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Sorts what was walked by what is known.
    fn plan(&self, walked: &Walked) -> Result<Plan, CatalogError> {
        let mut known = HashMap::new();
        for root in &walked.roots {
            known.extend(self.wait(self.catalog.reader.known_places(root, &self.model.id))?);
        }
        let mut files = Vec::new();
        let mut unchanged = 0;
        for found in &walked.files {
            match known.remove(&found.path) {
                Some(place) if place.settled && place.is(found) => unchanged += 1,
                _ => files.push(found.clone()),
            }
        }
        // What the walk left out may be there all the same: hidden since, or in a folder that
        // cannot be read today.
        let gone = known.into_keys().filter(|path| files::is_gone(path)).collect();
        Ok(Plan { files, unchanged, gone })
    }

    /// Prepares `total` pictures on threads and stores them on this one, in batches.
    ///
    /// Between the two is one bounded channel: decoding waits when the model or the disk is slow.
    pub(super) fn pipeline(
        &self,
        job: &Job<'_>,
        total: usize,
        report: &mut Report,
        prepare: &(dyn Fn(usize) -> Result<Prepared, CatalogError> + Sync),
    ) -> Result<(), IngestError> {
        let next = AtomicUsize::new(0);
        let (sender, prepared) = crossbeam_channel::bounded(BATCH);
        std::thread::scope(|scope| {
            for _ in 0..job.threads.clamp(1, total.max(1)) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while !job.cancelled() {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        // Nobody listens any more once storing has failed.
                        if at >= total || sender.send(prepare(at)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut collector = Collector::new(self, job, total, report);
            for prepared in prepared {
                collector.take(prepared?)?;
                if job.cancelled() {
                    break;
                }
            }
            collector.finish()
        })
    }

    /// Forgets places, and with them pictures that lie nowhere else; how many pictures those were.
    fn forget(&self, gone: &[PathBuf]) -> Result<u64, CatalogError> {
        let _changing = self.change();
        let vanished = self.wait(self.catalog.forget_places(gone))?;
        if let Some(index) = &self.index {
            index.remove_all(vanished.iter().map(|picture| picture.id.key()));
        }
        for picture in &vanished {
            files::remove_thumbnails(&self.catalog.folder, picture.hash);
        }
        Ok(vanished.len() as u64)
    }
}
