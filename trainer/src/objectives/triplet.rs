//! Triplet loss: an anchor lies nearer to its positive than to a negative, by a margin.

use tch::{Kind, Tensor};

use super::mining::mean_loss;
use super::{Distance, Mining, Related, wide};

/// Which triplets of a batch count, and how.
#[derive(Debug, Clone, Copy)]
pub struct Triplets {
    /// How much nearer than the negative the positive has to lie.
    pub margin: f64,
    /// What is compared with the margin.
    pub distance: Distance,
    /// Which negatives are looked at.
    pub mining: Mining,
}

/// The mean over triplets of `max(0, d(a, p) − d(a, n) + margin)` (Schroff et al. 2015, equation 3).
///
/// `anchors`, `positives` and `negatives` are normalized, `[B, D]`, row i of each a triplet. The paper
/// has squared Euclidean distances, which are twice those of [`Distance::Cosine`]: its margin of 0.2 is
/// 0.1 here.
///
/// # Panics
/// When the shapes do not fit.
pub fn triplet(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: &Tensor,
    margin: f64,
    distance: Distance,
) -> Tensor {
    let anchors = wide(anchors);
    let cosine = |other: &Tensor| (&anchors * wide(other)).sum_dim_intlist(1, false, Kind::Float);
    let apart = distance.of(&cosine(positives)) - distance.of(&cosine(negatives)); // [B]
    (apart + margin).relu().mean(Kind::Float)
}

/// The triplets of a batch of pairs: each image with its text and texts that are not its own, and each
/// text likewise; a mean of both ways.
///
/// `images` and `texts` are normalized, `[B, D]`; `related` are no negatives to each other. With
/// [`Mining::Hard`] and [`Distance::Cosine`] this is Faghri et al. 2018, equation 6 (VSE++), with
/// [`Mining::All`] its equation 5, but for what they divide by: here the number of triplets that lose
/// anything, there the batch. Answers 0 where nothing does.
///
/// # Panics
/// When the shapes do not fit.
pub fn triplet_in_batch(
    images: &Tensor,
    texts: &Tensor,
    related: &Related,
    how: Triplets,
) -> Tensor {
    let Triplets { margin, distance, mining } = how;
    let cosines = wide(images).matmul(&wide(texts).tr()); // [B, B]
    let negatives = related.negatives(); // [B, B], symmetric
    let one_way = |cosines: &Tensor| {
        mean_loss(cosines, &negatives, mining, |positive, negative| {
            (distance.of(positive) - distance.of(negative) + margin).relu()
        })
    };
    (one_way(&cosines) + one_way(&cosines.tr())) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, related, rows, unrelated};

    fn how(mining: Mining) -> Triplets {
        Triplets { margin: 0.3, distance: Distance::Cosine, mining }
    }

    #[test]
    fn a_triplet_loses_what_is_missing_to_the_margin() {
        let anchors = rows(&[[1.0, 0.0], [1.0, 0.0]]);
        let positives = rows(&[[0.8, 0.6], [1.0, 0.0]]);
        let negatives = rows(&[[0.6, 0.8], [0.0, 1.0]]);
        // Distances 0.2 and 0.4: 0.3 is missed by 0.1; 0 and 1: nothing is missing.
        let loss = triplet(&anchors, &positives, &negatives, 0.3, Distance::Cosine);
        close(&loss, 0.1 / 2.0);
        // √0.4 and √0.8
        let loss = triplet(&anchors, &positives, &negatives, 0.3, Distance::Euclidean);
        close(&loss, (0.4f64.sqrt() - 0.8f64.sqrt() + 0.3) / 2.0);
    }

    /// Cosines, images by texts: [[1, 0.8, 0], [0.6, 0.96, 0.8], [0, 0.6, 1]].
    fn batch() -> (Tensor, Tensor) {
        let images = rows(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]);
        (images, rows(&[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]))
    }

    #[test]
    fn a_batch_loses_to_all_negatives_or_to_the_hardest_both_ways() {
        let (images, texts) = batch();
        // By image: 1 → 0.8 misses 0.1; 0.96 → 0.8 misses 0.14; the others lose nothing.
        // By text: 0.96 → 0.8 misses 0.14; 1 → 0.8 misses 0.1; the others lose nothing.
        let each = (0.1 + 0.14) / 2.0;
        for mining in [Mining::All, Mining::Hard, Mining::SemiHard] {
            close(&triplet_in_batch(&images, &texts, &unrelated(3), how(mining)), each);
        }
    }

    #[test]
    fn related_pairs_are_no_negatives() {
        let (images, texts) = batch();
        let mask = related(&[0, 0, 1], &[0, 1, 2]);
        for mining in [Mining::All, Mining::Hard] {
            // By image the second loses 0.14 to the third text; by text the third 0.1 to the second image.
            let loss = triplet_in_batch(&images, &texts, &mask, how(mining));
            close(&loss, f64::midpoint(0.14, 0.1));
        }
        let alone = related(&[0, 0, 0], &[0, 1, 2]);
        close(&triplet_in_batch(&images, &texts, &alone, how(Mining::All)), 0.0);
        close(&triplet_in_batch(&images, &texts, &alone, how(Mining::Hard)), 0.0);
    }

    #[test]
    fn it_is_stable_in_bf16() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        for mining in [Mining::All, Mining::Hard, Mining::SemiHard] {
            for distance in [Distance::Cosine, Distance::Euclidean] {
                let how = Triplets { margin: 0.3, distance, mining };
                is_stable(|a, b, _| triplet_in_batch(a, b, &related, how));
            }
        }
    }
}
