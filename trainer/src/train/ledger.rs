//! The figures of each step, read when that costs nothing: a GPU computes behind the program's back,
//! and whoever asks it for a number waits until it has done all that it was given. So there a step's
//! figures are read once the next batch is prepared, and not before.

use std::time::{Duration, Instant};

use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use super::TrainError;
use super::divergence::{Broken, divergence};
use crate::run::{Metrics, Run};
use crate::watch::Watch;

/// A line of `metrics.jsonl` for a step.
#[derive(Serialize)]
struct StepLine {
    step: u64,
    epoch: u64,
    loss: f64,
    learning_rate: f64,
    gradient_norm: f64,
    /// Where anything depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_scale: Option<f64>,
    waited_s: f64,
    samples_per_s: f64,
}

/// A step that has been handed over.
pub(super) struct Step {
    /// From 1.
    pub(super) step: u64,
    /// From 1.
    pub(super) epoch: u64,
    /// The highest of all.
    pub(super) learning_rate: f64,
    /// How long no decoded picture was ready.
    pub(super) waited: Duration,
    /// Its pictures, by their numbers over all sets.
    pub(super) pictures: Vec<i64>,
    /// What it computes, of [`figures`].
    pub(super) figures: Tensor,
}

/// The loss, the gradient's norm and the scale of a step, scalars → f64 `[3]`.
pub(super) fn figures(loss: &Tensor, norm: &Tensor, scale: &Tensor) -> Result<Tensor, TchError> {
    let all = [loss, norm, scale].map(|scalar| scalar.detach().f_to_kind(Kind::Double));
    Tensor::f_stack(&all.into_iter().collect::<Result<Vec<_>, _>>()?, 0)
}

/// Where steps are written down.
pub(super) struct Ledger<'a> {
    run: &'a Run,
    /// Behind the steps; whoever adds a line of another kind calls [`Ledger::settle`] before.
    pub(super) metrics: Metrics,
    total: u64,
    unread: Option<Step>,
    read_at: Instant,
}

impl<'a> Ledger<'a> {
    /// A ledger of a training of `total` steps that begins now.
    pub(super) fn new(run: &'a Run, metrics: Metrics, total: u64) -> Self {
        Self { run, metrics, total, unread: None, read_at: Instant::now() }
    }

    /// Takes note of a step; where a CPU has computed it, reads it too.
    ///
    /// # Errors
    /// As [`Ledger::settle`].
    pub(super) fn add(&mut self, step: Step, watch: &mut dyn Watch) -> Result<(), TrainError> {
        let under_way = step.figures.device().is_cuda();
        self.unread = Some(step);
        if under_way { Ok(()) } else { self.settle(watch) }
    }

    /// Reads what is unread and writes it down.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] for a loss or a gradient that is not finite, [`TrainError::Run`]
    /// where the line cannot be written.
    pub(super) fn settle(&mut self, watch: &mut dyn Watch) -> Result<(), TrainError> {
        let Some(unread) = self.unread.take() else { return Ok(()) };
        let figure = |index| unread.figures.f_double_value(&[index]);
        let (loss, gradient_norm, logit_scale) = (figure(0)?, figure(1)?, figure(2)?);
        let Step { step, epoch, learning_rate, .. } = unread;
        for (what, value) in [("loss", loss), ("gradient's norm", gradient_norm)] {
            if !value.is_finite() {
                let broken = Broken { step, what: format!("the {what} is {value}") };
                return Err(divergence(self.run, broken, &unread.pictures)?.into());
            }
        }
        let seconds = self.read_at.elapsed().as_secs_f64();
        self.read_at = Instant::now();
        let samples_per_s = unread.pictures.len() as f64 / seconds;
        let waited_s = unread.waited.as_secs_f64();
        let knows_words = self.run.recipe.train.method.knows_words();
        self.metrics.add(&StepLine {
            step,
            epoch,
            loss,
            learning_rate,
            gradient_norm,
            logit_scale: knows_words.then_some(logit_scale),
            waited_s,
            samples_per_s,
        })?;
        let samples = if knows_words { "pairs" } else { "pictures" };
        let words = format!("loss {loss:.3}, {samples_per_s:.0} {samples}/s");
        watch.progress("training", step, self.total, &words);
        Ok(())
    }

    /// What follows is no part of a step's time.
    pub(super) fn resume(&mut self) {
        self.read_at = Instant::now();
    }
}
