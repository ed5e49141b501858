//! Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1): [`sgd`](super::sgd), but the step
//! of a matrix is a share of the matrix's own length, however long its gradient is.
//!
//! As `timm.optim.Lars` with `always_adapt`, and in contrast to the paper, the learning rate
//! multiplies the velocity, and a matrix of zeros has a ratio of 1. Where a gradient is zero we go by
//! the paper's formula, `timm` by a ratio of 1. Biases and normalizations move as in SGD.

use tch::TchError;

use super::part::Part;
use super::{sgd, trust};
use crate::recipe::{Lars, Sgd};

/// Changes `parts`, whose one memory is the velocity.
pub(super) fn step(rule: Lars, mut parts: Vec<Part>) -> Result<(), TchError> {
    for part in parts.iter_mut().filter(|part| part.change.adapts) {
        adapt(rule, part)?;
    }
    sgd::step(Sgd { momentum: rule.momentum, nesterov: false }, &parts)
}

/// `λ = η ‖p‖ / (‖g‖ + decay · ‖p‖)` (equation 6 with the decay of algorithm 1)
fn adapt(rule: Lars, part: &mut Part) -> Result<(), TchError> {
    let (length, mut gradient) = (part.tensor.f_norm()?, part.gradient.f_norm()?);
    if let Some(scale) = &part.change.scale {
        gradient = gradient.f_mul(scale)?;
    }
    let whole = gradient.f_add(&length.f_mul_scalar(part.change.decay)?)?;
    part.change.trust = Some(trust::ratio(&length.f_mul_scalar(rule.trust)?, &whole)?);
    Ok(())
}
