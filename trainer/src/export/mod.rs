//! From a run to a bundle: graphs, what they must answer, and what is known of the model.
//!
//! The graphs come from the forward code that trained. Each is run by ONNX Runtime on real samples
//! and compared with libtorch before the bundle gets its name.
//! This room knows nothing of losses or optimizers.
//! Invariant: a bundle that fails a check is not left behind; it is built beside its place and moved
//! there whole.

mod card;
mod draft;
mod reference;
mod samples;

use std::path::{Path, PathBuf};

use clip::bundle::{BundleError, Licence};
use tch::TchError;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::DataError;
use crate::encoder::{Encoder, EncoderError};
use crate::eval::EvalError;
use crate::model::ModelError;
use crate::run::Run;
use crate::tensor_file::TensorFileError;
use crate::train::{Surroundings, TrainError, restore};

use draft::Draft;
use samples::Samples;

/// Largest difference of a normalized embedding's number between libtorch and ONNX Runtime, in f32.
pub const EXACT: f32 = 1e-4;

/// Lowest cosine to the f32 embedding that a compact form may have.
pub const COMPACT_COSINE: f32 = 0.99;

/// How much recall at 10 a compact form may lose, as a share.
pub const COMPACT_RECALL: f32 = 0.005;

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

/// Forms in which a bundle can hold the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Precision {
    /// As trained.
    Fp32,
    /// Weights as int8 or f16, widened to f32 when loaded: a quarter of the size.
    Int8,
}

impl Precision {
    /// Its name in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
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
    /// No compact form is near enough.
    #[error(
        "the compact {tower} graph keeps a cosine of {cosine:.4} at worst, less than \
         {COMPACT_COSINE}; export with --precision fp32"
    )]
    Coarse {
        /// "image" or "text".
        tower: &'static str,
        /// The lowest cosine.
        cosine: f32,
    },
    /// The compact form finds less.
    #[error(
        "int8 loses {points:.2} points of {what}, more than half a point; export with --precision fp32"
    )]
    Forgets {
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
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        return Err(ExportError::Taken { path: out.to_owned() });
    }
    let mut encoder = Encoder::from_recipe(&run.recipe)?;
    let checkpoint = Checkpoint::newest(&run.checkpoints())?;
    restore(&mut encoder, &checkpoint).map_err(Box::new)?;
    let samples = Samples::load(run, &encoder, around.threads)?;
    let wanted = |p| request.precisions.is_empty() || request.precisions.contains(&p);

    let mut draft = Draft::begin(run, &encoder, out, &request.licences)?;
    draft.add_exact(&encoder, &samples)?;
    if wanted(Precision::Int8) {
        draft.add_compact(&encoder, &samples)?;
    }
    if !wanted(Precision::Fp32) {
        draft.drop_precision(Precision::Fp32)?;
    }
    draft.measure(run, &encoder, around)?;
    draft.record_references(around.threads)?;
    card::write(&draft, request.card.as_deref())?;
    draft.finish(out, around.threads)
}
