//! Pictures to pixel values on a bounded pool, in order.
//!
//! Each worker owns a bounded channel and every n-th job, and the reader takes from the workers in
//! turn: the order is that of the jobs, and never more pictures wait than the channels hold.

use std::sync::Arc;
use std::thread::JoinHandle;

use clip::image::{DecodeLimits, ImageProcessor, PixelValues, decode};
use crossbeam_channel::{Receiver, bounded};

use super::{BadSample, Dataset, Pair};

/// Decoded pictures that may wait for the reader, for each worker.
const WAITING: usize = 16;

/// One picture to decode.
#[derive(Debug, Clone)]
pub struct Job {
    /// The set.
    pub set: Arc<Dataset>,
    /// Index of the pair in the set.
    pub pair: usize,
}

/// What became of one job.
pub type Decoded = Result<PixelValues, BadSample>;

/// The results of a list of jobs, in its order. Dropping it stops the workers.
#[derive(Debug)]
pub struct Pictures {
    workers: Vec<(Receiver<Decoded>, JoinHandle<()>)>,
    next: usize,
    total: usize,
}

/// Starts decoding `jobs` on `threads` threads (at least one).
#[must_use]
pub fn pictures(jobs: Vec<Job>, processor: &ImageProcessor, threads: usize) -> Pictures {
    let total = jobs.len();
    let jobs: Arc<[Job]> = jobs.into();
    let threads = threads.clamp(1, total.max(1));
    let workers = (0..threads).map(|worker| {
        let (sender, receiver) = bounded(WAITING);
        let (jobs, processor) = (Arc::clone(&jobs), processor.clone());
        let work = move || {
            for job in jobs.iter().skip(worker).step_by(threads) {
                let result = load(&job.set, &job.set.pairs[job.pair], &processor);
                if sender.send(result).is_err() {
                    return;
                }
            }
        };
        (receiver, std::thread::spawn(work))
    });
    Pictures { workers: workers.collect(), next: 0, total }
}

fn load(set: &Dataset, pair: &Pair, processor: &ImageProcessor) -> Decoded {
    let bad = |reason: String| BadSample { key: pair.key.clone(), reason };
    let bytes = set.picture_bytes(pair.picture).map_err(|e| bad(e.to_string()))?;
    let picture = decode(&bytes, &DecodeLimits::default()).map_err(|e| bad(reasons(&e)))?;
    Ok(processor.process(&picture.pixels))
}

/// An error with what caused it, in one line.
fn reasons(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", reasons(source)),
        None => error.to_string(),
    }
}

impl Iterator for Pictures {
    type Item = Decoded;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.total {
            return None;
        }
        let worker = self.next % self.workers.len();
        self.next += 1;
        let lost = |_| {
            let reason = "the decoder died on it".to_owned();
            Err(BadSample { key: format!("picture {}", self.next), reason })
        };
        Some(self.workers[worker].0.recv().unwrap_or_else(lost))
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        for (receiver, thread) in self.workers.drain(..) {
            drop(receiver);
            // A worker that panicked has told so on standard error and shows as a bad sample.
            let _ = thread.join();
        }
    }
}
