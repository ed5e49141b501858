//! Pictures and texts, with libtorch's answers to them.

use std::sync::Arc;

use clip::image::PixelValues;
use clip::{Embedding, TokenIds};
use runtime::Model;

use super::{ExportError, reference};
use crate::data::Dataset;
use crate::data::decode::{Job, pictures};
use crate::encoder::{Encoder, EncoderError};
use crate::model::Side;
use crate::run::Run;

/// Pictures and captions that are taken from the run's own sets.
const TAKEN: usize = 24;

/// What both towers are asked.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Pictures.
    pub pixels: Vec<PixelValues>,
    /// Texts.
    pub tokens: Vec<TokenIds>,
}

/// Inputs and the f32 answers of libtorch.
#[derive(Debug)]
pub struct Samples {
    /// Texts of like length best stand together, for the batches.
    pub inputs: Inputs,
    /// The pictures' embeddings.
    pub images: Vec<Embedding>,
    /// The texts' embeddings.
    pub texts: Vec<Embedding>,
}

impl Samples {
    /// Pictures and captions spread over the first set of the recipe, and the reference texts.
    pub(super) fn load(run: &Run, encoder: &Encoder, threads: usize) -> Result<Self, ExportError> {
        let data = &run.recipe.data[0];
        let set = Arc::new(Dataset::open(&data.path, &data.templates)?);
        let stride = (set.pairs.len() / TAKEN).max(1);
        let taken: Vec<usize> = (0..set.pairs.len()).step_by(stride).take(TAKEN).collect();
        let jobs = taken.iter().map(|&pair| Job { set: Arc::clone(&set), pair }).collect();
        let mut bad = None;
        let pixels: Vec<PixelValues> = pictures(jobs, &encoder.processor, threads)
            .filter_map(|result| result.map_err(|sample| bad = Some(sample)).ok())
            .collect();
        if let (true, Some(first)) = (pixels.is_empty(), bad) {
            return Err(EncoderError::NoPicture { set: set.name(), first }.into());
        }
        let captions = taken.iter().map(|&pair| &*set.pairs[pair].captions[0].text);
        let mut tokens = captions
            .chain(reference::TEXTS)
            .map(|text| encoder.tokenizer.encode(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(EncoderError::from)?;
        tokens.sort_by_key(|t| t.ids.len());
        let pooled = tch::no_grad(|| encoder.pooled_pixels(&pixels))?;
        let images = encoder.embeddings(Side::Image, &pooled)?;
        let all: Vec<&TokenIds> = tokens.iter().collect();
        let pooled = tch::no_grad(|| encoder.pooled_tokens(&all))?;
        let texts = encoder.embeddings(Side::Text, &pooled)?;
        Ok(Self { inputs: Inputs { pixels, tokens }, images, texts })
    }

    /// What libtorch answered.
    pub(super) fn expected(&self, side: Side) -> &[Embedding] {
        match side {
            Side::Image => &self.images,
            Side::Text => &self.texts,
        }
    }
}

impl Inputs {
    /// What a tower of `model` answers to all of them, `batch` at a time.
    pub(super) fn answers(
        &self,
        side: Side,
        model: &mut Model,
        batch: usize,
    ) -> Result<Vec<Embedding>, ExportError> {
        let mut all = Vec::new();
        match side {
            Side::Image => {
                for chunk in self.pixels.chunks(batch) {
                    all.extend(model.image.embed(chunk)?);
                }
            }
            Side::Text => {
                for chunk in self.tokens.chunks(batch) {
                    all.extend(model.text.embed(chunk)?);
                }
            }
        }
        Ok(all)
    }
}

/// The largest difference between two numbers of two lists of embeddings.
pub(super) fn worst_difference(a: &[Embedding], b: &[Embedding]) -> f32 {
    let numbers = |list: &[Embedding]| list.iter().flat_map(|e| e.as_slice().to_vec()).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(a), numbers(b));
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// The lowest cosine between embeddings at the same place of two lists.
pub(super) fn worst_cosine(a: &[Embedding], b: &[Embedding]) -> f32 {
    if a.len() != b.len() {
        return -1.0;
    }
    a.iter().zip(b).map(|(x, y)| x.cosine(y)).fold(1.0, f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_found_and_lists_of_other_lengths_never_agree() {
        let e = |x: f32, y: f32| Embedding::new(vec![x, y]).unwrap();
        let (a, b) = ([e(1.0, 0.0), e(0.0, 1.0)], [e(1.0, 0.0), e(0.6, 0.8)]);
        assert!((worst_difference(&a, &b) - 0.6).abs() < 1e-6);
        assert!((worst_cosine(&a, &b) - 0.8).abs() < 1e-6);
        assert_eq!(worst_difference(&a, &b[..1]), f32::INFINITY);
        assert_eq!(worst_cosine(&a, &b[..1]), -1.0);
    }
}
