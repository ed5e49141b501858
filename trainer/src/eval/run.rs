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
    fn pictures(&mut self, set: &Arc<Dataset>) -> Result<EmbeddedPictures, EvalError> {
        let all = self.pass.pictures(set)?;
        let mut rows = self.pass.encoder.embeddings(Side::Image, &all.pooled)?.into_iter();
        let embeddings =
            all.rows.iter().map(|row| row.and_then(|_| rows.next())).collect::<Vec<_>>();
        Ok(EmbeddedPictures { embeddings, bad: all.bad })
    }

    fn texts(&mut self, texts: &[Arc<str>]) -> Result<Vec<Embedding>, EvalError> {
        let pooled = self.pass.texts(texts)?;
        Ok(self.pass.encoder.embeddings(Side::Text, &pooled)?)
    }
}
