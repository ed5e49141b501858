//! What a search needs at hand: the catalog to ask, the index of its vectors, the model.

use std::sync::Arc;

use clip::Embedding;
use tokio::sync::{OnceCell, Semaphore};

use super::calibrate::{Comparison, background, deviation, support};
use super::{Classifier, SearchError};
use crate::catalog::{Background, DataFolder, PictureId, Reader};
use crate::embed::Embedder;
use crate::index::{ExactIndex, Found, Growth, LiveIndex, PathTaken, VectorIndex, WrongDimension};

/// Searches that may wait for each one that runs; one more is refused.
const WAITING_PER_RUNNING: usize = 32;

/// How a process that stays searches a large collection.
#[derive(Clone, Debug)]
pub struct Large {
    /// Pictures from which on a graph leads to the nearest; below, each is compared.
    pub exact_below: usize,
    /// Where the snapshot of the graph lies, under `index/`.
    pub folder: DataFolder,
}

/// A collection that can be searched.
pub struct Collection {
    /// Questions to the catalog.
    pub reader: Reader,
    /// Every embedding of the model, kept in step with the catalog by whoever changes it.
    pub index: Arc<LiveIndex>,
    /// The model that made the embeddings.
    pub embedder: Embedder,
    pub(super) classifier: Classifier,
    background: OnceCell<Arc<Background>>,
    scans: Scans,
}

/// A bound on scans: they take a core each and must not pile up.
struct Scans {
    admitted: Semaphore,
    running: Semaphore,
}

/// The nearest pictures with their scores, and how they were found among how many.
pub(super) struct Nearest {
    pub(super) pictures: Vec<(PictureId, f32)>,
    pub(super) total: usize,
    pub(super) path_taken: PathTaken,
    /// For queries that are compared with a background.
    pub(super) comparison: Option<Comparison>,
}

impl Collection {
    /// Reads every embedding of the model into an index. Without `large` it scans them all, as a process
    /// that answers once should; with it a graph is read or built beside the first searches.
    ///
    /// # Errors
    /// [`CatalogError::OtherModel`](crate::catalog::CatalogError::OtherModel) for a collection that
    /// another model embedded, and whatever else the catalog says.
    pub async fn open(
        reader: Reader,
        embedder: Embedder,
        threads: usize,
        large: Option<Large>,
    ) -> Result<Self, SearchError> {
        let facts = embedder.facts();
        reader.require_model(&facts.id, facts.dim).await?;
        let mut vectors = ExactIndex::new(facts.dim);
        let mut fits = true;
        reader
            .for_each_embedding(&facts.id, |id, embedding| {
                fits &= vectors.insert(id.key(), &embedding).is_ok();
            })
            .await?;
        // The catalog has checked each length against the model's.
        if !fits {
            return Err(SearchError::Broken);
        }
        let running = threads.max(1);
        let index = match large {
            None => LiveIndex::new(vectors),
            Some(Large { exact_below, folder }) => {
                // One core is left to those who search meanwhile.
                let threads = running.saturating_sub(1).max(1);
                let (folder, model) = (folder.index(), facts.id.0.clone());
                LiveIndex::growing(vectors, Growth { exact_below, folder, model, threads })
            }
        };
        Ok(Self {
            reader,
            index: Arc::new(index),
            classifier: Classifier::new(embedder.clone()),
            embedder,
            background: OnceCell::new(),
            scans: Scans {
                admitted: Semaphore::new(running * WAITING_PER_RUNNING),
                running: Semaphore::new(running),
            },
        })
    }

    /// The embedding of a picture of the collection, named by a request at this pointer.
    pub(super) async fn stored(
        &self,
        id: &str,
        pointer: String,
    ) -> Result<(PictureId, Embedding), SearchError> {
        let missing = || SearchError::NoSuchPicture { id: id.to_owned(), pointer };
        let Ok(picture) = id.parse::<PictureId>() else { return Err(missing()) };
        match self.reader.embedding(picture, &self.embedder.facts().id).await? {
            Some(embedding) => Ok((picture, embedding)),
            None => Err(missing()),
        }
    }

    /// What everyday words come to by this model: read, or made, by the first who asks.
    pub(super) async fn background(&self) -> Result<Arc<Background>, SearchError> {
        let made = self.background.get_or_try_init(|| async {
            background(&self.reader, &self.embedder).await.map(Arc::new)
        });
        made.await.cloned()
    }

    /// The `k` nearest pictures and a few more, on a thread of its own; compared with the background
    /// where it is given.
    pub(super) async fn nearest(
        &self,
        query: Embedding,
        k: usize,
        background: Option<Arc<Background>>,
    ) -> Result<Nearest, SearchError> {
        let _admitted = self.scans.admitted.try_acquire().map_err(|_| SearchError::Overloaded)?;
        let _running = self.scans.running.acquire().await.map_err(|_| SearchError::Broken)?;
        let index = Arc::clone(&self.index);
        let deviation = deviation(self.embedder.facts());
        let scan = tokio::task::spawn_blocking(move || {
            let total = index.len();
            let found = index.search(&query, k.max(support(total)), None)?;
            let comparison = background
                .map(|words| Comparison::of(&index, &query, &found.hits, &words.mean, deviation));
            Ok::<_, WrongDimension>((found, total, comparison))
        });
        let found = scan.await.map_err(|_| SearchError::Broken)?;
        // The vector came out of the model that the index was built for.
        let (Found { hits, path_taken }, total, comparison) =
            found.map_err(|_| SearchError::Broken)?;
        let pictures =
            hits.into_iter().map(|hit| (PictureId::from_key(hit.key), hit.score)).collect();
        Ok(Nearest { pictures, total, path_taken, comparison })
    }
}
