//! From files to stored vectors: the pipeline behind `index`, uploads, deletion and thumbnails.
//! It knows nothing of queries, HTTP or the command line, and makes no vector itself.
//! Invariant: a picture is counted only once it is committed, so a kill at any moment loses nothing that was told.
mod batch;
mod collect;
mod files;
mod prepare;
mod progress;
mod reembed;
mod run;
mod thumbnail;
mod upload;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clip::image::{DecodeLimits, ImageProcessor, PixelValues};
use clip::{Embedding, ModelId};

use crate::catalog::{CatalogError, Writer};
use crate::embed::{EmbedError, Embedder};
use crate::index::LiveIndex;

pub use files::{FileError, file_of};
pub use progress::Progress;
pub use thumbnail::{THUMBNAIL_SIDES, thumbnail};
pub use upload::AddError;

/// Why images were not embedded, in the embedder's words.
#[derive(Debug)]
pub enum EmbedFailure {
    /// Something about these images; others may do better.
    Images(Box<dyn std::error::Error + Send + Sync>),
    /// The embedder is gone, and no image will do better.
    Stopped(Box<dyn std::error::Error + Send + Sync>),
}

/// Makes embeddings of images, one each, in their order; waits where it is busy.
pub trait EmbedImages: Send + Sync {
    /// Embeds a batch.
    ///
    /// # Errors
    /// What the model says; then nothing of the batch is embedded.
    fn embed_images(&self, images: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedFailure>;
}

impl EmbedImages for Embedder {
    fn embed_images(&self, images: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedFailure> {
        self.images_blocking(images).map_err(|error| match error {
            EmbedError::Stopped => EmbedFailure::Stopped(Box::new(error)),
            _ => EmbedFailure::Images(Box::new(error)),
        })
    }
}

/// What is done about a collection that another model has embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelChange {
    /// An error, which names the way out.
    Refuse,
    /// [`Ingest::index`] embeds anew what another model, or the same one in another precision, has
    /// embedded. Another model's vectors answer until the last picture is done; those of another
    /// precision are replaced one by one, since the two can be compared.
    Reembed,
}

/// The model as the pipeline sees it.
#[derive(Clone)]
pub struct Model {
    /// Whose vectors these are.
    pub id: ModelId,
    /// In which of the model's precisions they are made.
    pub precision: String,
    /// Numbers in each of them.
    pub dim: usize,
    /// Makes its input.
    pub processor: ImageProcessor,
    /// Runs it.
    pub embedder: Arc<dyn EmbedImages>,
}

impl Model {
    /// The model that `embedder` runs.
    pub fn of(embedder: &Embedder) -> Self {
        let facts = embedder.facts();
        Self {
            id: facts.id.clone(),
            precision: facts.precision.clone(),
            dim: facts.dim,
            processor: embedder.processor().clone(),
            embedder: Arc::new(embedder.clone()),
        }
    }
}

/// Everything that changes a collection. Its functions block and belong on threads of their own,
/// never inside an async task.
pub struct Ingest {
    catalog: Writer,
    model: Model,
    limits: DecodeLimits,
    /// Kept in step with the catalog where searches run in this process.
    index: Option<Arc<LiveIndex>>,
    model_change: ModelChange,
    runtime: tokio::runtime::Handle,
    /// Held while catalog, index and files change together: no deletion falls between the steps
    /// of an addition.
    changing: Mutex<()>,
}

/// What to index, and how to be heard and stopped.
pub struct Job<'a> {
    /// Folders and files.
    pub roots: &'a [PathBuf],
    /// Pictures that are read and decoded at a time.
    pub threads: usize,
    /// Set to end after the pictures that are being embedded.
    pub cancel: &'a AtomicBool,
    /// Hears of each picture that is done.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

impl Job<'_> {
    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// What indexing came to. Each file counts in one of the first, second or fourth.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// Files whose pictures are new and can be found now.
    pub indexed: u64,
    /// Files whose pictures were there already: known files, further copies, and what was deleted.
    pub unchanged: u64,
    /// Pictures that are gone, since no file holds them any more.
    pub removed: u64,
    /// Files and folders that could not be taken, each with its reason.
    pub failed: Vec<Failure>,
    /// How long it took.
    pub seconds: f64,
    /// It was ended before its end; running it again goes on from there.
    #[serde(skip)]
    pub interrupted: bool,
}

/// A file or folder that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Failure {
    /// Its path, shown lossily.
    pub path: String,
    /// Why, for the person who owns it.
    pub reason: String,
}

/// Why indexing could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A path that was given is not there or cannot be read.
    #[error("cannot read {}; nothing was changed", path.display())]
    Root {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A path that was given holds no picture: a wrong folder, or a disk that is not mounted.
    #[error("no pictures in {}; nothing was changed (is its disk mounted?)", path.display())]
    EmptyRoot {
        /// As it was given.
        path: PathBuf,
    },
    /// The model is gone.
    #[error(
        "the model embeds no more; what is indexed stays, and running it again goes on from there"
    )]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The model that made a vector is not the model that the index was built for.
    #[error(transparent)]
    Index(#[from] crate::index::WrongDimension),
}

impl Ingest {
    /// Brings together what changes a collection. `index` is the one that this process searches.
    ///
    /// # Errors
    /// [`CatalogError::OtherModel`] for another model's collection, unless it is to be embedded anew.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(
        catalog: Writer,
        model: Model,
        limits: DecodeLimits,
        index: Option<Arc<LiveIndex>>,
        change: ModelChange,
    ) -> Result<Self, CatalogError> {
        match change {
            ModelChange::Refuse => catalog.use_model(&model.id, model.dim).await?,
            ModelChange::Reembed => catalog.add_model(&model.id, model.dim).await?,
        }
        // A kill may have come between a deletion's transaction and the removal of its files.
        for hash in catalog.reader.hidden().await? {
            files::remove_originals(&catalog.folder, hash);
            files::remove_thumbnails(&catalog.folder, hash);
        }
        let runtime = tokio::runtime::Handle::current();
        let changing = Mutex::new(());
        Ok(Self { catalog, model, limits, index, model_change: change, runtime, changing })
    }

    /// Waits for the catalog.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes on one line, each said once.
fn reason(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = error.source();
    }
    words
}
