//! A run's card, its `README.md`: what it is, what was measured last, and whether it went wrong.

use std::fmt::Write;

use super::collapse::Spread;
use crate::recipe::Recipe;
use crate::run::{Run, RunError};

/// What is known of a run at a measurement.
pub(super) struct Card<'a> {
    pub(super) recipe: &'a Recipe,
    /// Steps made.
    pub(super) step: u64,
    /// Steps in all.
    pub(super) total: u64,
    /// What was measured, in words.
    pub(super) found: String,
    /// How the embeddings of the last batch lie.
    pub(super) spread: Option<Spread>,
    /// What helps against a collapse.
    pub(super) cure: &'a str,
}

impl Card<'_> {
    /// What is to be said where the embeddings have collapsed. During the warm-up nothing is: towers
    /// that were drawn at random see all pictures alike.
    pub(super) fn warning(&self) -> Option<String> {
        let spread = self.spread.filter(|spread| spread.collapsed)?;
        (self.step > self.recipe.train.warmup_steps).then(|| {
            let Spread { embedding_std, effective_rank, .. } = spread;
            format!(
                "the embeddings have collapsed (spread {embedding_std:.3} of 1, effective rank \
                 {effective_rank:.1}): all samples become nearly the same; what helps: {}",
                self.cure
            )
        })
    }

    /// Writes it into the run's folder.
    ///
    /// # Errors
    /// [`RunError::System`], naming the file.
    pub(super) fn write(&self, run: &Run) -> Result<(), RunError> {
        run.write_card(&self.text())
    }

    fn text(&self) -> String {
        let method = self.recipe.train.method;
        let mut text = format!("# A training by `{}`\n\n", method.name());
        if let Some(warning) = self.warning() {
            let _ = writeln!(text, "**Warning:** {warning}.\n");
        }
        let _ = writeln!(text, "Step {} of {}: {}.", self.step, self.total, self.found);
        if let Some(spread) = self.spread {
            let _ = writeln!(text, "Last batch: {spread}.");
        }
        text.push_str(if method.knows_words() {
            "\n`clipsight-trainer export` writes the bundle that `clipsight` serves.\n"
        } else {
            "\nIts image tower knows no words yet: a training by `clip`, `lit` or `slip` begins from \
             it with this folder as `model.init`.\n"
        });
        text
    }
}
