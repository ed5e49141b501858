//! Medians of repeated runs.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Median, fastest and slowest of several runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) median: Duration,
    pub(crate) fastest: Duration,
    pub(crate) slowest: Duration,
}

/// Runs `work` once to warm up and `runs` times to measure.
pub(crate) fn repeat(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<Timing> {
    work()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(Timing {
        median: times[times.len() / 2],
        fastest: times[0],
        slowest: times[times.len() - 1],
    })
}

impl Timing {
    /// `median (fastest to slowest)` in milliseconds, for a run that did `items` things.
    pub(crate) fn per_item(&self, items: usize) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3 / items.max(1) as f64;
        format!("{:.2} ms ({:.2} to {:.2})", ms(self.median), ms(self.fastest), ms(self.slowest))
    }
}

/// The value below which `share` of the values lie.
pub(crate) fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[place]
}
