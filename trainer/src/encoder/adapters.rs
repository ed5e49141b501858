//! Which weights of the towers a recipe adapts (`model.image.lora`, `model.text.lora`), and the adapters
//! that begin beside them.

use std::collections::BTreeSet;

use super::EncoderError;
use super::rates::{begins_with, block, nearest};
use crate::model::lora::{adapter_parameters, sides};
use crate::model::{DualEncoder, Parameter, Side, Weights};
use crate::recipe::{LoraSection, Recipe};

/// Adapters are drawn by the recipe's seed and this, those of texts by one more, so that they are not the
/// numbers of projections or of each other.
const SALT: u64 = 0x10AA;

/// Puts an adapter beside every weight that `recipe` adapts; answers the names of these weights.
///
/// # Errors
/// [`EncoderError::Targets`] where a beginning of names fits no matrix, [`EncoderError::Rank`] for a
/// rank that is no low one for one of them.
pub(super) fn add(
    model: &DualEncoder,
    weights: &mut Weights,
    recipe: &Recipe,
) -> Result<BTreeSet<String>, EncoderError> {
    let mut adapted = BTreeSet::new();
    let (image, text) = (&recipe.model.image.lora, &recipe.model.text.lora);
    let sides = [(Side::Image, "image", image), (Side::Text, "text", text)];
    for (salt, (side, tower, lora)) in (SALT..).zip(sides) {
        let Some(lora) = lora else { continue };
        let targets = targets(&model.tower_parameters(side), tower, lora)?;
        let rank = i64::try_from(lora.rank).unwrap_or(i64::MAX);
        let mut parameters = Vec::new();
        for target in targets {
            fits(&target, tower, rank)?;
            parameters.extend(adapter_parameters(&target, rank).into_iter().flatten());
            weights.insert_scaling(&target.name, lora.alpha / lora.rank as f64);
            adapted.insert(target.name);
        }
        let seed = recipe.train.seed.wrapping_add(salt);
        weights.extend("", Weights::random(&parameters, seed));
    }
    Ok(adapted)
}

/// The matrices of a tower, whose weights stand in the order in which they are used, that `lora` means:
/// those of its blocks where it names none.
fn targets(
    weights: &[Parameter],
    tower: &'static str,
    lora: &LoraSection,
) -> Result<Vec<Parameter>, EncoderError> {
    // Before the first block are tables of embeddings, whose rows are looked up, and a stem.
    let after = weights.iter().skip_while(|weight| block(&weight.name).is_none());
    let matrices: Vec<&Parameter> = after.filter(|weight| sides(&weight.shape).is_some()).collect();
    for prefix in &lora.targets {
        if !matrices.iter().any(|matrix| begins_with(&matrix.name, prefix)) {
            let names: Vec<String> = matrices.iter().map(|matrix| matrix.name.clone()).collect();
            let there = nearest(names.iter(), prefix);
            let first = names.first().cloned().unwrap_or_default();
            return Err(EncoderError::Targets { tower, prefix: prefix.clone(), there, first });
        }
    }
    let meant = |matrix: &&Parameter| match lora.targets.as_slice() {
        [] => block(&matrix.name).is_some(),
        prefixes => prefixes.iter().any(|prefix| begins_with(&matrix.name, prefix)),
    };
    Ok(matrices.into_iter().filter(meant).cloned().collect())
}

/// A rank above a matrix' smaller side would make it a matrix of full rank, and a larger one.
fn fits(target: &Parameter, tower: &'static str, rank: i64) -> Result<(), EncoderError> {
    let smaller = sides(&target.shape).into_iter().flatten().min().unwrap_or_default();
    if rank <= smaller {
        return Ok(());
    }
    Err(EncoderError::Rank { tower, rank, name: target.name.clone(), smaller })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Vec<Parameter> {
        [
            ("t.words.weight", &[30usize, 8][..]),
            ("t.layers.0.q.weight", &[8, 8]),
            ("t.layers.0.q.bias", &[8]),
            ("t.layers.0.deep.weight", &[8, 1, 3, 3]),
            ("t.layers.10.q.weight", &[16, 8, 1, 1]),
            ("t.head.weight", &[32, 16, 1, 1]),
        ]
        .map(|(name, shape)| Parameter::normal(name.to_owned(), shape, 1.0))
        .into()
    }

    fn meant(targets_: &[&str]) -> Result<Vec<String>, String> {
        let targets_ = targets_.iter().map(|name| (*name).to_owned()).collect();
        let lora = LoraSection { rank: 2, alpha: 4.0, targets: targets_ };
        let found = targets(&weights(), "text", &lora).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|weight| weight.name).collect())
    }

    #[test]
    fn the_matrices_of_blocks_are_meant_or_those_that_are_named() {
        assert_eq!(meant(&[]).unwrap(), ["t.layers.0.q.weight", "t.layers.10.q.weight"]);
        let named = meant(&["t.layers.10", "t.head"]).unwrap();
        assert_eq!(named, ["t.layers.10.q.weight", "t.head.weight"]);
    }

    #[test]
    fn a_name_that_fits_nothing_is_told_with_those_there_are() {
        let error = meant(&["t.layers.1"]).unwrap_err();
        assert!(error.contains("model.text.lora.targets has \"t.layers.1\""), "{error}");
        assert!(error.contains("there are t.layers.0, t.layers.10"), "{error}");
        let error = meant(&["t.words"]).unwrap_err();
        assert!(
            error.contains("t.head, t.layers") && error.contains("t.layers.0.q.weight"),
            "{error}"
        );
    }

    #[test]
    fn a_rank_above_the_smaller_side_is_refused() {
        let all = weights();
        assert!(fits(&all[4], "image", 8).is_ok());
        let error = fits(&all[4], "image", 9).unwrap_err().to_string();
        for word in ["model.image.lora.rank is 9", "t.layers.10.q.weight", "8", "targets"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
