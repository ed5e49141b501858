//! The end of the pipeline: prepared files into batches, batches into the catalog, all into the report.
use std::collections::HashMap;

use super::batch::BATCH;
use super::prepare::{Decoded, Prepared};
use super::progress::Counter;
use super::{Failure, Ingest, IngestError, Job, Report};
use crate::catalog::{ContentHash, Origin, PictureId, Place};

/// Places of known pictures that are noted in one transaction.
const LINKS: usize = 256;

/// Takes prepared files on the thread that stores them.
pub(super) struct Collector<'a> {
    ingest: &'a Ingest,
    job: &'a Job<'a>,
    report: &'a mut Report,
    counter: Counter,
    batch: Vec<(Origin, Decoded)>,
    links: Vec<(PictureId, Place)>,
    /// Files whose content another file of this run brings; settled when that one is.
    copies: Vec<(Place, ContentHash)>,
    /// Why contents of this run could not be taken.
    refused: HashMap<ContentHash, String>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        ingest: &'a Ingest,
        job: &'a Job<'a>,
        total: usize,
        report: &'a mut Report,
    ) -> Self {
        let counter = Counter::start(total);
        let (batch, links, copies) = (Vec::new(), Vec::new(), Vec::new());
        let refused = HashMap::new();
        Self { ingest, job, report, counter, batch, links, copies, refused }
    }

    /// Takes one file, and stores a batch when it is full.
    pub(super) fn take(&mut self, prepared: Prepared) -> Result<(), IngestError> {
        match prepared {
            Prepared::New(origin, decoded) => self.batch.push((origin, *decoded)),
            Prepared::Known(place, picture) => self.links.push((picture, place)),
            Prepared::Copy(place, hash) => self.copies.push((place, hash)),
            Prepared::Failed(failure, hash) => {
                self.fail(failure, hash);
                self.tell(1);
            }
        }
        if self.batch.len() >= BATCH {
            self.store_batch()?;
        }
        if self.links.len() >= LINKS {
            self.store_links()?;
        }
        Ok(())
    }

    /// Stores what is left, then settles the copies. After a cancellation a batch that is not full is
    /// let go: whoever waits for the end should not wait for the model.
    pub(super) fn finish(mut self) -> Result<(), IngestError> {
        if !self.job.cancelled() {
            self.store_batch()?;
        }
        self.store_links()?;
        for (place, hash) in std::mem::take(&mut self.copies) {
            let path = place.path.display().to_string();
            let find = self.ingest.catalog.reader.find(&hash, &self.ingest.model.id);
            if let Some(reason) = self.refused.get(&hash) {
                self.report.failed.push(Failure { path, reason: reason.clone() });
                self.tell(1);
            } else if let Some(known) = self.ingest.wait(find)? {
                self.links.push((known.id, place));
            }
            // Neither: the run was interrupted before that content's turn.
        }
        self.store_links()
    }

    fn store_batch(&mut self) -> Result<(), IngestError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len();
        let stored = self.ingest.store(batch)?;
        self.report.indexed += stored.indexed;
        self.report.unchanged += stored.unchanged;
        for (failure, hash) in stored.failed {
            self.fail(failure, Some(hash));
        }
        self.tell(count);
        Ok(())
    }

    fn store_links(&mut self) -> Result<(), IngestError> {
        if self.links.is_empty() {
            return Ok(());
        }
        let links = std::mem::take(&mut self.links);
        self.ingest.wait(self.ingest.catalog.add_places(&links))?;
        self.report.unchanged += links.len() as u64;
        self.tell(links.len());
        Ok(())
    }

    fn fail(&mut self, failure: Failure, hash: Option<ContentHash>) {
        if let Some(hash) = hash {
            self.refused.insert(hash, failure.reason.clone());
        }
        self.report.failed.push(failure);
    }

    fn tell(&mut self, more: usize) {
        (self.job.progress)(self.counter.advance(more));
    }
}
