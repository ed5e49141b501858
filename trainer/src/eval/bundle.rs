//! A bundle as an embedder, by ONNX Runtime, in the precision that it is served with.

use std::sync::Arc;

use clip::image::PixelValues;
use clip::{Embedding, ModelBundle, TokenIds};
use runtime::{Model, ModelOptions};

use super::{EmbeddedPictures, Embedder, EvalError};
use crate::data::Dataset;
use crate::data::decode::{Job, pictures};
use crate::watch::{Stop, Watch};

/// Pictures or texts in one call of a graph.
const BATCH: usize = 16;

/// A bundle's graphs with what feeds them.
pub struct BundleEmbedder<'a> {
    bundle: ModelBundle,
    model: Model,
    watch: &'a mut dyn Watch,
    stop: &'a Stop,
    threads: usize,
}

impl<'a> BundleEmbedder<'a> {
    /// Opens the graphs of `bundle`; `precision` as its manifest names it, or the usual one.
    ///
    /// # Errors
    /// [`EvalError::Runtime`] where ONNX Runtime or a graph cannot be loaded.
    pub fn open(
        bundle: ModelBundle,
        options: &ModelOptions,
        watch: &'a mut dyn Watch,
        stop: &'a Stop,
    ) -> Result<Self, EvalError> {
        let model = Model::open(&bundle, options)?;
        Ok(Self { bundle, model, watch, stop, threads: options.threads })
    }

    /// The precision that runs.
    #[must_use]
    pub fn precision(&self) -> &str {
        &self.model.precision
    }

    /// The templates that the bundle wants classes put into.
    #[must_use]
    pub fn templates(&self) -> Vec<String> {
        self.bundle.templates()
    }
}

impl Embedder for BundleEmbedder<'_> {
    fn pictures(&mut self, set: &Arc<Dataset>) -> Result<EmbeddedPictures, EvalError> {
        let total = set.pairs.len();
        let jobs = (0..total).map(|pair| Job { set: Arc::clone(set), pair }).collect();
        let mut embeddings: Vec<Option<Embedding>> = vec![None; total];
        let (mut bad, mut waiting, mut of) = (Vec::new(), Vec::<PixelValues>::new(), Vec::new());
        for (pair, result) in pictures(jobs, &self.bundle.processor, self.threads).enumerate() {
            if self.stop.asked() {
                return Err(EvalError::Stopped);
            }
            match result {
                Ok(pixels) => {
                    waiting.push(pixels);
                    of.push(pair);
                }
                Err(sample) => bad.push(sample),
            }
            if waiting.len() == BATCH || (pair + 1 == total && !waiting.is_empty()) {
                let found = self.model.image.embed(&waiting)?;
                waiting.clear();
                for (pair, embedding) in of.drain(..).zip(found) {
                    embeddings[pair] = Some(embedding);
                }
                let task = format!("pictures of {}", set.name());
                self.watch.progress(&task, pair as u64 + 1, total as u64, "");
            }
        }
        Ok(EmbeddedPictures { embeddings, bad })
    }

    fn texts(&mut self, texts: &[Arc<str>]) -> Result<Vec<Embedding>, EvalError> {
        let mut embeddings = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(BATCH) {
            if self.stop.asked() {
                return Err(EvalError::Stopped);
            }
            let tokens = chunk
                .iter()
                .map(|text| self.bundle.tokenizer.encode(text))
                .collect::<Result<Vec<TokenIds>, _>>()?;
            embeddings.extend(self.model.text.embed(&tokens)?);
            self.watch.progress("texts", embeddings.len() as u64, texts.len() as u64, "");
        }
        Ok(embeddings)
    }
}
