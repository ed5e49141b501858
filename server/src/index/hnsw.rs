//! An index for large collections: a graph over what stood at one moment, and an exact scan of what came since.
//! What was removed since is left out of every answer; when much has changed, a new graph is built.
//! Without a graph, for small collections or until the first one is built, everything is scanned.
use std::collections::HashSet;

use clip::Embedding;

use super::exact::{Best, ExactIndex};
use super::graph::Graph;
use super::{Found, Key, PathTaken, Scored, VectorIndex, WrongDimension};

/// Rows that the graph is asked for at least ("efSearch"): words lie off the pictures' distribution and
/// need more than pictures do; `bench` measures it with captions.
const WIDTH: usize = 160;
/// Where this many rows do not hold the answer, a scan is as quick.
const MAX_WIDTH: usize = 4096;
/// A graph leads to few; whoever wants more than this gets them by a scan.
const MAX_HITS: usize = 1000;
/// A graph over `n` vectors is due for replacement when more than `n` over this have changed.
const CHANGED_PART: usize = 8;
/// Up to one allowed vector in this many, only the allowed are scanned.
const NARROW: usize = 8;

/// Vectors that are searched by a graph where that is quicker.
pub struct HnswIndex {
    /// With fewer vectors than this, each is compared.
    exact_below: usize,
    graph: Option<Graph>,
    /// Keys of the graph whose vectors are no longer there, or are newer in `fresh`.
    dead: HashSet<Key>,
    /// What is not in the graph.
    fresh: ExactIndex,
    /// How many of `fresh` a graph leaves out, since their equals stand in it.
    twins: usize,
    /// Keys that have changed since a copy was taken for the next graph.
    touched: Option<HashSet<Key>>,
}

/// The next graph, and what it says of the copy that it was made for.
pub(super) struct Next {
    pub(super) graph: Graph,
    /// Keys of the graph that the copy lacks.
    dead: HashSet<Key>,
    /// Vectors of the copy that the graph lacks.
    fresh: ExactIndex,
    twins: usize,
}

impl Next {
    /// Compares a graph with the copy of the collection that it is to serve.
    pub(super) fn new(graph: Graph, copy: &ExactIndex) -> Self {
        let gone = graph.rows.keys().iter().copied().filter(|key| copy.row_of(*key).is_none());
        let dead = gone.collect();
        let lacks = |key: &&Key| graph.rows.row_of(**key).is_none();
        let new: Vec<Key> = copy.keys().iter().filter(lacks).copied().collect();
        let fresh = copy.arranged(&new);
        let twins = copy.keys().len() - copy.distinct().len();
        Self { graph, dead, fresh, twins }
    }
}

impl HnswIndex {
    /// Takes over vectors. They are scanned below `exact_below`, and until a graph is given.
    pub fn new(vectors: ExactIndex, exact_below: usize) -> Self {
        let (graph, dead, touched) = (None, HashSet::new(), None);
        Self { exact_below, graph, dead, fresh: vectors, twins: 0, touched }
    }

    /// Whether it is time for a graph, and none is being made.
    pub(super) fn wants_graph(&self) -> bool {
        let due = match &self.graph {
            None => !self.is_empty(),
            Some(graph) => {
                let new = self.fresh.len().saturating_sub(self.twins);
                new + self.dead.len() > graph.rows.len() / CHANGED_PART
            }
        };
        due && self.touched.is_none() && self.len() >= self.exact_below
    }

    /// From now on changes are noted for the graph that comes.
    pub(super) fn expect_graph(&mut self) {
        self.touched = Some(HashSet::new());
    }

    /// The graph that was expected does not come.
    pub(super) fn give_up_graph(&mut self) {
        self.touched = None;
    }

    /// Every vector that can be found, in one block.
    pub(super) fn copy(&self) -> ExactIndex {
        let mut copy = self.fresh.clone();
        if let Some(graph) = &self.graph {
            for (at, key) in graph.rows.keys().iter().enumerate() {
                if !self.dead.contains(key) {
                    copy.put(*key, graph.rows.row(at));
                }
            }
        }
        copy
    }

    /// Puts the expected graph in place; what it replaces is handed out, to be dropped at leisure.
    pub(super) fn adopt(&mut self, mut next: Next) -> (Option<Graph>, ExactIndex) {
        for key in self.touched.take().unwrap_or_default() {
            if next.graph.rows.row_of(key).is_some() {
                next.dead.insert(key);
            }
            next.fresh.remove(key);
            if let Some(row) = self.row(key) {
                next.fresh.put(key, row);
            }
        }
        (self.dead, self.twins) = (next.dead, next.twins);
        let fresh = std::mem::replace(&mut self.fresh, next.fresh);
        (self.graph.replace(next.graph), fresh)
    }

    /// `[stride]`: the vector of a key that can be found.
    pub(super) fn row(&self, key: Key) -> Option<&[f32]> {
        if let Some(at) = self.fresh.row_of(key) {
            return Some(self.fresh.row(at));
        }
        let graph = self.graph.as_ref()?;
        let at = graph.rows.row_of(key)?;
        (!self.dead.contains(&key)).then(|| graph.rows.row(at))
    }

    /// At most `most` keys of vectors that can be found, taken at even distances.
    pub(super) fn spread(&self, most: usize) -> Vec<Key> {
        let graph = self.graph.as_ref().map_or(&[][..], |graph| graph.rows.keys());
        let stored = self.fresh.keys().len() + graph.len();
        let step = stored.div_ceil(most.max(1)).max(1);
        let alive = |key: &&Key| self.dead.is_empty() || self.row(**key).is_some();
        let keys = self.fresh.keys().iter().chain(graph);
        keys.step_by(step).filter(alive).copied().collect()
    }

    fn touch(&mut self, key: Key) {
        if let Some(touched) = &mut self.touched {
            touched.insert(key);
        }
    }

    /// Takes the vector of `key` out of the graph's answers; whether it was in them.
    fn bury(&mut self, key: Key) -> bool {
        let known = self.graph.as_ref().is_some_and(|graph| graph.rows.row_of(key).is_some());
        known && self.dead.insert(key)
    }

    /// The graph, where it is the quicker way to this answer.
    fn guide(&self, k: usize, allowed: Option<&HashSet<Key>>) -> Option<&Graph> {
        let narrow = allowed.is_some_and(|keys| keys.len() <= self.len() / NARROW);
        let scan = narrow || k > MAX_HITS || self.len() < self.exact_below;
        self.graph.as_ref().filter(|_| !scan)
    }

    /// The best of the graph's vectors, none where it does not lead to enough of them.
    fn by_graph(
        &self,
        graph: &Graph,
        padded: &[f32],
        k: usize,
        wanted: impl Fn(Key) -> bool,
    ) -> Option<Vec<Scored>> {
        let enough = k.min(graph.rows.len() - self.dead.len());
        let mut width = WIDTH.max(2 * k);
        while width <= MAX_WIDTH {
            let rows = graph.nearest(padded, width)?;
            let hits = rows.into_iter().map(|at| graph.rows.score(padded, at));
            let hits: Vec<Scored> =
                hits.filter(|hit| !self.dead.contains(&hit.key) && wanted(hit.key)).collect();
            if hits.len() >= enough {
                return Some(hits);
            }
            // The dead, and those that are not allowed, stood in the way: look further.
            width *= 4;
        }
        None
    }

    /// Every vector, or every allowed one.
    fn by_scan(&self, padded: &[f32], k: usize, allowed: Option<&HashSet<Key>>) -> Vec<Scored> {
        let mut best = Best::new(k.min(self.len()));
        let alive = |key: &Key| self.dead.is_empty() || !self.dead.contains(key);
        let parts = self.graph.as_ref().map(|graph| graph.rows.as_ref());
        match allowed {
            None => {
                self.fresh.scan(padded, &mut best, |_| true);
                if let Some(rows) = parts {
                    rows.scan(padded, &mut best, |key| alive(&key));
                }
            }
            Some(keys) => {
                self.fresh.scan_only(padded, &mut best, keys.iter().copied());
                if let Some(rows) = parts {
                    rows.scan_only(padded, &mut best, keys.iter().copied().filter(alive));
                }
            }
        }
        best.into_sorted()
    }
}

impl VectorIndex for HnswIndex {
    fn dim(&self) -> usize {
        self.fresh.dim()
    }

    fn len(&self) -> usize {
        let graph = self.graph.as_ref().map_or(0, |graph| graph.rows.len());
        graph - self.dead.len() + self.fresh.len()
    }

    fn insert(&mut self, key: Key, vector: &Embedding) -> Result<(), WrongDimension> {
        self.fresh.insert(key, vector)?;
        self.bury(key);
        self.touch(key);
        Ok(())
    }

    fn remove(&mut self, key: Key) -> bool {
        self.touch(key);
        self.fresh.remove(key) || self.bury(key)
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        allowed: Option<&HashSet<Key>>,
    ) -> Result<Found, WrongDimension> {
        let padded = self.fresh.padded(query)?;
        let wanted = |key| allowed.is_none_or(|keys| keys.contains(&key));
        let led = self.guide(k, allowed).and_then(|graph| self.by_graph(graph, &padded, k, wanted));
        let Some(led) = led else {
            let hits = self.by_scan(&padded, k, allowed);
            return Ok(Found { hits, path_taken: PathTaken::Exact });
        };
        let mut best = Best::new(k.min(self.len()));
        self.fresh.scan(&padded, &mut best, wanted);
        led.into_iter().for_each(|hit| best.offer(hit));
        Ok(Found { hits: best.into_sorted(), path_taken: PathTaken::Hnsw })
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{self, vector};
    use super::*;

    impl HnswIndex {
        fn build(&mut self) {
            let copy = self.copy();
            self.expect_graph();
            let graph = Graph::build(&copy, 2).unwrap();
            self.adopt(Next::new(graph, &copy));
        }
    }

    /// Builds a graph at every fifth change, so that most searches see one with something dead and fresh.
    struct Eager {
        index: HnswIndex,
        changes: usize,
    }

    impl Eager {
        fn boxed(dim: usize) -> Box<dyn VectorIndex> {
            Box::new(Self { index: HnswIndex::new(ExactIndex::new(dim), 0), changes: 0 })
        }

        fn changed(&mut self) {
            self.changes += 1;
            if self.changes.is_multiple_of(5) && !self.index.is_empty() {
                self.index.build();
            }
        }
    }

    impl VectorIndex for Eager {
        fn dim(&self) -> usize {
            self.index.dim()
        }

        fn len(&self) -> usize {
            self.index.len()
        }

        fn insert(&mut self, key: Key, vector: &Embedding) -> Result<(), WrongDimension> {
            self.index.insert(key, vector)?;
            self.changed();
            Ok(())
        }

        fn remove(&mut self, key: Key) -> bool {
            let was = self.index.remove(key);
            self.changed();
            was
        }

        fn search(
            &self,
            query: &Embedding,
            k: usize,
            allowed: Option<&HashSet<Key>>,
        ) -> Result<Found, WrongDimension> {
            self.index.search(query, k, allowed)
        }
    }

    #[test]
    fn conforms_without_a_graph() {
        conformance::all(&|dim| Box::new(HnswIndex::new(ExactIndex::new(dim), 0)));
    }

    #[test]
    fn conforms_with_a_graph() {
        // So few vectors that the graph leads to each of them: even here nothing is missed.
        conformance::all(&Eager::boxed);
    }

    fn filled(count: u64) -> HnswIndex {
        let mut index = HnswIndex::new(ExactIndex::new(24), 1000);
        for key in 0..count {
            index.insert(key, &vector(24, key)).unwrap();
        }
        index
    }

    fn keys(found: &Found) -> Vec<Key> {
        found.hits.iter().map(|hit| hit.key).collect()
    }

    #[test]
    fn small_collection_is_scanned_and_wants_no_graph() {
        let mut index = filled(999);
        assert!(!index.wants_graph());
        index.build();
        let found = index.search(&vector(24, 5000), 10, None).unwrap();
        assert_eq!(found.path_taken, PathTaken::Exact);
        index.insert(999, &vector(24, 999)).unwrap();
        let found = index.search(&vector(24, 5000), 10, None).unwrap();
        assert_eq!(found.path_taken, PathTaken::Hnsw);
    }

    #[test]
    fn graph_finds_nearly_all_that_a_scan_finds_with_the_same_scores() {
        let mut index = filled(4000);
        let scanned: Vec<Found> =
            (0..50).map(|q| index.search(&vector(24, 10_000 + q), 10, None).unwrap()).collect();
        index.build();
        let mut shared = 0;
        for (q, scanned) in scanned.iter().enumerate() {
            let led = index.search(&vector(24, 10_000 + q as u64), 10, None).unwrap();
            assert_eq!((scanned.path_taken, led.path_taken), (PathTaken::Exact, PathTaken::Hnsw));
            shared += led.hits.iter().filter(|hit| scanned.hits.contains(hit)).count();
        }
        assert!(shared >= 490, "{shared} of 500");
    }

    #[test]
    fn bursts_of_like_pictures_do_not_cut_the_graph_into_islands() {
        let mut index = HnswIndex::new(ExactIndex::new(24), 0);
        for key in 0..4500 {
            let (scene, shot) = (vector(24, key % 150), vector(24, 20_000 + key));
            let one = Embedding::weighted_sum(&[(0.9, &scene), (0.43, &shot)]).unwrap();
            index.insert(key, &one).unwrap();
        }
        index.build();
        let mut shared = 0;
        for seed in 10_000..10_050 {
            let query = vector(24, seed);
            let led = index.search(&query, 10, None).unwrap();
            assert_eq!(led.path_taken, PathTaken::Hnsw);
            let scanned = index.by_scan(&index.fresh.padded(&query).unwrap(), 10, None);
            shared += led.hits.iter().filter(|hit| scanned.contains(hit)).count();
        }
        assert!(shared >= 495, "{shared} of 500");
    }

    #[test]
    fn changes_beside_a_build_are_all_kept() {
        let mut index = filled(1500);
        assert!(index.wants_graph());
        index.expect_graph();
        let copy = index.copy();
        assert!(!index.wants_graph(), "two graphs at a time");
        index.remove(7);
        index.insert(8, &vector(24, 8000)).unwrap();
        index.insert(5000, &vector(24, 5000)).unwrap();
        index.remove(9);
        index.insert(9, &vector(24, 9)).unwrap();
        let graph = Graph::build(&copy, 2).unwrap();
        index.adopt(Next::new(graph, &copy));
        assert_eq!(index.len(), 1500);
        let first = |seed| keys(&index.search(&vector(24, seed), 1, None).unwrap())[0];
        assert_ne!(first(7), 7);
        assert_ne!(first(8), 8);
        assert_eq!((first(8000), first(5000), first(9), first(10)), (8, 5000, 9, 10));
    }

    #[test]
    fn dead_neighbors_never_leave_an_answer_short() {
        let mut index = filled(3000);
        index.build();
        let query = vector(24, 77);
        // The nearest three hundred, more than the graph is asked for at first.
        for key in keys(&index.search(&query, 300, None).unwrap()) {
            assert!(index.remove(key));
        }
        let found = index.search(&query, 20, None).unwrap();
        assert_eq!((found.hits.len(), found.path_taken), (20, PathTaken::Hnsw));
        let scanned = index.by_scan(&index.fresh.padded(&query).unwrap(), 20, None);
        let shared = found.hits.iter().filter(|hit| scanned.contains(hit)).count();
        assert!(shared >= 19, "{shared} of 20");
    }

    #[test]
    fn narrow_restrictions_are_scanned_and_wide_ones_led() {
        let mut index = filled(4000);
        index.build();
        let query = vector(24, 9999);
        for (every, path_taken) in [(100, PathTaken::Exact), (2, PathTaken::Hnsw)] {
            let allowed: HashSet<Key> = (0..4000).filter(|key| key % every == 0).collect();
            let found = index.search(&query, 15, Some(&allowed)).unwrap();
            assert_eq!(found.path_taken, path_taken);
            assert_eq!(found.hits.len(), 15);
            assert!(keys(&found).iter().all(|key| allowed.contains(key)));
        }
    }

    #[test]
    fn many_equal_vectors_are_all_found() {
        let mut index = HnswIndex::new(ExactIndex::new(24), 0);
        for key in 0..2000 {
            index.insert(key, &vector(24, key.saturating_sub(500))).unwrap();
        }
        index.build();
        let found = index.search(&vector(24, 0), 501, None).unwrap();
        assert_eq!(found.hits.len(), 501);
        assert!(found.hits.iter().all(|hit| hit.score > 0.999), "{:?}", found.hits.last());
        assert!(!index.wants_graph(), "equal vectors would be linked again and again");
    }

    #[test]
    fn new_graph_is_due_when_an_eighth_has_changed() {
        let mut index = filled(1600);
        index.build();
        (0..100).for_each(|key| assert!(index.remove(key)));
        (5000..5100).for_each(|key| index.insert(key, &vector(24, key)).unwrap());
        assert!(!index.wants_graph());
        index.remove(100);
        assert!(index.wants_graph());
    }
}
