//! Progress on standard error: a bar where somebody looks, a line now and then where nobody does.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::watch::Watch;

/// Between two lines where standard error is a file.
const PAUSE: Duration = Duration::from_secs(10);

/// Draws the progress of one task after the other.
#[derive(Default)]
pub(super) struct Bars {
    bar: Option<(String, ProgressBar)>,
    told: Option<Instant>,
}

impl Bars {
    fn bar(&mut self, task: &str, total: u64) -> &ProgressBar {
        let same = self.bar.as_ref().is_some_and(|(name, _)| name == task);
        if !same {
            self.finish();
            let bar = ProgressBar::new(total);
            let template = "{prefix} {wide_bar} {pos}/{len} · {per_sec} · {eta} left · {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(task.to_owned());
            self.told = None;
            self.bar = Some((task.to_owned(), bar));
        }
        match &self.bar {
            Some((_, bar)) => bar,
            None => unreachable!("it was made above"),
        }
    }

    /// Clears the bar away.
    pub(super) fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Bars {
    fn say(&mut self, sentence: &str) {
        match &self.bar {
            Some((_, bar)) if !bar.is_hidden() => bar.println(sentence),
            _ => eprintln!("{sentence}"),
        }
    }

    fn progress(&mut self, task: &str, done: u64, total: u64, words: &str) {
        let bar = self.bar(task, total);
        bar.set_position(done);
        bar.set_message(words.to_owned());
        let hidden = bar.is_hidden();
        if hidden && self.told.is_none_or(|told| told.elapsed() > PAUSE) {
            eprintln!("{task}: {done}/{total} {words}");
            self.told = Some(Instant::now());
        }
        if done == total {
            self.finish();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}
