//! The exact scan: every row against the query. Always right, and at once; its cost is reading memory.
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};

use clip::Embedding;

use super::dot::{self, Dot, LANES};
use super::{Key, Scored, VectorIndex, WrongDimension};

/// All vectors in one block of memory, scanned from end to end by each search.
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

    fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.stride..(at + 1) * self.stride]
    }

    fn check(&self, vector: &Embedding) -> Result<(), WrongDimension> {
        if vector.dim() == self.dim {
            return Ok(());
        }
        Err(WrongDimension { expected: self.dim, found: vector.dim() })
    }

    fn score(&self, query: &[f32], at: usize) -> Scored {
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
        self.check(vector)?;
        let at = *self.row_of.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.rows.resize(self.keys.len() * self.stride, 0.0);
            self.keys.len() - 1
        });
        let start = at * self.stride;
        self.rows[start..start + self.dim].copy_from_slice(vector.as_slice());
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
    ) -> Result<Vec<Scored>, WrongDimension> {
        self.check(query)?;
        let mut padded = query.as_slice().to_vec();
        padded.resize(self.stride, 0.0);
        let mut best = Best::new(k.min(self.len()));
        match allowed {
            None => (0..self.len()).for_each(|at| best.offer(self.score(&padded, at))),
            Some(keys) => keys
                .iter()
                .filter_map(|key| self.row_of.get(key))
                .for_each(|&at| best.offer(self.score(&padded, at))),
        }
        Ok(best.into_sorted())
    }

    fn path_taken(&self) -> &'static str {
        "exact"
    }
}

/// The best `k` so far; the worst of them on top of the heap, to be beaten.
struct Best {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

impl Best {
    fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k) }
    }

    fn offer(&mut self, hit: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(Ranked(hit));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Ranked(hit) < *worst
        {
            *worst = Ranked(hit);
        }
    }

    fn into_sorted(self) -> Vec<Scored> {
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
        let found = fast.search(&query, 500, None).unwrap();
        let expected = plain.search(&query, 500, None).unwrap();
        for (f, e) in found.iter().zip(&expected) {
            assert!((f.score - e.score).abs() < 1e-6, "{f:?} {e:?}");
        }
        let keys = |hits: &[Scored]| hits.iter().map(|h| h.key).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected));
    }
}
