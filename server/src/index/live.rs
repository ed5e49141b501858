//! An index that is searched while pictures come and go.
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use clip::Embedding;

use super::{Key, Scored, VectorIndex, WrongDimension};

/// Many searches at a time, or one change.
/// A lock and not snapshots: a change is a row copied, far shorter than the shortest search, whereas a
/// snapshot would copy the collection.
pub struct LiveIndex(RwLock<Box<dyn VectorIndex>>);

impl LiveIndex {
    /// Takes over an index that has been filled.
    pub fn new(index: impl VectorIndex + 'static) -> Self {
        Self(RwLock::new(Box::new(index)))
    }

    /// Puts vectors under their keys, all visible at once.
    ///
    /// # Errors
    /// [`WrongDimension`]; the vectors before the wrong one stay.
    pub fn insert_all<'a>(
        &self,
        vectors: impl IntoIterator<Item = (Key, &'a Embedding)>,
    ) -> Result<(), WrongDimension> {
        // A panic elsewhere leaves an index that at worst lacks a vector; searches go on.
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        vectors.into_iter().try_for_each(|(key, vector)| index.insert(key, vector))
    }

    /// Takes vectors away; no search that starts after this finds them.
    pub fn remove_all(&self, keys: impl IntoIterator<Item = Key>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            index.remove(key);
        }
    }

    /// Puts another index in this one's place, for example when the model has changed.
    pub fn replace(&self, index: impl VectorIndex + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Box::new(index);
    }

    /// As [`VectorIndex::search`], with how it was searched.
    ///
    /// # Errors
    /// [`WrongDimension`].
    pub fn search(
        &self,
        query: &Embedding,
        k: usize,
        allowed: Option<&HashSet<Key>>,
    ) -> Result<(Vec<Scored>, &'static str), WrongDimension> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok((index.search(query, k, allowed)?, index.path_taken()))
    }

    /// How many vectors can be found.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in each vector.
    pub fn dim(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).dim()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExactIndex, conformance};
    use super::*;

    #[test]
    fn searches_see_each_change_whole_while_it_goes_on() {
        let live = LiveIndex::new(ExactIndex::new(16));
        let query = conformance::vector(16, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..200u64 {
                    let pair = [round * 2, round * 2 + 1];
                    let vectors = pair.map(|key| (key, conformance::vector(16, key)));
                    live.insert_all(vectors.iter().map(|(k, v)| (*k, v))).unwrap();
                    if round % 2 == 1 {
                        live.remove_all(pair);
                    }
                }
            });
            for _ in 0..200 {
                let (hits, _) = live.search(&query, 1000, None).unwrap();
                assert_eq!(hits.len() % 2, 0, "half of a pair was seen");
            }
        });
        assert_eq!(live.len(), 200);
    }
}
