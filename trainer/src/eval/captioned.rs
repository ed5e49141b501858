//! All that `eval` says of a set with captions: recall both ways, how sure it is, and how its
//! embeddings lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use clip::Embedding;
use clip::metrics::{Retrieval, ranks};
use serde::Serialize;

use super::bootstrap::{Bootstrap, Interval, mean};
use super::geometry::{Cloud, Estimate};
use super::{CaptionFigures, Embedder, EvalError, deviation, usable};
use crate::data::{BadSample, Dataset};

/// What was found on a set with captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionStudy {
    /// Recall.
    #[serde(flatten)]
    pub figures: CaptionFigures,
    /// Mean squared distance of a caption from its picture (Wang and Isola 2020, equation 2).
    pub alignment: f64,
    /// How evenly the pictures lie (the same, equation 3); none for a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uniformity: Option<f64>,
    /// The same of the captions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_uniformity: Option<f64>,
    /// Where 95 % of the bootstrap's draws lie.
    pub intervals: CaptionIntervals,
}

/// Intervals by the names of the figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionIntervals {
    /// Of each caption's search for its picture.
    pub text_to_image: BTreeMap<&'static str, Interval>,
    /// Of each picture's search for a caption.
    pub image_to_text: BTreeMap<&'static str, Interval>,
    /// Of alignment and uniformity.
    #[serde(flatten)]
    pub geometry: BTreeMap<&'static str, Interval>,
}

/// The pictures and captions of a set, embedded.
pub(super) struct Captioned {
    images: Vec<Embedding>,
    texts: Vec<Embedding>,
    /// The picture of each text, alone in its list.
    of_text: Vec<Vec<usize>>,
    /// The texts of each picture.
    of_image: Vec<Vec<usize>>,
    bad: Vec<BadSample>,
}

impl Captioned {
    /// Embeds a set.
    ///
    /// # Errors
    /// [`EvalError::WrongKind`] for a labelled set, others where the model cannot run.
    pub(super) fn of(embedder: &mut dyn Embedder, set: &Arc<Dataset>) -> Result<Self, EvalError> {
        if !set.classes.is_empty() {
            let (wanted, flag) = ("captions", "--labels");
            return Err(EvalError::WrongKind { set: set.name(), wanted, flag });
        }
        let found = usable(embedder.pictures(set)?, set)?;
        let (mut texts, mut of_text, mut of_image) = (Vec::new(), Vec::new(), Vec::new());
        for (image, &pair) in found.pairs.iter().enumerate() {
            let captions = &set.pairs[pair].captions;
            of_image.push((texts.len()..texts.len() + captions.len()).collect::<Vec<_>>());
            of_text.extend(captions.iter().map(|_| vec![image]));
            texts.extend(captions.iter().map(|caption| Arc::clone(&caption.text)));
        }
        let texts = embedder.texts(&texts)?;
        Ok(Self { images: found.images, texts, of_text, of_image, bad: found.bad })
    }

    /// Ranks of pictures by captions, and of captions by pictures.
    fn ranks(&self) -> [Vec<usize>; 2] {
        [
            ranks(&self.texts, &self.images, &self.of_text),
            ranks(&self.images, &self.texts, &self.of_image),
        ]
    }

    /// The figures of all pictures.
    pub(super) fn figures(&self, set: &Dataset) -> CaptionFigures {
        let [text_to_image, image_to_text] = self.ranks().map(|ranks| Retrieval::of_ranks(&ranks));
        CaptionFigures {
            set: set.name(),
            pictures: self.images.len(),
            captions: self.texts.len(),
            unusable: self.bad.clone(),
            text_to_image,
            image_to_text,
            score_deviation: deviation(&self.texts, &self.images, &self.of_text),
        }
    }

    /// Each text's picture.
    fn picture_of_text(&self) -> Vec<usize> {
        self.of_text.iter().flatten().copied().collect()
    }
}

/// Embeds a set and measures all of it; `seed` decides what the bootstrap draws.
///
/// # Errors
/// [`EvalError::WrongKind`] for a labelled set, others where the model cannot run.
pub fn study_captions(
    embedder: &mut dyn Embedder,
    set: &Arc<Dataset>,
    seed: u64,
) -> Result<CaptionStudy, EvalError> {
    let found = Captioned::of(embedder, set)?;
    let (pictures, own) = (found.images.len(), found.picture_of_text());
    let bootstrap = Bootstrap::new(pictures, seed);
    let [texts, images] = found.ranks();
    let itself: Vec<usize> = (0..pictures).collect();
    let cloud =
        |embeddings, pictures| Cloud { embeddings, pictures, count: found.images.len(), seed };
    let image_uniformity = cloud(&found.images, &itself).uniformity()?;
    let text_uniformity = cloud(&found.texts, &own).uniformity()?;
    let alignment = alignment(&found, &own, bootstrap);
    let geometry = [
        ("alignment", Some(alignment)),
        ("image_uniformity", image_uniformity),
        ("text_uniformity", text_uniformity),
    ];
    let interval = |(name, estimate): (_, Option<Estimate>)| Some((name, estimate?.interval));
    Ok(CaptionStudy {
        figures: found.figures(set),
        alignment: alignment.value,
        image_uniformity: image_uniformity.map(|estimate| estimate.value),
        text_uniformity: text_uniformity.map(|estimate| estimate.value),
        intervals: CaptionIntervals {
            text_to_image: recall_intervals(&texts, &own, bootstrap),
            image_to_text: recall_intervals(&images, &itself, bootstrap),
            geometry: geometry.into_iter().filter_map(interval).collect(),
        },
    })
}

/// The mean of |x - y|² = 2 - 2 cosine over captions x and their pictures y.
fn alignment(found: &Captioned, own: &[usize], bootstrap: Bootstrap) -> Estimate {
    let distance = |(text, &image): (&Embedding, &usize)| {
        2.0 - 2.0 * f64::from(text.cosine(&found.images[image]))
    };
    let distances: Vec<f64> = found.texts.iter().zip(own).map(distance).collect();
    let value = distances.iter().sum::<f64>() / distances.len() as f64;
    let [interval] = bootstrap.intervals(|times| {
        let times: Vec<f64> = own.iter().map(|&picture| times[picture]).collect();
        [mean(&distances, &times)]
    });
    Estimate { value, interval }
}

/// Intervals of recall and of the median rank; query `i` comes along with picture `pictures[i]`.
fn recall_intervals(
    ranks: &[usize],
    pictures: &[usize],
    bootstrap: Bootstrap,
) -> BTreeMap<&'static str, Interval> {
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by_key(|&query| ranks[query]);
    let intervals = bootstrap.intervals(|times| {
        let falling: Vec<(usize, f64)> =
            order.iter().map(|&query| (ranks[query], times[pictures[query]])).collect();
        let all: f64 = falling.iter().map(|(_, times)| times).sum();
        let within = |k: usize| {
            let found = falling.iter().take_while(|(rank, _)| *rank <= k);
            found.map(|(_, times)| times).sum::<f64>() / all
        };
        [within(1), within(5), within(10), median(&falling, all)]
    });
    let names = ["recall_at_1", "recall_at_5", "recall_at_10", "median_rank"];
    names.into_iter().zip(intervals).collect()
}

/// The median of `rising` ranks that come so often, `all` times together; between the two in the
/// middle where these are two.
fn median(rising: &[(usize, f64)], all: f64) -> f64 {
    let at = |place: f64| {
        let mut passed = 0.0;
        let reached = rising.iter().find(|(_, times)| {
            passed += times;
            passed >= place
        });
        reached.map_or(f64::NAN, |(rank, _)| *rank as f64)
    };
    f64::midpoint(at(((all + 1.0) / 2.0).floor()), at(((all + 1.0) / 2.0).ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_how_often_each_rank_comes() {
        let of = |rising: &[(usize, f64)]| median(rising, rising.iter().map(|(_, n)| n).sum());
        assert_eq!(of(&[(1, 1.0), (4, 1.0)]), 2.5);
        assert_eq!(of(&[(1, 1.0), (3, 0.0), (4, 2.0)]), 4.0);
        assert_eq!(of(&[(1, 2.0), (3, 1.0), (4, 1.0)]), 2.0);
        assert_eq!(of(&[(7, 5.0)]), 7.0);
    }

    #[test]
    fn all_queries_of_a_picture_come_along_with_it() {
        // Two pictures; all five captions of the first are found, none of the second: what is drawn is
        // 0, a half or all, where ten captions drawn alone would lie closer together.
        let ranks = [1, 1, 1, 1, 1, 9, 9, 9, 9, 9];
        let pictures = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        let found = recall_intervals(&ranks, &pictures, Bootstrap::new(2, 0));
        assert_eq!(found["recall_at_1"], [0.0, 1.0]);
        assert_eq!(found["recall_at_10"], [1.0, 1.0]);
        assert_eq!(found["median_rank"], [1.0, 9.0]);
    }
}
