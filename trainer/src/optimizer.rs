//! [`AdamW`] over named tensors, with a state that can be saved and put back.
//!
//! libtorch's own optimizers do not let their state out, and a run that cannot put it back does not
//! resume exactly.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

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

    /// Changes `parameters` by their gradients, at `schedule` (0 to 1) times their learning rates.
    ///
    /// A parameter without a gradient stays as it is.
    pub fn step(&mut self, parameters: &[Parameter], schedule: f64) {
        self.steps += 1;
        let steps = self.steps as f64;
        let bias_1 = 1.0 - self.beta_1.powf(steps);
        let bias_2 = 1.0 - self.beta_2.powf(steps);
        tch::no_grad(|| {
            for p in parameters {
                let gradient = p.tensor.grad();
                if !gradient.defined() {
                    continue;
                }
                let rate = p.learning_rate * schedule;
                let mut tensor = p.tensor.shallow_clone();
                if p.decays {
                    let _ = tensor.g_mul_scalar_(1.0 - rate * self.weight_decay);
                }
                let m = self.moments.entry(p.name.clone()).or_insert_with(|| Moments {
                    first: p.tensor.zeros_like(),
                    second: p.tensor.zeros_like(),
                });
                m.first = &m.first * self.beta_1 + &gradient * (1.0 - self.beta_1);
                m.second = &m.second * self.beta_2 + gradient.square() * (1.0 - self.beta_2);
                let spread = (&m.second / bias_2).sqrt() + self.epsilon;
                let _ = tensor.g_sub_(&((&m.first / bias_1) / spread * rate));
            }
        });
    }

    /// Steps made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that a later process needs to go on: `first.NAME` and `second.NAME` for each parameter.
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
                    .ok_or_else(|| StateError { name: p.name.clone() })
            };
            let both = Moments { first: take("first")?, second: take("second")? };
            moments.insert(p.name.clone(), both);
        }
        (self.steps, self.moments) = (steps, moments);
        Ok(())
    }
}

/// Scales all gradients so that their common norm is at most `max_norm` (0 for no limit), and
/// answers the norm before (Pascanu et al. 2013, algorithm 1).
pub fn clip_gradients(parameters: &[Parameter], max_norm: f64) -> f64 {
    tch::no_grad(|| {
        let gradients: Vec<Tensor> =
            parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined).collect();
        let squares: f64 =
            gradients.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum();
        let norm = squares.sqrt();
        if max_norm > 0.0 && norm > max_norm {
            for mut gradient in gradients {
                let _ = gradient.g_mul_scalar_(max_norm / norm);
            }
        }
        norm
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32], decays: bool) -> Parameter {
        let tensor = Tensor::from_slice(values).set_requires_grad(true);
        Parameter { name: "p".to_owned(), tensor, learning_rate: 0.1, decays }
    }

    /// One step down `sum(c * p)`, whose gradient is `c`.
    fn descend(optimizer: &mut AdamW, p: &Parameter, c: &[f32]) {
        let mut tensor = p.tensor.shallow_clone();
        tensor.zero_grad();
        (&p.tensor * Tensor::from_slice(c)).sum(Kind::Float).backward();
        optimizer.step(std::slice::from_ref(p), 1.0);
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
        (&p.tensor * Tensor::from_slice(&[3f32, 4.0])).sum(Kind::Float).backward();
        assert!((clip_gradients(std::slice::from_ref(&p), 0.0) - 5.0).abs() < 1e-6);
        assert!((clip_gradients(std::slice::from_ref(&p), 10.0) - 5.0).abs() < 1e-6);
        assert!((clip_gradients(std::slice::from_ref(&p), 1.0) - 5.0).abs() < 1e-6);
        assert!((clip_gradients(std::slice::from_ref(&p), 1.0) - 1.0).abs() < 1e-6);
    }
}
