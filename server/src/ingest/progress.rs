//! How far a run has come, for whoever shows it.
use std::time::{Duration, Instant};

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Files that are done with, whatever came of them.
    pub done: u64,
    /// Files that were to be read; known ones are not among them.
    pub total: u64,
    /// Files per second since the run began.
    pub per_second: f64,
    /// How long the rest will take at this rate; none before there is one.
    pub left: Option<Duration>,
}

/// Counts files and keeps the time.
pub(super) struct Counter {
    started: Instant,
    done: u64,
    total: u64,
}

impl Counter {
    pub(super) fn start(total: usize) -> Self {
        Self { started: Instant::now(), done: 0, total: total as u64 }
    }

    /// Counts `more` files as done.
    pub(super) fn advance(&mut self, more: usize) -> Progress {
        self.done += more as u64;
        estimate(self.done, self.total, self.started.elapsed())
    }
}

fn estimate(done: u64, total: u64, elapsed: Duration) -> Progress {
    let seconds = elapsed.as_secs_f64();
    let per_second = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let rest = total.saturating_sub(done) as f64;
    let left = (per_second > 0.0).then(|| Duration::from_secs_f64(rest / per_second));
    Progress { done, total, per_second, left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_estimated_from_the_rate_so_far() {
        let now = estimate(30, 90, Duration::from_secs(10));
        assert_eq!(now.per_second, 3.0);
        assert_eq!(now.left, Some(Duration::from_secs(20)));
        assert_eq!(estimate(0, 90, Duration::from_secs(1)).left, None);
        assert_eq!(estimate(5, 5, Duration::ZERO).left, None);
    }
}
