//! How good answers are: retrieval and classification over embeddings.

use std::panic::resume_unwind;

use serde::{Deserialize, Serialize};

use crate::Embedding;

/// Retrieval of a gallery by queries. Shares are in `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Share of queries with a positive first.
    pub recall_at_1: f32,
    /// Share of queries with a positive among the first five.
    pub recall_at_5: f32,
    /// Share of queries with a positive among the first ten.
    pub recall_at_10: f32,
    /// Median over the queries of the rank of the best positive, from 1.
    pub median_rank: f32,
}

/// Classification by the best score. Shares are in `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Share of images whose class comes first.
    pub top_1: f32,
    /// Share of images whose class is among the first five.
    pub top_5: f32,
}

/// Ranks the whole `gallery` for each query; `positives[q]` are the right answers of query `q`, of
/// which the best counts (the convention of Flickr8k and COCO: five captions to a picture).
///
/// A tie is broken against the positive, so that a model that answers everything alike scores
/// nothing. A query without positives is left out; without any query all figures are zero.
#[must_use]
pub fn retrieval(
    queries: &[Embedding],
    gallery: &[Embedding],
    positives: &[Vec<usize>],
) -> Retrieval {
    Retrieval::of_ranks(&ranks(queries, gallery, positives))
}

/// The rank from 1 of the best of each query's `positives` in the whole `gallery`, ties counted as
/// [`retrieval`] does; queries without positives are left out.
#[must_use]
pub fn ranks(queries: &[Embedding], gallery: &[Embedding], positives: &[Vec<usize>]) -> Vec<usize> {
    type Asked<'a> = (&'a Embedding, &'a Vec<usize>);
    let asked: Vec<Asked<'_>> =
        queries.iter().zip(positives).filter(|(_, positives)| !positives.is_empty()).collect();
    let of = |(query, positives): &Asked<'_>| {
        let scores: Vec<f32> = gallery.iter().map(|item| query.cosine(item)).collect();
        rank(&scores, positives)
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let work = |part: &'_ [Asked<'_>]| part.iter().map(of).collect::<Vec<_>>();
        let parts = asked.chunks(asked.len().div_ceil(threads).max(1));
        let working: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let ended = working.into_iter().map(std::thread::ScopedJoinHandle::join);
        let ranks = ended.map(|ranks| ranks.unwrap_or_else(|panic| resume_unwind(panic)));
        ranks.flatten().collect()
    })
}

impl Retrieval {
    /// The figures of queries whose best positives have these ranks.
    #[must_use]
    pub fn of_ranks(ranks: &[usize]) -> Self {
        Self {
            recall_at_1: share_within(ranks, 1),
            recall_at_5: share_within(ranks, 5),
            recall_at_10: share_within(ranks, 10),
            median_rank: median(ranks.to_vec()),
        }
    }
}

impl Classification {
    /// The figures of images whose classes have these ranks.
    #[must_use]
    pub fn of_ranks(ranks: &[usize]) -> Self {
        Self { top_1: share_within(ranks, 1), top_5: share_within(ranks, 5) }
    }
}

/// Rank from 1 of the best of `positives` among all `scores`: one more than the others that score at
/// least as high.
#[must_use]
pub fn rank(scores: &[f32], positives: &[usize]) -> usize {
    let best = positives.iter().map(|&p| scores[p]).fold(f32::NEG_INFINITY, f32::max);
    let above = scores
        .iter()
        .enumerate()
        .filter(|(i, score)| **score >= best && !positives.contains(i))
        .count();
    above + 1
}

fn share_within(ranks: &[usize], k: usize) -> f32 {
    if ranks.is_empty() {
        return 0.0;
    }
    ranks.iter().filter(|&&rank| rank <= k).count() as f32 / ranks.len() as f32
}

fn median(mut ranks: Vec<usize>) -> f32 {
    if ranks.is_empty() {
        return 0.0;
    }
    ranks.sort_unstable();
    let middle = ranks.len() / 2;
    if ranks.len() % 2 == 1 {
        ranks[middle] as f32
    } else {
        (ranks[middle - 1] + ranks[middle]) as f32 / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(degrees: f32) -> Embedding {
        let radians = degrees.to_radians();
        Embedding::new(vec![radians.cos(), radians.sin()]).unwrap()
    }

    #[test]
    fn recall_and_median_rank_of_hand_made_angles() {
        let gallery: Vec<Embedding> = [0.0, 10.0, 20.0, 30.0].map(at).to_vec();
        // ranks: 1 (exact), 3 (0° and 10° are nearer to 2° than 20° is)
        let found = retrieval(&[at(0.0), at(2.0)], &gallery, &[vec![0], vec![2]]);
        assert_eq!(found.recall_at_1, 0.5);
        assert_eq!(found.recall_at_5, 1.0);
        assert_eq!(found.median_rank, 2.0);
    }

    #[test]
    fn any_positive_counts_and_the_best_decides() {
        let gallery: Vec<Embedding> = [0.0, 10.0, 90.0].map(at).to_vec();
        let found = retrieval(&[at(1.0)], &gallery, &[vec![0, 2]]);
        assert_eq!((found.recall_at_1, found.median_rank), (1.0, 1.0));
    }

    #[test]
    fn a_model_that_answers_everything_alike_scores_nothing() {
        let gallery = vec![at(5.0); 20];
        let found = retrieval(&[at(0.0)], &gallery, &[vec![7]]);
        assert_eq!(found.recall_at_10, 0.0);
        assert_eq!(found.median_rank, 20.0);
    }

    #[test]
    fn queries_without_positives_are_left_out() {
        let found = retrieval(&[at(0.0), at(0.0)], &[at(0.0)], &[vec![], vec![0]]);
        assert_eq!(found.recall_at_1, 1.0);
        assert_eq!(retrieval(&[], &[], &[]).median_rank, 0.0);
    }

    #[test]
    fn top_1_and_top_5() {
        let classes: Vec<Embedding> = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0].map(at).to_vec();
        let truth = [vec![0], vec![4], vec![5]];
        let found =
            Classification::of_ranks(&ranks(&[at(1.0), at(1.0), at(1.0)], &classes, &truth));
        assert!((found.top_1 - 1.0 / 3.0).abs() < 1e-6);
        assert!((found.top_5 - 2.0 / 3.0).abs() < 1e-6);
    }
}
