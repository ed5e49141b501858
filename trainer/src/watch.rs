//! How long work tells of itself, and how it is told to stop.

use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody who looks on.
pub trait Watch {
    /// A sentence that is worth a line.
    fn say(&mut self, sentence: &str);
    /// How far the named task is, in pieces; `words` are figures of the moment.
    fn progress(&mut self, task: &str, done: u64, total: u64, words: &str);
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Watch for Silent {
    fn say(&mut self, _: &str) {}
    fn progress(&mut self, _: &str, _: u64, _: u64, _: &str) {}
}

/// A request to stop at the next good place; set by Ctrl-C.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Nobody asks yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks; true when it had been asked before.
    pub fn ask(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether somebody asks.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
