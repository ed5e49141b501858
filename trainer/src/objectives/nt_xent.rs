//! Normalized temperature-scaled cross-entropy (`NT-Xent`, of `SimCLR`): each view finds the other
//! view of its sample among all views of the batch.

use tch::Tensor;

use super::Related;
use super::two_views::{Against, two_views};

/// The loss of Chen et al. 2020, equation 1, over all `2B` views.
///
/// `first` and `second` are normalized embeddings `[B, D]` of two views of the same samples; for pairs
/// of image and text these are the views, so that images compete with images and texts with texts as
/// well. `logit_scale` is a scalar log; samples of `related` are no negatives in either view. Answers
/// a scalar, 0 at best, about ln (2B − 1) by chance.
///
/// # Panics
/// When the shapes do not fit.
pub fn nt_xent(first: &Tensor, second: &Tensor, logit_scale: &Tensor, related: &Related) -> Tensor {
    two_views(first, second, logit_scale, related, Against::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, related, rows, scale, unrelated};

    #[test]
    fn each_view_competes_with_both_views_of_the_others_and_not_with_itself() {
        let first = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        // Of each view the logits are: its other view 2, one of the other sample's 0, the other 0.
        let expected = (1.0 + 2.0 * (-2f64).exp()).ln();
        close(&nt_xent(&first, &first, &scale(2.0), &unrelated(2)), expected);
        let second = rows(&[[0.0, 1.0], [0.0, 1.0]]);
        // Views a = x, b = y, c = y, d = y at scale 1: a: c 0, b 0, d 0; b: d 1, a 0, c 1; c: a 0, b 1,
        // d 1; d: b 1, a 0, c 1.
        let e = 1f64.exp();
        let others = 2.0 * ((2.0 * e + 1.0).ln() - 1.0);
        let expected = (3f64.ln() + (1.0 + 2.0 * e).ln() + others) / 4.0;
        close(&nt_xent(&first, &second, &scale(1.0), &unrelated(2)), expected);
    }

    #[test]
    fn related_samples_are_no_negatives_in_either_view() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let mask = related(&[7, 8, 9], &[3, 3, 4]);
        let pair = (1.0 + 2.0 * (-1f64).exp()).ln();
        let third = (1.0 + 4.0 * (-1f64).exp()).ln();
        close(&nt_xent(&x, &x, &scale(1.0), &mask), (2.0 * pair + third) / 3.0);
    }

    #[test]
    fn it_is_stable_in_bf16_and_at_all_temperatures() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        is_stable(|a, b, scale| nt_xent(a, b, scale, &related));
    }
}
