//! A training that left the finite numbers: when, over which samples, what is left of it and what
//! would help.

use std::fmt;
use std::path::PathBuf;

use super::TrainError;
use super::material::opened;
use crate::checkpoint::Checkpoint;
use crate::recipe::{Precision, Recipe};
use crate::run::Run;

/// Samples that are named one by one; the rest is counted.
const NAMED: usize = 5;

/// The first number that is none.
#[derive(Debug)]
pub(super) struct Broken {
    /// The step that computed it, from 1.
    pub(super) step: u64,
    /// Which one it is, and what, in words.
    pub(super) what: String,
}

/// Why a training stopped at a number that is none.
#[derive(Debug, thiserror::Error)]
pub struct Divergence {
    /// The first step with such a number, from 1.
    pub step: u64,
    /// Which number, and what it is, in words.
    pub what: String,
    /// Samples of that step; 0 where the number is a weight, which no sample broke by itself.
    pub samples: usize,
    /// Their names, a few of them.
    pub named: Vec<String>,
    /// The last checkpoint, which is whole; none where there is none yet.
    pub kept: Option<PathBuf>,
    /// What another run could do about it.
    pub cures: Vec<String>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)?;
        if self.samples > 0 {
            write!(f, "; its batch has {} samples: {}", self.samples, self.named.join(", "))?;
        }
        if self.samples > self.named.len() {
            write!(f, " and {} more", self.samples - self.named.len())?;
        }
        match &self.kept {
            Some(file) => {
                write!(f, "; the last good checkpoint stays, {}; a resumed run", file.display())?;
            }
            None => f.write_str("; there is no checkpoint before it; the same recipe")?,
        }
        let cures = self.cures.join(", or ");
        write!(f, " would come here again: begin another run with {cures}")
    }
}

/// What is to be said of `broken`, whose step had the pictures with these numbers over all sets.
///
/// A step keeps no names: here, where time does not matter, the sets are opened anew for them.
///
/// # Errors
/// [`TrainError`] where the run's folder or a set cannot be read any more.
pub(super) fn divergence(
    run: &Run,
    broken: Broken,
    pictures: &[i64],
) -> Result<Box<Divergence>, TrainError> {
    Ok(Box::new(Divergence {
        step: broken.step,
        what: broken.what,
        samples: pictures.len(),
        named: named(&run.recipe, pictures)?,
        kept: Checkpoint::newest_file(&run.checkpoints())?,
        cures: cures(&run.recipe),
    }))
}

/// Names of the first few pictures, with their set's where there are several.
fn named(recipe: &Recipe, pictures: &[i64]) -> Result<Vec<String>, TrainError> {
    let (mut names, mut first) = (vec![None; pictures.len().min(NAMED)], 0);
    for data in &recipe.data {
        let set = opened(data, &recipe.train.method)?;
        for (name, &picture) in names.iter_mut().zip(pictures) {
            let pair = usize::try_from(picture - first).ok().and_then(|at| set.pairs.get(at));
            if let (None, Some(pair)) = (&name, pair) {
                let of = || format!("{} of {}", pair.key, set.name());
                *name = Some(if recipe.data.len() > 1 { of() } else { pair.key.clone() });
            }
        }
        first += set.pairs.len() as i64;
    }
    Ok(names.into_iter().flatten().collect())
}

fn cures(recipe: &Recipe) -> Vec<String> {
    let train = &recipe.train;
    let mut cures = vec!["lower learning rates".to_owned(), "more train.warmup_steps".to_owned()];
    cures.push(match train.grad_clip {
        0.0 => "train.grad_clip = 1 (it is off)".to_owned(),
        limit => format!("train.grad_clip below {limit}"),
    });
    if train.precision == Some(Precision::Bf16) {
        cures.push("train.precision = \"f32\"".to_owned());
    }
    cures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_some_samples_the_checkpoint_and_the_cures_are_told() {
        let mut divergence = Divergence {
            step: 37,
            what: "the loss is NaN".to_owned(),
            samples: 20,
            named: ["a", "b"].map(str::to_owned).to_vec(),
            kept: Some("run/checkpoints/step-00000030.safetensors".into()),
            cures: ["lower learning rates", "train.grad_clip = 1 (it is off)"]
                .map(str::to_owned)
                .to_vec(),
        };
        assert_eq!(
            divergence.to_string(),
            "step 37: the loss is NaN; its batch has 20 samples: a, b and 18 more; the last good \
             checkpoint stays, run/checkpoints/step-00000030.safetensors; a resumed run would come \
             here again: begin another run with lower learning rates, or train.grad_clip = 1 (it is \
             off)"
        );
        divergence.samples = 2;
        divergence.kept = None;
        let said = divergence.to_string();
        assert!(said.contains("2 samples: a, b; there is no checkpoint before it"), "{said}");
    }
}
