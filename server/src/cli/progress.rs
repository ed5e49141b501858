//! How far indexing has come: a bar on a terminal, a line now and then in a log.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::tell;
use crate::ingest::Progress;

/// How often a log hears of it.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub(super) enum Show {
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
}

impl Show {
    /// A bar if a person watches, else lines.
    pub(super) fn start() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Mutex::new(Instant::now()));
        }
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} pictures  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Shows a moment of the run.
    pub(super) fn update(&self, progress: Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                bar.set_message(rate(&progress));
            }
            Self::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if last.elapsed() >= LOG_EVERY {
                    *last = Instant::now();
                    let (done, total) = (progress.done, progress.total);
                    tell(&format!("{done}/{total} pictures  {}", rate(&progress)));
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn rate(progress: &Progress) -> String {
    let per_second = format!("{:.0}/s", progress.per_second);
    match progress.left {
        Some(left) => format!("{per_second}, {} left", duration(left)),
        None => per_second,
    }
}

/// A duration as one would say it.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let all = [0, 59, 61, 3600, 7322].map(|s| duration(Duration::from_secs(s)));
        assert_eq!(all, ["0 s", "59 s", "1 min 01 s", "1 h 00 min", "2 h 02 min"]);
    }
}
