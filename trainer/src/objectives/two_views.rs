//! Two views of each sample, all against all: what [`super::nt_xent`] and [`super::dcl`] share.

use tch::{Kind, Tensor};

use super::blocks::{blocks, sum_over};
use super::{Related, logits, wide};

/// A logit that takes no part: its exponential is zero beside any other's, and unlike −∞ it leaves no
/// NaN where nothing takes part.
const LEFT_OUT: f64 = -1e30;

/// What the positive competes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// Itself and the negatives, as in a softmax.
    All,
    /// The negatives alone.
    Negatives,
}

/// The mean over all `2B` views of `ln Σ exp l − l⁺`, where `l⁺` is the logit of the view's other view
/// and the sum goes over `against`. `first` and `second` are normalized, `[B, D]`; `related` are the
/// samples that are no negatives to each other, in either view.
///
/// A view without negatives loses nothing. Only some rows of the matrix `[2B, 2B]` stand in memory.
pub(super) fn two_views(
    first: &Tensor,
    second: &Tensor,
    logit_scale: &Tensor,
    related: &Related,
    against: Against,
) -> Tensor {
    let samples = first.size()[0];
    let views = Tensor::cat(&[wide(first), wide(second)], 0); // [2B, D]
    let count = 2 * samples;
    let related = related.twice();
    let sum = sum_over(blocks(count, count), [&views, logit_scale], |[views, scale], rows| {
        let logits = logits(&rows.of(views), views, scale); // [R, 2B]
        let whole = (Kind::Int64, logits.device());
        let itself = Tensor::arange_start(rows.start, rows.start + rows.count, whole); // [R]
        let other_view = (itself + samples).remainder(count).unsqueeze(1); // [R, 1]
        let mut left_out = related.rows_or_nobody(rows); // [R, 2B]
        let _ = rows.own(&left_out).fill_(1);
        let _ = left_out.scatter_value_(1, &other_view, i64::from(against == Against::Negatives));
        let positive = logits.gather(1, &other_view, false).squeeze_dim(1); // [R]
        let all = logits.masked_fill(&left_out, LEFT_OUT).logsumexp(1, false); // [R]
        (all - positive).masked_fill(&left_out.all_dim(1, false), 0.0).sum(Kind::Float)
    });
    sum / count
}
