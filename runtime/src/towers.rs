//! The two encoders of a bundle: pixel values or token ids in, embeddings out.

use std::collections::BTreeMap;

use clip::image::PixelValues;
use clip::tokenize::Padding;
use clip::{Embedding, ModelBundle, TokenIds};

use crate::RuntimeError;
use crate::side::{Asked, Half, SharedGraph};
use crate::signature::Side;

/// Pixel values to embeddings.
pub struct ImageTower {
    half: Half,
}

/// Token ids to embeddings.
pub struct TextTower {
    half: Half,
}

impl ImageTower {
    /// Finds the tower in its graph, compares it with what the bundle says, and runs it once: two
    /// pictures, or one where the graph takes no more.
    pub(crate) fn open(graph: SharedGraph, bundle: &ModelBundle) -> Result<Self, RuntimeError> {
        let half = Half::find(Side::Image, graph, bundle)?;
        let (height, width) = (bundle.processor.height(), bundle.processor.width());
        let gray =
            |shade: f32| PixelValues { data: vec![shade; 3 * height * width], height, width };
        let mut tower = Self { half };
        if let Err(error) = tower.embed(&[gray(0.0), gray(0.5)]) {
            alone_or(&mut tower.half, error)?;
            tower.embed(&[gray(0.5)])?;
        }
        Ok(tower)
    }

    /// Embeds pictures as one batch, or one by one where the graph takes no more.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] and [`RuntimeError::Embedding`].
    pub fn embed(&mut self, pictures: &[PixelValues]) -> Result<Vec<Embedding>, RuntimeError> {
        // A single picture, the usual case of a search, is not copied.
        if self.half.one_by_one || pictures.len() == 1 {
            let mut all = Vec::with_capacity(pictures.len());
            for picture in pictures {
                all.extend(self.half.embed(&Asked::Pixels(&picture.data, 1))?);
            }
            return Ok(all);
        }
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let data: Vec<f32> = pictures.iter().flat_map(|p| &p.data).copied().collect();
        self.half.embed(&Asked::Pixels(&data, pictures.len()))
    }

    /// What was understood of its graph: inputs, answer and batches, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        self.half.describe()
    }

    pub(crate) fn half(&self) -> &Half {
        &self.half
    }
}

impl TextTower {
    /// Finds the tower in its graph, compares it with what the bundle says, and runs it once: two
    /// texts, or one where the graph takes no more.
    pub(crate) fn open(graph: SharedGraph, bundle: &ModelBundle) -> Result<Self, RuntimeError> {
        let half = Half::find(Side::Text, graph, bundle)?;
        let text = half.tokenizer.encode("a dog").map_err(|error| RuntimeError::Signature {
            path: half.path(),
            reason: error.to_string(),
        })?;
        let mut tower = Self { half };
        if let Err(error) = tower.embed(&[text.clone(), text.clone()]) {
            alone_or(&mut tower.half, error)?;
            tower.embed(&[text])?;
        }
        Ok(tower)
    }

    /// Embeds texts. With an attention mask they are padded to the longest of them and run as one
    /// batch, and so are those of a model that wants all texts at full length; without either,
    /// padding would change the answer, so texts of equal length run together.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] and [`RuntimeError::Embedding`].
    pub fn embed(&mut self, texts: &[TokenIds]) -> Result<Vec<Embedding>, RuntimeError> {
        let mut answers: Vec<Option<Embedding>> = vec![None; texts.len()];
        for places in self.batches(texts) {
            let batch: Vec<&TokenIds> = places.iter().map(|&at| &texts[at]).collect();
            let batch = self.half.tokenizer.pad_batch(&batch);
            for (at, embedding) in places.iter().zip(self.half.embed(&Asked::Text(&batch))?) {
                answers[*at] = Some(embedding);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Which texts run together, by their index.
    fn batches(&self, texts: &[TokenIds]) -> Vec<Vec<usize>> {
        let all = 0..texts.len();
        if self.half.one_by_one {
            return all.map(|at| vec![at]).collect();
        }
        let full = self.half.tokenizer.rules().padding != Padding::Longest;
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in all {
            let any_length = full || self.half.inputs.attention_mask.is_some();
            let length = if any_length { 0 } else { texts[at].ids.len() };
            by_length.entry(length).or_default().push(at);
        }
        by_length.into_values().collect()
    }

    /// What was understood of its graph: inputs, answer and batches, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        self.half.describe()
    }

    pub(crate) fn half(&self) -> &Half {
        &self.half
    }
}

/// Lets a tower run its inputs one by one after a run of two has failed: some graphs say that their
/// batch may vary, and do not mean it.
///
/// # Errors
/// The failure itself, where inputs ran one by one already.
fn alone_or(half: &mut Half, error: RuntimeError) -> Result<(), RuntimeError> {
    match error {
        RuntimeError::Run { .. } if !half.one_by_one => {
            half.one_by_one = true;
            Ok(())
        }
        other => Err(other),
    }
}
