//! Which weights are learned, how fast, and which of them a checkpoint holds.

use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use super::TrainError;
use crate::checkpoint::Checkpoint;
use crate::encoder::Encoder;
use crate::model::{ModelError, Side};
use crate::optimizer::Parameter;
use crate::recipe::Recipe;

/// Endings of weights that are measured, never learned.
const STATISTICS: [&str; 4] = ["running_mean", "running_var", "input_mean", "input_std"];

/// Makes the learned weights ask for gradients and lists them.
///
/// Matrices and kernels decay; biases, norms and `logit_scale` do not.
pub(super) fn collect(
    encoder: &mut Encoder,
    recipe: &Recipe,
) -> Result<Vec<Parameter>, ModelError> {
    let rates = Rates::of(encoder, recipe);
    let names: Vec<String> = encoder.weights.iter().map(|(name, _)| name.to_owned()).collect();
    let mut parameters = Vec::new();
    for name in names {
        let learning_rate = rates.of_weight(&name);
        if learning_rate == 0.0 || STATISTICS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let tensor = encoder.weights.get(&name)?.set_requires_grad(true);
        let decays = tensor.dim() >= 2;
        encoder.weights.insert(name.as_str(), tensor.shallow_clone());
        parameters.push(Parameter { name, tensor, learning_rate, decays });
    }
    Ok(parameters)
}

/// All weights but those of locked towers.
pub(super) fn learned_state(encoder: &Encoder, recipe: &Recipe) -> BTreeMap<String, Tensor> {
    let rates = Rates::of(encoder, recipe);
    encoder
        .weights
        .iter()
        .filter(|(name, _)| !rates.is_locked_tower(name))
        .map(|(name, tensor)| (name.to_owned(), tensor.detach()))
        .collect()
}

/// Puts a checkpoint's weights into an encoder made from the same recipe.
///
/// # Errors
/// [`TrainError::Towers`] when the towers' files are others now, [`TrainError::Model`] when a
/// weight has another shape.
pub fn restore(encoder: &mut Encoder, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    if checkpoint.towers != encoder.digest {
        return Err(TrainError::Towers);
    }
    for (name, saved) in &checkpoint.weights {
        if !encoder.weights.has(name) {
            encoder.weights.insert(name.as_str(), saved.shallow_clone());
            continue;
        }
        let mut tensor = encoder.weights.get(name)?.shallow_clone();
        if tensor.size() != saved.size() {
            let (name, expected, found) = (name.clone(), tensor.size(), saved.size());
            return Err(ModelError::Shape { name, expected, found }.into());
        }
        tch::no_grad(|| tensor.f_copy_(saved))?;
    }
    Ok(())
}

struct Rates {
    image_tower: BTreeSet<String>,
    text_tower: BTreeSet<String>,
    image: f64,
    text: f64,
    head: f64,
}

impl Rates {
    fn of(encoder: &Encoder, recipe: &Recipe) -> Self {
        let names =
            |side| encoder.model.tower_parameters(side).into_iter().map(|p| p.name).collect();
        Self {
            image_tower: names(Side::Image),
            text_tower: names(Side::Text),
            image: recipe.model.image.learning_rate,
            text: recipe.model.text.learning_rate,
            head: recipe.model.projection.learning_rate,
        }
    }

    fn of_weight(&self, name: &str) -> f64 {
        if self.image_tower.contains(name) {
            self.image
        } else if self.text_tower.contains(name) {
            self.text
        } else {
            self.head
        }
    }

    fn is_locked_tower(&self, name: &str) -> bool {
        (self.image == 0.0 && self.image_tower.contains(name))
            || (self.text == 0.0 && self.text_tower.contains(name))
    }
}
