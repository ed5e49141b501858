//! Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): the decay is apart from
//! the gradient.
//!
//! The decay is multiplied by the learning rate, as `torch.optim.AdamW` has it and the paper's own
//! schedule multiplier does not.

use tch::TchError;

use super::part::{Change, Part, Scratch, cut, each};
use crate::recipe::AdamW;

/// Changes `parts`, whose memories are the gradient's mean and that of its square, in step `steps`,
/// counted from 1.
pub(super) fn step(rule: AdamW, parts: &[Part], steps: u64) -> Result<(), TchError> {
    let moments = Moments::after(rule.beta_1, rule.beta_2, steps);
    each(cut(parts)?, move |piece, room| change(rule, moments, piece, room))?;
    Ok(())
}

/// What is the same for all parameters in a step of Adam (Kingma and Ba 2015, algorithm 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// 1 - β₁
    mean: f64,
    /// 1 - β₂
    square: f64,
    /// 1 - β₁ᵗ
    pub(super) bias_1: f64,
    /// √(1 - β₂ᵗ)
    pub(super) bias_2: f64,
}

impl Moments {
    /// Those of step `steps`, counted from 1.
    pub(super) fn after(beta_1: f64, beta_2: f64, steps: u64) -> Self {
        let steps = steps as f64;
        Self {
            mean: 1.0 - beta_1,
            square: 1.0 - beta_2,
            bias_1: 1.0 - beta_1.powf(steps),
            bias_2: (1.0 - beta_2.powf(steps)).sqrt(),
        }
    }

    /// With `g` the gradient, `m` and `v` the memories: `m += (1 - β₁)(g - m)`,
    /// `v += (1 - β₂)(g² - v)`.
    pub(super) fn follow(self, piece: &mut Part, room: &Scratch) -> Result<(), TchError> {
        let scratch = &room[0];
        let gradient = match &piece.change.scale {
            Some(scale) => piece.gradient.f_mul_out(scratch, scale)?,
            None => piece.gradient.shallow_clone(),
        };
        let _ = piece.memories[0].f_lerp_(&gradient, self.mean)?;
        let _ = gradient.f_mul_out(scratch, &gradient)?;
        let _ = piece.memories[1].f_lerp_(scratch, self.square)?;
        Ok(())
    }
}

/// `p -= rate · (m / bias₁) / (√v / bias₂ + ε)`, after the decay.
fn change(rule: AdamW, moments: Moments, mut piece: Part, room: &Scratch) -> Result<(), TchError> {
    moments.follow(&mut piece, room)?;
    let Change { rate, decay, .. } = piece.change;
    if rate == 0.0 {
        return Ok(());
    }
    if decay != 0.0 {
        let _ = piece.tensor.f_mul_scalar_(1.0 - rate * decay)?;
    }
    let mut scratch = piece.memories[1].f_sqrt_out(&room[0])?;
    let _ = scratch.f_add_scalar_(rule.epsilon * moments.bias_2)?;
    let _ = scratch.f_mul_scalar_(-moments.bias_1 / (rate * moments.bias_2))?;
    let _ = piece.tensor.f_addcdiv_(&piece.memories[0], &scratch)?;
    Ok(())
}
