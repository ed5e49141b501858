//! Why a blend cannot be made, in words for who asked for it.

use std::path::PathBuf;

use tch::TchError;

use crate::checkpoint::CheckpointError;
use crate::encoder::EncoderError;
use crate::eval::EvalError;
use crate::model::ModelError;
use crate::run::RunError;
use crate::train::TrainError;

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
    /// The start is another model than the one that was begun from.
    #[error(
        "{} put weights of its own over what it began from ({parts}), which began at random or untaught, so \
         that its start is another model and nothing to go back to; blend a run with the same \
         model.projection and model.image.classes as the one that it began from",
        run.display()
    )]
    Grown {
        /// Its folder.
        run: PathBuf,
        /// The first parts of their names.
        parts: String,
    },
    /// One checkpoint has no mean beside itself.
    #[error(
        "{} keeps one checkpoint alone, which has no mean with others; train it with a higher \
         train.keep_checkpoints, or for more epochs",
        run.display()
    )]
    OneCheckpoint {
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
