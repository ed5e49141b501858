//! `[train]` and `[eval]`: the loop, and what is measured in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::named::named;
use super::{Method, Objective, OptimizerSection, RecipeError, Schedule, finite, one, wrong};

/// `[train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Which views, heads and targets; `clip` where absent.
    #[serde(default, deserialize_with = "named")]
    pub method: Method,
    /// The loss.
    #[serde(default, deserialize_with = "named")]
    pub objective: Objective,
    /// Pairs in a step; also the number of negatives plus one.
    pub batch_size: usize,
    /// Pairs more in each step that no picture shows: a class of `model.image.classes` as its classifier
    /// knows it, and one of its names.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub class_pictures: usize,
    /// Pairs that go through the towers at once, where a batch is more than the memory holds; the
    /// gradient is that of the whole batch all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<MicroBatch>,
    /// Passes over the data, as mixed by weight.
    pub epochs: u64,
    /// Steps over which the learning rates rise from zero.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Weight decay of matrices; biases and `logit_scale` have none.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decides the start, the order and the captions drawn.
    #[serde(default)]
    pub seed: u64,
    /// Arithmetic of the towers; where absent bf16 on CUDA and f32 elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Gradients whose common norm is above this are scaled down to it; 0 for never.
    #[serde(default = "one")]
    pub grad_clip: f64,
    /// Start of `logit_scale`, as a log; where absent a checkpoint's own, or ln(1/0.07), or ln 10 for
    /// the sigmoid loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_scale_init: Option<f64>,
    /// Memory of the average of the weights that is measured and exported; where absent the weights
    /// of the last step are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Newest checkpoints that the run keeps; one is written after each epoch.
    #[serde(default = "two")]
    pub keep_checkpoints: usize,
    /// How gradients become changes.
    #[serde(default, deserialize_with = "named")]
    pub optimizer: OptimizerSection,
    /// The learning rates after the warm-up.
    #[serde(default, deserialize_with = "named")]
    pub schedule: Schedule,
}

/// Pairs that go through the towers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "train.micro_batch is a number of pairs, or \"auto\"")]
pub enum MicroBatch {
    /// So many.
    Pairs(usize),
    /// As many as the free memory holds.
    Auto(Auto),
}

/// A word in place of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// Found out at the first step.
    Auto,
}

/// Arithmetic of the towers while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
    /// Matrix products in bfloat16; weights, their gradients, sums and normalizations in f32.
    Bf16,
}

/// `[eval]`: held-out sets measured while training; none of it steers the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// A set with captions, for recall both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<PathBuf>,
    /// A labelled set, for zero-shot accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Epochs between measurements; the last epoch is always measured.
    #[serde(default = "one_epoch")]
    pub every_epochs: u64,
    /// Whether a training that began from a model ends with the measured way back to it, where both sets
    /// are named.
    #[serde(default = "yes")]
    pub blend: bool,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self { captions: None, labels: None, every_epochs: one_epoch(), blend: yes() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn one_epoch() -> u64 {
    1
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

impl TrainSection {
    /// Where `logit_scale` starts, as a log, unless a checkpoint or the model's configuration says so.
    #[must_use]
    pub fn logit_scale_start(&self) -> Option<f64> {
        self.logit_scale_init.or_else(|| self.objective.logit_scale_init())
    }

    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        self.objective.validate()?;
        finite("train.weight_decay", self.weight_decay)?;
        finite("train.grad_clip", self.grad_clip)?;
        self.optimizer.validate()?;
        self.schedule.validate()?;
        if self.ema.is_some_and(|memory| !(memory > 0.0 && memory < 1.0)) {
            return wrong("train.ema", "must lie between 0 and 1, as 0.999");
        }
        if self.batch_size < 2 {
            return wrong("train.batch_size", "must be at least 2: a pair alone has no negatives");
        }
        if self.micro_batch == Some(MicroBatch::Pairs(0)) {
            return wrong(
                "train.micro_batch",
                "must be at least 1: so many pairs go through at once",
            );
        }
        if self.keep_checkpoints == 0 {
            return wrong("train.keep_checkpoints", "must be at least 1: a run goes on from one");
        }
        if self.epochs == 0 {
            return wrong("train.epochs", "is 0, but nothing is learned in no epoch");
        }
        let fits = |scale| (0.0..=100f64.ln()).contains(&scale);
        if self.logit_scale_init.is_some_and(|scale| !fits(scale)) {
            return wrong("train.logit_scale_init", "is a log and must lie between 0 and ln 100");
        }
        Ok(())
    }
}

impl EvalSection {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        if self.every_epochs == 0 {
            return wrong("eval.every_epochs", "must be at least 1");
        }
        Ok(())
    }
}
