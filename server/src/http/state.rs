//! What the routes share.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::metrics::Metrics;
use crate::catalog::DataFolder;
use crate::ingest::Ingest;
use crate::search::Collection;

/// Requests for small copies that may wait for each one that is being made.
const WAITING_PER_THREAD: usize = 64;

/// How much of the network is let in.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest form with pictures, in bytes.
    pub max_upload_bytes: usize,
    /// Forms with pictures that are in memory at once.
    pub uploads: usize,
    /// Small copies that are made at once.
    pub threads: usize,
    /// Seconds after which a request is given up.
    pub timeout_s: u64,
    /// Whether the server listens on a loopback address, where the Host header is checked.
    pub loopback: bool,
    /// Hosts that a request may name besides this machine.
    pub allow_hosts: Vec<String>,
    /// Other origins whose pages may ask and read: scheme, host, and port where it is not the usual one.
    pub cors_origins: Vec<String>,
}

/// The server's state: one collection, what changes it, and the limits.
pub struct App {
    pub(super) collection: Collection,
    pub(super) ingest: Ingest,
    pub(super) folder: DataFolder,
    pub(super) limits: Limits,
    pub(super) uploads: Semaphore,
    pub(super) thumbnails_waiting: Semaphore,
    pub(super) thumbnails_running: Semaphore,
    pub(super) metrics: Metrics,
    started: String,
    requests: AtomicU64,
}

impl App {
    /// Brings the rooms together; `ingest` changes the index that `collection` searches.
    #[must_use]
    pub fn new(collection: Collection, ingest: Ingest, folder: DataFolder, limits: Limits) -> Self {
        let threads = limits.threads.max(1);
        Self {
            collection,
            ingest,
            folder,
            uploads: Semaphore::new(limits.uploads),
            thumbnails_waiting: Semaphore::new(threads * WAITING_PER_THREAD),
            thumbnails_running: Semaphore::new(threads),
            limits,
            metrics: Metrics::default(),
            started: format!("{:x}", jiff::Timestamp::now().as_millisecond()),
            requests: AtomicU64::new(0),
        }
    }

    /// An id for a request that no other has had: when the server started, and a count.
    pub(super) fn next_request_id(&self) -> String {
        format!("{}-{}", self.started, self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
