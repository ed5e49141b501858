//! Gradient descent with momentum, as `torch.optim.SGD` has it.
//!
//! The learning rate multiplies the velocity, not what enters it, so that a rate that falls slows
//! down at once (unlike Sutskever et al. 2013); the weight decay is added to the gradient.

use tch::TchError;

use super::part::{Change, Part, Scratch, cut, each};
use crate::recipe::Sgd;

/// What is remembered of a parameter: without a momentum nothing.
pub(super) fn memories(momentum: f64) -> &'static [&'static str] {
    if momentum == 0.0 { &[] } else { &["momentum"] }
}

/// Changes `parts`, whose one memory is the velocity.
pub(super) fn step(rule: Sgd, parts: &[Part]) -> Result<(), TchError> {
    each(cut(parts)?, move |piece, room| change(rule, piece, room))?;
    Ok(())
}

/// With `g` the gradient, `t` the trust ratio (1 but in LARS) and `v` the velocity:
/// `d = t (g + decay · p)`, `v = μ v + d`, `p -= rate · v`, or `rate · (d + μ v)` for Nesterov's.
fn change(rule: Sgd, mut piece: Part, [direction, spare]: &Scratch) -> Result<(), TchError> {
    let mut direction = direction.shallow_clone();
    piece.scaled_gradient(&direction)?;
    let Change { rate, decay, .. } = piece.change;
    if decay != 0.0 {
        let _ = direction.f_add_(&piece.tensor.f_mul_scalar_out(spare, decay)?)?;
    }
    if let Some(trust) = &piece.change.trust {
        let _ = direction.f_mul_(trust)?;
    }
    if let Some(velocity) = piece.memories.first_mut() {
        let _ = velocity.f_mul_scalar_(rule.momentum)?;
        let _ = velocity.f_add_(&direction)?;
        if rule.nesterov {
            let _ = direction.f_add_(&velocity.f_mul_scalar_out(spare, rule.momentum)?)?;
        } else {
            direction.f_copy_(velocity)?;
        }
    }
    if rate != 0.0 {
        let _ = direction.f_mul_scalar_(-rate)?;
        let _ = piece.tensor.f_add_(&direction)?;
    }
    Ok(())
}
