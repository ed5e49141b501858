//! Where the good hits of a query end.
//!
//! Cosines have no meaning of their own: how high good ones are differs from model to model and from query
//! to query. So a score is compared with those of a background: the query's with the collection at
//! large, and the hits' with everyday words that nobody asked for. What is above both speaks for a match;
//! how far above is counted in deviations of the scores of what does not fit, since how far those scatter
//! differs from model to model as well.

use clip::Embedding;
use sha2::{Digest, Sha256};

use super::SearchError;
use crate::catalog::{Background, Reader, Writer};
use crate::embed::{Embedder, ModelFacts};
use crate::index::{Key, LiveIndex, Scored};

/// The background queries: what people photograph, in captions of our own, one a line.
const WORDS: &str = include_str!("background.txt");

/// Pictures of the collection that stand for all of it.
const SAMPLE: usize = 256;
/// Pictures that the average model and collection count for, so that a handful of pictures that all
/// show what is asked for is no background.
const PRIOR: f32 = 32.0;
/// Hits that bear each other out: a single high score is often chance.
const SUPPORT: std::ops::RangeInclusive<usize> = 1..=10;
/// One hit of the support for so many pictures.
const PICTURES_PER_SUPPORT: usize = 50;

/// Deviations above the background at which a hit is as likely a match as not, and how fast that
/// turns: a logistic regression on Flickr8k's and Caltech-101's dev splits (bench/README.md).
const EVEN: f32 = 3.06;
const STEEPNESS: f32 = 2.33;
/// Logits in a deviation, for models that say their scale alone: what they are for the starter. A CLIP
/// with its scale of 100 comes to a deviation of 0.031.
const LOGITS: f32 = 3.1;

/// What a query's scores are to be compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Comparison {
    /// How far scores scatter by chance: the unit that makes models comparable.
    deviation: f32,
    /// Mean score of the best hits.
    support: f32,
    /// Mean score that was to be expected without a match.
    background: f32,
}

impl Comparison {
    /// Compares a query of words, whose best hits these are, with the background. `words` is the mean
    /// of the background's words.
    pub(super) fn of(
        index: &LiveIndex,
        query: &Embedding,
        hits: &[Scored],
        words: &[f32],
        deviation: f32,
    ) -> Self {
        let best = &hits[..hits.len().min(support(index.len()))];
        let keys: Vec<Key> = best.iter().map(|hit| hit.key).collect();
        let sample = index.spread(SAMPLE);
        let pictures = index.mean(&sample);
        let count = sample.len() as f32;
        let asked = (count * dot(query.as_slice(), &pictures) + PRIOR * dot(words, &pictures))
            / (count + PRIOR);
        let shown = dot(words, &index.mean(&keys));
        let sum: f32 = best.iter().map(|hit| hit.score).sum();
        let support = sum / best.len().max(1) as f32;
        Self { deviation, support, background: f32::midpoint(asked, shown) }
    }

    /// From 0 to 1; from [`super::GOOD`] on the hit rather shows what was asked for than not. Grows with
    /// the score.
    pub(super) fn calibrated(&self, score: f32) -> f32 {
        let above = (f32::midpoint(score, self.support) - self.background) / self.deviation;
        1.0 / (1.0 + (-STEEPNESS * (above - EVEN)).exp())
    }
}

/// How far this model's scores scatter among pictures that do not fit: as its bundle says, or by its
/// scale. Never zero.
pub(super) fn deviation(facts: &ModelFacts) -> f32 {
    let told = facts.score_deviation.filter(|deviation| deviation.is_normal() && *deviation > 0.0);
    told.unwrap_or(LOGITS / facts.logit_scale.exp())
}

/// How many of the best hits are looked at together in a collection of so many pictures.
pub(super) fn support(pictures: usize) -> usize {
    (pictures / PICTURES_PER_SUPPORT).clamp(*SUPPORT.start(), *SUPPORT.end())
}

/// The mean of the background's words by this model: as the catalog keeps it, or made now.
pub(super) async fn background(
    reader: &Reader,
    embedder: &Embedder,
) -> Result<Background, SearchError> {
    let words: [u8; 32] = Sha256::digest(WORDS).into();
    if let Some(kept) = reader.background(&embedder.facts().id, words).await? {
        return Ok(kept);
    }
    let texts = embedder.texts(WORDS.lines().map(str::to_owned).collect()).await?;
    let mut mean = vec![0.0; embedder.facts().dim];
    let share = 1.0 / texts.len().max(1) as f32;
    for text in &texts {
        let values = text.embedding.as_slice();
        mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * value);
    }
    Ok(Background { words, mean })
}

/// Keeps the background of this model for the searches to come, which would each take a second more.
///
/// # Errors
/// What the model or the catalog says; nothing is lost by it.
pub async fn keep_background(writer: &Writer, embedder: &Embedder) -> Result<(), SearchError> {
    let made = background(&writer.reader, embedder).await?;
    Ok(writer.keep_background(&embedder.facts().id, &made).await?)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::GOOD;
    use super::*;
    use crate::index::{ExactIndex, VectorIndex};

    /// A hundred pictures around one direction, the last of them where the query points.
    fn collection(query: &Embedding) -> LiveIndex {
        let mut index = ExactIndex::new(3);
        for key in 0..99u8 {
            let vector = Embedding::new(vec![1.0, f32::from(key) / 99.0, 0.0]).unwrap();
            index.insert(u64::from(key), &vector).unwrap();
        }
        index.insert(99, query).unwrap();
        LiveIndex::new(index)
    }

    fn compared(deviation: f32) -> Vec<f32> {
        let query = Embedding::new(vec![0.2, 0.0, 1.0]).unwrap();
        let index = collection(&query);
        let hits = index.search(&query, 10, None).unwrap().hits;
        let comparison = Comparison::of(&index, &query, &hits, &[0.5, 0.1, 0.1], deviation);
        hits.iter().map(|hit| comparison.calibrated(hit.score)).collect()
    }

    #[test]
    fn a_match_stands_above_the_line_and_the_rest_below() {
        let calibrated = compared(0.1);
        assert!(calibrated[0] >= GOOD && calibrated[1] < GOOD, "{calibrated:?}");
        assert!(calibrated.is_sorted_by(|a, b| a >= b) && calibrated[9] > 0.0);
    }

    #[test]
    fn where_scores_scatter_widely_nothing_stands_out() {
        assert!(compared(10.0).iter().all(|&calibrated| calibrated < GOOD));
    }

    #[test]
    fn background_is_the_mean_of_both_sides() {
        let query = Embedding::new(vec![1.0, 0.0]).unwrap();
        let mut index = ExactIndex::new(2);
        index.insert(1, &Embedding::new(vec![0.6, 0.8]).unwrap()).unwrap();
        let index = LiveIndex::new(index);
        let hits = index.search(&query, 1, None).unwrap().hits;
        let found = Comparison::of(&index, &query, &hits, &[0.0, 0.5], 0.3);
        // One picture among 33, of which the others are what words score: (0.6 + 32 · 0.4) / 33.
        let background = f32::midpoint((0.6 + 32.0 * 0.4) / 33.0, 0.4);
        assert!((found.background - background).abs() < 1e-6 && found.support == 0.6, "{found:?}");
    }

    #[test]
    fn more_pictures_bear_each_other_out() {
        assert_eq!([0, 1, 99, 100, 499, 1_000_000].map(support), [1, 1, 1, 2, 9, 10]);
    }

    #[test]
    fn words_are_many_and_each_is_there_once() {
        let words: std::collections::BTreeSet<&str> = WORDS.lines().collect();
        assert_eq!(words.len(), WORDS.lines().count());
        assert!(words.len() > 100 && words.iter().all(|line| !line.trim().is_empty()));
    }
}
