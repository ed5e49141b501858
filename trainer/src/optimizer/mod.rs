//! How gradients change what is learned: [`Optimizer`] over named tensors, by one of four rules.
//!
//! Each rule is a file: a pure function of the parameters, what is remembered of them and the number
//! of the step, which changes the tensors in place.
//! This room knows nothing of losses, models or files.
//! Invariant: nothing of a tensor is read in a step, so a GPU is never waited for; all that a step
//! depends on can be saved and put back, which libtorch's own optimizers do not allow.

mod adamw;
mod gradients;
mod lamb;
mod lars;
mod part;
mod sgd;
mod trust;

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use crate::recipe::OptimizerSection;
pub use gradients::Gradients;
use part::{Change, Part};

/// A tensor that is learned, and how fast.
#[derive(Debug)]
pub struct Parameter {
    /// Its name among the weights.
    pub name: String,
    /// The leaf itself; shares its storage with the weights.
    pub tensor: Tensor,
    /// Step size at the top of the schedule.
    pub learning_rate: f64,
    /// Whether weight decay pulls it to zero, and whether a trust ratio sets the length of its step:
    /// both for matrices and kernels, neither for biases, normalizations and scales.
    pub decays: bool,
}

/// One of the rules, with what it remembers of every parameter.
#[derive(Debug)]
pub struct Optimizer {
    rule: OptimizerSection,
    weight_decay: f64,
    steps: u64,
    /// For each parameter as many as [`Optimizer::memories`] names, in that order.
    remembered: BTreeMap<String, Vec<Tensor>>,
}

/// The saved state does not belong to these parameters.
#[derive(Debug, thiserror::Error)]
#[error("the saved state of train.{of} lacks {name}, or holds it in another shape")]
pub struct StateError {
    /// The recipe's key: "optimizer", "ema" or "method".
    pub of: &'static str,
    /// The parameter.
    pub name: String,
}

impl Optimizer {
    /// An optimizer that has made no step. What `weight_decay` is a part of differs from rule to rule.
    #[must_use]
    pub fn new(rule: OptimizerSection, weight_decay: f64) -> Self {
        Self { rule, weight_decay, steps: 0, remembered: BTreeMap::new() }
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
        let mut parts = Vec::with_capacity(parameters.len());
        for (parameter, gradient) in parameters.iter().zip(gradients.tensors()) {
            let memories = self.memories_of(parameter)?;
            if gradient.defined() {
                let change = Change {
                    rate: parameter.learning_rate * schedule,
                    decay: if parameter.decays { self.weight_decay } else { 0.0 },
                    adapts: parameter.decays,
                    scale: gradients.scale(),
                    trust: None,
                };
                let (tensor, gradient) = (parameter.tensor.detach(), gradient.shallow_clone());
                parts.push(Part { tensor, memories, gradient, change });
            }
        }
        match self.rule {
            OptimizerSection::AdamW(rule) => adamw::step(rule, &parts, self.steps),
            OptimizerSection::Sgd(rule) => sgd::step(rule, &parts),
            OptimizerSection::Lars(rule) => lars::step(rule, parts),
            OptimizerSection::Lamb(rule) => lamb::step(rule, parts, self.steps),
        }
    }

    /// Steps made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that a later process needs to go on: `MEMORY.NAME` for each parameter (`first.NAME` and
    /// `second.NAME`, or `momentum.NAME`), as they are until the next step.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, tensors) in &self.remembered {
            for (memory, tensor) in self.memories().iter().zip(tensors) {
                state.insert(format!("{memory}.{name}"), tensor.shallow_clone());
            }
        }
        state
    }

    /// Puts back what [`Optimizer::state`] gave after `steps` steps.
    ///
    /// # Errors
    /// [`StateError`] when something of a parameter is absent or of another shape.
    pub fn restore(
        &mut self,
        steps: u64,
        mut state: BTreeMap<String, Tensor>,
        parameters: &[Parameter],
    ) -> Result<(), StateError> {
        let mut remembered = BTreeMap::new();
        for parameter in parameters {
            let mut take = |memory: &&str| {
                let saved = state.remove(&format!("{memory}.{}", parameter.name));
                restored(saved, parameter, "optimizer")
            };
            let tensors = self.memories().iter().map(&mut take).collect::<Result<_, _>>()?;
            remembered.insert(parameter.name.clone(), tensors);
        }
        (self.steps, self.remembered) = (steps, remembered);
        Ok(())
    }

    /// What the rule remembers of a parameter, each a tensor of its shape.
    fn memories(&self) -> &'static [&'static str] {
        match self.rule {
            OptimizerSection::AdamW(_) | OptimizerSection::Lamb(_) => &["first", "second"],
            OptimizerSection::Sgd(rule) => sgd::memories(rule.momentum),
            OptimizerSection::Lars(rule) => sgd::memories(rule.momentum),
        }
    }

    /// Those of one parameter, zeros at first: also where it has no gradient yet, so that a state
    /// that lacks one is never a good one.
    fn memories_of(&mut self, parameter: &Parameter) -> Result<Vec<Tensor>, TchError> {
        if !self.remembered.contains_key(&parameter.name) {
            let zeros = self.memories().iter().map(|_| parameter.tensor.detach().f_zeros_like());
            let zeros = zeros.collect::<Result<_, _>>()?;
            self.remembered.insert(parameter.name.clone(), zeros);
        }
        let tensors = self.remembered.get(&parameter.name).into_iter().flatten();
        Ok(tensors.map(Tensor::shallow_clone).collect())
    }
}

/// A tensor that was saved of `parameter`, on its device.
///
/// # Errors
/// [`StateError`] where there is none, or one of another shape.
pub(crate) fn restored(
    saved: Option<Tensor>,
    parameter: &Parameter,
    of: &'static str,
) -> Result<Tensor, StateError> {
    saved
        .filter(|tensor| tensor.size() == parameter.tensor.size())
        .map(|tensor| tensor.to_device(parameter.tensor.device()))
        .ok_or_else(|| StateError { of, name: parameter.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{AdamW, Lamb, Lars, Sgd};
    use tch::Kind;

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
    fn descend(optimizer: &mut Optimizer, p: &Parameter, c: &[f32]) {
        let gradients = gradients(p, c, 0.0);
        optimizer.step(std::slice::from_ref(p), &gradients, 1.0).unwrap();
    }

    fn values(p: &Parameter) -> Vec<f32> {
        Vec::<f32>::try_from(p.tensor.detach()).unwrap()
    }

    fn adamw(weight_decay: f64) -> Optimizer {
        Optimizer::new(OptimizerSection::default(), weight_decay)
    }

    fn all() -> [OptimizerSection; 5] {
        [
            OptimizerSection::AdamW(AdamW::default()),
            OptimizerSection::Sgd(Sgd { momentum: 0.0, nesterov: false }),
            OptimizerSection::Sgd(Sgd { momentum: 0.9, nesterov: true }),
            OptimizerSection::Lars(Lars { momentum: 0.9, trust: 0.1 }),
            OptimizerSection::Lamb(Lamb::default()),
        ]
    }

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_first_step_of_adamw_is_the_learning_rate_whatever_the_gradient() {
        let p = parameter(&[1.0, 1.0, 1.0], false);
        descend(&mut adamw(0.5), &p, &[3.0, -0.01, 0.0]);
        for (got, expected) in values(&p).iter().zip([0.9, 1.1, 1.0]) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }

    #[test]
    fn two_steps_of_adamw_equal_the_formula_worked_out_by_hand() {
        let p = parameter(&[1.0], false);
        let mut optimizer = adamw(0.0);
        descend(&mut optimizer, &p, &[1.0]);
        descend(&mut optimizer, &p, &[-2.0]);
        // m = 0.9 * 0.1 - 0.2 = -0.11, over 0.19; v = 0.98 * 0.02 + 0.08 = 0.0996, over 0.0396.
        let second = 0.1 * (-0.11 / 0.19) / (0.0996f64 / 0.0396).sqrt();
        close(&values(&p), &[0.9 - second]);
    }

    #[test]
    fn the_decay_of_adamw_is_apart_from_the_gradient() {
        let p = parameter(&[2.0], true);
        descend(&mut adamw(0.5), &p, &[0.0]);
        close(&values(&p), &[2.0 * (1.0 - 0.1 * 0.5)]);
    }

    #[test]
    fn two_steps_of_sgd_equal_the_formula_worked_out_by_hand() {
        for (nesterov, expected) in [(false, [1.0 - 0.2, 0.8 - 0.18]), (true, [0.62, 0.458])] {
            let rule = Sgd { momentum: 0.9, nesterov };
            let mut optimizer = Optimizer::new(OptimizerSection::Sgd(rule), 0.0);
            let p = parameter(&[1.0], false);
            // The buffer is 2, then 0.9 * 2 + 0; nesterov adds 0.9 of it to the gradient.
            descend(&mut optimizer, &p, &[2.0]);
            close(&values(&p), &expected[..1]);
            descend(&mut optimizer, &p, &[0.0]);
            close(&values(&p), &expected[1..]);
        }
    }

    #[test]
    fn the_decay_of_sgd_is_a_part_of_the_gradient() {
        let rule = OptimizerSection::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let p = parameter(&[2.0], true);
        descend(&mut Optimizer::new(rule, 0.5), &p, &[1.0]);
        close(&values(&p), &[2.0 - 0.1 * (1.0 + 0.5 * 2.0)]);
    }

    #[test]
    fn a_step_of_lars_is_as_long_as_trust_says_whatever_the_gradient() {
        for size in [1e-3, 1.0, 1e3] {
            let rule = OptimizerSection::Lars(Lars { momentum: 0.0, trust: 0.01 });
            let p = parameter(&[3.0, 4.0], true);
            descend(&mut Optimizer::new(rule, 0.0), &p, &[size, 0.0]);
            // 0.1 * 0.01 of a length of 5
            close(&values(&p), &[3.0 - 0.005, 4.0]);
        }
    }

    #[test]
    fn a_step_of_lamb_is_as_long_as_the_rate_says_of_the_matrix() {
        let rule = OptimizerSection::Lamb(Lamb { epsilon: 1e-12, ..Lamb::default() });
        let p = parameter(&[3.0, 4.0], true);
        descend(&mut Optimizer::new(rule, 0.0), &p, &[7.0, -7.0]);
        // Adam's first step is (1, -1), of length √2; it becomes 0.1 of a length of 5.
        let moved = 0.5 / 2f64.sqrt();
        close(&values(&p), &[3.0 - moved, 4.0 + moved]);
    }

    #[test]
    fn a_bias_moves_as_without_a_trust_ratio_and_without_decay() {
        let adam = AdamW { beta_2: 0.999, epsilon: 1e-6, ..AdamW::default() };
        let alike = [
            (OptimizerSection::Lars(Lars::default()), OptimizerSection::Sgd(Sgd::default())),
            (OptimizerSection::Lamb(Lamb::default()), OptimizerSection::AdamW(adam)),
        ];
        for (adapted, plain) in alike {
            let (a, b) = (parameter(&[3.0, 4.0], false), parameter(&[3.0, 4.0], false));
            let (mut adapted, mut plain) =
                (Optimizer::new(adapted, 0.5), Optimizer::new(plain, 0.0));
            for c in [[1.0, -2.0], [0.5, 0.25]] {
                descend(&mut adapted, &a, &c);
                descend(&mut plain, &b, &c);
            }
            close(&values(&a), &values(&b).into_iter().map(f64::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_restored_state_goes_on_as_if_never_stopped() {
        for rule in all() {
            let run = |stop: bool| {
                let p = parameter(&[1.0, -1.0], true);
                let mut optimizer = Optimizer::new(rule, 0.1);
                descend(&mut optimizer, &p, &[1.0, 2.0]);
                if stop {
                    let (steps, state) = (optimizer.steps(), optimizer.state());
                    optimizer = Optimizer::new(rule, 0.1);
                    optimizer.restore(steps, state, std::slice::from_ref(&p)).unwrap();
                }
                descend(&mut optimizer, &p, &[-1.0, 0.5]);
                values(&p)
            };
            assert_eq!(run(true), run(false), "{rule:?}");
        }
    }

    #[test]
    fn a_state_is_saved_under_the_names_that_checkpoints_have() {
        let names = [
            &["first.p", "second.p"][..],
            &[],
            &["momentum.p"],
            &["momentum.p"],
            &["first.p", "second.p"],
        ];
        for (rule, names) in all().into_iter().zip(names) {
            let p = parameter(&[1.0], true);
            let mut optimizer = Optimizer::new(rule, 0.0);
            descend(&mut optimizer, &p, &[1.0]);
            assert_eq!(optimizer.state().keys().collect::<Vec<_>>(), names, "{rule:?}");
        }
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let p = parameter(&[1.0, -1.0], true);
        let state = BTreeMap::from([
            ("first.p".to_owned(), Tensor::from_slice(&[1f32])),
            ("second.p".to_owned(), Tensor::from_slice(&[1f32])),
        ]);
        let error = adamw(0.1).restore(1, state, std::slice::from_ref(&p)).unwrap_err();
        assert!(error.to_string().contains("train.optimizer lacks p"), "{error}");
    }

    #[test]
    fn a_clipped_gradient_moves_by_its_scaled_self() {
        for rule in all() {
            let (clipped, small) = (parameter(&[2.0, 1.0], true), parameter(&[2.0, 1.0], true));
            let (mut a, mut b) = (Optimizer::new(rule, 0.1), Optimizer::new(rule, 0.1));
            let gradients = gradients(&clipped, &[3.0, 4.0], 1.0);
            a.step(std::slice::from_ref(&clipped), &gradients, 1.0).unwrap();
            descend(&mut b, &small, &[0.6, 0.8]);
            let expected: Vec<f64> = values(&small).into_iter().map(f64::from).collect();
            close(&values(&clipped), &expected);
        }
    }

    #[test]
    fn a_parameter_of_many_pieces_moves_as_one_of_few_does() {
        let many = 3 * part::PIECE + 7;
        for rule in all() {
            let (large, small) = (parameter(&vec![1.0; many], true), parameter(&[1.0], true));
            let (mut a, mut b) = (Optimizer::new(rule, 0.1), Optimizer::new(rule, 0.1));
            for c in [0.5, -2.0] {
                descend(&mut a, &large, &vec![c; many]);
                descend(&mut b, &small, &[c]);
            }
            let expected = values(&small)[0];
            let far = values(&large).into_iter().map(|value| (value - expected).abs());
            assert!(far.fold(0.0, f32::max) < 1e-6, "{rule:?}");
        }
    }

    #[test]
    fn a_parameter_that_the_loss_does_not_know_stays_as_it_is_and_has_a_state() {
        for rule in all() {
            let (known, unknown) = (parameter(&[1.0], true), parameter(&[1.0], true));
            let loss = (&known.tensor * 2.0).sum(Kind::Float);
            let both = [known, Parameter { name: "q".to_owned(), ..unknown }];
            let gradients = Gradients::of(&loss, &both, 0.0).unwrap();
            let mut optimizer = Optimizer::new(rule, 0.1);
            optimizer.step(&both, &gradients, 1.0).unwrap();
            assert!(values(&both[0])[0] < 1.0 && values(&both[1]) == [1.0]);
            let (steps, state) = (optimizer.steps(), optimizer.state());
            Optimizer::new(rule, 0.1).restore(steps, state, &both).unwrap();
        }
    }
}
