//! What methods without negatives make large: the cosine of a prediction with its target.

use tch::{Kind, Tensor};

use super::wide;

/// The mean of `−cos(p, z)` over a batch (Chen and He 2021, equation 1: `SimSiam`). Twice that and two
/// more is the squared distance of the unit vectors (Grill et al. 2020, equation 2: BYOL), which has the
/// same minimum.
///
/// `predictions` and `targets` are normalized, `[B, D]`. No gradient reaches the targets: without that
/// all of them would soon be one vector. Answers a scalar from −1 to 1.
///
/// # Panics
/// When the shapes do not fit.
pub fn negative_cosine(predictions: &Tensor, targets: &Tensor) -> Tensor {
    let cosines = wide(predictions) * wide(&targets.detach()); // [B, D]
    -cosines.sum_dim_intlist(1, false, Kind::Float).mean(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, rows};

    #[test]
    fn it_is_the_mean_of_cosines_with_the_other_sign() {
        let predictions = rows(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]);
        let targets = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]]);
        close(&negative_cosine(&predictions, &targets), -(1.0 + 0.6 - 1.0) / 3.0);
    }

    #[test]
    fn targets_stand_still() {
        let x = rows(&[[0.6, 0.8]]).set_requires_grad(true);
        let y = rows(&[[1.0, 0.0]]).set_requires_grad(true);
        negative_cosine(&x, &y).backward();
        assert!(x.grad().defined() && !y.grad().defined());
    }

    #[test]
    fn it_is_stable_in_bf16() {
        is_stable(|a, b, _| negative_cosine(a, b));
    }
}
