//! Whether a bundle still answers as it did when it was measured.

use clip::bundle::{Manifest, ReferenceEmbeddings};
use clip::image::{DecodeLimits, PixelValues, decode};
use clip::{Embedding, ModelBundle, TokenIds};

use crate::{Model, RuntimeError};

/// The outcome of a check that held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheck {
    /// How many answers to texts and pictures were compared.
    pub compared: usize,
    /// The lowest cosine to a reference answer.
    pub lowest_cosine: f32,
}

/// Embeds the bundle's reference texts and pictures, from bytes to vector, and compares with the
/// answers in its manifest; `None` where the bundle has no manifest to compare with. They run one by
/// one, and, where the tolerance was measured with larger batches, in such a batch as well.
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
    let inputs = Inputs::read(bundle, manifest, expected)?;
    let mut answers = inputs.cosines(model, 1)?;
    if precision.batch > 1 {
        answers.extend(inputs.cosines(model, precision.batch)?);
    }
    let mut lowest = 1f32;
    for (name, cosine) in &answers {
        if *cosine < precision.tolerance {
            return Err(RuntimeError::SelfCheck {
                dir: bundle.dir.clone(),
                name: (*name).to_owned(),
                cosine: *cosine,
                tolerance: precision.tolerance,
                way_out: way_out(manifest, &model.precision),
                precision: model.precision.clone(),
            });
        }
        lowest = lowest.min(*cosine);
    }
    Ok(Some(SelfCheck { compared: answers.len(), lowest_cosine: lowest }))
}

/// What a reader can do whose machine does not reproduce `precision`.
fn way_out(manifest: &Manifest, precision: &str) -> String {
    let other = ["fp32", "fp16", "int8"].into_iter();
    let mut other =
        other.filter(|name| *name != precision && manifest.precisions.contains_key(*name));
    match other.next() {
        Some(other) => format!("get them again, or run another form with --precision {other}"),
        None => "get them again, or export the model with --precision fp32 as well".to_owned(),
    }
}

/// The reference inputs as the towers take them, each with its name and its recorded answer.
struct Inputs<'a> {
    texts: Vec<Referenced<'a, TokenIds>>,
    pictures: Vec<Referenced<'a, PixelValues>>,
}

struct Referenced<'a, T> {
    name: &'a str,
    input: T,
    recorded: Embedding,
}

impl<'a> Inputs<'a> {
    fn read(
        bundle: &ModelBundle,
        manifest: &'a Manifest,
        expected: &ReferenceEmbeddings,
    ) -> Result<Self, RuntimeError> {
        let reference = &manifest.reference;
        let texts = referenced(&reference.texts, &expected.texts, |text| {
            bundle.tokenizer.encode(text).map_err(|error| unusable(text, &error))
        })?;
        let pictures = referenced(&reference.pictures, &expected.pictures, |name| {
            let bytes = std::fs::read(bundle.dir.join(name));
            let bytes = bytes.map_err(|error| unusable(name, &error))?;
            let decoded =
                decode(&bytes, &DecodeLimits::default()).map_err(|error| unusable(name, &error))?;
            Ok(bundle.processor.process(&decoded.pixels))
        })?;
        Ok(Self { texts, pictures })
    }

    /// The cosine of each input's answer to the recorded one, `batch` of them in a run.
    fn cosines(
        &self,
        model: &mut Model,
        batch: usize,
    ) -> Result<Vec<(&'a str, f32)>, RuntimeError> {
        let mut cosines = compare(&self.texts, batch, |texts| model.text.embed(texts))?;
        cosines.extend(compare(&self.pictures, batch, |pictures| model.image.embed(pictures))?);
        Ok(cosines)
    }
}

/// Reads inputs and puts them beside their answers; a list that is shorter than the other would
/// check less than it claims.
fn referenced<'a, T>(
    names: &'a [String],
    answers: &[Vec<f32>],
    read: impl Fn(&str) -> Result<T, RuntimeError>,
) -> Result<Vec<Referenced<'a, T>>, RuntimeError> {
    if names.len() != answers.len() {
        return Err(RuntimeError::Reference {
            name: "list".to_owned(),
            reason: format!("{} inputs have {} answers", names.len(), answers.len()),
        });
    }
    let one = |(name, answer): (&'a String, &Vec<f32>)| {
        let recorded = Embedding::new(answer.clone()).map_err(|error| unusable(name, &error))?;
        Ok(Referenced { name, input: read(name)?, recorded })
    };
    names.iter().zip(answers).map(one).collect()
}

fn compare<'a, T: Clone>(
    all: &[Referenced<'a, T>],
    batch: usize,
    mut embed: impl FnMut(&[T]) -> Result<Vec<Embedding>, RuntimeError>,
) -> Result<Vec<(&'a str, f32)>, RuntimeError> {
    let mut cosines = Vec::with_capacity(all.len());
    for chunk in all.chunks(batch) {
        let inputs: Vec<T> = chunk.iter().map(|one| one.input.clone()).collect();
        let found = embed(&inputs)?;
        let chunk = chunk.iter().zip(&found);
        cosines.extend(chunk.map(|(one, found)| (one.name, found.cosine(&one.recorded))));
    }
    Ok(cosines)
}

fn unusable(name: &str, error: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Reference { name: name.to_owned(), reason: error.to_string() }
}
