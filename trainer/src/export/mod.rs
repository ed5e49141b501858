//! From a run to a bundle: graphs, what they must answer, and what is known of the model.
//!
//! The graphs come from the forward code that trained. Each is run by ONNX Runtime on real samples
//! and compared with libtorch before the bundle gets its name.
//! This room knows nothing of losses or optimizers.
//! Invariant: a bundle that fails a check is not left behind; it is built beside its place and moved
//! there whole.

mod card;
mod draft;
mod forms;
mod narrow;
mod reference;
mod samples;
mod trial;

use std::path::{Path, PathBuf};

use clip::bundle::{BundleError, Licence};
use tch::TchError;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::DataError;
use crate::encoder::{Encoder, EncoderError, processor_config};
use crate::eval::EvalError;
use crate::model::{DualEncoder, ModelError, Weights};
use crate::run::Run;
use crate::tensor_file::TensorFileError;
use crate::train::{Surroundings, TrainError, restore};

use draft::Draft;
use trial::Trial;

pub use forms::Precision;
pub use narrow::{EXACT, LEAST_COSINE};
pub use samples::{Inputs, Samples};
pub use trial::MOST_LOST;

/// What is exported.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The forward code and its configuration.
    pub model: &'a DualEncoder,
    /// The trained weights.
    pub weights: &'a Weights,
    /// `tokenizer.json`
    pub tokenizer: &'a Path,
    /// The longest text in tokens, special ones included.
    pub context_length: usize,
    /// `preprocessor_config.json`
    pub processor: serde_json::Value,
    /// Templates that classes are put into.
    pub templates: Vec<String>,
    /// What the graphs are compared with libtorch on.
    pub samples: Samples,
}

/// What to write.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The precisions; all when empty.
    pub precisions: Vec<Precision>,
    /// The card, copied as `README.md`; written by us when absent.
    pub card: Option<PathBuf>,
    /// What the model was made from.
    pub licences: Vec<Licence>,
}

/// What was written.
#[derive(Debug)]
pub struct Report {
    /// Names the model.
    pub id: String,
    /// One sentence a check, with its numbers.
    pub checks: Vec<String>,
    /// The whole folder in bytes.
    pub size_bytes: u64,
}

/// Why a run is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place is taken.
    #[error("{} is there already; name another folder with --out", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to search by.
    #[error(
        "the run has learned from pictures alone (train.method = \"{method}\") and knows no words; \
         join it with words first, by a training that begins from it (model.init)"
    )]
    NoWords {
        /// The method.
        method: &'static str,
    },
    /// A file of the bundle.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that goes into the bundle.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The run's checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run's state does not fit.
    #[error(transparent)]
    Train(#[from] Box<TrainError>),
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The forward code.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A reference picture cannot be encoded.
    #[error("cannot draw the reference pictures")]
    Draw(#[from] reference::DrawError),
    /// The samples.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tensor.
    #[error(transparent)]
    Tensor(#[from] TensorFileError),
    /// libtorch refused.
    #[error("libtorch cannot copy the weights")]
    Torch(#[from] TchError),
    /// JSON.
    #[error("cannot write the manifest as JSON")]
    Json(#[from] serde_json::Error),
    /// The bundle does not open.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// ONNX Runtime, or the bundle's self-check.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// A measurement.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// ONNX Runtime and libtorch disagree.
    #[error(
        "the {tower} graph in ONNX Runtime differs from libtorch by {difference:.2e} at worst, more \
         than {EXACT:.0e}"
    )]
    Differs {
        /// "image" or "text".
        tower: &'static str,
        /// The largest difference of a number.
        difference: f32,
    },
    /// No form of a precision is near enough.
    #[error(
        "the {tower} graph of {precision} keeps a cosine of {cosine:.4} at worst, less than \
         {LEAST_COSINE}, however it is stored; leave {precision} out with --precision"
    )]
    Coarse {
        /// As a manifest names it.
        precision: &'static str,
        /// "image" or "text".
        tower: &'static str,
        /// The lowest cosine.
        cosine: f32,
    },
    /// The widest form of a precision finds less.
    #[error(
        "{precision} loses {points:.2} points of {what}, more than half a point, however it is \
         stored; leave {precision} out with --precision"
    )]
    Forgets {
        /// As a manifest names it.
        precision: &'static str,
        /// The figure.
        what: &'static str,
        /// The loss in percentage points.
        points: f32,
    },
}

/// Writes the newest checkpoint of `run` as a bundle at `out`. ONNX Runtime must be loaded.
///
/// # Errors
/// [`ExportError`]; nothing is then left at `out`.
pub fn export(
    run: &Run,
    out: &Path,
    request: &Request,
    around: &mut Surroundings<'_>,
) -> Result<Report, ExportError> {
    free(out)?;
    let method = &run.recipe.train.method;
    if !method.knows_words() {
        return Err(ExportError::NoWords { method: method.name() });
    }
    let mut encoder = Encoder::from_recipe(&run.recipe)?;
    let checkpoint = Checkpoint::newest(&run.checkpoints())?;
    restore(&mut encoder, &checkpoint).map_err(Box::new)?;
    if !checkpoint.average.is_empty() {
        around.watch.say("what is exported is the average of the weights (train.ema)");
    }
    let subject = Subject {
        model: &encoder.model,
        weights: &encoder.weights,
        tokenizer: &encoder.tokenizer_file,
        context_length: encoder.tokenizer.context_length(),
        processor: processor_config(encoder.processor.config()),
        templates: run.recipe.templates(),
        samples: Samples::load(run, &encoder, around.threads)?,
    };
    let threads = around.threads;
    let trial = Trial::begin(run, &encoder, around)?;
    write(&subject, out, request, trial, threads)
}

/// Writes `subject` as a bundle at `out`, without figures: how narrow a tower may be is decided by
/// its cosines alone. ONNX Runtime must be loaded.
///
/// # Errors
/// [`ExportError`]; nothing is then left at `out`.
pub fn export_unmeasured(
    subject: &Subject<'_>,
    out: &Path,
    request: &Request,
    threads: usize,
) -> Result<Report, ExportError> {
    write(subject, out, request, None, threads)
}

fn write(
    subject: &Subject<'_>,
    out: &Path,
    request: &Request,
    mut trial: Option<Trial<'_, '_>>,
    threads: usize,
) -> Result<Report, ExportError> {
    free(out)?;
    let wanted = |p| request.precisions.is_empty() || request.precisions.contains(&p);
    let mut draft = Draft::begin(subject, out, &request.licences)?;
    draft.manifest.score_deviation = trial.as_ref().and_then(Trial::score_deviation);
    narrow::add_exact(&mut draft, subject)?;
    if let (true, Some(trial)) = (wanted(Precision::Fp32), &mut trial) {
        narrow::add_figures(&mut draft, trial)?;
    }
    for precision in [Precision::Fp16, Precision::Int8] {
        if wanted(precision) {
            narrow::add(&mut draft, precision, subject, trial.as_mut())?;
        }
    }
    if !wanted(Precision::Fp32) {
        draft.drop_precision(Precision::Fp32)?;
    }
    if trial.is_none() {
        draft.checks.push("no figures: no held-out set is named".to_owned());
    }
    draft.record_references(threads)?;
    card::write(&draft, request.card.as_deref())?;
    draft.finish(out, threads)
}

fn free(out: &Path) -> Result<(), ExportError> {
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        return Err(ExportError::Taken { path: out.to_owned() });
    }
    Ok(())
}
