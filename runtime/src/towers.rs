//! The two encoders of a bundle: pixel values or token ids in, embeddings out.

use std::path::{Path, PathBuf};

use clip::image::PixelValues;
use clip::{Embedding, ModelBundle, TokenIds, Tokenizer};

use crate::{Graph, Input, Output, RuntimeError};

/// Pixel values to embeddings.
pub struct ImageTower {
    graph: Graph,
    input: String,
    height: usize,
    width: usize,
    dim: usize,
}

/// Token ids to embeddings.
pub struct TextTower {
    graph: Graph,
    tokenizer: Tokenizer,
    input_ids: String,
    attention_mask: Option<String>,
    dim: usize,
}

impl ImageTower {
    /// Opens the graph and compares it with what the bundle says.
    pub(crate) fn open(
        path: &Path,
        bundle: &ModelBundle,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let graph = Graph::open(path, threads)?;
        let (height, width) = (bundle.processor.height(), bundle.processor.width());
        let wrong = |reason: String| RuntimeError::Signature { path: path.to_owned(), reason };
        let Some((input, shape)) = graph.inputs().next() else {
            return Err(wrong("it has no input".to_owned()));
        };
        let expected = [None, Some(3), Some(height), Some(width)];
        if shape.len() != 4 || !shape.iter().zip(expected).all(|(&found, want)| fits(found, want)) {
            return Err(wrong(format!(
                "its input {input} has the shape {shape:?}, but pictures come as [batch, 3, {height}, {width}]"
            )));
        }
        let input = input.to_owned();
        check_output(&graph, bundle.config.projection_dim)?;
        Ok(Self { graph, input, height, width, dim: bundle.config.projection_dim })
    }

    /// Embeds pictures as one batch.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] and [`RuntimeError::Embedding`].
    pub fn embed(&mut self, pictures: &[PixelValues]) -> Result<Vec<Embedding>, RuntimeError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let shape = [pictures.len(), 3, self.height, self.width];
        // A single picture, the usual case of a search, is not copied.
        let outputs = if let [picture] = pictures {
            self.graph.run(&[(&self.input, Input::F32(&picture.data, &shape))])?
        } else {
            let data: Vec<f32> = pictures.iter().flat_map(|p| &p.data).copied().collect();
            self.graph.run(&[(&self.input, Input::F32(&data, &shape))])?
        };
        embeddings(outputs, pictures.len(), self.dim, self.graph.path())
    }
}

impl TextTower {
    /// Opens the graph and compares it with what the bundle says.
    pub(crate) fn open(
        path: &Path,
        bundle: &ModelBundle,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let graph = Graph::open(path, threads)?;
        let names: Vec<String> = graph.inputs().map(|(name, _)| name.to_owned()).collect();
        let take = |wanted: &str| names.iter().find(|name| *name == wanted).cloned();
        let Some(input_ids) = take("input_ids") else {
            let reason = format!("it takes {} and no input_ids", names.join(", "));
            return Err(RuntimeError::Signature { path: path.to_owned(), reason });
        };
        check_output(&graph, bundle.config.projection_dim)?;
        Ok(Self {
            graph,
            tokenizer: bundle.tokenizer.clone(),
            input_ids,
            attention_mask: take("attention_mask"),
            dim: bundle.config.projection_dim,
        })
    }

    /// Embeds texts. With an attention mask they are padded to the longest of them and run as one
    /// batch; without one, padding would change the answer, so texts of equal length run together.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] and [`RuntimeError::Embedding`].
    pub fn embed(&mut self, texts: &[TokenIds]) -> Result<Vec<Embedding>, RuntimeError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        if self.attention_mask.is_some() {
            return self.run(&texts.iter().collect::<Vec<_>>());
        }
        let mut by_length: std::collections::BTreeMap<usize, Vec<usize>> = Default::default();
        for (at, text) in texts.iter().enumerate() {
            by_length.entry(text.ids.len()).or_default().push(at);
        }
        let mut answers: Vec<Option<Embedding>> = vec![None; texts.len()];
        for places in by_length.into_values() {
            let batch: Vec<&TokenIds> = places.iter().map(|&at| &texts[at]).collect();
            for (at, embedding) in places.iter().zip(self.run(&batch)?) {
                answers[*at] = Some(embedding);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn run(&mut self, texts: &[&TokenIds]) -> Result<Vec<Embedding>, RuntimeError> {
        let batch = self.tokenizer.pad_batch(texts);
        let shape = [batch.batch, batch.length];
        let mut inputs = vec![(self.input_ids.as_str(), Input::I64(&batch.input_ids, &shape))];
        if let Some(mask) = &self.attention_mask {
            inputs.push((mask, Input::I64(&batch.attention_mask, &shape)));
        }
        let outputs = self.graph.run(&inputs)?;
        embeddings(outputs, texts.len(), self.dim, self.graph.path())
    }
}

/// Whether a dimension of a graph (-1: any) takes `want` (`None`: any).
fn fits(found: i64, want: Option<usize>) -> bool {
    found < 0 || want.is_none_or(|want| usize::try_from(found) == Ok(want))
}

fn check_output(graph: &Graph, dim: usize) -> Result<(), RuntimeError> {
    let wrong = |reason| RuntimeError::Signature { path: graph.path().to_owned(), reason };
    let Some((name, shape)) = graph.outputs().next() else {
        return Err(wrong("it has no output".to_owned()));
    };
    match shape.as_slice() {
        [_, last] if fits(*last, Some(dim)) => Ok(()),
        _ => Err(wrong(format!(
            "its output {name} has the shape {shape:?}, but config.json says [batch, {dim}]"
        ))),
    }
}

/// The first output, `[batch, dim]`, normalized row by row.
fn embeddings(
    outputs: Vec<Output>,
    batch: usize,
    dim: usize,
    path: &Path,
) -> Result<Vec<Embedding>, RuntimeError> {
    let Some(output) = outputs.into_iter().next().filter(|o| o.shape == [batch, dim]) else {
        let reason = format!("expected an output of the shape [{batch}, {dim}]");
        return Err(RuntimeError::Run { path: path.to_owned(), reason });
    };
    output
        .data
        .chunks_exact(dim)
        .enumerate()
        .map(|(item, row)| {
            let path = || PathBuf::from(path);
            Embedding::new(row.to_vec()).map_err(|source| RuntimeError::Embedding {
                path: path(),
                item,
                source,
            })
        })
        .collect()
}
