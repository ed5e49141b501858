//! The average of the weights over the steps, which is measured and exported in their place.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::parameters::swapped;
use crate::encoder::Encoder;
use crate::optimizer::{Parameter, StateError, restored};

/// An exponential moving average of all that is learned (Polyak and Juditsky 1992; Tarvainen and
/// Valpola 2017, section 2).
#[derive(Debug)]
pub(super) struct Average {
    decay: f64,
    tensors: BTreeMap<String, Tensor>,
}

impl Average {
    /// The weights as they are, at the `decay` of `train.ema`.
    ///
    /// # Errors
    /// libtorch's, where there is no room for another copy of what is learned.
    pub(super) fn begin(decay: f64, parameters: &[Parameter]) -> Result<Self, TchError> {
        let mut tensors = BTreeMap::new();
        for parameter in parameters {
            let mut copy = parameter.tensor.detach().f_zeros_like()?;
            copy.f_copy_(&parameter.tensor.detach())?;
            tensors.insert(parameter.name.clone(), copy);
        }
        Ok(Self { decay, tensors })
    }

    /// Moves toward the weights as they are after `step` steps.
    ///
    /// # Errors
    /// libtorch's.
    pub(super) fn follow(&mut self, parameters: &[Parameter], step: u64) -> Result<(), TchError> {
        let kept = memory(self.decay, step);
        tch::no_grad(|| {
            for parameter in parameters {
                if let Some(average) = self.tensors.get_mut(&parameter.name) {
                    let _ = average.f_lerp_(&parameter.tensor, 1.0 - kept)?;
                }
            }
            Ok(())
        })
    }

    /// Does `work` with the averages in the place of the weights, and puts these back.
    ///
    /// Nothing is copied: names point to other tensors meanwhile.
    pub(super) fn in_place<T>(&self, encoder: &mut Encoder, work: impl FnOnce(&Encoder) -> T) -> T {
        let weights = swapped(encoder, &self.tensors);
        let done = work(encoder);
        swapped(encoder, &weights);
        done
    }

    /// All that a later process needs to go on, as it is until the next step.
    pub(super) fn state(&self) -> BTreeMap<String, Tensor> {
        self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    }

    /// Puts back what [`Average::state`] gave.
    ///
    /// # Errors
    /// [`StateError`] where a weight is absent or of another shape.
    pub(super) fn restore(
        &mut self,
        mut state: BTreeMap<String, Tensor>,
        parameters: &[Parameter],
    ) -> Result<(), StateError> {
        for parameter in parameters {
            let tensor = restored(state.remove(&parameter.name), parameter, "ema")?;
            self.tensors.insert(parameter.name.clone(), tensor);
        }
        Ok(())
    }
}

/// How much of the average a step keeps: the decay, but at most `(1 + t) / (10 + t)` after `t` steps,
/// so that the weights of the start are soon forgotten (as TensorFlow's `ExponentialMovingAverage`
/// with `num_updates`).
fn memory(decay: f64, step: u64) -> f64 {
    let step = step as f64;
    decay.min((1.0 + step) / (10.0 + step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32]) -> Parameter {
        let tensor = Tensor::from_slice(values).set_requires_grad(true);
        Parameter { name: "p".to_owned(), tensor, learning_rate: 0.1, decays: false }
    }

    #[test]
    fn the_memory_grows_to_the_decay() {
        assert_eq!(memory(0.999, 0), 0.1);
        assert_eq!(memory(0.999, 8), 0.5);
        assert_eq!(memory(0.9, 80), 0.9);
        assert_eq!(memory(0.9, 1_000_000), 0.9);
    }

    #[test]
    fn the_average_follows_the_weights_and_is_no_part_of_them() {
        let p = [parameter(&[1.0, 2.0])];
        let mut average = Average::begin(0.5, &p).unwrap();
        tch::no_grad(|| drop(p[0].tensor.shallow_clone().fill_(5.0)));
        let values = |average: &Average| Vec::<f32>::try_from(&average.state()["p"]).unwrap();
        assert_eq!(values(&average), [1.0, 2.0]);
        average.follow(&p, 100).unwrap();
        assert_eq!(values(&average), [3.0, 3.5]);
        assert!(!average.state()["p"].requires_grad());
    }

    #[test]
    fn a_state_that_lacks_a_weight_is_refused() {
        let p = [parameter(&[1.0])];
        let mut average = Average::begin(0.5, &p).unwrap();
        let error = average.restore(BTreeMap::new(), &p).unwrap_err().to_string();
        assert!(error.contains("train.ema lacks p"), "{error}");
    }
}
