//! Supervised contrastive loss: whatever shares a class belongs together, however many that is.

use tch::{Kind, Tensor};

use super::blocks::{Rows, blocks, sum_over};
use super::{Related, logits, wide};

/// A logit that takes no part; unlike −∞ it leaves no NaN where it is multiplied by 0.
const LEFT_OUT: f64 = -1e30;

/// The loss of Khosla et al. 2020, equation 2 (positives outside of the log).
///
/// `features` `[N, D]` are normalized views of samples, all in one tensor; `related` are those of the
/// same class or sample, its positives; `logit_scale` is a scalar log. Each view is held against all
/// others but itself. Views without a positive are left out of the mean. Answers a scalar, at best the
/// log of the number of positives.
///
/// # Panics
/// When the shapes do not fit.
pub fn sup_con(features: &Tensor, logit_scale: &Tensor, related: &Related) -> Tensor {
    let features = wide(features);
    let count = features.size()[0];
    let all = || blocks(count, count);
    let with_positive = tch::no_grad(|| {
        let some = |rows| related.rows_or_nobody(rows).any_dim(1, false).sum(Kind::Float);
        all().map(some).reduce(|sum, some| sum + some)
    });
    let sum = sum_over(all(), [&features, logit_scale], |[features, scale], rows| {
        let logits = logits(&rows.of(features), features, scale); // [R, N]
        let positives = related.rows_or_nobody(rows); // [R, N]
        let itself = positives.zeros_like();
        let _ = rows.own(&itself).fill_(1);
        lost(&logits.masked_fill(&itself, LEFT_OUT), &positives)
    });
    match with_positive {
        Some(count) => sum / count.clamp_min(1.0),
        None => sum,
    }
}

/// The same between images and texts (`UniCL`, Yang et al. 2022): each image is held against all texts,
/// of which its own and those of `related` are its positives, and each text against all images.
///
/// `images` and `texts` are normalized, `[B, D]`; `logit_scale` is a scalar log. Where nobody is related
/// it is [`super::info_nce`]. Answers a scalar, a mean of both ways.
///
/// # Panics
/// When the shapes do not fit.
pub fn sup_con_pairs(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
    related: &Related,
) -> Tensor {
    let (images, texts) = (wide(images), wide(texts));
    let count = images.size()[0];
    let one_way = |queries: &Tensor, candidates: &Tensor| {
        let inputs = [queries, candidates, logit_scale];
        sum_over(blocks(count, count), inputs, |[queries, candidates, scale], rows: Rows| {
            let positives = related.rows_or_nobody(rows); // [R, B]
            let _ = rows.own(&positives).fill_(1);
            lost(&logits(&rows.of(queries), candidates, scale), &positives)
        })
    };
    (one_way(&images, &texts) + one_way(&texts, &images)) / (2 * count)
}

/// Of `logits` and `positives` (bool), both `[R, C]`: the sum over rows of the mean over a row's
/// positives of `ln Σ exp l − l⁺`; 0 for a row without any.
fn lost(logits: &Tensor, positives: &Tensor) -> Tensor {
    let weights = positives.to_kind(Kind::Float); // [R, C]
    let count = weights.sum_dim_intlist(1, false, Kind::Float); // [R]
    let positive = (logits * weights).sum_dim_intlist(1, false, Kind::Float) / count.clamp_min(1.0);
    let lost = logits.logsumexp(1, false) - positive; // [R]
    lost.masked_fill(&count.eq(0.0), 0.0).sum(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::info_nce;
    use crate::objectives::testing::{close, is_stable, random, related, rows, scale, unrelated};

    fn classes(classes: &[i64]) -> Related {
        Related::by(&[&Tensor::from_slice(classes)])
    }

    #[test]
    fn each_view_is_drawn_to_all_of_its_class() {
        let x = rows(&[[1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]);
        // Cosines of the first with the others: 0.6, 1, 0; of the second 0.6, 0.6, 0.8; the third is as
        // the first; the fourth is alone in its class and left out.
        let sum = |cosines: [f64; 3]| cosines.map(f64::exp).iter().sum::<f64>().ln();
        let first = sum([0.6, 1.0, 0.0]) - (0.6 + 1.0) / 2.0;
        let second = sum([0.6, 0.6, 0.8]) - 0.6;
        let loss = sup_con(&x, &scale(1.0), &classes(&[5, 5, 5, 6]));
        close(&loss, (2.0 * first + second) / 3.0);
    }

    #[test]
    fn without_any_positive_there_is_no_loss_and_no_nan() {
        let x = rows(&[[1.0, 0.0], [0.6, 0.8]]).set_requires_grad(true);
        let loss = sup_con(&x, &scale(100.0), &classes(&[1, 2]));
        close(&loss, 0.0);
        loss.backward();
        assert_eq!(x.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }

    #[test]
    fn an_image_is_drawn_to_all_texts_of_its_class() {
        let images = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let texts = rows(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]);
        let loss = sup_con_pairs(&images, &texts, &scale(1.0), &classes(&[0, 0, 1]));
        let sum = |cosines: [f64; 3]| cosines.map(f64::exp).iter().sum::<f64>().ln();
        let by_image = 2.0 * (sum([1.0, 0.6, 0.0]) - 0.8) + sum([0.0, 0.8, 1.0]) - 1.0;
        let by_text =
            sum([1.0, 1.0, 0.0]) - 1.0 + sum([0.6, 0.6, 0.8]) - 0.6 + sum([0.0, 0.0, 1.0]) - 1.0;
        close(&loss, (by_image + by_text) / 6.0);
    }

    #[test]
    fn where_nobody_is_related_it_is_info_nce() {
        tch::manual_seed(8);
        let (images, texts) = (random(6, 4), random(6, 4));
        let expected = info_nce(&images, &texts, &scale(14.0), &unrelated(6)).double_value(&[]);
        close(&sup_con_pairs(&images, &texts, &scale(14.0), &unrelated(6)), expected);
    }

    #[test]
    fn both_are_stable_in_bf16_and_at_all_temperatures() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        is_stable(|a, b, scale| sup_con_pairs(a, b, scale, &related));
        is_stable(|a, _, scale| sup_con(a, scale, &related));
    }
}
