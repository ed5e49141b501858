//! The momentum encoder: a copy of what learns that follows it slowly and is its target.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use tch::{TchError, Tensor};

use super::heads::is_head;
use crate::encoder::Encoder;
use crate::model::lora;
use crate::model::{self, Side, Weights};
use crate::optimizer::{Parameter, StateError, restored};

/// Image tower and heads as they were, more and more of the past the longer the training (He et al.
/// 2020, equation 2; Grill et al. 2020, section 3.2, for the growing momentum).
///
/// What does not learn is not copied. A copy of the predictor is kept along, and nobody asks it.
#[derive(Debug)]
pub struct Momentum {
    first: f64,
    /// Weights of image tower and heads; those that learn are copies.
    pub weights: Weights,
}

impl Momentum {
    /// The weights as they are; `first` is how much of itself it keeps in the first step.
    ///
    /// # Errors
    /// libtorch's, where there is no room for another copy.
    pub fn begin(
        first: f64,
        encoder: &Encoder,
        parameters: &[Parameter],
    ) -> Result<Self, TchError> {
        let mut weights = Weights::new();
        for model::Parameter { name, .. } in encoder.model.tower_parameters(Side::Image) {
            let adapter = lora::names(&name).into_iter().flatten();
            for name in adapter.chain([name.clone()]) {
                if let Ok(weight) = encoder.weights.get(&name) {
                    weights.insert(name, weight.shallow_clone());
                }
            }
        }
        let mut momentum = Self { first, weights };
        for parameter in parameters {
            if momentum.weights.has(&parameter.name) || is_head(&parameter.name) {
                let mut copy = parameter.tensor.detach().f_zeros_like()?;
                copy.f_copy_(&parameter.tensor.detach())?;
                momentum.weights.insert(parameter.name.as_str(), copy);
            }
        }
        Ok(momentum)
    }

    /// Moves toward the weights as they are after step `step` of `total`, from 1.
    ///
    /// # Errors
    /// libtorch's.
    pub fn follow(
        &mut self,
        parameters: &[Parameter],
        step: u64,
        total: u64,
    ) -> Result<(), TchError> {
        let kept = kept(self.first, step - 1, total);
        tch::no_grad(|| {
            for parameter in parameters {
                if let Ok(copy) = self.weights.get(&parameter.name) {
                    let _ = copy.shallow_clone().f_lerp_(&parameter.tensor, 1.0 - kept)?;
                }
            }
            Ok(())
        })
    }

    /// All that a later process needs to go on, as it is until the next step: the copies of
    /// `parameters`.
    #[must_use]
    pub fn state(&self, parameters: &[Parameter]) -> BTreeMap<String, Tensor> {
        let copy = |parameter: &Parameter| {
            let copy = self.weights.get(&parameter.name).ok()?;
            Some((parameter.name.clone(), copy.shallow_clone()))
        };
        parameters.iter().filter_map(copy).collect()
    }

    /// Puts back what [`Momentum::state`] gave.
    ///
    /// # Errors
    /// [`StateError`] where a copy is absent or of another shape.
    pub fn restore(
        &mut self,
        mut state: BTreeMap<String, Tensor>,
        parameters: &[Parameter],
    ) -> Result<(), StateError> {
        for parameter in parameters {
            if !self.weights.has(&parameter.name) {
                continue;
            }
            let tensor = restored(state.remove(&parameter.name), parameter, "method")?;
            self.weights.insert(parameter.name.as_str(), tensor);
        }
        Ok(())
    }
}

/// How much it keeps of itself in a step, from `first` to 1 along half a cosine: Grill et al. 2020,
/// section 3.2, `1 − (1 − τ) · (cos(π k / K) + 1) / 2`, which Chen et al. 2021 take over.
fn kept(first: f64, step: u64, total: u64) -> f64 {
    let along = step as f64 / total.max(1) as f64;
    1.0 - (1.0 - first) * ((PI * along).cos() + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn what_is_kept_grows_to_all_along_half_a_cosine() {
        close(kept(0.99, 0, 100), 0.99);
        close(kept(0.99, 50, 100), 0.995);
        close(kept(0.99, 100, 100), 1.0);
        // cos(π / 3) is a half.
        close(kept(0.6, 1, 3), 1.0 - 0.4 * 0.75);
    }

    #[test]
    fn the_copy_follows_the_weights_and_is_put_back_as_it_was() {
        let tensor = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let name = "heads.projector.0.weight".to_owned();
        let learned = [Parameter { name, tensor, learning_rate: 0.1, decays: true }];
        let mut weights = Weights::new();
        weights.insert(learned[0].name.as_str(), Tensor::from_slice(&[1f32, 2.0]));
        let mut momentum = Momentum { first: 0.5, weights };
        tch::no_grad(|| drop(learned[0].tensor.shallow_clone().fill_(5.0)));
        let values = |momentum: &Momentum| {
            Vec::<f32>::try_from(&momentum.state(&learned)[&learned[0].name]).unwrap()
        };
        momentum.follow(&learned, 1, 1_000_000).unwrap();
        assert_eq!(values(&momentum), [3.0, 3.5]);
        let state = momentum.state(&learned);
        let state = state.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        momentum.follow(&learned, 2, 1_000_000).unwrap();
        momentum.restore(state, &learned).unwrap();
        assert_eq!(values(&momentum), [3.0, 3.5]);
        let error = momentum.restore(BTreeMap::new(), &learned).unwrap_err().to_string();
        assert!(error.contains("train.method lacks heads.projector.0.weight"), "{error}");
    }
}
