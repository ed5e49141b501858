//! Whether a bundle still answers as it did when it was measured.

use clip::bundle::ReferenceEmbeddings;
use clip::image::{DecodeLimits, decode};
use clip::{Embedding, ModelBundle};

use crate::{Model, RuntimeError};

/// The outcome of a check that held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheck {
    /// How many texts and pictures were compared.
    pub compared: usize,
    /// The lowest cosine to a reference answer.
    pub lowest_cosine: f32,
}

/// Embeds the bundle's reference texts and pictures, from bytes to vector, one by one, and compares
/// with the answers in its manifest; `None` where the bundle has no manifest to compare with.
///
/// # Errors
/// [`RuntimeError::SelfCheck`] for the first answer out of tolerance, [`RuntimeError::Reference`]
/// for an input that cannot be read, and those of the towers.
pub fn self_check(
    model: &mut Model,
    bundle: &ModelBundle,
) -> Result<Option<SelfCheck>, RuntimeError> {
    let Some(manifest) = &bundle.manifest else { return Ok(None) };
    let (Some(expected), Some(precision)) = (
        manifest.reference.embeddings.get(&model.precision),
        manifest.precisions.get(&model.precision),
    ) else {
        return Err(RuntimeError::Reference {
            name: model.precision.clone(),
            reason: "the manifest holds no answers for this precision".to_owned(),
        });
    };
    let answers = answer(model, bundle, expected)?;
    let mut lowest = 1f32;
    for (name, cosine) in &answers {
        if *cosine < precision.tolerance {
            return Err(RuntimeError::SelfCheck {
                dir: bundle.dir.clone(),
                name: name.clone(),
                cosine: *cosine,
                tolerance: precision.tolerance,
                precision: model.precision.clone(),
            });
        }
        lowest = lowest.min(*cosine);
    }
    Ok(Some(SelfCheck { compared: answers.len(), lowest_cosine: lowest }))
}

/// The cosine of each reference input's answer to the recorded one.
fn answer(
    model: &mut Model,
    bundle: &ModelBundle,
    expected: &ReferenceEmbeddings,
) -> Result<Vec<(String, f32)>, RuntimeError> {
    let reference = &bundle.manifest.as_ref().map(|m| m.reference.clone()).unwrap_or_default();
    let mut answers = Vec::new();
    for (name, recorded) in pairs(&reference.texts, &expected.texts)? {
        let ids = bundle.tokenizer.encode(name).map_err(|error| unusable(name, &error))?;
        answers.push((name, recorded, model.text.embed(&[ids])?));
    }
    for (name, recorded) in pairs(&reference.pictures, &expected.pictures)? {
        let bytes = std::fs::read(bundle.dir.join(name)).map_err(|error| unusable(name, &error))?;
        let decoded =
            decode(&bytes, &DecodeLimits::default()).map_err(|error| unusable(name, &error))?;
        let pixels = bundle.processor.process(&decoded.pixels);
        answers.push((name, recorded, model.image.embed(&[pixels])?));
    }
    answers
        .into_iter()
        .map(|(name, recorded, found)| {
            let recorded =
                Embedding::new(recorded.clone()).map_err(|error| unusable(name, &error))?;
            Ok((name.clone(), found[0].cosine(&recorded)))
        })
        .collect()
}

/// Inputs beside their answers; a list that is shorter than the other checks less than it claims.
fn pairs<'a>(
    inputs: &'a [String],
    answers: &'a [Vec<f32>],
) -> Result<impl Iterator<Item = (&'a String, &'a Vec<f32>)>, RuntimeError> {
    if inputs.len() != answers.len() {
        return Err(RuntimeError::Reference {
            name: "list".to_owned(),
            reason: format!("{} inputs have {} answers", inputs.len(), answers.len()),
        });
    }
    Ok(inputs.iter().zip(answers))
}

fn unusable(name: &str, error: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Reference { name: name.to_owned(), reason: error.to_string() }
}
