//! Why a training cannot begin or go on, in words for who started it.

use super::Divergence;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::data::augment::text::back_translation::BackTranslationError;
use crate::data::augment::text::wordnet::WordNetError;
use crate::encoder::EncoderError;
use crate::eval::EvalError;
use crate::methods::MethodError;
use crate::model::{Differences, ModelError};
use crate::optimizer::StateError;
use crate::run::RunError;
use crate::towers::TowersError;

/// Why a training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A set of pairs.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Captions or classes that are not there.
    #[error(
        "train.method = \"{method}\" reads what is said of pictures, and {set} does not say it; put \
         captions or classes beside the pictures, or train on pictures alone, as with \"simclr\""
    )]
    NothingSaid {
        /// The method.
        method: &'static str,
        /// The set.
        set: String,
        /// What was found in their place.
        source: DataError,
    },
    /// Captions where classes are read.
    #[error(
        "train.method = \"{method}\" reads classes, and {set} has captions; put its pictures into \
         folders of classes, or train with \"clip\" or \"slip\""
    )]
    NoClasses {
        /// The method.
        method: &'static str,
        /// The set.
        set: String,
    },
    /// Nothing to tell apart.
    #[error(
        "train.method = \"{method}\" tells classes apart, but all pictures are of \"{class}\"; add \
         pictures of another class, or train on pictures alone, as with \"simclr\""
    )]
    OneClass {
        /// The method.
        method: &'static str,
        /// The class.
        class: String,
    },
    /// The method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Processes that train together.
    #[error(transparent)]
    Processes(#[from] collective::Error),
    /// More processes than pairs.
    #[error(
        "a batch has {pairs} pairs, fewer than the {processes} processes that share it; start fewer \
         (WORLD_SIZE), or raise train.batch_size"
    )]
    TooManyProcesses {
        /// As many as there are.
        processes: usize,
        /// Of a batch.
        pairs: usize,
    },
    /// Several processes that would each plan with the same memory.
    #[error(
        "train.micro_batch = \"auto\" plans with all the memory that one process finds free; with several \
         processes name a number of pairs"
    )]
    AutoShared,
    /// A batch on its way through the towers.
    #[error(transparent)]
    Passage(#[from] TowersError),
    /// Synonyms.
    #[error(transparent)]
    WordNet(#[from] WordNetError),
    /// Further captions.
    #[error(transparent)]
    BackTranslation(#[from] BackTranslationError),
    /// Pictures or captions would change where nothing sees it.
    #[error(
        "{keys} would change nothing: the {tower} tower is locked, and its outputs are computed \
         once; let it learn by model.{tower}.learning_rate, or leave the key out"
    )]
    Unseen {
        /// The recipe's keys.
        keys: String,
        /// `image` or `text`.
        tower: &'static str,
    },
    /// A weight.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A measurement.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The optimizer's state.
    #[error("the checkpoint does not fit the recipe")]
    State(#[from] StateError),
    /// The towers have changed since the checkpoint.
    #[error(
        "the towers' files, or the newest checkpoint of the run in model.init, have changed since this \
         run's checkpoint; put the old ones back"
    )]
    Towers,
    /// The checkpoint is of another model than the recipe's.
    #[error(
        "the checkpoint of step {step} is of another model than the run's recipe.toml: {differences}; \
         put the recipe back as it was when the run began, or begin another run"
    )]
    Architecture {
        /// Its step.
        step: u64,
        /// What does not fit.
        differences: Differences,
    },
    /// The loss, its gradient or a weight left the finite numbers.
    #[error(transparent)]
    Diverged(#[from] Box<Divergence>),
    /// A GPU without room for a step.
    #[error("the GPU has too little memory ({reason}); {cures}, in another run")]
    OutOfMemory {
        /// What to lower.
        cures: String,
        /// libtorch's words.
        reason: String,
    },
    /// A GPU that disappeared.
    #[error(
        "the GPU disappeared or broke down ({reason}); once it is back (nvidia-smi lists it), go on \
         from the last checkpoint with train --resume"
    )]
    Gone {
        /// libtorch's words.
        reason: String,
    },
    /// Fewer pairs than a batch needs.
    #[error("an epoch draws {draws} pairs; at least 2 are needed for one to be a negative")]
    TooFew {
        /// Pairs in an epoch.
        draws: usize,
    },
    /// Class pictures that cannot be made.
    #[error("train.class_pictures asks for {count} a step, but {reason}")]
    ClassPictures {
        /// As the recipe says.
        count: usize,
        /// What is in the way, and the way out.
        reason: String,
    },
    /// Sets in which no pair is a negative to another.
    #[error(
        "no two pairs of the training sets differ in picture and in caption or class, so that none \
         is a negative to another; add pictures with other captions"
    )]
    NoNegatives,
    /// What prepares pictures ended before its time.
    #[error("the thread that makes batches of pictures is gone; what it died of stands above")]
    Unprepared,
    /// Negatives that are to be given and are not.
    #[error(
        "train.objective.negatives = \"given\", but {count} of {all} pictures have no negative, the \
         first is {key} of {set}; give them one each in a table's column \"negative\", or train with \
         negatives = \"batch\""
    )]
    NoneGiven {
        /// Pictures without one.
        count: usize,
        /// Pictures.
        all: usize,
        /// The first of them.
        key: String,
        /// Its set.
        set: String,
    },
    /// A class that `sup_con` cannot draw together.
    #[error(
        "class \"{class}\" of {set} has one picture, and sup_con draws the pictures of a class \
         together; add another one, take the class out, or train with train.objective = \"info_nce\""
    )]
    LoneClass {
        /// Its name.
        class: String,
        /// A set that has it.
        set: String,
    },
    /// libtorch refused a step.
    #[error("libtorch cannot make the step")]
    Torch(#[from] tch::TchError),
}
