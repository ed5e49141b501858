//! Ctrl-C and a polite kill: the first asks to stop, the second does not ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sent for a write past the limit on a file's size; the same number wherever this program runs.
const FILE_TOO_LARGE: i32 = 25;

/// The two signals that ask a program to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over; inside a tokio runtime.
    pub(super) fn listen() -> Result<Self> {
        let take = |kind| signal(kind).context("cannot listen for Ctrl-C");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// From now on a write past a limit on the size of files fails, and that is told, instead of ending
    /// the program without a word; inside a tokio runtime.
    pub(super) fn survive_size_limit() -> Result<()> {
        let taken = signal(SignalKind::from_raw(FILE_TOO_LARGE));
        // Once taken over, it stays so.
        taken.map(drop).context("cannot listen for a file that is too large")
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// A flag that the first signal sets, with a word to the person; the second ends the program.
    pub(super) fn into_flag(mut self, said: &'static str) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        tokio::spawn(async move {
            self.next().await;
            set.store(true, Ordering::Relaxed);
            super::output::tell(said);
            self.exit_on_next().await;
        });
        flag
    }

    /// Ends the program when a further signal says that nobody wants to wait.
    pub(super) async fn exit_on_next(&mut self) {
        self.next().await;
        std::process::exit(2);
    }
}
