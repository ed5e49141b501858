//! Layer-wise adaptive moments (You et al. 2020, algorithm 2): Adam, but the step of a matrix is as
//! long as the learning rate says of the matrix's own length.
//!
//! As `timm.optim.Lamb` with `always_adapt`: the paper's φ is the identity, there is no limit to the
//! ratio, and a matrix of zeros has a ratio of 1. Biases and normalizations move as in Adam. Limits
//! to the gradients' norm are the recipe's `grad_clip`, not a part of this.

use tch::{Kind, TchError, Tensor};

use super::adamw::Moments;
use super::part::{Part, Scratch, cut, each};
use super::trust;
use crate::recipe::Lamb;

/// Changes `parts`, whose memories are the gradient's mean and that of its square, in step `steps`,
/// counted from 1.
///
/// Lengths are those of whole matrices, so the pieces are gone through twice: the direction is
/// computed again the second time, which costs less than to keep it.
pub(super) fn step(rule: Lamb, mut parts: Vec<Part>, steps: u64) -> Result<(), TchError> {
    let moments = Moments::after(rule.beta_1, rule.beta_2, steps);
    let mut lengths = each(cut(&parts)?, move |mut piece, room| {
        moments.follow(&mut piece, room)?;
        lengths(rule, moments, &piece, room)
    })?
    .into_iter();
    for part in &mut parts {
        let of_pieces: Vec<Tensor> = lengths.by_ref().take(part.count()).flatten().collect();
        if !of_pieces.is_empty() {
            part.change.trust = Some(whole(&of_pieces)?);
        }
    }
    each(cut(&parts)?, move |piece, room| change(rule, moments, piece, room))?;
    Ok(())
}

/// `(m / bias₁) / (√v / bias₂ + ε) + decay · p`, into the first room.
fn direction(
    rule: Lamb,
    moments: Moments,
    piece: &Part,
    [direction, spare]: &Scratch,
) -> Result<Tensor, TchError> {
    let Moments { bias_1, bias_2, .. } = moments;
    let mut under = piece.memories[1].f_sqrt_out(direction)?;
    let _ = under.f_mul_scalar_(bias_1 / bias_2)?;
    let _ = under.f_add_scalar_(rule.epsilon * bias_1)?;
    let mut direction = piece.memories[0].f_div_out(direction, &under)?;
    if piece.change.decay != 0.0 {
        let _ = direction.f_add_(&piece.tensor.f_mul_scalar_out(spare, piece.change.decay)?)?;
    }
    Ok(direction)
}

/// Lengths of a piece of a matrix and of its direction: `[2]`; of others none.
fn lengths(
    rule: Lamb,
    moments: Moments,
    piece: &Part,
    room: &Scratch,
) -> Result<Option<Tensor>, TchError> {
    if !piece.change.adapts {
        return Ok(None);
    }
    let direction = direction(rule, moments, piece, room)?;
    Tensor::f_stack(&[piece.tensor.f_norm()?, direction.f_norm()?], 0).map(Some)
}

/// The trust ratio of a matrix by the lengths of its pieces.
fn whole(of_pieces: &[Tensor]) -> Result<Tensor, TchError> {
    let lengths = Tensor::f_stack(of_pieces, 0)?.f_to_kind(Kind::Double)?; // [pieces, 2]
    let lengths = lengths.f_norm_scalaropt_dim(2, [0i64].as_slice(), false)?; // [2]
    trust::ratio(&lengths.f_select(0, 0)?, &lengths.f_select(0, 1)?)
}

/// `p -= rate · trust · direction`
fn change(rule: Lamb, moments: Moments, mut piece: Part, room: &Scratch) -> Result<(), TchError> {
    if piece.change.rate == 0.0 {
        return Ok(());
    }
    let mut direction = direction(rule, moments, &piece, room)?;
    if let Some(trust) = &piece.change.trust {
        let _ = direction.f_mul_(trust)?;
    }
    let _ = direction.f_mul_scalar_(-piece.change.rate)?;
    let _ = piece.tensor.f_add_(&direction)?;
    Ok(())
}
