//! The minimum of a smooth, strictly convex function, by L-BFGS.
//!
//! Our own rather than a crate's: it is two loops over tensors that libtorch multiplies on all cores,
//! where the crates that are kept want vectors of their own in plain Rust.

use std::collections::VecDeque;

use tch::{TchError, Tensor};

/// Steps that the curvature is estimated from, as in scipy's `L-BFGS-B`.
const REMEMBERED: usize = 10;

/// Share of the slope that a step has to gain (Nocedal and Wright 2006, equation 3.4).
const GAIN: f64 = 1e-4;

/// Halvings of a step before rounding is taken to be all that is left of the slope.
const HALVINGS: usize = 40;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// The gradient's largest number.
    pub gradient: f64,
    /// Steps.
    pub steps: usize,
}

/// Where the descent ended.
#[derive(Debug)]
pub struct Minimum {
    /// The place, of the shape of the start.
    pub at: Tensor,
    /// The function there.
    pub value: f64,
    /// The gradient's largest number there.
    pub gradient: f64,
    /// Steps made.
    pub steps: usize,
}

/// A step that was made, and how the gradient changed by it.
struct Step {
    step: Tensor,
    change: Tensor,
    /// 1 / (step · change)
    inverse: f64,
}

/// Descends from `start` (Nocedal and Wright 2006, algorithm 7.5); `function` answers its value and
/// its gradient, f64.
///
/// A step is halved until it gains enough. The condition on the slope after it, by which others keep
/// the curvature positive, is not asked for: of a strictly convex function it always is.
///
/// # Errors
/// Those of `function`.
pub fn minimize(
    start: &Tensor,
    until: Until,
    mut function: impl FnMut(&Tensor) -> Result<(f64, Tensor), TchError>,
) -> Result<Minimum, TchError> {
    let mut at = start.shallow_clone();
    let (mut value, mut gradient) = function(&at)?;
    let mut remembered: VecDeque<Step> = VecDeque::with_capacity(REMEMBERED);
    let mut steps = 0;
    while steps < until.steps && largest(&gradient)? > until.gradient {
        let direction = direction(&remembered, &gradient)?;
        let slope = dot(&direction, &gradient)?;
        let first = if remembered.is_empty() {
            (1.0 / dot(&gradient, &gradient)?.sqrt()).min(1.0)
        } else {
            1.0
        };
        let Some((length, next)) = search((&at, value), &direction, (first, slope), &mut function)?
        else {
            break;
        };
        let step = direction.f_mul_scalar(length)?;
        let change = next.1.f_sub(&gradient)?;
        let curvature = dot(&step, &change)?;
        at = at.f_add(&step)?;
        (value, gradient) = next;
        steps += 1;
        if curvature > 0.0 {
            if remembered.len() == REMEMBERED {
                remembered.pop_front();
            }
            remembered.push_back(Step { step, change, inverse: 1.0 / curvature });
        }
    }
    let gradient = largest(&gradient)?;
    Ok(Minimum { at, value, gradient, steps })
}

type Evaluated = (f64, Tensor);

/// The first of `length`, its half, its quarter, … that gains enough along `direction`, and what the
/// function is there; none where none does.
fn search(
    (at, value): (&Tensor, f64),
    direction: &Tensor,
    (mut length, slope): (f64, f64),
    function: &mut impl FnMut(&Tensor) -> Result<Evaluated, TchError>,
) -> Result<Option<(f64, Evaluated)>, TchError> {
    for _ in 0..HALVINGS {
        let found = function(&at.f_add(&direction.f_mul_scalar(length)?)?)?;
        if found.0 <= value + GAIN * length * slope {
            return Ok(Some((length, found)));
        }
        length /= 2.0;
    }
    Ok(None)
}

/// Downhill, as far as the remembered curvature says (Nocedal and Wright 2006, algorithm 7.4).
fn direction(remembered: &VecDeque<Step>, gradient: &Tensor) -> Result<Tensor, TchError> {
    let mut direction = gradient.f_neg()?;
    let mut shares = Vec::with_capacity(remembered.len());
    for past in remembered.iter().rev() {
        let share = past.inverse * dot(&past.step, &direction)?;
        direction = direction.f_sub(&past.change.f_mul_scalar(share)?)?;
        shares.push(share);
    }
    if let Some(last) = remembered.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change)?);
        direction = direction.f_mul_scalar(scale)?;
    }
    for (past, share) in remembered.iter().zip(shares.into_iter().rev()) {
        let back = past.inverse * dot(&past.change, &direction)?;
        direction = direction.f_add(&past.step.f_mul_scalar(share - back)?)?;
    }
    Ok(direction)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    a.f_flatten(0, -1)?.f_dot(&b.f_flatten(0, -1)?)?.f_double_value(&[])
}

fn largest(gradient: &Tensor) -> Result<f64, TchError> {
    gradient.f_abs()?.f_max()?.f_double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    const UNTIL: Until = Until { gradient: 1e-9, steps: 200 };

    #[test]
    fn an_ill_conditioned_bowl_has_its_bottom_where_it_should() {
        // Σ a_i (x_i - b_i)² / 2, with a from 1 to 10,000.
        let a = Tensor::from_slice(&[1.0f64, 10.0, 100.0, 1e3, 1e4]);
        let b = Tensor::from_slice(&[3.0f64, -1.0, 0.5, 2.0, -7.0]);
        let bowl = |x: &Tensor| {
            let away = x - &b;
            Ok(((&a * &away * &away).sum(Kind::Double).double_value(&[]) / 2.0, &a * &away))
        };
        let found = minimize(&b.zeros_like(), UNTIL, bowl).unwrap();
        assert!((&found.at - &b).abs().max().double_value(&[]) < 1e-8, "{found:?}");
        assert!(found.value < 1e-12 && found.gradient < 1e-9 && found.steps < 100, "{found:?}");
    }

    #[test]
    fn steps_that_overshoot_are_halved() {
        // ln cosh x: nearly straight far out, where the first curvature is far too small.
        let valley = |x: &Tensor| {
            let value: Tensor = x.cosh().log() + x.square() * 0.001;
            Ok((value.sum(Kind::Double).double_value(&[]), x.tanh() + x * 0.002))
        };
        let start = Tensor::from_slice(&[12.0f64, -9.0]);
        let found = minimize(&start, UNTIL, valley).unwrap();
        assert!(found.at.abs().max().double_value(&[]) < 1e-8, "{found:?}");
    }

    #[test]
    fn the_bottom_itself_and_a_limit_of_steps_end_it() {
        let bowl =
            |x: &Tensor| Ok(((x * x).sum(Kind::Double).double_value(&[]) / 2.0, x.shallow_clone()));
        let at = |x: f64, steps| {
            minimize(&Tensor::from_slice(&[x]), Until { steps, ..UNTIL }, bowl).unwrap()
        };
        assert_eq!(at(0.0, 9).steps, 0);
        assert_eq!(at(5.0, 0).steps, 0);
        assert!(at(5.0, 9).steps <= 9);
    }
}
