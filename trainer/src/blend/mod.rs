//! Between what a training started from and what it ended at: weights interpolated, measured at
//! each point, and one of them chosen.
//!
//! A fine-tuned model has won a domain and forgotten other things; a point on the line between its
//! start and its end often keeps most of both (WiSE-FT, Wortsman et al. 2022, "Robust fine-tuning of
//! zero-shot models", equation 1). Where several runs began at the same start, their ends are
//! averaged first (model soups, Wortsman et al. 2022, uniform). Another line leads from the last checkpoint
//! of a run to the mean of all that it keeps (Izmailov et al. 2018, "Averaging weights leads to wider optima
//! and better generalization"). Weights with adapters are those that these are merged into.
//! This room knows nothing of optimizers, losses or the command line.
//! Invariant: a run is never changed; what is chosen is written as a run of its own, which `eval` and
//! `export` read like any other.

mod error;
mod point;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tch::{TchError, Tensor};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::device::Placement;
use crate::encoder::Encoder;
use crate::model::lora::merged_names;
use crate::recipe::Precision;
use crate::run::Run;
use crate::train::{HeldOut, Surroundings, measure, restore};

pub use error::BlendError;
pub use point::{Change, Point, recommended};

/// Learned weights by name.
type Learned = BTreeMap<String, Tensor>;

/// A line between two models of the same shape: from the start of one or several runs to the mean of their
/// ends, or from a run's last checkpoint to the mean of those that it keeps.
#[derive(Debug)]
pub struct Blend {
    run: Run,
    encoder: Encoder,
    start: Learned,
    end: Learned,
    /// Steps to the end, of the run that made most.
    step: u64,
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
        refuse_start(&run, &encoder)?;
        let first = Checkpoint::newest(&run.checkpoints())?;
        let start = copies(&encoder, &merged_names(first.weights.keys()))?;
        let mut ends = vec![ended(&mut encoder, &first)?];
        let mut step = first.step;
        for other in others {
            let same = |end: &(Learned, u64)| end.0.keys().eq(start.keys());
            let Some((end, steps)) = end_of(other, &encoder)?.filter(same) else {
                let (first, other) = (run.folder, other.folder.clone());
                return Err(BlendError::OtherStart { first, other });
            };
            ends.push(end);
            step = step.max(steps);
        }
        Ok(Self { run, encoder, start, end: mean(&ends)?, step })
    }

    /// The line from a run's last checkpoint to the mean of all that it keeps, each as it is measured.
    ///
    /// # Errors
    /// [`BlendError::OneCheckpoint`] where there are no others, those of a checkpoint that cannot be read.
    pub fn of_checkpoints(run: Run) -> Result<Self, BlendError> {
        let files = Checkpoint::files(&run.checkpoints())?;
        let (newest, older) = match files.as_slice() {
            [] => return Err(CheckpointError::None { path: run.checkpoints() }.into()),
            [_] => return Err(BlendError::OneCheckpoint { run: run.folder }),
            [older @ .., newest] => (newest, older),
        };
        let mut encoder = Encoder::from_recipe(&run.recipe)?;
        let last = Checkpoint::read(newest)?;
        let mut ends = vec![ended(&mut encoder, &last)?];
        for file in older {
            let mut before = Encoder::from_recipe(&run.recipe)?;
            ends.push(ended(&mut before, &Checkpoint::read(file)?)?);
        }
        let end = mean(&ends)?;
        Ok(Self { run, encoder, start: ends.swap_remove(0), end, step: last.step })
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
        let place = Placement::choose(Some(Precision::F32));
        self.encoder.place(place.device, place.kind)?;
        for (done, &share) in (1u64..).zip(shares) {
            for (name, tensor) in self.at(share)? {
                let tensor = self.encoder.moved(&tensor)?;
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
        let checkpoint = Checkpoint { step: self.step, weights, towers, ..Checkpoint::default() };
        checkpoint.save(&run.checkpoints(), run.recipe.train.keep_checkpoints)?;
        Ok(())
    }
}

/// Refuses a run whose start is no model that it could go back to.
fn refuse_start(run: &Run, encoder: &Encoder) -> Result<(), BlendError> {
    let folder = run.folder.clone();
    if encoder.projections_begin {
        return Err(BlendError::FromNothing { run: folder });
    }
    let parts: BTreeSet<&str> =
        encoder.untaught.iter().filter_map(|name| name.split('.').next()).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let parts = parts.into_iter().collect::<Vec<_>>().join(", ");
    Err(BlendError::Grown { run: folder, parts })
}

/// What `run` ended at, and after how many steps; none where it did not begin as `like` did.
fn end_of(run: &Run, like: &Encoder) -> Result<Option<(Learned, u64)>, BlendError> {
    let mut encoder = Encoder::from_recipe(&run.recipe)?;
    if encoder.digest != like.digest {
        return Ok(None);
    }
    let checkpoint = Checkpoint::newest(&run.checkpoints())?;
    Ok(Some((ended(&mut encoder, &checkpoint)?, checkpoint.step)))
}

/// What was learned until `checkpoint`, which goes into an encoder of its recipe.
fn ended(encoder: &mut Encoder, checkpoint: &Checkpoint) -> Result<Learned, BlendError> {
    restore(encoder, checkpoint).map_err(Box::new)?;
    copies(encoder, &merged_names(checkpoint.weights.keys()))
}

/// Heads, which only a training has, are no part of a model.
fn copies(encoder: &Encoder, names: &[String]) -> Result<Learned, BlendError> {
    let copy = |name: &String| Ok((name.clone(), encoder.weights.get(name)?.detach().copy()));
    names.iter().filter(|name| encoder.weights.has(name)).map(copy).collect()
}

/// The mean of weights of the same names, of which there are some.
fn mean(all: &[Learned]) -> Result<Learned, BlendError> {
    let Some((first, others)) = all.split_first() else { return Ok(Learned::new()) };
    let mean = |(name, tensor): (&String, &Tensor)| {
        let sum =
            others.iter().try_fold(tensor.shallow_clone(), |sum, other| sum.f_add(&other[name]));
        Ok((name.clone(), sum?.f_div_scalar(all.len() as f64)?))
    };
    first.iter().map(mean).collect::<Result<_, TchError>>().map_err(BlendError::from)
}
