//! The two encoders of a bundle: pixel values or token ids in, embeddings out.

use std::path::{Path, PathBuf};

use clip::image::PixelValues;
use clip::{Embedding, ModelBundle, TokenIds, Tokenizer};

use crate::graph::Running;
use crate::profile::Placement;
use crate::{Graph, Input, Output, RuntimeError};

/// What the projected output of each tower is called, by us and in public folders.
const IMAGE_OUTPUTS: [&str; 3] = ["image_embeds", "image_embeddings", "embedding"];
const TEXT_OUTPUTS: [&str; 3] = ["text_embeds", "text_embeddings", "embedding"];

/// The state before the projection, in public exports of towers alone.
const UNPROJECTED: &str = "pooler_output";

/// Pixel values to embeddings.
pub struct ImageTower {
    graph: Graph,
    input: String,
    output: String,
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
    output: String,
    dim: usize,
}

impl ImageTower {
    /// Opens the graph, compares it with what the bundle says, and runs it once with a batch of two.
    pub(crate) fn open(
        path: &Path,
        bundle: &ModelBundle,
        running: Running,
    ) -> Result<(Self, Placement), RuntimeError> {
        let graph = Graph::open_recording(path, running)?;
        let (height, width) = (bundle.processor.height(), bundle.processor.width());
        let wrong = |reason: String| RuntimeError::Signature { path: path.to_owned(), reason };
        let inputs: Vec<_> = graph.inputs().collect();
        let [(input, shape)] = inputs.as_slice() else {
            let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!("it takes {:?} instead of one input of pixels", names)));
        };
        let expected = [None, Some(3), Some(height), Some(width)];
        if shape.len() != 4 || !shape.iter().zip(expected).all(|(&found, want)| fits(found, want)) {
            return Err(wrong(format!(
                "its input {input} has the shape {shape:?}, but pictures come as [batch, 3, {height}, {width}]"
            )));
        }
        let (input, dim) = ((*input).to_owned(), bundle.config.projection_dim);
        let output = projected(&graph, &IMAGE_OUTPUTS, dim)?;
        let mut tower = Self { graph, input, output, height, width, dim };
        let gray =
            |shade: f32| PixelValues { data: vec![shade; 3 * height * width], height, width };
        tower.embed(&[gray(0.0), gray(0.5)])?;
        let placement = tower.graph.placement()?;
        Ok((tower, placement))
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
        let output = if let [picture] = pictures {
            self.graph.run_for(&self.output, &[(&self.input, Input::F32(&picture.data, &shape))])?
        } else {
            let data: Vec<f32> = pictures.iter().flat_map(|p| &p.data).copied().collect();
            self.graph.run_for(&self.output, &[(&self.input, Input::F32(&data, &shape))])?
        };
        embeddings(output, pictures.len(), self.dim, self.graph.path())
    }
}

impl TextTower {
    /// Opens the graph, compares it with what the bundle says, and runs it once with a batch of two.
    pub(crate) fn open(
        path: &Path,
        bundle: &ModelBundle,
        running: Running,
    ) -> Result<(Self, Placement), RuntimeError> {
        let graph = Graph::open_recording(path, running)?;
        let wrong = |reason: String| RuntimeError::Signature { path: path.to_owned(), reason };
        let (mut input_ids, mut attention_mask) = (None, None);
        for (name, _) in graph.inputs() {
            match name {
                "input_ids" | "text" => input_ids = Some(name.to_owned()),
                "attention_mask" => attention_mask = Some(name.to_owned()),
                other => return Err(wrong(format!("it takes {other}, which we cannot give"))),
            }
        }
        let Some(input_ids) = input_ids else {
            return Err(wrong("it takes no input_ids".to_owned()));
        };
        let dim = bundle.config.projection_dim;
        let output = projected(&graph, &TEXT_OUTPUTS, dim)?;
        let tokenizer = bundle.tokenizer.clone();
        let text = tokenizer.encode("a dog").map_err(|error| wrong(error.to_string()))?;
        let mut tower = Self { graph, tokenizer, input_ids, attention_mask, output, dim };
        tower.embed(&[text.clone(), text])?;
        let placement = tower.graph.placement()?;
        Ok((tower, placement))
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
        let output = self.graph.run_for(&self.output, &inputs)?;
        embeddings(output, texts.len(), self.dim, self.graph.path())
    }
}

/// Whether a dimension of a graph (-1: any) takes `want` (`None`: any).
fn fits(found: i64, want: Option<usize>) -> bool {
    found < 0 || want.is_none_or(|want| usize::try_from(found) == Ok(want))
}

/// The output that holds the embeddings: by its name, else the only one of the shape
/// `[batch, dim]`.
fn projected(graph: &Graph, names: &[&str], dim: usize) -> Result<String, RuntimeError> {
    let wrong = |reason| RuntimeError::Signature { path: graph.path().to_owned(), reason };
    // An exporter may leave a shape out; the first run shows it.
    let fitting = |shape: &[i64]| match shape {
        [] => true,
        [_, last] => fits(*last, Some(dim)),
        _ => false,
    };
    for name in names {
        match graph.output(name) {
            Some(shape) if fitting(&shape) => return Ok((*name).to_owned()),
            Some(shape) => {
                return Err(wrong(format!(
                    "its output {name} has the shape {shape:?}, but config.json says [batch, {dim}]"
                )));
            }
            None => {}
        }
    }
    let others = || graph.outputs().filter(|(name, _)| *name != UNPROJECTED);
    let mut unnamed = others().filter(|(_, shape)| shape.len() == 2 && fitting(shape));
    match (unnamed.next(), unnamed.next(), graph.output(UNPROJECTED)) {
        (Some((name, _)), None, _) => Ok(name.to_owned()),
        (None, _, Some(_)) => Err(wrong(format!(
            "its output {UNPROJECTED} is the state before the projection, which compares with \
             nothing; export the tower with its projection, as {}",
            names[0]
        ))),
        _ => {
            let found: Vec<String> =
                graph.outputs().map(|(name, shape)| format!("{name} {shape:?}")).collect();
            Err(wrong(format!(
                "it gives {}, but no {} of the shape [batch, {dim}]",
                found.join(", "),
                names[0]
            )))
        }
    }
}

/// The rows of `[batch, dim]`, normalized.
fn embeddings(
    output: Output,
    batch: usize,
    dim: usize,
    path: &Path,
) -> Result<Vec<Embedding>, RuntimeError> {
    if output.shape != [batch, dim] {
        let reason = format!(
            "its output {} has the shape {:?} instead of [{batch}, {dim}]",
            output.name, output.shape
        );
        return Err(RuntimeError::Run { path: path.to_owned(), reason });
    }
    let rows = output.data.chunks_exact(dim).enumerate();
    rows.map(|(item, row)| {
        Embedding::new(row.to_vec()).map_err(|source| RuntimeError::Embedding {
            path: PathBuf::from(path),
            item,
            source,
        })
    })
    .collect()
}
