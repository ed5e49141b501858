//! Symmetric contrastive loss (`InfoNCE`): each picture finds its caption among the batch's, and each
//! caption its picture.

use tch::{Kind, Tensor};

/// The symmetric cross-entropy of Radford et al. 2021, figure 3.
///
/// `images` and `texts` are normalized embeddings `[B, D]`, row i of one belonging to row i of the
/// other; `logit_scale` is a scalar log; `related` is a bool mask `[B, B]`, true where image i and
/// text j are no pair of the batch and yet no negatives to each other (see [`related_pairs`]).
/// Such places are left out of both sums. Answers a scalar, 0 at best, about ln B by chance.
///
/// Unlike the reference, which counts a second picture of the same caption as a negative.
pub fn info_nce(images: &Tensor, texts: &Tensor, logit_scale: &Tensor, related: &Tensor) -> Tensor {
    let logits = logit_scale.exp() * images.matmul(&texts.tr()); // [B, B]
    let logits = logits.masked_fill(related, f64::NEG_INFINITY);
    let by_image = logits.log_softmax(1, Kind::Float).diag(0); // [B]
    let by_text = logits.log_softmax(0, Kind::Float).diag(0); // [B]
    -(by_image + by_text).mean(Kind::Float) / 2.0
}

/// Where two pairs of a batch are no negatives to each other: `[B, B]` bool, false on the diagonal.
///
/// `pictures` and `captions` `[B]` hold one key a pair; equal keys mean the same picture or the same
/// caption.
///
/// # Panics
/// When the two differ in length.
pub fn related_pairs(pictures: &Tensor, captions: &Tensor) -> Tensor {
    assert_eq!(pictures.size(), captions.size(), "one picture key and one caption key a pair");
    let equal = |keys: &Tensor| keys.unsqueeze(0).eq_tensor(&keys.unsqueeze(1)); // [B, B]
    let itself = Tensor::eye(pictures.size()[0], (Kind::Bool, pictures.device()));
    equal(pictures).logical_or(&equal(captions)).logical_and(&itself.logical_not())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[[f32; 2]]) -> Tensor {
        Tensor::from_slice(&values.concat()).view([-1, 2])
    }

    fn related(pictures: &[i64], captions: &[i64]) -> Tensor {
        related_pairs(&Tensor::from_slice(pictures), &Tensor::from_slice(captions))
    }

    fn close(loss: &Tensor, expected: f64) {
        let got = loss.double_value(&[]);
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }

    #[test]
    fn two_orthogonal_pairs_lose_ln_one_plus_e_to_minus_scale() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let none = related(&[0, 1], &[0, 1]);
        // Each row and column is softmax(s, 0) with s = e^0 = 1 and e^ln 2 = 2.
        close(&info_nce(&x, &x, &Tensor::from(0.0), &none), (1.0 + (-1f64).exp()).ln());
        close(&info_nce(&x, &x, &Tensor::from(2f64.ln()), &none), (1.0 + (-2f64).exp()).ln());
    }

    #[test]
    fn both_directions_count_half() {
        let images = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let texts = rows(&[[1.0, 0.0], [1.0, 0.0]]);
        let none = related(&[0, 1], &[0, 1]);
        // logits [[1, 1], [0, 0]]: rows lose ln 2 each; columns lose ln(1 + 1/e) and ln(1 + e).
        let columns = ((1.0 + (-1f64).exp()).ln() + (1.0 + 1f64.exp()).ln()) / 2.0;
        let expected = f64::midpoint(2f64.ln(), columns);
        close(&info_nce(&images, &texts, &Tensor::from(0.0), &none), expected);
    }

    #[test]
    fn related_pairs_are_no_negatives() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let mask = related(&[7, 8, 9], &[3, 3, 4]);
        // The first two share a caption, so each of them has the third alone as its negative, and
        // the third has both.
        let pair = (1.0 + (-1f64).exp()).ln();
        let third = (1.0 + 2.0 * (-1f64).exp()).ln();
        close(&info_nce(&x, &x, &Tensor::from(0.0), &mask), (2.0 * pair + third) / 3.0);
        let none = related(&[7, 8, 9], &[3, 5, 4]);
        let twin = (2.0 + (-1f64).exp()).ln();
        close(&info_nce(&x, &x, &Tensor::from(0.0), &none), (2.0 * twin + third) / 3.0);
    }

    #[test]
    fn the_same_picture_or_the_same_caption_relates_two_pairs() {
        let mask = related(&[1, 1, 2], &[5, 6, 6]);
        let got = Vec::<bool>::try_from(mask.flatten(0, -1)).unwrap();
        assert_eq!(got, [false, true, false, true, false, true, false, true, false]);
    }

    #[test]
    fn masked_places_pass_no_gradient_and_no_nan() {
        let x = rows(&[[1.0, 0.0], [0.6, 0.8]]).set_requires_grad(true);
        let scale = Tensor::from(1.0f32).set_requires_grad(true);
        let loss = info_nce(&x, &x.detach(), &scale, &related(&[1, 1], &[1, 2]));
        close(&loss, 0.0);
        loss.backward();
        assert_eq!(x.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
        assert_eq!(scale.grad().double_value(&[]), 0.0);
    }
}
