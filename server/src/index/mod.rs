//! Finding the nearest of many embeddings.
//! It knows nothing of pictures, files or SQL: a vector has a key, and the key is all that comes back.
//! Invariant: what was removed is in no later answer; an index is a cache and can be rebuilt from the catalog.
#[cfg(test)]
mod conformance;
mod dot;
mod exact;
mod graph;
mod hnsw;
mod live;
mod snapshot;

use std::collections::HashSet;

use clip::Embedding;

pub use exact::ExactIndex;
pub use hnsw::HnswIndex;
pub use live::{Growth, LiveIndex};

/// Names a vector; what it stands for is the caller's affair.
pub type Key = u64;

/// A vector that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Its key.
    pub key: Key,
    /// Cosine similarity with the query, `-1..=1`.
    pub score: f32,
}

/// How vectors were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathTaken {
    /// Every vector, or every allowed one, was compared: nothing is missed.
    Exact,
    /// A graph led to the nearest; now and then it misses one.
    Hnsw,
}

impl PathTaken {
    /// As answers name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Hnsw => "hnsw",
        }
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Highest score first, among equal scores the lowest key first.
    pub hits: Vec<Scored>,
    /// How they were found.
    pub path_taken: PathTaken,
}

/// A vector whose length is not the index's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a vector of {expected} dimensions, found {found}")]
pub struct WrongDimension {
    /// The dimension of the index.
    pub expected: usize,
    /// The dimension that was given.
    pub found: usize,
}

/// Embeddings of one dimension under unique keys, searched by cosine similarity.
pub trait VectorIndex: Send + Sync {
    /// Numbers in each vector.
    fn dim(&self) -> usize;

    /// How many vectors can be found.
    fn len(&self) -> usize;

    /// Whether nothing can be found.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a vector under `key`; one that was there is replaced.
    ///
    /// # Errors
    /// [`WrongDimension`]; then nothing has changed.
    fn insert(&mut self, key: Key, vector: &Embedding) -> Result<(), WrongDimension>;

    /// Takes the vector of `key` away; whether there was one. No later search finds it.
    fn remove(&mut self, key: Key) -> bool;

    /// The `k` nearest to `query`, of those in `allowed` where it is given: highest score first,
    /// among equal scores the lowest key first, fewer where there are fewer.
    ///
    /// # Errors
    /// [`WrongDimension`].
    fn search(
        &self,
        query: &Embedding,
        k: usize,
        allowed: Option<&HashSet<Key>>,
    ) -> Result<Found, WrongDimension>;
}
