//! Between what a training started from and what it ended at: weights interpolated, measured at
//! each point, and one of them chosen.
//!
//! A fine-tuned model has won a domain and forgotten other things; a point on the line between its
//! start and its end often keeps most of both (WiSE-FT, Wortsman et al. 2022, "Robust fine-tuning of
//! zero-shot models", equation 1). Where several runs began at the same start, their ends are
//! averaged first (model soups, Wortsman et al. 2022, uniform).
//! This room knows nothing of optimizers, losses or the command line.
//! Invariant: a run is never changed; what is chosen is written as a run of its own, which `eval` and
//! `export` read like any other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tch::{TchError, Tensor};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::encoder::{Encoder, EncoderError};
use crate::eval::EvalError;
use crate::model::ModelError;
use crate::run::{Run, RunError};
use crate::train::{HeldOut, Surroundings, TrainError, measure, restore};

/// Learned weights by name.
type Learned = BTreeMap<String, Tensor>;

/// The line from the start of one or several runs to the mean of their ends.
#[derive(Debug)]
pub struct Blend {
    run: Run,
    encoder: Encoder,
    start: Learned,
    end: Learned,
    /// Steps to the end, of the run that made most.
    step: u64,
}

/// What a point of the line is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of the end; 0 is the start.
    pub share: f64,
    /// Accuracy on the labelled set, the domain.
    pub top_1: f64,
    /// Recall of pictures by words on the set with captions, which stands for everything else.
    pub recall_at_10: f64,
    /// The same of words by pictures.
    pub image_to_text_recall_at_10: f64,
}

impl Point {
    /// The mean of accuracy and recall both ways, the two recalls counting as one figure.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let recall = (self.recall_at_10 + self.image_to_text_recall_at_10) / 2.0;
        (self.top_1 + recall) / 2.0
    }
}

/// Why runs cannot be blended.
#[derive(Debug, thiserror::Error)]
pub enum BlendError {
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A weight.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run's checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A run's state does not fit its recipe.
    #[error(transparent)]
    Train(#[from] Box<TrainError>),
    /// A measurement.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// libtorch refused.
    #[error("the weights cannot be blended")]
    Torch(#[from] TchError),
    /// The start is worth nothing.
    #[error(
        "{} began with projections or weights that were random, so that there is nothing to go back to; \
         blend a run that began from a model, by model.init or --init",
        run.display()
    )]
    FromNothing {
        /// Its folder.
        run: PathBuf,
    },
    /// Several runs that do not begin at the same place.
    #[error(
        "{} and {} did not begin from the same model, or do not learn the same weights; average runs \
         that differ in data, seed, objective or rates alone",
        first.display(), other.display()
    )]
    OtherStart {
        /// One of them.
        first: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A figure is missing.
    #[error("there is no set {wanted}; name it by {flag}, so that it shows what is {shows}")]
    NoSet {
        /// What it has to have.
        wanted: &'static str,
        /// The flag that would name it.
        flag: &'static str,
        /// What it is measured for.
        shows: &'static str,
    },
}

const NO_LABELS: BlendError =
    BlendError::NoSet { wanted: "with labels", flag: "--labels", shows: "won on the domain" };

const NO_CAPTIONS: BlendError = BlendError::NoSet {
    wanted: "with captions",
    flag: "--captions",
    shows: "forgotten outside of it",
};

impl Blend {
    /// The line of one run, or of several that began at the same start.
    ///
    /// # Errors
    /// [`BlendError`], naming the run and what is wrong with it.
    pub fn of(run: Run, others: &[Run]) -> Result<Self, BlendError> {
        let mut encoder = Encoder::from_recipe(&run.recipe)?;
        if encoder.projections_begin {
            return Err(BlendError::FromNothing { run: run.folder });
        }
        let first = Checkpoint::newest(&run.checkpoints())?;
        let start = copies(&encoder, first.weights.keys())?;
        restore(&mut encoder, &first).map_err(Box::new)?;
        let mut sum = copies(&encoder, first.weights.keys())?;
        let mut step = first.step;
        for other in others {
            let same = |end: &(Learned, u64)| end.0.keys().eq(sum.keys());
            let Some((end, steps)) = end_of(other, &encoder)?.filter(same) else {
                let (first, other) = (run.folder, other.folder.clone());
                return Err(BlendError::OtherStart { first, other });
            };
            for (name, tensor) in &mut sum {
                *tensor = tensor.f_add(&end[name])?;
            }
            step = step.max(steps);
        }
        let count = 1.0 + others.len() as f64;
        let mean = |(name, sum): (String, Tensor)| Ok((name, sum.f_div_scalar(count)?));
        let end = sum.into_iter().map(mean).collect::<Result<_, TchError>>()?;
        Ok(Self { run, encoder, start, end, step })
    }

    /// `(1 − share) · start + share · end`, for every weight that was learned.
    fn at(&self, share: f64) -> Result<Learned, BlendError> {
        let blended = |(name, start): (&String, &Tensor)| {
            // Exactly the start at 0 and the end at 1.
            let (start, end) =
                (start.f_mul_scalar(1.0 - share)?, self.end[name].f_mul_scalar(share)?);
            Ok((name.clone(), start.f_add(&end)?))
        };
        self.start.iter().map(blended).collect::<Result<_, TchError>>().map_err(BlendError::from)
    }

    /// Measures the model at each of `shares`, on both held-out sets.
    ///
    /// # Errors
    /// [`BlendError::NoSet`] where one is missing, others where the model cannot run.
    pub fn sweep(
        &mut self,
        shares: &[f64],
        held_out: &HeldOut,
        around: &mut Surroundings<'_>,
    ) -> Result<Vec<Point>, BlendError> {
        // Before the first measurement, which may take minutes.
        held_out.labels.as_ref().ok_or(NO_LABELS)?;
        held_out.captions.as_ref().ok_or(NO_CAPTIONS)?;
        let mut points = Vec::with_capacity(shares.len());
        for (done, &share) in (1u64..).zip(shares) {
            for (name, tensor) in self.at(share)? {
                self.encoder.weights.insert(name, tensor);
            }
            let figures = measure(&self.run, &self.encoder, held_out, around)?;
            let labels = figures.labels.ok_or(NO_LABELS)?;
            let captions = figures.captions.ok_or(NO_CAPTIONS)?;
            points.push(Point {
                share,
                top_1: f64::from(labels.classification.top_1),
                recall_at_10: f64::from(captions.text_to_image.recall_at_10),
                image_to_text_recall_at_10: f64::from(captions.image_to_text.recall_at_10),
            });
            around.watch.progress("blends", done, shares.len() as u64, "");
        }
        Ok(points)
    }

    /// Writes the model at `share` as a run in `folder`, new or empty.
    ///
    /// # Errors
    /// [`BlendError::Run`] where the folder is taken, others where it cannot be written.
    pub fn write(&self, share: f64, folder: &Path) -> Result<(), BlendError> {
        let weights = self.at(share)?;
        let run = Run::create(folder, self.run.recipe.clone())?;
        let towers = self.encoder.digest.clone();
        Checkpoint { step: self.step, weights, towers, ..Checkpoint::default() }
            .save(&run.checkpoints())?;
        Ok(())
    }
}

/// The point with the highest mean of what was won and what was kept; of equals the one nearest to
/// the start. None of no points.
#[must_use]
pub fn recommended(points: &[Point]) -> Option<&Point> {
    let better = |one: &Point, other: &Point| {
        one.mean().total_cmp(&other.mean()).then(other.share.total_cmp(&one.share))
    };
    points.iter().max_by(|one, other| better(one, other))
}

/// What `run` ended at, and after how many steps; none where it did not begin as `like` did.
fn end_of(run: &Run, like: &Encoder) -> Result<Option<(Learned, u64)>, BlendError> {
    let mut encoder = Encoder::from_recipe(&run.recipe)?;
    if encoder.digest != like.digest {
        return Ok(None);
    }
    let checkpoint = Checkpoint::newest(&run.checkpoints())?;
    restore(&mut encoder, &checkpoint).map_err(Box::new)?;
    Ok(Some((copies(&encoder, checkpoint.weights.keys())?, checkpoint.step)))
}

fn copies<'a>(
    encoder: &Encoder,
    names: impl Iterator<Item = &'a String>,
) -> Result<Learned, BlendError> {
    names.map(|name| Ok((name.clone(), encoder.weights.get(name)?.detach().copy()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(share: f64, top_1: f64, recall: f64) -> Point {
        let (recall_at_10, image_to_text_recall_at_10) = (recall, recall);
        Point { share, top_1, recall_at_10, image_to_text_recall_at_10 }
    }

    #[test]
    fn the_best_mean_is_recommended_and_of_equals_the_nearest_to_the_start() {
        let points = [
            point(0.0, 0.25, 0.75),
            point(0.5, 0.75, 0.75),
            point(0.75, 0.875, 0.625),
            point(1.0, 0.875, 0.5),
        ];
        assert_eq!(recommended(&points).unwrap().share, 0.5);
        assert_eq!(recommended(&points[2..]).unwrap().share, 0.75);
        assert_eq!(recommended(&[]), None);
    }
}
