//! The exact scan: every row against the query. Always right, and at once; its cost is reading memory.
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use clip::Embedding;

use super::dot::{self, Dot, LANES};
use super::{Found, Key, PathTaken, Scored, VectorIndex, WrongDimension};

/// All vectors in one block of memory, scanned from end to end by each search.
#[derive(Clone)]
pub struct ExactIndex {
    dim: usize,
    /// Length of a row: `dim` padded with zeros to whole lanes.
    stride: usize,
    /// `[len, stride]`
    rows: Vec<f32>,
    /// The key of each row.
    keys: Vec<Key>,
    /// The row of each key.
    row_of: HashMap<Key, usize>,
    dot: Dot,
}

impl ExactIndex {
    /// An empty index for vectors of `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Self::with_dot(dim, dot::fastest())
    }

    fn with_dot(dim: usize, dot: Dot) -> Self {
        let stride = dim.next_multiple_of(LANES);
        let (rows, keys, row_of) = (Vec::new(), Vec::new(), HashMap::new());
        Self { dim, stride, rows, keys, row_of, dot }
    }

    /// The vectors under `keys`, in their order; a key that is not here gets zeros, which are near nothing.
    pub(super) fn arranged(&self, keys: &[Key]) -> Self {
        let mut arranged = Self::with_dot(self.dim, self.dot);
        let zeros = vec![0.0; self.stride];
        for key in keys {
            arranged.put(*key, self.row_of(*key).map_or(&zeros[..], |at| self.row(at)));
        }
        arranged
    }

    /// The keys, without those whose vector stands under an earlier one too. Compared by hash: a
    /// collision leaves out one key more, once in a great many collections.
    pub(super) fn distinct(&self) -> Vec<Key> {
        let mut seen = HashSet::new();
        let mut is_new = |at: usize| {
            let mut hasher = DefaultHasher::new();
            self.row(at).iter().for_each(|value| value.to_bits().hash(&mut hasher));
            seen.insert(hasher.finish())
        };
        (0..self.keys.len()).filter(|&at| is_new(at)).map(|at| self.keys[at]).collect()
    }

    /// The keys, row by row.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Where the vector of `key` stands.
    pub(super) fn row_of(&self, key: Key) -> Option<usize> {
        self.row_of.get(&key).copied()
    }

    /// `[stride]`: a vector with the zeros that fill its last lanes.
    pub(super) fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.stride..(at + 1) * self.stride]
    }

    /// Puts a row of this stride under `key`.
    pub(super) fn put(&mut self, key: Key, row: &[f32]) {
        let at = *self.row_of.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.rows.resize(self.keys.len() * self.stride, 0.0);
            self.keys.len() - 1
        });
        self.rows[at * self.stride..(at + 1) * self.stride].copy_from_slice(row);
    }

    /// The vector as a row.
    ///
    /// # Errors
    /// [`WrongDimension`].
    pub(super) fn padded(&self, vector: &Embedding) -> Result<Vec<f32>, WrongDimension> {
        self.check(vector)?;
        let mut padded = vector.as_slice().to_vec();
        padded.resize(self.stride, 0.0);
        Ok(padded)
    }

    /// The dot product of two rows, or of a padded query and a row.
    pub(super) fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        (self.dot)(a, b)
    }

    /// Offers every row whose key is wanted.
    pub(super) fn scan(&self, padded: &[f32], best: &mut Best, wanted: impl Fn(Key) -> bool) {
        (0..self.len())
            .filter(|&at| wanted(self.keys[at]))
            .for_each(|at| best.offer(self.score(padded, at)));
    }

    /// Offers the rows of these keys.
    pub(super) fn scan_only(
        &self,
        padded: &[f32],
        best: &mut Best,
        keys: impl Iterator<Item = Key>,
    ) {
        keys.filter_map(|key| self.row_of(key)).for_each(|at| best.offer(self.score(padded, at)));
    }

    fn check(&self, vector: &Embedding) -> Result<(), WrongDimension> {
        if vector.dim() == self.dim {
            return Ok(());
        }
        Err(WrongDimension { expected: self.dim, found: vector.dim() })
    }

    /// What stands in a row, compared with a padded query.
    pub(super) fn score(&self, query: &[f32], at: usize) -> Scored {
        // Rounding can carry the product of two unit vectors a little past 1.
        let score = (self.dot)(query, self.row(at)).clamp(-1.0, 1.0);
        Scored { key: self.keys[at], score }
    }
}

impl VectorIndex for ExactIndex {
    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn insert(&mut self, key: Key, vector: &Embedding) -> Result<(), WrongDimension> {
        let row = self.padded(vector)?;
        self.put(key, &row);
        Ok(())
    }

    fn remove(&mut self, key: Key) -> bool {
        let Some(at) = self.row_of.remove(&key) else { return false };
        let last = self.keys.len() - 1;
        self.rows.copy_within(last * self.stride.., at * self.stride);
        self.rows.truncate(last * self.stride);
        self.keys.swap_remove(at);
        if let Some(moved) = self.keys.get(at) {
            self.row_of.insert(*moved, at);
        }
        true
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        allowed: Option<&HashSet<Key>>,
    ) -> Result<Found, WrongDimension> {
        let padded = self.padded(query)?;
        let mut best = Best::new(k.min(self.len()));
        match allowed {
            None => self.scan(&padded, &mut best, |_| true),
            Some(keys) => self.scan_only(&padded, &mut best, keys.iter().copied()),
        }
        Ok(Found { hits: best.into_sorted(), path_taken: PathTaken::Exact })
    }
}

/// The best `k` so far; the worst of them on top of the heap, to be beaten.
pub(super) struct Best {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

impl Best {
    /// `k` should not exceed what there is: room is made for all of it.
    pub(super) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k) }
    }

    pub(super) fn offer(&mut self, hit: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(Ranked(hit));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Ranked(hit) < *worst
        {
            *worst = Ranked(hit);
        }
    }

    /// Highest score first, among equal scores the lowest key first.
    pub(super) fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
    }
}

/// Ordered as answers are: less is better, so higher scores come first and then lower keys.
struct Ranked(Scored);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.key.cmp(&other.0.key))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn conforms() {
        conformance::all(&|dim| Box::new(ExactIndex::new(dim)));
    }

    #[test]
    fn conforms_without_the_features_of_this_processor() {
        conformance::all(&|dim| Box::new(ExactIndex::with_dot(dim, dot::portable)));
    }

    #[test]
    fn both_dot_products_rank_alike() {
        let mut fast = ExactIndex::new(100);
        let mut plain = ExactIndex::with_dot(100, dot::portable);
        for key in 0..500 {
            let vector = conformance::vector(100, key);
            fast.insert(key, &vector).unwrap();
            plain.insert(key, &vector).unwrap();
        }
        let query = conformance::vector(100, 9999);
        let found = fast.search(&query, 500, None).unwrap().hits;
        let expected = plain.search(&query, 500, None).unwrap().hits;
        for (f, e) in found.iter().zip(&expected) {
            assert!((f.score - e.score).abs() < 1e-6, "{f:?} {e:?}");
        }
        let keys = |hits: &[Scored]| hits.iter().map(|h| h.key).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected));
    }
}
