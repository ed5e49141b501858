//! The trust ratio: how long the step of a matrix is beside the matrix itself.

use tch::{TchError, Tensor};

/// `length / other`, and 1 where either is not above zero: what starts at zero has to get away from
/// there. All are scalar tensors and none is read.
pub(super) fn ratio(length: &Tensor, other: &Tensor) -> Result<Tensor, TchError> {
    let both = length.f_gt(0.0)?.f_logical_and(&other.f_gt(0.0)?)?;
    length.f_div(other)?.f_where_self(&both, &length.f_ones_like()?)
}
