//! A run's model as an embedder, by libtorch.

use std::sync::Arc;

use clip::Embedding;

use super::{EmbeddedPictures, Embedder, EvalError};
use crate::data::Dataset;
use crate::encoder::pooled::Pass;
use crate::model::Side;

/// Embeds with the weights as they are in the encoder of `pass`.
pub struct RunEmbedder<'a> {
    /// The model and how to run it.
    pub pass: Pass<'a>,
}

impl Embedder for RunEmbedder<'_> {
    fn knows_words(&self) -> bool {
        self.pass.encoder.knows_words
    }

    fn pictures(&mut self, set: &Arc<Dataset>) -> Result<EmbeddedPictures, EvalError> {
        let all = self.pass.pictures(set)?;
        let encoder = self.pass.encoder;
        let rows = if encoder.knows_words {
            encoder.embeddings(Side::Image, &all.pooled)?
        } else {
            encoder.tower_embeddings(&all.pooled)?
        };
        let mut rows = rows.into_iter();
        let embeddings =
            all.rows.iter().map(|row| row.and_then(|_| rows.next())).collect::<Vec<_>>();
        Ok(EmbeddedPictures { embeddings, bad: all.bad })
    }

    fn texts(&mut self, texts: &[Arc<str>]) -> Result<Vec<Embedding>, EvalError> {
        if !self.knows_words() {
            return Err(EvalError::NoWords);
        }
        let pooled = self.pass.texts(texts)?;
        Ok(self.pass.encoder.embeddings(Side::Text, &pooled)?)
    }
}
