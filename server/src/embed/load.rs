//! How busy the towers are, for whoever watches the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets in which batches are counted, in inputs.
pub const BATCH_BOUNDS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// How busy a tower is.
#[derive(Debug, Clone, Copy)]
pub struct TowerLoad {
    /// Requests that hold a place in the queue.
    pub waiting: usize,
    /// Places in the queue.
    pub most_waiting: usize,
    /// Runs of the model since the start.
    pub batches: Batches,
}

/// Batches by their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Batches within each of [`BATCH_BOUNDS`] and not within the one before.
    pub within: [u64; BATCH_BOUNDS.len()],
    /// All batches, larger ones too.
    pub count: u64,
    /// Inputs in all of them.
    pub sum: u64,
}

/// Counts batches on one thread, to be read on others.
#[derive(Debug, Default)]
pub(super) struct BatchSizes {
    within: [AtomicU64; BATCH_BOUNDS.len()],
    count: AtomicU64,
    sum: AtomicU64,
}

impl BatchSizes {
    pub(super) fn note(&self, size: usize) {
        if let Some(bucket) = BATCH_BOUNDS.iter().position(|bound| size <= *bound) {
            self.within[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Batches {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Batches {
            within: self.within.each_ref().map(read),
            count: read(&self.count),
            sum: read(&self.sum),
        }
    }
}
