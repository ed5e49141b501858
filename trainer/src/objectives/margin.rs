//! Margin contrastive loss: pairs of the same draw together, others keep a distance.

use tch::{Kind, Tensor};

use super::mining::mean_loss;
use super::{Distance, Mining, Related, wide};

/// The mean over pairs of `½ d²` for the same and `½ max(0, margin − d)²` for others, `d` their
/// Euclidean distance (Hadsell et al. 2006, equation 4; the paper sums).
///
/// `first` and `second` are normalized, `[B, D]`, row i of each a pair; `same`, bool `[B]`, is true
/// where the two are to lie together.
///
/// # Panics
/// When the shapes do not fit.
pub fn margin(first: &Tensor, second: &Tensor, same: &Tensor, margin: f64) -> Tensor {
    let cosines = (wide(first) * wide(second)).sum_dim_intlist(1, false, Kind::Float); // [B]
    together(&cosines).where_self(same, &apart(&cosines, margin)).mean(Kind::Float)
}

/// All pairs of a batch: what lies together by [`margin`], as a mean over the pairs, plus what is to
/// lie apart, as a mean over those that lie nearer than `margin`, both ways.
///
/// `images` and `texts` are normalized, `[B, D]`; `related` are neither drawn together nor apart. Of
/// negatives, those are taken that `mining` says.
///
/// # Panics
/// When the shapes do not fit.
pub fn margin_in_batch(
    images: &Tensor,
    texts: &Tensor,
    related: &Related,
    margin: f64,
    mining: Mining,
) -> Tensor {
    let cosines = wide(images).matmul(&wide(texts).tr()); // [B, B]
    let negatives = related.negatives(); // [B, B], symmetric
    let one_way = |cosines: &Tensor| {
        mean_loss(cosines, &negatives, mining, |_, negative| apart(negative, margin))
    };
    let pairs = together(&cosines.diagonal(0, 0, 1)).mean(Kind::Float);
    pairs + (one_way(&cosines) + one_way(&cosines.tr())) / 2.0
}

/// `½ d²`, which for unit vectors is `1 − cos`.
fn together(cosines: &Tensor) -> Tensor {
    Distance::Cosine.of(cosines)
}

/// `½ max(0, margin − d)²`
fn apart(cosines: &Tensor, margin: f64) -> Tensor {
    (-Distance::Euclidean.of(cosines) + margin).relu().square() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, related, rows, unrelated};

    #[test]
    fn the_same_lose_their_squared_distance_and_others_what_is_missing_to_the_margin() {
        let first = rows(&[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]);
        let second = rows(&[[0.6, 0.8], [0.6, 0.8], [-1.0, 0.0]]);
        let same = Tensor::from_slice(&[true, false, false]);
        // d² = 0.8: half of it, ½ (1.5 − √0.8)², and nothing at a distance of 2.
        let expected = (0.4 + (1.5 - 0.8f64.sqrt()).powi(2) / 2.0) / 3.0;
        close(&margin(&first, &second, &same, 1.5), expected);
    }

    #[test]
    fn a_batch_draws_pairs_together_and_pushes_the_near_ones_of_the_rest_apart() {
        let images = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let texts = rows(&[[0.6, 0.8], [0.0, 1.0]]);
        // Pairs: ½ d² = 0.4 and 0. Image 1 and text 2: √2. Image 2 and text 1: √0.4.
        let (far, near) = ((1.5 - 2f64.sqrt()).powi(2) / 2.0, (1.5 - 0.4f64.sqrt()).powi(2) / 2.0);
        let expected = 0.2 + f64::midpoint(far, near);
        for mining in [Mining::All, Mining::Hard] {
            close(&margin_in_batch(&images, &texts, &unrelated(2), 1.5, mining), expected);
        }
        let alone = related(&[0, 0], &[0, 1]);
        close(&margin_in_batch(&images, &texts, &alone, 1.5, Mining::All), 0.2);
        // Beyond √2 nothing is left to lose but by the near one.
        close(&margin_in_batch(&images, &texts, &unrelated(2), 1.0, Mining::All), {
            0.2 + (1.0 - 0.4f64.sqrt()).powi(2) / 2.0
        });
    }

    #[test]
    fn vectors_that_coincide_have_a_finite_gradient() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0]]).set_requires_grad(true);
        margin_in_batch(&x, &x.detach(), &unrelated(2), 1.0, Mining::All).backward();
        assert_eq!(x.grad().isfinite().all().int64_value(&[]), 1);
    }

    #[test]
    fn it_is_stable_in_bf16() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        for mining in [Mining::All, Mining::Hard, Mining::SemiHard] {
            is_stable(|a, b, _| margin_in_batch(a, b, &related, 1.0, mining));
        }
    }
}
