//! The model behind two queues, one for each tower, and the cache of text embeddings.
//!
//! Knows nothing of catalogs, indexes, queries or HTTP.
//! Invariant: nothing is embedded by a bundle that failed its self-check, and what waits is
//! bounded: a full queue is [`EmbedError::Overloaded`], not a longer queue.

mod embedder;
mod lane;
mod load;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

pub use embedder::{Embedder, PictureEmbedding, TextEmbedding};
pub use load::{BATCH_BOUNDS, Batches, TowerLoad};
pub use start::{EmbedOptions, ModelFacts};

/// Why something was not embedded, or why there is nothing to embed with.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The queue is full; nothing was done.
    #[error("the model has as much waiting as it can take; try again in a moment")]
    Overloaded,
    /// The thread of the model is gone.
    #[error("the model has stopped; restart clipsight")]
    Stopped,
    /// The picture's bytes are no picture we can read.
    #[error("the picture cannot be read")]
    Picture(#[from] clip::image::DecodeError),
    /// The decoder broke off instead of giving an answer.
    #[error("the picture breaks its decoder and is not accepted")]
    Decoder,
    /// A file of the bundle cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The model did not answer.
    #[error("the model failed")]
    Tower(#[source] Arc<TowerError>),
    /// The folder is not a bundle.
    #[error(transparent)]
    Bundle(Box<clip::bundle::BundleError>),
    /// ONNX Runtime is missing or unfit, or the bundle does not run in it, or not as it was measured.
    #[error(transparent)]
    Run(Box<runtime::RuntimeError>),
    /// The system gave no thread.
    #[error("cannot start a thread for the model")]
    Thread(#[source] std::io::Error),
}

/// Why a tower did not answer a batch.
#[derive(Debug, thiserror::Error)]
pub enum TowerError {
    /// The text could not be turned into tokens.
    #[error(transparent)]
    Tokens(#[from] clip::tokenize::TokenizeError),
    /// The session failed or gave no embeddings.
    #[error(transparent)]
    Session(#[from] runtime::RuntimeError),
}
