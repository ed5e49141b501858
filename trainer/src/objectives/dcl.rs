//! Decoupled contrastive loss: `NT-Xent` whose positive does not compete with itself.

use tch::Tensor;

use super::Related;
use super::two_views::{Against, two_views};

/// The loss of Yeh et al. 2022, equation 6 (unweighted), as a mean over all `2B` views.
///
/// In `NT-Xent` the gradient of a view whose positive is near vanishes, which is why it wants large
/// batches; without the positive in the denominator it does not. Arguments as in
/// [`super::nt_xent`]. Answers a scalar without a lower bound of 0: about ln (2B − 2) by chance, down
/// to ln (2B − 2) less twice the scale.
///
/// # Panics
/// When the shapes do not fit.
pub fn dcl(first: &Tensor, second: &Tensor, logit_scale: &Tensor, related: &Related) -> Tensor {
    two_views(first, second, logit_scale, related, Against::Negatives)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::objectives::testing::{close, is_stable, related, rows, scale, unrelated};

    #[test]
    fn the_positive_is_not_in_the_sum() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        // Each view has two negatives of logit 0 and a positive of 2.
        close(&dcl(&x, &x, &scale(2.0), &unrelated(2)), 2f64.ln() - 2.0);
    }

    #[test]
    fn related_samples_are_no_negatives_in_either_view() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let mask = related(&[7, 8, 9], &[3, 3, 4]);
        close(&dcl(&x, &x, &scale(1.0), &mask), (2.0 * (2f64.ln() - 1.0) + 4f64.ln() - 1.0) / 3.0);
    }

    #[test]
    fn without_any_negative_there_is_no_loss_and_no_nan() {
        for (x, mask) in [
            (rows(&[[1.0, 0.0], [0.6, 0.8]]), related(&[1, 1], &[1, 2])),
            (rows(&[[0.6, 0.8]]), unrelated(1)),
        ] {
            let x = x.set_requires_grad(true);
            let loss = dcl(&x, &x.detach(), &scale(1.0), &mask);
            close(&loss, 0.0);
            loss.backward();
            assert_eq!(x.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
        }
    }

    #[test]
    fn it_is_stable_in_bf16_and_at_all_temperatures() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        is_stable(|a, b, scale| dcl(a, b, scale, &related));
    }
}
