//! Sigmoid loss (`SigLIP`): each image and each text of a batch are asked alone whether they belong
//! together.

use tch::{Kind, Tensor};

use super::blocks::{blocks, sum_over};
use super::{Related, logits, wide};

/// The sum over all places of `−ln σ(±(exp(logit_scale) · cos + logit_bias))` over the batch, `+` for
/// pairs and `−` for all others (Zhai et al. 2023, algorithm 1).
///
/// `images` and `texts` are normalized, `[B, D]`; `logit_scale` (a log) and `logit_bias` are scalars;
/// places of `related` are left out. Answers a scalar, 0 at best. Only some rows of the matrix
/// `[B, B]` stand in memory.
///
/// # Panics
/// When the shapes do not fit.
pub fn sigmoid(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
    logit_bias: &Tensor,
    related: &Related,
) -> Tensor {
    let (images, texts) = (wide(images), wide(texts));
    let pairs = images.size()[0];
    let inputs = [&images, &texts, logit_scale, logit_bias];
    let sum = sum_over(blocks(pairs, pairs), inputs, |[images, texts, scale, bias], rows| {
        let mut logits = logits(&rows.of(images), texts, scale); // [R, B]
        logits += bias;
        let own = rows.own(&logits).sum(Kind::Float);
        let logits = match related.rows(rows) {
            Some(mask) => logits.masked_fill(&mask, f64::NEG_INFINITY),
            None => logits,
        };
        // −ln σ(−l) = ln(1 + e^l), and −ln σ(l) is that less l.
        logits.softplus().sum(Kind::Float) - own
    });
    sum / pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, related, rows, scale, unrelated};

    /// ln(1 + e^l)
    fn negative(logit: f64) -> f64 {
        (1.0 + logit.exp()).ln()
    }

    #[test]
    fn every_place_is_asked_alone() {
        let images = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let texts = rows(&[[1.0, 0.0], [0.6, 0.8]]);
        // Logits 2 cos − 1: [[1, 0.2], [−1, 0.6]].
        let expected = (negative(-1.0) + negative(0.2) + negative(-1.0) + negative(-0.6)) / 2.0;
        let loss = sigmoid(&images, &texts, &scale(2.0), &Tensor::from(-1f32), &unrelated(2));
        close(&loss, expected);
    }

    #[test]
    fn related_pairs_are_not_asked() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0]]);
        let mask = related(&[0, 1], &[3, 3]);
        let loss = sigmoid(&x, &x, &scale(2.0), &Tensor::from(-1f32), &mask);
        close(&loss, negative(-1.0));
    }

    #[test]
    fn far_out_it_is_the_logit_itself() {
        let (x, y) = (rows(&[[1.0, 0.0]]), rows(&[[-1.0, 0.0]]));
        let bias = Tensor::from(-10f32);
        let loss = sigmoid(&x, &y, &scale(100.0), &bias, &unrelated(1)).double_value(&[]);
        assert!((loss - 110.0).abs() < 1e-4, "{loss}");
        close(&sigmoid(&x, &x, &scale(100.0), &bias, &unrelated(1)), 0.0);
    }

    #[test]
    fn it_is_stable_in_bf16_and_at_all_temperatures() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        let bias = Tensor::from(-10f32);
        is_stable(|a, b, scale| sigmoid(a, b, scale, &bias, &related));
    }
}
