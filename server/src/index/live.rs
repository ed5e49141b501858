//! An index that is searched while pictures come and go, and that grows a graph beside its searches.
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use clip::Embedding;

use super::graph::Graph;
use super::hnsw::Next;
use super::{ExactIndex, Found, HnswIndex, Key, VectorIndex, WrongDimension, snapshot};

/// When and how a graph is grown.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Fewer vectors than this are scanned, which is exact and needs no graph.
    pub exact_below: usize,
    /// Where the snapshot of the graph lies; the folder must be there.
    pub folder: PathBuf,
    /// Whose vectors these are: a snapshot of another model's is not read.
    pub model: String,
    /// Threads that build, beside those that search.
    pub threads: usize,
}

/// Many searches at a time, or one change.
/// A lock and not snapshots: a change is a row copied, far shorter than the shortest search, whereas a
/// snapshot would copy the collection.
pub struct LiveIndex(Arc<Shared>);

struct Shared {
    index: RwLock<HnswIndex>,
    growth: Option<Growth>,
    grower: Mutex<Grower>,
}

/// The thread that makes the next graph.
#[derive(Default)]
struct Grower {
    thread: Option<JoinHandle<()>>,
    /// The snapshot is looked at once, for the first graph.
    snapshot_seen: bool,
    /// It failed, and would fail again: from now on everything is scanned.
    failed: bool,
}

impl LiveIndex {
    /// Takes over vectors that are always scanned.
    pub fn new(vectors: ExactIndex) -> Self {
        Self::with(HnswIndex::new(vectors, usize::MAX), None)
    }

    /// Takes over vectors; where there are enough of them a graph is read or built on a thread of its
    /// own, and until it is there they are scanned.
    pub fn growing(vectors: ExactIndex, growth: Growth) -> Self {
        let live = Self::with(HnswIndex::new(vectors, growth.exact_below), Some(growth));
        live.grow();
        live
    }

    fn with(index: HnswIndex, growth: Option<Growth>) -> Self {
        let grower = Mutex::new(Grower::default());
        Self(Arc::new(Shared { index: RwLock::new(index), growth, grower }))
    }

    /// Puts vectors under their keys, all visible at once.
    ///
    /// # Errors
    /// [`WrongDimension`]; the vectors before the wrong one stay.
    pub fn insert_all<'a>(
        &self,
        vectors: impl IntoIterator<Item = (Key, &'a Embedding)>,
    ) -> Result<(), WrongDimension> {
        let mut index = self.0.write();
        let inserted = vectors.into_iter().try_for_each(|(key, vector)| index.insert(key, vector));
        drop(index);
        self.grow();
        inserted
    }

    /// Takes vectors away; no search that starts after this finds them.
    pub fn remove_all(&self, keys: impl IntoIterator<Item = Key>) {
        let mut index = self.0.write();
        for key in keys {
            index.remove(key);
        }
        drop(index);
        self.grow();
    }

    /// As [`VectorIndex::search`].
    ///
    /// # Errors
    /// [`WrongDimension`].
    pub fn search(
        &self,
        query: &Embedding,
        k: usize,
        allowed: Option<&HashSet<Key>>,
    ) -> Result<Found, WrongDimension> {
        self.0.read().search(query, k, allowed)
    }

    /// `[dim]`: the mean of the vectors of `keys`, of those that are there; zeros where none is. It is no
    /// unit vector: the dot product with it is the mean of the cosines.
    pub fn mean(&self, keys: &[Key]) -> Vec<f32> {
        let index = self.0.read();
        let mut sum = vec![0.0; index.dim()];
        let mut found = 0u16;
        for row in keys.iter().filter_map(|key| index.row(*key)) {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            found = found.saturating_add(1);
        }
        let count = f32::from(found.max(1));
        sum.iter_mut().for_each(|sum| *sum /= count);
        sum
    }

    /// At most `most` keys, taken at even distances: a sample of the collection.
    pub fn spread(&self, most: usize) -> Vec<Key> {
        self.0.read().spread(most)
    }

    /// How many vectors can be found.
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in each vector.
    pub fn dim(&self) -> usize {
        self.0.read().dim()
    }

    /// Waits until no graph is being made.
    pub fn settle(&self) {
        let thread = self.0.grower().thread.take();
        // A thread that panicked has been told of by the panic itself; the scan goes on answering.
        let _ended = thread.map(JoinHandle::join);
    }

    /// Starts a thread for the next graph where one is due.
    fn grow(&self) {
        let Some(growth) = &self.0.growth else { return };
        if !self.0.read().wants_graph() {
            return;
        }
        let mut grower = self.0.grower();
        // Asked again under the lock: of two that come here at once, one starts the thread.
        if grower.failed || !self.0.read().wants_graph() {
            return;
        }
        self.0.write().expect_graph();
        let (shared, growth) = (Arc::clone(&self.0), growth.clone());
        let read_snapshot = !std::mem::replace(&mut grower.snapshot_seen, true);
        let work = move || shared.make_graph(&growth, read_snapshot);
        match std::thread::Builder::new().name("index".to_owned()).spawn(work) {
            Ok(thread) => grower.thread = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "no thread for the index; every search scans the collection");
                grower.failed = true;
                self.0.write().give_up_graph();
            }
        }
    }
}

impl Shared {
    // A panic elsewhere leaves an index that at worst lacks a vector; searches go on.
    fn read(&self) -> RwLockReadGuard<'_, HnswIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HnswIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn grower(&self) -> std::sync::MutexGuard<'_, Grower> {
        self.grower.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_graph(&self, growth: &Growth, read_snapshot: bool) {
        let copy = self.read().copy();
        let loaded = if read_snapshot { from_snapshot(growth, &copy) } else { None };
        let Some(graph) = loaded.or_else(|| build(growth, &copy)) else {
            self.grower().failed = true;
            self.write().give_up_graph();
            return;
        };
        let next = Next::new(graph, &copy);
        // Made before the lock is asked for, and dropped after it is let go.
        let old = self.write().adopt(next);
        drop((old, copy));
    }
}

/// The graph of an earlier process, if it fits.
fn from_snapshot(growth: &Growth, copy: &ExactIndex) -> Option<Graph> {
    match snapshot::load(&growth.folder, &growth.model, copy) {
        Ok(graph) => graph,
        Err(error) => {
            tracing::warn!(%error, "the snapshot of the index is not used, and made again");
            None
        }
    }
}

/// A new graph, kept on disk for the next start.
fn build(growth: &Growth, copy: &ExactIndex) -> Option<Graph> {
    let (started, vectors) = (Instant::now(), copy.len());
    let graph = match Graph::build(copy, growth.threads) {
        Ok(graph) => graph,
        Err(error) => {
            tracing::warn!(%error, "no graph for the index; every search scans the collection");
            return None;
        }
    };
    tracing::info!(vectors, seconds = started.elapsed().as_secs(), "built the index");
    if let Err(error) = snapshot::save(&graph, &growth.folder, &growth.model) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, cause, "the index was not kept; the next start builds it again");
    }
    Some(graph)
}

#[cfg(test)]
mod tests {
    use super::super::{PathTaken, conformance};
    use super::*;

    const DIM: usize = 16;

    #[test]
    fn searches_see_each_change_whole_while_it_goes_on() {
        let live = LiveIndex::new(ExactIndex::new(DIM));
        let query = conformance::vector(DIM, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..200u64 {
                    let pair = [round * 2, round * 2 + 1];
                    let vectors = pair.map(|key| (key, conformance::vector(DIM, key)));
                    live.insert_all(vectors.iter().map(|(k, v)| (*k, v))).unwrap();
                    if round % 2 == 1 {
                        live.remove_all(pair);
                    }
                }
            });
            for _ in 0..200 {
                let hits = live.search(&query, 1000, None).unwrap().hits;
                assert_eq!(hits.len() % 2, 0, "half of a pair was seen");
            }
        });
        assert_eq!(live.len(), 200);
    }

    #[test]
    fn means_and_samples_are_of_what_is_there() {
        let live = LiveIndex::new(vectors(100));
        live.remove_all([7]);
        let (third, fourth) = (conformance::vector(DIM, 3), conformance::vector(DIM, 4));
        let mean = live.mean(&[3, 4, 7, 1000]);
        for (found, (a, b)) in mean.iter().zip(third.as_slice().iter().zip(fourth.as_slice())) {
            assert!((found - f32::midpoint(*a, *b)).abs() < 1e-6);
        }
        assert_eq!(live.mean(&[7]), [0.0; DIM]);
        let sample = live.spread(10);
        assert!(sample.len() == 10 && !sample.contains(&7), "{sample:?}");
        assert_eq!(live.spread(500).len(), 99);
        assert!(LiveIndex::new(ExactIndex::new(DIM)).spread(5).is_empty());
    }

    fn growth(folder: &tempfile::TempDir) -> Growth {
        let (folder, model) = (folder.path().to_owned(), "model".to_owned());
        Growth { exact_below: 500, folder, model, threads: 2 }
    }

    fn vectors(count: u64) -> ExactIndex {
        let mut vectors = ExactIndex::new(DIM);
        (0..count).for_each(|key| vectors.insert(key, &conformance::vector(DIM, key)).unwrap());
        vectors
    }

    fn path(live: &LiveIndex) -> PathTaken {
        live.search(&conformance::vector(DIM, 3), 5, None).unwrap().path_taken
    }

    #[test]
    fn graph_grows_with_the_collection_and_the_next_start_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveIndex::growing(vectors(499), growth(&folder));
        live.settle();
        assert_eq!(path(&live), PathTaken::Exact);
        live.insert_all([(499, &conformance::vector(DIM, 499))]).unwrap();
        live.settle();
        assert_eq!(path(&live), PathTaken::Hnsw);

        let manifest = folder.path().join("hnsw/manifest.json");
        let written = std::fs::metadata(&manifest).unwrap().modified().unwrap();
        let again = LiveIndex::growing(vectors(500), growth(&folder));
        again.settle();
        assert_eq!(path(&again), PathTaken::Hnsw);
        let now = std::fs::metadata(&manifest).unwrap().modified().unwrap();
        assert_eq!(now, written, "it was built again");
    }

    #[test]
    fn start_after_changes_finds_what_is_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        LiveIndex::growing(vectors(600), growth(&folder)).settle();
        let mut changed = vectors(620);
        (0..20).for_each(|key| assert!(changed.remove(key)));
        let live = LiveIndex::growing(changed, growth(&folder));
        live.settle();
        assert_eq!((path(&live), live.len()), (PathTaken::Hnsw, 600));
        let all = live.search(&conformance::vector(DIM, 3), 600, None).unwrap().hits;
        assert!(all.iter().all(|hit| (20..620).contains(&hit.key)) && all.len() == 600);
        let first = live.search(&conformance::vector(DIM, 610), 1, None).unwrap().hits[0];
        assert_eq!(first.key, 610);
    }

    #[test]
    fn truncated_snapshot_is_built_again() {
        let folder = tempfile::tempdir().unwrap();
        LiveIndex::growing(vectors(600), growth(&folder)).settle();
        let links = folder.path().join("hnsw/links.hnsw.graph");
        let whole = std::fs::metadata(&links).unwrap().len();
        std::fs::File::options().write(true).open(&links).unwrap().set_len(whole / 2).unwrap();
        let live = LiveIndex::growing(vectors(600), growth(&folder));
        live.settle();
        assert_eq!(path(&live), PathTaken::Hnsw);
        assert!(std::fs::metadata(&links).unwrap().len() > whole * 3 / 4, "it was left truncated");
    }

    #[test]
    fn folder_that_takes_no_snapshot_costs_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let mut growth = growth(&folder);
        growth.folder.push("not/there");
        let live = LiveIndex::growing(vectors(600), growth);
        live.settle();
        assert_eq!(path(&live), PathTaken::Hnsw);
    }

    #[test]
    fn changes_go_on_while_the_graph_grows() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveIndex::growing(vectors(3000), growth(&folder));
        for key in 3000..4500 {
            live.insert_all([(key, &conformance::vector(DIM, key))]).unwrap();
            live.remove_all([key - 3000]);
        }
        live.settle();
        assert_eq!(live.len(), 3000);
        for key in [1500, 2999, 3000, 4499] {
            let hit = live.search(&conformance::vector(DIM, key), 1, None).unwrap().hits[0];
            assert_eq!(hit.key, key);
        }
    }
}
