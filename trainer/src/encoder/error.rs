//! Why an encoder cannot be made or run, in words for who asked for it.

use std::path::PathBuf;

use clip::image::ProcessorError;
use clip::tokenize::TokenizeError;

use crate::checkpoint::CheckpointError;
use crate::data::BadSample;
use crate::model::ModelError;
use crate::recipe::RecipeError;
use crate::run::RunError;
use crate::tensor_file::TensorFileError;

/// Why a model cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// Processes that run the towers together.
    #[error(transparent)]
    Processes(#[from] collective::Error),
    /// The weights or the forward code.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file that a checkpoint's folder has to hold.
    #[error(
        "there is no {name} in {}; put the one of the checkpoint's own release beside its weights",
        folder.display()
    )]
    Absent {
        /// The file.
        name: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A bundle that tells no weights.
    #[error("cannot begin from the bundle {}: {reason}", folder.display())]
    Bundle {
        /// The folder.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tokenizer of another model.
    #[error("{} is not of this model: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A configuration of another family.
    #[error("{} is no CLIP's (its model_type is not \"clip\")", path.display())]
    NotClip {
        /// The file.
        path: PathBuf,
    },
    /// Pictures of a size that the image tower does not take.
    #[error("{key} makes pictures of {found} pixels a side, but the image tower takes {edge}")]
    Edge {
        /// The recipe's key or the file.
        key: String,
        /// As it says.
        found: u32,
        /// What the tower takes.
        edge: u32,
    },
    /// A rate for weights that are not there.
    #[error("model.learning_rates has \"{prefix}\", but no weight's name begins so{}",
        if there.is_empty() { String::new() } else { format!("; there are {there}") })]
    Rate {
        /// As the recipe says.
        prefix: String,
        /// Names that are near it.
        there: String,
    },
    /// Adapters for weights that are not there.
    #[error(
        "model.{tower}.lora.targets has \"{prefix}\", but the name of no matrix that can be adapted \
         begins so; there are {there} (names are as {first}, and a beginning ends at a dot)"
    )]
    Targets {
        /// `image` or `text`.
        tower: &'static str,
        /// As the recipe says.
        prefix: String,
        /// Names that are near it.
        there: String,
        /// A whole one.
        first: String,
    },
    /// An adapter that is wider than its weight.
    #[error(
        "model.{tower}.lora.rank is {rank}, but the smaller side of {name} is {smaller}; choose a rank of \
         at most that, or name in model.{tower}.lora.targets what is to be adapted"
    )]
    Rank {
        /// `image` or `text`.
        tower: &'static str,
        /// As the recipe says.
        rank: i64,
        /// The first weight that is too narrow.
        name: String,
        /// Its smaller side.
        smaller: i64,
    },
    /// A rate for weights that adapters stand beside.
    #[error(
        "model.learning_rates has \"{prefix}\", but lora adapts {name}, which therefore stays as it is; its \
         adapter learns at the tower's learning_rate: leave the rate out, or name in lora.targets other \
         weights"
    )]
    AdaptedRate {
        /// As the recipe says.
        prefix: String,
        /// A weight whose name begins so.
        name: String,
    },
    /// A run to begin from.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A run to begin from is over other towers.
    #[error(
        "the run {} is over other towers than model.image.weights and model.text.weights; name the \
         same ones, as in its recipe.toml",
        run.display()
    )]
    OtherTowers {
        /// Its folder.
        run: PathBuf,
    },
    /// A run to begin from is no CLIP's.
    #[error(
        "the run {} is over two towers that never met (model_type = \"dual-encoder\"); begin from it \
         with a recipe of the same model_type and towers",
        run.display()
    )]
    OtherFamily {
        /// Its folder.
        run: PathBuf,
    },
    /// The towers of a run to begin from have changed.
    #[error(
        "the towers' files, or the run that it began from, have changed since the checkpoint of the run \
         {}; put the old ones back",
        run.display()
    )]
    Changed {
        /// Its folder.
        run: PathBuf,
    },
    /// Nothing to keep.
    #[error(
        "image.cache keeps what the locked blocks of the image tower answer, but {found}; {cure}, or \
         leave the key out"
    )]
    NothingToKeep {
        /// Which blocks are locked.
        found: &'static str,
        /// What would help.
        cure: &'static str,
    },
    /// All rates are 0.
    #[error("every learning rate of the recipe's [model] is 0: nothing would be learned")]
    NothingLearns,
    /// A tower's file.
    #[error("cannot read the tower's file {}; `make towers` fetches the pretrained ones", path.display())]
    Tower {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text tower's `config.json`.
    #[error("{} is not the configuration of a BERT", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file of classes that is none.
    #[error("line {line} of {} names no class; a line is a class, its names with \", \" between them",
        path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// More or fewer classes than the image tower's file has a classifier for.
    #[error("{} names {named} classes, but {} has a classifier for {known}; a line is a class",
        path.display(), tower.display())]
    ClassCount {
        /// The file of classes.
        path: PathBuf,
        /// Its lines.
        named: usize,
        /// The image tower's file.
        tower: PathBuf,
        /// As it has them.
        known: usize,
    },
    /// A run to begin from knows other classes.
    #[error(
        "the run {} knows other classes than model.image.classes; name the same file as its recipe.toml",
        run.display()
    )]
    OtherClasses {
        /// Its folder.
        run: PathBuf,
    },
    /// A context that the text tower has no positions for.
    #[error("model.text.context_length is {asked}, but the tower takes at most {longest} tokens")]
    Context {
        /// As the recipe says.
        asked: usize,
        /// What the tower can take.
        longest: usize,
    },
    /// The tokenizer, or a text that it cannot read.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The `[image]` section, or the `preprocessor_config.json` that it leaves things to.
    #[error("the pictures cannot be prepared for the image tower")]
    Processor(#[from] ProcessorError),
    /// The cache of pooled outputs.
    #[error("the cache of tower outputs failed")]
    Cache(#[from] TensorFileError),
    /// Every picture of a set is broken.
    #[error("no picture of {set} can be used; {}: {}", first.key, first.reason)]
    NoPicture {
        /// The set.
        set: String,
        /// The first of them.
        first: BadSample,
    },
    /// An output that is no direction.
    #[error("the model's embedding of {of} is not finite or zero")]
    NotAnEmbedding {
        /// What it is of.
        of: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
}
