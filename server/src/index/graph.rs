//! A graph over vectors that do not change: `hnsw_rs`, behind what it must be kept from.
//! The graph knows its vectors by the number of their row, so that they stand in memory once.
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hnsw_rs::prelude::{Distance, Hnsw};
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::exact::ExactIndex;

/// Neighbors of a vector in each layer above the lowest, which has twice as many ("M" in Malkov and
/// Yashunin 2016, section 4.1: 5 to 48). The library ends the process for more than 256.
const NEIGHBORS: usize = 16;
/// Candidates that are looked at for the neighbors of a new vector ("efConstruction").
const CANDIDATES: usize = 200;
/// The library has room for 16.
const LAYERS: usize = 16;
/// Vectors that go in one by one, so that those that come side by side find something to hold on to.
const FIRST: usize = 1000;

/// What the library keeps of a vector: the number of its row.
pub(super) type Node = u32;

/// In place of a row: the query of this thread.
const QUERY: Node = Node::MAX;

thread_local! {
    /// The query that this thread searches for, padded to whole lanes.
    static ASKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Measures between rows, and between rows and [`QUERY`].
pub(super) struct Rows(Arc<ExactIndex>);

impl Distance<Node> for Rows {
    /// `1 - cosine`, never negative and, since every row is finite, never NaN: on either the library panics.
    fn eval(&self, a: &[Node], b: &[Node]) -> f32 {
        let row = |node: Node| self.0.row(node as usize);
        let cosine = match (a[0], b[0]) {
            (QUERY, node) | (node, QUERY) => {
                ASKED.with_borrow(|query| self.0.dot(query, row(node)))
            }
            (a, b) => self.0.dot(row(a), row(b)),
        };
        (1.0 - cosine).max(0.0)
    }
}

/// The library's own type, for vectors that are kept here.
pub(super) type Links = Hnsw<'static, Node, Rows>;

/// Rows and the links between them.
pub(super) struct Graph {
    /// The vectors; they never change while the graph lives.
    pub(super) rows: Arc<ExactIndex>,
    pub(super) links: Links,
}

/// Why there is no graph; searches go on without.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("cannot start the threads that build it")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("more vectors than a graph takes")]
    TooMany,
    #[error("the library panicked")]
    Panicked,
}

impl Graph {
    /// Links vectors to their neighbors; takes minutes for some hundred thousand. Of equal ones only the
    /// first is linked, since the library loses sight of the others.
    pub(super) fn build(vectors: &ExactIndex, threads: usize) -> Result<Self, BuildError> {
        let rows = Arc::new(vectors.arranged(&vectors.distinct()));
        let count = rows.keys().len();
        if Node::try_from(count).is_err() || count >= QUERY as usize {
            return Err(BuildError::TooMany);
        }
        let name = |n| format!("index-{n}");
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()?;
        let build = || {
            // Pruned candidates are not kept to fill up the neighbors: a burst of like pictures would
            // hold on to itself alone, and the graph fall into islands.
            let links = Hnsw::new(NEIGHBORS, count, LAYERS, CANDIDATES, rows_of(&rows));
            let insert = |at: usize| links.insert_slice((&[at as Node], at));
            let first = FIRST.min(count);
            (0..first).for_each(insert);
            pool.install(|| (first..count).into_par_iter().for_each(insert));
            links
        };
        let links = catch_unwind(AssertUnwindSafe(build)).map_err(|_| BuildError::Panicked)?;
        Ok(Self { rows, links })
    }

    /// The rows nearest to a padded query, nearest first, at most `width`; more width misses less.
    /// None where the library panics: then the rows must be scanned.
    pub(super) fn nearest(&self, padded: &[f32], width: usize) -> Option<Vec<usize>> {
        ASKED.with_borrow_mut(|query| padded.clone_into(query));
        let search = || self.links.search(&[QUERY], width, width);
        let found = catch_unwind(AssertUnwindSafe(search)).ok()?;
        Some(found.iter().map(hnsw_rs::prelude::Neighbour::get_origin_id).collect())
    }
}

/// What measures between these rows.
pub(super) fn rows_of(rows: &Arc<ExactIndex>) -> Rows {
    Rows(Arc::clone(rows))
}
