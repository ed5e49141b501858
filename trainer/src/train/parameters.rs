//! Which weights are learned, how fast, and which of them a checkpoint holds.

use std::collections::BTreeMap;

use tch::Tensor;

use super::TrainError;
use crate::checkpoint::Checkpoint;
use crate::encoder::Encoder;
use crate::methods::is_head;
use crate::model::lora::{is_of_adapter, is_scaling, learned_names};
use crate::model::{Differences, ModelError, OtherShape, Side};
use crate::optimizer::Parameter;

/// Makes the learned weights ask for gradients and lists them. The others ask for none, so nothing
/// is computed backwards for what lies below the first that is learned.
///
/// Matrices and kernels decay; biases, norms and `logit_scale` do not.
///
/// # Errors
/// [`ModelError::Missing`], for a weight that goes away meanwhile.
pub fn collect(encoder: &mut Encoder) -> Result<Vec<Parameter>, ModelError> {
    let names: Vec<String> = encoder.weights.iter().map(|(name, _)| name.to_owned()).collect();
    let mut parameters = Vec::new();
    for name in names {
        let learning_rate = encoder.rates.of(&name);
        if learning_rate == 0.0 {
            continue;
        }
        let tensor = encoder.weights.get(&name)?.set_requires_grad(true);
        let decays = tensor.dim() >= 2;
        encoder.weights.insert(name.as_str(), tensor.shallow_clone());
        parameters.push(Parameter { name, tensor, learning_rate, decays });
    }
    Ok(parameters)
}

/// What a checkpoint keeps: the weights that are learned, what was measured for them, and of adapters
/// the factor as well, so that they can be merged by themselves. The rest
/// is in the files that the recipe names, or drawn from its seed.
pub(super) fn learned_state(encoder: &Encoder) -> BTreeMap<String, Tensor> {
    let measured = measured(encoder);
    encoder
        .weights
        .iter()
        .filter(|(name, _)| {
            encoder.rates.of(name) > 0.0
                || is_scaling(name)
                || measured.iter().any(|kept| kept == name)
        })
        .map(|(name, tensor)| (name.to_owned(), tensor.detach()))
        .collect()
}

/// Names of what a training measures for its projections.
fn measured(encoder: &Encoder) -> Vec<String> {
    let of = |side| encoder.model.projection(side).measured();
    [Side::Image, Side::Text].into_iter().flat_map(of).collect()
}

/// Puts a checkpoint's weights into an encoder made from the same recipe, as they are measured and
/// exported: their average where the recipe asks for one (`train.ema`), with what adapters add to a weight
/// in it. A blend holds such weights already.
///
/// # Errors
/// [`TrainError::Architecture`] when the weights are those of another model, [`TrainError::Towers`]
/// when the towers' files are others now.
pub fn restore(encoder: &mut Encoder, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    if !checkpoint.weights.keys().any(|name| is_of_adapter(name)) {
        encoder.weights.drop_adapters();
    }
    resume(encoder, checkpoint)?;
    put_back(encoder, &checkpoint.average)?;
    Ok(encoder.weights.merge_adapters()?)
}

/// The same as they were learned, to go on from there.
///
/// # Errors
/// As [`restore`].
pub(super) fn resume(encoder: &mut Encoder, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    let differences = differences(encoder, &checkpoint.weights);
    if !differences.is_empty() {
        return Err(TrainError::Architecture { step: checkpoint.step, differences });
    }
    if checkpoint.towers != encoder.digest {
        return Err(TrainError::Towers);
    }
    put_back(encoder, &checkpoint.weights)
}

/// How `saved` differs from what `encoder` learns. What was measured for a projection may be there or
/// not, and so may heads: only a training has them.
fn differences(encoder: &Encoder, saved: &BTreeMap<String, Tensor>) -> Differences {
    let mut differences = Differences::default();
    let measured = measured(encoder);
    for (name, tensor) in saved {
        match encoder.weights.get(name) {
            Ok(weight) if weight.size() != tensor.size() => differences.shapes.push(OtherShape {
                name: name.clone(),
                expected: weight.size(),
                found: tensor.size(),
            }),
            Err(_) if !measured.contains(name) && !is_head(name) => {
                differences.unexpected.push(name.clone())
            }
            _ => {}
        }
    }
    let wanted = encoder.weights.iter().map(|(name, _)| name);
    let absent = wanted.filter(|name| is_learned(encoder, name) && !saved.contains_key(*name));
    differences.missing.extend(absent.map(str::to_owned));
    differences
}

/// Whether a checkpoint of `encoder` has to hold the weight: it learns, or had an adapter that is no more.
fn is_learned(encoder: &Encoder, name: &str) -> bool {
    let alone = |[a, _]: [String; 2]| !encoder.weights.has(&a);
    let rates = &encoder.rates;
    rates.of(name) > 0.0 || (rates.adapts(name) && learned_names(name).is_some_and(alone))
}

fn put_back(encoder: &mut Encoder, weights: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
    for (name, saved) in weights {
        if !encoder.weights.has(name) && is_head(name) {
            continue;
        }
        if !encoder.weights.has(name) {
            let saved = encoder.moved(saved)?;
            encoder.weights.insert(name.as_str(), saved);
            continue;
        }
        let mut tensor = encoder.weights.get(name)?.shallow_clone();
        tch::no_grad(|| tensor.f_copy_(saved))?;
    }
    Ok(())
}

/// Lets the names of `tensors` point to these; answers what they pointed to before.
pub(super) fn swapped(
    encoder: &mut Encoder,
    tensors: &BTreeMap<String, Tensor>,
) -> BTreeMap<String, Tensor> {
    let mut before = BTreeMap::new();
    for (name, tensor) in tensors {
        if let Some(old) = encoder.weights.remove(name) {
            before.insert(name.clone(), old);
        }
        encoder.weights.insert(name.as_str(), tensor.shallow_clone());
    }
    before
}
