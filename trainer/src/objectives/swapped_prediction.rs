//! Swapped prediction (`SwAV`): each view of a picture foretells to which prototypes another view of it
//! belongs, where all prototypes are given an equal share of the batch.

use tch::{Kind, Tensor};

use super::wide;

/// How views are shared out among prototypes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharing {
    /// How evenly a view may be shared out: ε of Caron et al. 2020, equation 3. Near 0 each view goes to
    /// one prototype.
    pub epsilon: f64,
    /// Rounds of scaling rows and columns.
    pub iterations: usize,
}

/// Shares of views in prototypes, by Sinkhorn's algorithm (Cuturi 2013; Caron et al. 2020, equation 5).
///
/// `scores` `[B, K]` are cosines of views with prototypes. Answers `[B, K]` in f32, without gradients:
/// rows sum to one, and columns to B / K as far as so many rounds bring them.
///
/// Worked out with logarithms, so that no ε is too small.
pub fn sinkhorn(scores: &Tensor, how: Sharing) -> Tensor {
    tch::no_grad(|| {
        let mut shares = wide(scores) / how.epsilon; // [B, K], logs
        for _ in 0..how.iterations {
            shares = &shares - shares.logsumexp(0, true);
            shares = &shares - shares.logsumexp(1, true);
        }
        shares.softmax(1, Kind::Float)
    })
}

/// The mean over all ordered pairs of a view that is shared out and another one of the cross-entropy
/// between the shares of the first and the softmax of the second (Caron et al. 2020, equations 1 and 2,
/// and section 3.3 for small views).
///
/// `scores` has a tensor `[B, K]` for each view: cosines with the prototypes. The first `whole` views
/// are shared out; those behind them, which show less of a picture, only foretell. Answers a scalar in
/// f32, about ln K by chance.
///
/// # Panics
/// When there are fewer than two views or no whole one, or the shapes do not fit.
pub fn swapped_prediction(
    scores: &[Tensor],
    whole: usize,
    temperature: f64,
    how: Sharing,
) -> Tensor {
    assert!(scores.len() > 1 && whole > 0, "a view foretells another, whole one");
    let foretold: Vec<Tensor> =
        scores.iter().map(|s| (wide(s) / temperature).log_softmax(1, Kind::Float)).collect();
    let mut losses = Vec::new();
    for (which, view) in scores.iter().enumerate().take(whole) {
        let shares = sinkhorn(view, how); // [B, K]
        for (_, other) in foretold.iter().enumerate().filter(|(other, _)| *other != which) {
            let cross = (&shares * other).sum_dim_intlist(1, false, Kind::Float); // [B]
            losses.push(-cross.mean(Kind::Float));
        }
    }
    Tensor::stack(&losses, 0).mean(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{close, is_stable, rows};

    const HOW: Sharing = Sharing { epsilon: 0.05, iterations: 3 };

    #[test]
    fn prototypes_get_equal_shares_even_where_all_views_prefer_one() {
        let scores = rows(&[[0.9, 0.1], [0.8, 0.1], [0.7, 0.1], [0.6, 0.1]]);
        let shares = sinkhorn(&scores, Sharing { iterations: 50, ..HOW });
        let by_prototype = shares.sum_dim_intlist(0, false, Kind::Float);
        by_prototype.iter::<f64>().unwrap().for_each(|sum| assert!((sum - 2.0).abs() < 1e-3));
        close(&(shares.sum_dim_intlist(1, false, Kind::Float) - 1.0).abs().max(), 0.0);
        // Those that prefer it most get it.
        assert!(shares.double_value(&[0, 0]) > 0.95 && shares.double_value(&[3, 0]) < 0.05);
    }

    #[test]
    fn views_that_are_alike_and_clear_lose_little_and_others_ln_k() {
        let clear = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let views = [clear.shallow_clone(), clear.shallow_clone()];
        // Shares are 1 and 0 but for e⁻²⁰; each foretells with a softmax of 10 and 0.
        close(&swapped_prediction(&views, 2, 0.1, HOW), (1.0 + (-10f64).exp()).ln());
        let nothing = [clear, rows(&[[0.5, 0.5], [0.5, 0.5]])];
        // The first is foretold by halves; the second, shared out by halves, by 10 and 0.
        let by_halves =
            f64::midpoint((1.0 + (-10f64).exp()).ln(), 10.0 + (1.0 + (-10f64).exp()).ln());
        close(&swapped_prediction(&nothing, 2, 0.1, HOW), f64::midpoint(2f64.ln(), by_halves));
    }

    #[test]
    fn small_views_foretell_and_are_not_foretold() {
        let whole = rows(&[[1.0, 0.0], [0.0, 1.0]]).set_requires_grad(true);
        let small = rows(&[[0.0, 1.0], [1.0, 0.0]]).set_requires_grad(true);
        let views = [whole.shallow_clone(), small.shallow_clone()];
        swapped_prediction(&views, 1, 0.1, HOW).backward();
        assert!(small.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
        assert!(!whole.grad().defined());
    }

    #[test]
    fn it_is_stable_in_bf16_and_at_small_epsilon() {
        let how = Sharing { epsilon: 1e-3, iterations: 3 };
        is_stable(|a, b, _| {
            swapped_prediction(&[a.shallow_clone(), b.shallow_clone()], 2, 0.1, how)
        });
    }
}
