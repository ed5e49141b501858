//! The training loop: pairs in, better projections (and towers) out.
//!
//! [`train`] is the whole loop in one function; `material` is what it draws from,
//! `batches` what a step is given of it.
//! This room knows nothing of the command line or of ONNX.
//! Invariant: after a checkpoint and a resume the same losses follow as without the stop. Nothing in
//! a step is random but its draws, and those are a function of (seed, epoch).

mod ahead;
mod batches;
mod card;
mod class_pictures;
mod collapse;
mod divergence;
mod ema;
mod error;
mod gpu;
mod held_out;
mod images;
mod ledger;
mod material;
mod micro_batch;
mod objective;
mod parameters;
mod texts;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use clip::config::LOGIT_SCALE_MAX;
use serde::Serialize;
use tch::Tensor;

use crate::checkpoint::Checkpoint;
use crate::curves::Curves;
use crate::data::mixture;
use crate::device::Placement;
use crate::encoder::pooled::Pass;
use crate::encoder::{Encoder, EncoderError};
use crate::eval::{self, CaptionFigures, Embedder, EvalError, LabelFigures, RunEmbedder};
use crate::methods::{self, Branch, Learner, Momentum};
use crate::model::{LOGIT_SCALE, Side};
use crate::optimizer::{Gradients, Optimizer};
use crate::processes::Processes;
use crate::run::Run;
use crate::schedule;
use crate::towers::Towers;
use crate::watch::{Stop, Watch};

use card::Card;
use collapse::Spread;
pub use divergence::Divergence;
use divergence::{Broken, divergence};
use ema::Average;
pub use error::TrainError;
pub use held_out::HeldOut;
use ledger::{Ledger, Step};
use material::Material;
use micro_batch::AtOnce;
pub use parameters::{collect, restore};
use parameters::{learned_state, resume};

/// Who looks on, who may ask to stop, and how many threads decode.
pub struct Surroundings<'a> {
    /// Who looks on.
    pub watch: &'a mut dyn Watch,
    /// Who may ask to stop.
    pub stop: &'a Stop,
    /// Threads that decode pictures.
    pub threads: usize,
    /// Who computes along.
    pub processes: Processes<'a>,
}

/// How a training ended.
#[derive(Debug)]
pub struct Outcome {
    /// Steps made in all.
    pub steps: u64,
    /// Whether all epochs are done; false when somebody asked to stop.
    pub finished: bool,
    /// Samples that could not be used.
    pub unusable: usize,
    /// What was measured last.
    pub figures: Figures,
}

/// What `[eval]` measures.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// On `eval.captions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<CaptionFigures>,
    /// On `eval.labels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelFigures>,
}

/// A line of `metrics.jsonl` for a measurement.
#[derive(Serialize)]
struct FiguresLine<'a> {
    step: u64,
    epoch: u64,
    #[serde(flatten)]
    found: Found<'a>,
    /// Where `found` is of their average.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_weights: Option<Found<'a>>,
    /// How the embeddings of the last batch lie.
    #[serde(flatten)]
    spread: Option<Spread>,
}

/// Figures as a line has them: recall of pictures by words at the top level.
#[derive(Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    text_to_image: Option<&'a clip::metrics::Retrieval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_to_text: Option<&'a clip::metrics::Retrieval>,
    #[serde(flatten)]
    classification: Option<&'a clip::metrics::Classification>,
}

/// Trains `run` from its newest checkpoint, or from the start where it has none.
///
/// # Errors
/// [`TrainError`]; checkpoints written before it are kept.
///
/// # Panics
/// Where libtorch panics over something else than its GPU.
pub fn train(run: &Run, around: &mut Surroundings<'_>) -> Result<Outcome, TrainError> {
    match catch_unwind(AssertUnwindSafe(|| all_steps(run, around))) {
        Ok(ended) => ended.map_err(|error| gpu::told(error, &run.recipe)),
        Err(panic) => {
            Err(gpu::of_panic(&*panic, &run.recipe).unwrap_or_else(|| resume_unwind(panic)))
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "the loop is easiest to check when it stands in one place"
)]
fn all_steps(run: &Run, around: &mut Surroundings<'_>) -> Result<Outcome, TrainError> {
    let (recipe, processes) = (&run.recipe, around.processes);
    together::enough_for_all(processes, recipe.train.batch_size)?;
    together::memory_is_shared(recipe.train.micro_batch, processes)?;
    let mut encoder = Encoder::from_recipe(recipe)?;
    processes.agree("pair of towers", &encoder.digest)?;
    let place = Placement::of_process(processes.local_rank(), recipe.train.precision);
    let method = methods::of(recipe, &encoder);
    method.check(&encoder)?;
    methods::add_heads(&mut encoder, &method.heads(), recipe);
    encoder.place(place.device, place.kind)?;
    around.watch.say(&format!("training {place}"));
    if let Some(caution) = place.caution() {
        around.watch.say(caution);
    }
    if let Some(engine) = processes.engine() {
        around.watch.say(&format!("gradients and embeddings over {engine}"));
    }
    let held_out = HeldOut::open(recipe)?;
    together::same_held_out(&held_out, processes)?;
    let views = method.views(&recipe.image);
    let material = Material::prepare(run, &mut encoder, &views, around)?;
    let parameters = collect(&mut encoder)?;
    let mut optimizer = Optimizer::new(recipe.train.optimizer, recipe.train.weight_decay);
    let average = |decay| Average::begin(decay, &parameters);
    let mut average = recipe.train.ema.map(average).transpose()?;
    let momentum = |first| Momentum::begin(first, &encoder, &parameters);
    let mut momentum = method.momentum().map(momentum).transpose()?;
    let mut step = 0;
    if let Some(checkpoint) = together::resumable(run, processes)? {
        resume(&mut encoder, &checkpoint)?;
        optimizer.restore(checkpoint.step, checkpoint.optimizer, &parameters)?;
        if let Some(average) = &mut average {
            average.restore(checkpoint.average, &parameters)?;
        }
        if let Some(momentum) = &mut momentum {
            momentum.restore(checkpoint.momentum, &parameters)?;
        }
        step = checkpoint.step;
        around.watch.say(&format!("going on after step {step}"));
    }
    let metrics = run.metrics(step)?;
    let mut curves = Curves::of(&run.folder);
    let per_epoch = material.steps_per_epoch(recipe, processes)?;
    let total = per_epoch * recipe.train.epochs;
    let mut ledger = Ledger::new(run, metrics, total);
    let logit_scale = encoder.weights.get(LOGIT_SCALE)?.shallow_clone();
    let learned: Vec<&Tensor> = parameters.iter().map(|parameter| &parameter.tensor).collect();
    let batch_size = recipe.train.batch_size;
    let mut at_once = AtOnce::of(recipe, around.watch);
    let checkpointed = micro_batch::checkpointed(recipe);
    let mut figures = Figures::default();
    let mut broken = BTreeSet::new();
    let mut seen = None;

    while step < total {
        let epoch = step / per_epoch;
        let draws = mixture::plan(&material.shapes, recipe.train.seed, epoch);
        let done = (step % per_epoch) as usize;
        let rest = &draws[done * batch_size..];
        let looks = batches::looks(&views, &encoder, recipe.train.seed, epoch);
        let mut batches =
            material.batches(rest, looks.map_err(EncoderError::from)?, batch_size, around);
        while step < total && step / per_epoch == epoch {
            let waited = batches.waited();
            let (inputs, served) = batches.next(&material, &encoder, step)?;
            let online = Branch { encoder: &encoder, weights: &encoder.weights };
            let target = momentum.as_ref().map(|momentum| &momentum.weights);
            let alone = Towers {
                encoder: &encoder,
                target,
                micro_batch: None,
                checkpointed: &checkpointed,
                processes: Processes::ALONE,
            };
            let micro_batch = at_once.settled(&inputs, &alone, &learned, around.watch)?;
            let towers = Towers { micro_batch, processes, ..alone };
            let (batch, tape) = towers.forward(inputs)?;
            ledger.settle(around.watch)?;
            let target = Branch { weights: target.unwrap_or(&encoder.weights), ..online };
            let made = method.step(&batch, &Learner { online, target, step })?;
            let gradients = tape.backward(&made.loss, &batch, &learned, &towers)?;
            let gradients = Gradients::limited(gradients, recipe.train.grad_clip)?;
            let (schedule, warmup) = (&recipe.train.schedule, recipe.train.warmup_steps);
            let rate = schedule::share(schedule, step, warmup, total);
            optimizer.step(&parameters, &gradients, rate)?;
            tch::no_grad(|| {
                let _ = logit_scale.shallow_clone().clamp_(0.0, f64::from(LOGIT_SCALE_MAX));
            });
            step += 1;
            seen = Some(made.embeddings.map(|embeddings| embeddings.detach()));
            if let Some(average) = &mut average {
                average.follow(&parameters, step)?;
            }
            if let Some(momentum) = &mut momentum {
                momentum.follow(&parameters, step, total)?;
            }
            for sample in served.bad {
                if broken.insert(sample.key.clone()) {
                    around.watch.say(&format!("{} left out: {}", sample.key, sample.reason));
                }
            }
            let handed_over = Step {
                step,
                epoch: epoch + 1,
                learning_rate: rate * encoder.rates.highest(),
                waited: batches.waited().saturating_sub(waited),
                pictures: served.pictures,
                figures: ledger::figures(&made.loss, &gradients.norm, &logit_scale)?,
            };
            ledger.add(handed_over, around.watch)?;
            if processes.any(around.stop.asked())? {
                ledger.settle(around.watch)?;
                let momentum = momentum.as_ref().map(|momentum| momentum.state(&parameters));
                let all = (average.as_ref(), momentum);
                checkpoint(run, (&encoder, &optimizer), all, step, processes)?;
                curves.redraw(around.watch);
                let unusable = material.unusable() + broken.len();
                return Ok(Outcome { steps: step, finished: false, unusable, figures });
            }
        }
        ledger.settle(around.watch)?;
        if (epoch + 1) % recipe.eval.every_epochs == 0 || step == total {
            let last;
            let found = measure_now(run, &mut encoder, average.as_ref(), &held_out, around);
            (figures, last) = found.map_err(|error| unmeasured(run, error, step))?;
            let spread = seen.as_ref().map(Spread::of).transpose()?.flatten();
            let line = figures.line(step, epoch + 1, last.as_ref());
            ledger.metrics.add(&FiguresLine { spread, ..line })?;
            curves.redraw(around.watch);
            let of = if average.is_some() { ", average of the weights" } else { "" };
            let found = match (figures.sentence(), &spread) {
                (nothing, Some(spread)) if nothing.is_empty() => spread.to_string(),
                (words, _) => words,
            };
            around.watch.say(&format!("epoch {}{of}: {found}", epoch + 1));
            let card = Card { recipe, step, total, found, spread, cure: method.cure() };
            card.warning().iter().for_each(|warning| around.watch.say(warning));
            card.write(run)?;
        }
        let followed = momentum.as_ref().map(|momentum| momentum.state(&parameters));
        checkpoint(run, (&encoder, &optimizer), (average.as_ref(), followed), step, processes)?;
        ledger.resume();
    }
    let unusable = material.unusable() + broken.len();
    Ok(Outcome { steps: step, finished: true, unusable, figures })
}

fn checkpoint(
    run: &Run,
    (encoder, optimizer): (&Encoder, &Optimizer),
    (average, momentum): (Option<&Average>, Option<BTreeMap<String, Tensor>>),
    step: u64,
    processes: Processes<'_>,
) -> Result<(), TrainError> {
    let (weights, towers) = (learned_state(encoder), encoder.digest.clone());
    for (name, tensor) in &weights {
        if tensor.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            let what = format!("the weight {name} is not finite after it");
            return Err(divergence(run, Broken { step, what }, &[])?.into());
        }
    }
    if !processes.is_first() {
        return Ok(());
    }
    let average = average.map(Average::state).unwrap_or_default();
    let (optimizer, momentum) = (optimizer.state(), momentum.unwrap_or_default());
    let all = Checkpoint { step, weights, optimizer, average, momentum, towers };
    all.save(&run.checkpoints(), run.recipe.train.keep_checkpoints)?;
    Ok(())
}

/// A model that turns pictures or texts into no direction has left the numbers, whatever its last loss.
fn unmeasured(run: &Run, error: EvalError, step: u64) -> TrainError {
    match error {
        EvalError::Encoder(error @ EncoderError::NotAnEmbedding { .. }) => {
            let broken = Broken { step, what: format!("{error} after it") };
            divergence(run, broken, &[]).map_or_else(|error| error, TrainError::from)
        }
        other => other.into(),
    }
}

/// What the model is worth at this moment: the average of the weights where there is one, and then
/// the weights of the last step too, where locked towers answer from the cache.
fn measure_now(
    run: &Run,
    encoder: &mut Encoder,
    average: Option<&Average>,
    held_out: &HeldOut,
    around: &mut Surroundings<'_>,
) -> Result<(Figures, Option<Figures>), EvalError> {
    let Some(average) = average else {
        return Ok((measure(run, encoder, held_out, around)?, None));
    };
    let cheap = [Side::Image, Side::Text].into_iter().all(|side| encoder.rates.is_locked(side));
    let last = cheap.then(|| measure(run, encoder, held_out, around)).transpose()?;
    let averaged = average.in_place(encoder, |encoder| measure(run, encoder, held_out, around))?;
    Ok((averaged, last))
}

/// Measures a run's model, as it is in `encoder`, on the held-out sets.
///
/// # Errors
/// [`EvalError`] where the model cannot run.
pub fn measure(
    run: &Run,
    encoder: &Encoder,
    held_out: &HeldOut,
    around: &mut Surroundings<'_>,
) -> Result<Figures, EvalError> {
    let cache = run.cache();
    let mut embedder = RunEmbedder { pass: pass(encoder, &cache, around) };
    measure_with(&mut embedder, held_out, &run.recipe.templates())
}

/// Measures any embedder on the held-out sets.
///
/// # Errors
/// [`EvalError`] where the model cannot run.
pub fn measure_with(
    embedder: &mut dyn Embedder,
    held_out: &HeldOut,
    templates: &[String],
) -> Result<Figures, EvalError> {
    let captions = held_out.captions.as_ref().map(|set| eval::captions(embedder, set));
    let captions = captions.transpose()?;
    let labels = held_out.labels.as_ref().map(|set| eval::labels(embedder, set, templates));
    Ok(Figures { captions, labels: labels.transpose()? })
}

/// How to run the towers of a run: locked ones answer from its cache.
pub fn pass<'a>(
    encoder: &'a Encoder,
    cache: &'a std::path::Path,
    around: &'a mut Surroundings<'_>,
) -> Pass<'a> {
    Pass {
        encoder,
        image_cache: (encoder.rates.is_locked(Side::Image) || encoder.kept_blocks.is_some())
            .then_some(cache),
        text_cache: encoder.rates.is_locked(Side::Text).then_some(cache),
        threads: around.threads,
        watch: around.watch,
        stop: around.stop,
        processes: around.processes,
    }
}

impl Figures {
    fn line<'a>(&'a self, step: u64, epoch: u64, last: Option<&'a Self>) -> FiguresLine<'a> {
        let last_weights = last.map(Self::found);
        FiguresLine { step, epoch, found: self.found(), last_weights, spread: None }
    }

    fn found(&self) -> Found<'_> {
        Found {
            text_to_image: self.captions.as_ref().map(|c| &c.text_to_image),
            image_to_text: self.captions.as_ref().map(|c| &c.image_to_text),
            classification: self.labels.as_ref().map(|l| &l.classification),
        }
    }

    /// The figures in a line for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut words = Vec::new();
        if let Some(c) = &self.captions {
            let (t, i) =
                (100.0 * c.text_to_image.recall_at_10, 100.0 * c.image_to_text.recall_at_10);
            words.push(format!("{}: text→image R@10 {t:.1} %, image→text R@10 {i:.1} %", c.set));
        }
        if let Some(l) = &self.labels {
            words.push(format!("{}: top-1 {:.1} %", l.set, 100.0 * l.classification.top_1));
        }
        words.join(" · ")
    }
}
