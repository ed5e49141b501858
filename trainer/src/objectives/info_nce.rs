//! Contrastive loss (`InfoNCE`): each picture finds its caption among the batch's, and each caption
//! its picture; or each query its positive among negatives that are handed over.

use tch::{Kind, Tensor};

use super::blocks::{Rows, blocks, is_one_block, sum_over, without_value};
use super::{Negatives, Related, logits, wide};

/// The symmetric cross-entropy of Radford et al. 2021, figure 3.
///
/// `images` and `texts` are normalized embeddings `[B, D]`, row i of one belonging to row i of the
/// other; `logit_scale` is a scalar log; places of `related` (see [`super::related_pairs`]) are left
/// out of both sums. Answers a scalar, 0 at best, about ln B by chance.
///
/// Unlike the reference, which counts a second picture of the same caption as a negative, and holds
/// the whole matrix `[B, B]`: beyond a batch of 4,096 only some of its rows stand in memory.
///
/// # Panics
/// When the shapes do not fit.
pub fn info_nce(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
    related: &Related,
) -> Tensor {
    let (images, texts) = (wide(images), wide(texts));
    let pairs = images.size()[0];
    if is_one_block(pairs) {
        at_once(&images, &texts, logit_scale, related)
    } else {
        by_blocks(&images, &texts, logit_scale, related, || blocks(pairs, pairs))
    }
}

/// Of some rows: the logits `[R, B]`, −∞ where a text is no negative to an image.
fn competing([images, texts, logit_scale]: [&Tensor; 3], related: &Related, rows: Rows) -> Tensor {
    let mut logits = logits(&rows.of(images), texts, logit_scale);
    match related.rows(rows) {
        // In place: what is overwritten is no number that a gradient needs.
        Some(mask) => logits.masked_fill_(&mask, f64::NEG_INFINITY),
        None => logits,
    }
}

fn at_once(images: &Tensor, texts: &Tensor, logit_scale: &Tensor, related: &Related) -> Tensor {
    let all = Rows::all(images.size()[0]);
    let logits = competing([images, texts, logit_scale], related, all); // [B, B]
    let by_image = logits.log_softmax(1, Kind::Float).diag(0); // [B]
    let by_text = logits.log_softmax(0, Kind::Float).diag(0); // [B]
    -(by_image + by_text).mean(Kind::Float) / 2.0
}

/// The same, some rows of the matrix after the other, twice.
///
/// The first time for the logs of the columns' sums, `c_j = ln Σ_i exp l_ij`. With them known, all that
/// is left is a sum over rows: the gradient of `c_j` by `l_ij` is `exp(l_ij − c_j)`, which is also the
/// gradient of that very term with `c_j` held fast.
fn by_blocks<I: Iterator<Item = Rows>>(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
    related: &Related,
    blocks: impl Fn() -> I,
) -> Tensor {
    let inputs = [images, texts, logit_scale];
    let by_text = tch::no_grad(|| {
        let sums = blocks().map(|rows| competing(inputs, related, rows).logsumexp(0, false)); // [B]
        sums.reduce(|all, some| all.logaddexp(&some))
    });
    let Some(by_text) = by_text else { return Tensor::zeros([], (Kind::Float, images.device())) };
    let rest = sum_over(blocks(), inputs, |[images, texts, logit_scale], rows| {
        let logits = competing([images, texts, logit_scale], related, rows); // [R, B]
        let own = rows.own(&logits).sum(Kind::Float);
        let by_image = logits.logsumexp(1, false).sum(Kind::Float);
        let by_text = (&logits - &by_text).exp().sum(Kind::Float);
        by_image + without_value(&by_text) - own * 2.0
    });
    (by_text.sum(Kind::Float) + rest) / (2 * images.size()[0])
}

/// The cross-entropy of each query's positive among the negatives handed over (van den Oord et al.
/// 2018, equation 4; He et al. 2020, equation 1).
///
/// `queries` and `positives` are `[B, D]`; `negatives` are `[N, D]`, shared by all queries, or
/// `[B, N, D]`, each query's own; all are normalized. `logit_scale` is a scalar log. `excluded`, bool
/// `[B, N]`, is true where a negative is none to a query after all. Answers a scalar, 0 at best, about
/// ln (N + 1) by chance. One direction alone; the positives of other queries are no negatives.
///
/// # Panics
/// When the shapes do not fit.
pub fn info_nce_with_negatives(
    queries: &Tensor,
    positives: &Tensor,
    negatives: &Tensor,
    logit_scale: &Tensor,
    excluded: Option<&Tensor>,
) -> Tensor {
    let queries = logit_scale.exp() * wide(queries); // [B, D]
    let negatives = wide(negatives);
    let own = (&queries * wide(positives)).sum_dim_intlist(1, true, Kind::Float); // [B, 1]
    let others = if negatives.dim() == 2 {
        queries.matmul(&negatives.tr()) // [B, N]
    } else {
        negatives.bmm(&queries.unsqueeze(2)).squeeze_dim(2) // [B, N]
    };
    let others = match excluded {
        Some(excluded) => others.masked_fill(excluded, f64::NEG_INFINITY),
        None => others,
    };
    let all = Tensor::cat(&[&own, &others], 1); // [B, 1 + N]
    (all.logsumexp(1, true) - own).mean(Kind::Float)
}

/// As [`info_nce`], but each image also tells its text from texts that are wrong, those of the other
/// images included (Yuksekgonul et al. 2023, section 4: `NegCLIP`). A text still chooses among the images
/// alone.
///
/// The reference makes such texts by swapping words; here they are handed over. The matrix `[B, B + N]`
/// stands in memory whole.
///
/// # Panics
/// When the shapes do not fit.
pub fn info_nce_with_negative_texts(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
    related: &Related,
    negatives: Negatives<'_>,
) -> Tensor {
    let pairs = images.size()[0];
    let all_texts = Tensor::cat(&[&wide(texts), &wide(negatives.texts)], 0); // [B + N, D]
    let excluded = Tensor::cat(&[&related.mask(), negatives.excluded], 1); // [B, B + N]
    let logits =
        logits(&wide(images), &all_texts, logit_scale).masked_fill(&excluded, f64::NEG_INFINITY); // [B, B + N]
    let own = |shares: &Tensor| shares.diagonal(0, 0, 1); // [B]
    let by_image = logits.log_softmax(1, Kind::Float);
    let by_text = logits.narrow(1, 0, pairs).log_softmax(0, Kind::Float);
    -(own(&by_image) + own(&by_text)).mean(Kind::Float) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{
        alike, close, is_stable, random, related, rows, scale, unrelated,
    };

    #[test]
    fn two_orthogonal_pairs_lose_ln_one_plus_e_to_minus_scale() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let none = unrelated(2);
        // Each row and column is softmax(s, 0) with s = e^0 = 1 and e^ln 2 = 2.
        close(&info_nce(&x, &x, &scale(1.0), &none), (1.0 + (-1f64).exp()).ln());
        close(&info_nce(&x, &x, &scale(2.0), &none), (1.0 + (-2f64).exp()).ln());
    }

    #[test]
    fn both_directions_count_half() {
        let images = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let texts = rows(&[[1.0, 0.0], [1.0, 0.0]]);
        // logits [[1, 1], [0, 0]]: rows lose ln 2 each; columns lose ln(1 + 1/e) and ln(1 + e).
        let columns = ((1.0 + (-1f64).exp()).ln() + (1.0 + 1f64.exp()).ln()) / 2.0;
        let expected = f64::midpoint(2f64.ln(), columns);
        close(&info_nce(&images, &texts, &scale(1.0), &unrelated(2)), expected);
    }

    #[test]
    fn related_pairs_are_no_negatives() {
        let x = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let mask = related(&[7, 8, 9], &[3, 3, 4]);
        // The first two share a caption, so each of them has the third alone as its negative, and
        // the third has both.
        let pair = (1.0 + (-1f64).exp()).ln();
        let third = (1.0 + 2.0 * (-1f64).exp()).ln();
        close(&info_nce(&x, &x, &scale(1.0), &mask), (2.0 * pair + third) / 3.0);
        let none = related(&[7, 8, 9], &[3, 5, 4]);
        let twin = (2.0 + (-1f64).exp()).ln();
        close(&info_nce(&x, &x, &scale(1.0), &none), (2.0 * twin + third) / 3.0);
    }

    #[test]
    fn masked_places_pass_no_gradient_and_no_nan() {
        let x = rows(&[[1.0, 0.0], [0.6, 0.8]]).set_requires_grad(true);
        let scale = scale(1f64.exp()).set_requires_grad(true);
        let loss = info_nce(&x, &x.detach(), &scale, &related(&[1, 1], &[1, 2]));
        close(&loss, 0.0);
        loss.backward();
        assert_eq!(x.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
        assert_eq!(scale.grad().double_value(&[]), 0.0);
    }

    #[test]
    fn a_pair_alone_loses_nothing() {
        let x = rows(&[[0.6, 0.8]]);
        close(&info_nce(&x, &x, &scale(100.0), &unrelated(1)), 0.0);
    }

    #[test]
    fn block_by_block_it_has_value_and_gradients_of_the_whole() {
        tch::manual_seed(4);
        let (images, texts) = (random(7, 5), random(7, 5));
        for (scale, related) in [
            (scale(1.0), unrelated(7)),
            (scale(100.0), unrelated(7)),
            (scale(14.0), related(&[0, 1, 0, 3, 4, 5, 6], &[0, 1, 2, 3, 3, 3, 6])),
        ] {
            let scale = scale.set_requires_grad(true);
            let inputs = [&images, &texts, &scale];
            let threes =
                || (0..7).step_by(3).map(|start| Rows { start, count: (7 - start).min(3) });
            let whole = at_once(&images, &texts, &scale, &related);
            let parts = by_blocks(&images, &texts, &scale, &related, threes);
            alike(&parts, &whole);
            let expected = Tensor::run_backward(&[whole], &inputs, false, false);
            let got = Tensor::run_backward(&[parts], &inputs, false, false);
            got.iter().zip(&expected).for_each(|(got, expected)| alike(got, expected));
        }
    }

    #[test]
    fn negatives_that_are_handed_over_compete_with_the_positive_alone() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let negatives = rows(&[[0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]);
        // Of the first query the logits are 1 | 0, −1, 0.6, of the second 1 | 1, 0, 0.8.
        let loss =
            |others: [f64; 3]| (1f64.exp() + others.map(f64::exp).iter().sum::<f64>()).ln() - 1.0;
        let expected = f64::midpoint(loss([0.0, -1.0, 0.6]), loss([1.0, 0.0, 0.8]));
        close(&info_nce_with_negatives(&x, &x, &negatives, &scale(1.0), None), expected);
        // The same, each query with its own copy.
        let own = negatives.unsqueeze(0).repeat([2, 1, 1]);
        close(&info_nce_with_negatives(&x, &x, &own, &scale(1.0), None), expected);
    }

    #[test]
    fn an_excluded_negative_is_none() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let excluded = Tensor::from_slice(&[false, true, true, true]).view([2, 2]);
        let loss = info_nce_with_negatives(&x, &x, &x, &scale(1.0), Some(&excluded));
        // The first query has itself as its negative, the second has none.
        close(&loss, 2f64.ln() / 2.0);
    }

    #[test]
    fn negative_texts_compete_beside_those_of_the_batch_for_images_alone() {
        let x = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let wrong = rows(&[[0.6, 0.8]]);
        let nothing = Tensor::from_slice(&[false, false]).view([2, 1]);
        let loss = |texts: &Tensor, excluded: &Tensor| {
            let negatives = Negatives { texts, excluded };
            info_nce_with_negative_texts(&x, &x, &scale(1.0), &unrelated(2), negatives)
        };
        // Of the first image the logits are 1 | 0, 0.6, of the second 1 | 0, 0.8; of a text 1 | 0.
        let by_image = |other: f64| (1.0 + (-1f64).exp() + (other - 1.0).exp()).ln();
        let by_text = (1.0 + (-1f64).exp()).ln();
        let images = f64::midpoint(by_image(0.6), by_image(0.8));
        close(&loss(&wrong, &nothing), f64::midpoint(images, by_text));
        // What says the same as the first caption is no negative to its image.
        let first = Tensor::from_slice(&[true, false]).view([2, 1]);
        let images = f64::midpoint(by_text, by_image(0.8));
        close(&loss(&wrong, &first), f64::midpoint(images, by_text));
    }

    #[test]
    fn without_negative_texts_it_is_info_nce() {
        tch::manual_seed(5);
        let (images, texts) = (random(6, 4), random(6, 4));
        let related = related(&[0, 1, 0, 3, 4, 5], &[0, 1, 2, 3, 3, 5]);
        let none = Tensor::zeros([6, 0], (Kind::Bool, tch::Device::Cpu));
        let negatives = Negatives { texts: &texts.narrow(0, 0, 0), excluded: &none };
        let scale = scale(9.0);
        let got = info_nce_with_negative_texts(&images, &texts, &scale, &related, negatives);
        alike(&got, &info_nce(&images, &texts, &scale, &related));
    }

    #[test]
    fn all_are_stable_in_bf16_and_at_all_temperatures() {
        let related = related(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &[0, 1, 2, 2, 4, 5, 6, 7, 8]);
        is_stable(|a, b, scale| info_nce(a, b, scale, &related));
        is_stable(|a, b, scale| info_nce_with_negatives(a, b, &b.flip([0]), scale, None));
        let nothing = related.mask().zeros_like();
        is_stable(|a, b, scale| {
            let negatives = Negatives { texts: &b.flip([0]), excluded: &nothing };
            info_nce_with_negative_texts(a, b, scale, &related, negatives)
        });
    }
}
