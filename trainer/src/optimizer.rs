//! [`AdamW`] over named tensors, with a state that can be saved and put back.
//!
//! libtorch's own optimizers do not let their state out, and a run that cannot put it back does not
//! resume exactly.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

/// A tensor that is learned, and how fast.
#[derive(Debug)]
pub struct Parameter {
    /// Its name among the weights.
    pub name: String,
    /// The leaf itself; shares its storage with the weights.
    pub tensor: Tensor,
    /// Step size at the top of the schedule.
    pub learning_rate: f64,
    /// Whether weight decay pulls it to zero.
    pub decays: bool,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): the decay is apart from the gradient.
///
/// The decay is multiplied by the learning rate, as `torch.optim` has it and the paper's own schedule
/// multiplier does not.
#[derive(Debug)]
pub struct AdamW {
    /// Memory of the gradient's mean.
    pub beta_1: f64,
    /// Memory of its square.
    pub beta_2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Strength of the decay.
    pub weight_decay: f64,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
}

/// The saved state does not belong to these parameters.
#[derive(Debug, thiserror::Error)]
#[error("the optimizer's saved state lacks {name}, or holds it in another shape")]
pub struct StateError {
    /// The parameter.
    pub name: String,
}

impl AdamW {
    /// An optimizer that has made no step.
    ///
    /// The betas and epsilon are the defaults of `torch.optim.AdamW`, but for `beta_2`, which is 0.98 as in
    /// Radford et al. 2021, table 18.
    #[must_use]
    pub fn new(weight_decay: f64) -> Self {
        let moments = BTreeMap::new();
        Self { beta_1: 0.9, beta_2: 0.98, epsilon: 1e-8, weight_decay, steps: 0, moments }
    }

    /// Changes `parameters` by their `gradients`, at `schedule` (0 to 1) times their learning rates.
    ///
    /// A parameter without a gradient stays as it is.
    ///
    /// # Errors
    /// libtorch's, for gradients of other parameters; some of them may have changed by then.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &Gradients,
        schedule: f64,
    ) -> Result<(), TchError> {
        self.steps += 1;
        let mut pieces = Vec::new();
        for (p, gradient) in parameters.iter().zip(&gradients.tensors) {
            if !gradient.defined() {
                continue;
            }
            let m = self.moments.entry(p.name.clone()).or_insert_with(|| Moments {
                first: p.tensor.zeros_like(),
                second: p.tensor.zeros_like(),
            });
            let rate = p.learning_rate * schedule;
            let decay = if p.decays { rate * self.weight_decay } else { 0.0 };
            let tensors = [&p.tensor.detach(), &m.first, &m.second, gradient];
            cut(&mut pieces, tensors, &Change { rate, decay, scale: gradients.scale() })?;
        }
        let moved = Moved::after(self);
        let share = pieces.len().div_ceil(threads(&pieces)).max(1);
        std::thread::scope(|scope| {
            let mut working = Vec::new();
            while !pieces.is_empty() {
                let rest = pieces.split_off(share.min(pieces.len()));
                let mine = std::mem::replace(&mut pieces, rest);
                working.push(scope.spawn(move || moved.all(mine)));
            }
            working.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    /// Steps made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that a later process needs to go on: `first.NAME` and `second.NAME` for each parameter, as
    /// they are until the next step.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, m) in &self.moments {
            state.insert(format!("first.{name}"), m.first.shallow_clone());
            state.insert(format!("second.{name}"), m.second.shallow_clone());
        }
        state
    }

    /// Puts back what [`AdamW::state`] gave after `steps` steps.
    ///
    /// # Errors
    /// [`StateError`] when a parameter's moments are absent or of another shape.
    pub fn restore(
        &mut self,
        steps: u64,
        mut state: BTreeMap<String, Tensor>,
        parameters: &[Parameter],
    ) -> Result<(), StateError> {
        let mut moments = BTreeMap::new();
        for p in parameters {
            let mut take = |kind: &str| {
                state
                    .remove(&format!("{kind}.{}", p.name))
                    .filter(|t| t.size() == p.tensor.size())
                    .map(|t| t.to_device(p.tensor.device()))
                    .ok_or_else(|| StateError { name: p.name.clone() })
            };
            let both = Moments { first: take("first")?, second: take("second")? };
            moments.insert(p.name.clone(), both);
        }
        (self.steps, self.moments) = (steps, moments);
        Ok(())
    }
}

/// What a loss says of parameters, in their order. Nothing of it is read, so a GPU computes on.
#[derive(Debug)]
pub struct Gradients {
    /// Undefined where the loss does not depend on the parameter.
    tensors: Vec<Tensor>,
    /// Their common norm: a scalar, f64, on their device.
    pub norm: Tensor,
    /// What a step multiplies them by, likewise.
    scale: Option<Tensor>,
}

impl Gradients {
    /// The gradients of `loss`; where their common norm is above `max_norm` (0 for no limit), a step
    /// takes them scaled down to it (Pascanu et al. 2013, algorithm 1).
    ///
    /// # Errors
    /// libtorch's, where the loss depends on nothing that is learned.
    pub fn of(loss: &Tensor, parameters: &[Parameter], max_norm: f64) -> Result<Self, TchError> {
        let leaves: Vec<&Tensor> = parameters.iter().map(|p| &p.tensor).collect();
        let tensors = Tensor::f_run_backward(&[loss], &leaves, false, false)?;
        let defined = tensors.iter().filter(|gradient| gradient.defined());
        let norms = defined.map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
        let norm = if norms.is_empty() {
            Tensor::from(0f64)
        } else {
            Tensor::f_stack(&norms, 0)?.f_to_kind(Kind::Double)?.f_norm()?
        };
        let limited = || norm.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0);
        let scale = if max_norm > 0.0 { Some(limited()?) } else { None };
        Ok(Self { tensors, norm, scale })
    }

    fn scale(&self) -> Option<Tensor> {
        self.scale.as_ref().map(Tensor::shallow_clone)
    }
}

/// Numbers of a parameter that a thread takes at a time on a CPU: with moments and gradient they
/// stay in its cache from the first of a dozen passes to the last, so that a step costs memory no
/// more than one pass.
const PIECE: i64 = 1 << 15;

/// The same place of a parameter, its moments and its gradient.
struct Piece {
    tensor: Tensor,
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    change: Change,
}

/// How much a parameter changes in this step.
struct Change {
    rate: f64,
    decay: f64,
    /// What its gradient is multiplied by, a scalar tensor.
    scale: Option<Tensor>,
}

impl Change {
    fn share(&self) -> Self {
        Self { scale: self.scale.as_ref().map(Tensor::shallow_clone), ..*self }
    }
}

/// Cuts a parameter, its moments and its gradient into pieces; on a GPU it stays whole.
fn cut(pieces: &mut Vec<Piece>, all: [&Tensor; 4], change: &Change) -> Result<(), TchError> {
    let [tensor, first, second] = [all[0], all[1], all[2]].map(|t| t.f_view([-1]));
    let (tensor, first, second, gradient) = (tensor?, first?, second?, all[3].f_reshape([-1])?);
    let (total, mut start) = (tensor.size1()?, 0);
    let step = if tensor.device() == Device::Cpu { PIECE } else { total };
    while start < total {
        let part = |whole: &Tensor| whole.f_narrow(0, start, step.min(total - start));
        pieces.push(Piece {
            tensor: part(&tensor)?,
            first: part(&first)?,
            second: part(&second)?,
            gradient: part(&gradient)?,
            change: change.share(),
        });
        start += step;
    }
    Ok(())
}

/// As many as libtorch uses on a CPU; a GPU is fed by one.
fn threads(pieces: &[Piece]) -> usize {
    match pieces.first() {
        Some(piece) if piece.tensor.device() == Device::Cpu => {
            usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
        }
        _ => 1,
    }
}

/// What is the same for all parameters in a step.
#[derive(Debug, Clone, Copy)]
struct Moved {
    mean: f64,
    square: f64,
    /// 1 - β₁ᵗ
    bias_1: f64,
    /// √(1 - β₂ᵗ)
    bias_2: f64,
    epsilon: f64,
}

impl Moved {
    fn after(optimizer: &AdamW) -> Self {
        let steps = optimizer.steps as f64;
        Self {
            mean: 1.0 - optimizer.beta_1,
            square: 1.0 - optimizer.beta_2,
            bias_1: 1.0 - optimizer.beta_1.powf(steps),
            bias_2: (1.0 - optimizer.beta_2.powf(steps)).sqrt(),
            epsilon: optimizer.epsilon,
        }
    }

    fn all(self, pieces: Vec<Piece>) -> Result<(), TchError> {
        tch::no_grad(|| {
            let Some(longest) = pieces.iter().max_by_key(|piece| piece.tensor.numel()) else {
                return Ok(());
            };
            let scratch = longest.tensor.f_empty_like()?;
            pieces.into_iter().try_for_each(|piece| self.one(piece, &scratch))
        })
    }

    /// With `g` the gradient, `m` and `v` the moments: `m += (1 - β₁)(g - m)`,
    /// `v += (1 - β₂)(g² - v)`, `p -= rate · (m / bias₁) / (√v / bias₂ + ε)`.
    fn one(self, mut piece: Piece, scratch: &Tensor) -> Result<(), TchError> {
        let Change { rate, decay, scale } = piece.change;
        let mut scratch = scratch.f_narrow(0, 0, piece.tensor.size1()?)?;
        let gradient = match scale {
            Some(scale) => piece.gradient.f_mul_out(&scratch, &scale)?,
            None => piece.gradient,
        };
        let _ = piece.first.f_lerp_(&gradient, self.mean)?;
        let _ = gradient.f_mul_out(&scratch, &gradient)?;
        let _ = piece.second.f_lerp_(&scratch, self.square)?;
        if rate == 0.0 {
            return Ok(());
        }
        if decay != 0.0 {
            let _ = piece.tensor.f_mul_scalar_(1.0 - decay)?;
        }
        let _ = piece.second.f_sqrt_out(&scratch)?;
        let _ = scratch.f_add_scalar_(self.epsilon * self.bias_2)?;
        let _ = scratch.f_mul_scalar_(-self.bias_1 / (rate * self.bias_2))?;
        let _ = piece.tensor.f_addcdiv_(&piece.first, &scratch)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32], decays: bool) -> Parameter {
        let tensor = Tensor::from_slice(values).set_requires_grad(true);
        Parameter { name: "p".to_owned(), tensor, learning_rate: 0.1, decays }
    }

    /// Of `sum(c * p)`: `c`.
    fn gradients(p: &Parameter, c: &[f32], max_norm: f64) -> Gradients {
        let loss = (&p.tensor * Tensor::from_slice(c)).sum(Kind::Float);
        Gradients::of(&loss, std::slice::from_ref(p), max_norm).unwrap()
    }

    /// One step down `sum(c * p)`, whose gradient is `c`.
    fn descend(optimizer: &mut AdamW, p: &Parameter, c: &[f32]) {
        let gradients = gradients(p, c, 0.0);
        optimizer.step(std::slice::from_ref(p), &gradients, 1.0).unwrap();
    }

    fn values(p: &Parameter) -> Vec<f32> {
        Vec::<f32>::try_from(p.tensor.detach()).unwrap()
    }

    #[test]
    fn the_first_step_is_the_learning_rate_whatever_the_gradient() {
        let p = parameter(&[1.0, 1.0, 1.0], false);
        descend(&mut AdamW::new(0.5), &p, &[3.0, -0.01, 0.0]);
        for (got, expected) in values(&p).iter().zip([0.9, 1.1, 1.0]) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }

    #[test]
    fn two_steps_equal_the_formula_worked_out_by_hand() {
        let p = parameter(&[1.0], false);
        let mut optimizer = AdamW::new(0.0);
        descend(&mut optimizer, &p, &[1.0]);
        descend(&mut optimizer, &p, &[-2.0]);
        // m = 0.9 * 0.1 - 0.2 = -0.11, over 0.19; v = 0.98 * 0.02 + 0.08 = 0.0996, over 0.0396.
        let second = 0.1 * (-0.11 / 0.19) / (0.0996f64 / 0.0396).sqrt();
        assert!((f64::from(values(&p)[0]) - (0.9 - second)).abs() < 1e-6);
    }

    #[test]
    fn decay_is_apart_from_the_gradient() {
        let p = parameter(&[2.0], true);
        descend(&mut AdamW::new(0.5), &p, &[0.0]);
        assert!((values(&p)[0] - 2.0 * (1.0 - 0.1 * 0.5)).abs() < 1e-6);
    }

    #[test]
    fn a_restored_state_goes_on_as_if_never_stopped() {
        let run = |stop: bool| {
            let p = parameter(&[1.0, -1.0], true);
            let mut optimizer = AdamW::new(0.1);
            descend(&mut optimizer, &p, &[1.0, 2.0]);
            if stop {
                let (steps, state) = (optimizer.steps(), optimizer.state());
                optimizer = AdamW::new(0.1);
                optimizer.restore(steps, state, std::slice::from_ref(&p)).unwrap();
            }
            descend(&mut optimizer, &p, &[-1.0, 0.5]);
            values(&p)
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let p = parameter(&[1.0, -1.0], true);
        let state = BTreeMap::from([
            ("first.p".to_owned(), Tensor::from_slice(&[1f32])),
            ("second.p".to_owned(), Tensor::from_slice(&[1f32])),
        ]);
        let error = AdamW::new(0.1).restore(1, state, std::slice::from_ref(&p)).unwrap_err();
        assert!(error.to_string().contains("lacks p"));
    }

    #[test]
    fn clipping_scales_to_the_limit_and_tells_the_norm_before() {
        let p = parameter(&[0.0, 0.0], false);
        for (max_norm, scale) in [(0.0, 1.0), (10.0, 1.0), (1.0, 0.2)] {
            let gradients = gradients(&p, &[3.0, 4.0], max_norm);
            assert!((gradients.norm.double_value(&[]) - 5.0).abs() < 1e-6);
            let found = gradients.scale().map_or(1.0, |found| found.double_value(&[]));
            assert!((found - scale).abs() < 1e-9);
        }
    }

    #[test]
    fn a_clipped_gradient_moves_the_moments_by_its_scaled_self() {
        let p = parameter(&[0.0, 0.0], false);
        let mut optimizer = AdamW::new(0.0);
        let gradients = gradients(&p, &[3.0, 4.0], 1.0);
        optimizer.step(std::slice::from_ref(&p), &gradients, 1.0).unwrap();
        let first = Vec::<f32>::try_from(&optimizer.state()["first.p"]).unwrap();
        assert!((first[0] - 0.06).abs() < 1e-6 && (first[1] - 0.08).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn a_parameter_of_many_pieces_moves_as_one_of_few_does() {
        let many = usize::try_from(3 * PIECE + 7).unwrap();
        let (large, small) = (parameter(&vec![1.0; many], true), parameter(&[1.0], true));
        let (mut a, mut b) = (AdamW::new(0.1), AdamW::new(0.1));
        for c in [0.5, -2.0] {
            descend(&mut a, &large, &vec![c; many]);
            descend(&mut b, &small, &[c]);
        }
        let expected = values(&small)[0];
        assert!(values(&large).iter().all(|&value| value == expected));
    }

    #[test]
    fn a_parameter_that_the_loss_does_not_know_stays_as_it_is() {
        let (known, unknown) = (parameter(&[1.0], true), parameter(&[1.0], true));
        let loss = (&known.tensor * 2.0).sum(Kind::Float);
        let both = [known, Parameter { name: "q".to_owned(), ..unknown }];
        let gradients = Gradients::of(&loss, &both, 0.0).unwrap();
        AdamW::new(0.1).step(&both, &gradients, 1.0).unwrap();
        assert!(values(&both[0])[0] < 1.0 && values(&both[1]) == [1.0]);
    }
}
