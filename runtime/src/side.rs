//! One tower of a graph: what goes in for it, what goes in for the tower that is not asked, and
//! which output is its answer.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clip::tokenize::{TokenBatch, TokenizeError};
use clip::{Embedding, ModelBundle, Tokenizer};

use crate::signature::{Inputs, Port, Side, listed};
use crate::{Graph, Input, Output, RuntimeError};

/// A graph that both towers may share, since one file may hold both.
pub(crate) type SharedGraph = Arc<Mutex<Graph>>;

/// The graph for one run.
pub(crate) fn locked(graph: &SharedGraph) -> MutexGuard<'_, Graph> {
    graph.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One tower of a graph.
pub(crate) struct Half {
    pub(crate) graph: SharedGraph,
    pub(crate) inputs: Inputs,
    pub(crate) output: Port,
    /// Fills texts up as the graph wants them.
    pub(crate) tokenizer: Tokenizer,
    /// Dimension of the embeddings; known for certain after the first run.
    dim: Option<usize>,
    /// Whether inputs run one by one.
    pub(crate) one_by_one: bool,
    /// What goes in for the other tower, where the graph demands it.
    blank: Blank,
}

/// Inputs that say nothing.
struct Blank {
    /// `[3, H, W]`, all zero.
    pixels: Vec<f32>,
    height: usize,
    width: usize,
    /// One text of no words.
    text: TokenBatch,
}

/// What one run takes: pictures or texts.
pub(crate) enum Asked<'a> {
    /// `[B, 3, H, W]` and `B`.
    Pixels(&'a [f32], usize),
    /// `[B, L]`
    Text(&'a TokenBatch),
}

impl Half {
    /// Finds inputs and output of a side in its graph.
    ///
    /// # Errors
    /// [`RuntimeError::Signature`], with what was found.
    pub(crate) fn find(
        side: Side,
        graph: SharedGraph,
        bundle: &ModelBundle,
    ) -> Result<Self, RuntimeError> {
        let opened = locked(&graph);
        let wrong =
            |reason: String| RuntimeError::Signature { path: opened.path().to_owned(), reason };
        let inputs = Inputs::of(opened.input_ports()).map_err(wrong)?;
        let mut tokenizer = bundle.tokenizer.clone();
        if inputs.input_ids.as_ref().is_some_and(|port| port.fixed(1).is_some()) {
            tokenizer = tokenizer.padded_in_full();
        }
        let blank = Blank::of(bundle, &tokenizer).map_err(|error| wrong(error.to_string()))?;
        let (own, what) = match side {
            Side::Image => (inputs.pixels.as_ref(), "pixels"),
            Side::Text => (inputs.input_ids.as_ref(), "token ids"),
        };
        let Some(own) = own else {
            return Err(wrong(format!("it takes {inputs}, but no {what}")));
        };
        blank.suits(&inputs).map_err(wrong)?;
        let one_by_one = match own.fixed(0) {
            None => false,
            Some(1) => true,
            Some(batch) => {
                return Err(wrong(format!("{own} takes batches of {batch} and no others")));
            }
        };
        let (dim, pooled) = (bundle.rules.dim, bundle.rules.pooled_is_projected);
        let output = side.output(&opened.output_ports(), dim, pooled).map_err(wrong)?;
        drop(opened);
        Ok(Self { graph, inputs, output, tokenizer, dim, one_by_one, blank })
    }

    /// Dimension of the embeddings; 0 before the first run of a graph that does not tell.
    pub(crate) fn dim(&self) -> usize {
        self.dim.unwrap_or_default()
    }

    /// Runs the graph for this side's answer: the rows of `[batch, dim]`, normalized.
    pub(crate) fn embed(&mut self, asked: &Asked<'_>) -> Result<Vec<Embedding>, RuntimeError> {
        let [output] = self.run(asked, [&self.output.name])?;
        let (batch, path) = (asked.batch(), self.path());
        let dim = match (output.shape.as_slice(), self.dim) {
            ([rows, dim], None) if *rows == batch && *dim > 0 => *dim,
            ([rows, found], Some(dim)) if *rows == batch && *found == dim => dim,
            (shape, dim) => {
                let dim = dim.map_or_else(|| "dim".to_owned(), |dim| dim.to_string());
                let reason = format!(
                    "its output {} has the shape {shape:?} instead of [{batch}, {dim}]",
                    output.name
                );
                return Err(RuntimeError::Run { path, reason });
            }
        };
        self.dim = Some(dim);
        let rows = output.data.chunks_exact(dim).enumerate();
        rows.map(|(item, row)| {
            let unusable = |source| RuntimeError::Embedding { path: path.clone(), item, source };
            Embedding::new(row.to_vec()).map_err(unusable)
        })
        .collect()
    }

    /// Runs the graph for some of its outputs.
    pub(crate) fn run<const N: usize>(
        &self,
        asked: &Asked<'_>,
        outputs: [&str; N],
    ) -> Result<[Output; N], RuntimeError> {
        let feed = Feed::of(&self.inputs, asked, &self.blank);
        locked(&self.graph).run_for(outputs, &feed.inputs(&self.inputs))
    }

    pub(crate) fn path(&self) -> PathBuf {
        locked(&self.graph).path().to_owned()
    }

    /// Inputs and answer in words, for whoever asks what was understood.
    pub(crate) fn describe(&self) -> String {
        let batches = if self.one_by_one { ", one at a time" } else { "" };
        format!("{} -> {}{batches}", self.inputs, self.output)
    }
}

impl Blank {
    fn of(bundle: &ModelBundle, tokenizer: &Tokenizer) -> Result<Self, TokenizeError> {
        let (height, width) = (bundle.processor.height(), bundle.processor.width());
        let text = tokenizer.pad_batch(&[&tokenizer.encode("")?]);
        Ok(Self { pixels: vec![0.0; 3 * height * width], height, width, text })
    }

    fn texts(&self, rows: usize) -> TokenBatch {
        TokenBatch {
            input_ids: self.text.input_ids.repeat(rows),
            attention_mask: self.text.attention_mask.repeat(rows),
            batch: rows,
            length: self.text.length,
        }
    }

    /// Whether pictures and texts of this model have the shapes that the graph takes.
    fn suits(&self, inputs: &Inputs) -> Result<(), String> {
        let (height, width) = (self.height, self.width);
        if let Some(port) = &inputs.pixels {
            let wanted = [None, Some(3), Some(height), Some(width)];
            let differs = |(at, want): (usize, &Option<usize>)| matches!((port.fixed(at), want), (Some(found), Some(want)) if found != *want);
            if wanted.iter().enumerate().any(differs) {
                return Err(format!(
                    "its input {port} does not take pictures as [batch, 3, {height}, {width}]"
                ));
            }
        }
        let Some(port) = &inputs.input_ids else {
            return match inputs.attention_mask.as_ref().or(inputs.token_types.as_ref()) {
                Some(port) => Err(format!("it takes {}, but no token ids", listed([port]))),
                None => Ok(()),
            };
        };
        match port.fixed(1) {
            Some(length) if length != self.text.length => Err(format!(
                "its input {port} takes texts of {length} tokens, but those of this model have {}",
                self.text.length
            )),
            _ => Ok(()),
        }
    }
}

impl Asked<'_> {
    fn batch(&self) -> usize {
        match self {
            Self::Pixels(_, batch) => *batch,
            Self::Text(text) => text.batch,
        }
    }
}

/// The tensors of one run.
struct Feed<'a> {
    pixels: Cow<'a, [f32]>,
    pixels_shape: [usize; 4],
    text: Cow<'a, TokenBatch>,
    text_shape: [usize; 2],
    /// As long as the token ids.
    zeros: Vec<i64>,
}

impl<'a> Feed<'a> {
    /// Sets what is asked beside as much of nothing as the graph demands for its other side.
    fn of(inputs: &Inputs, asked: &Asked<'a>, blank: &Blank) -> Self {
        let (pixels, images, text) = match *asked {
            Asked::Pixels(pixels, batch) => {
                let rows = rows(inputs.input_ids.as_ref(), inputs.pixels.as_ref(), batch);
                (pixels.into(), batch, Cow::Owned(blank.texts(rows)))
            }
            Asked::Text(text) => {
                let rows = rows(inputs.pixels.as_ref(), inputs.input_ids.as_ref(), text.batch);
                (blank.pixels.repeat(rows).into(), rows, Cow::Borrowed(text))
            }
        };
        Self {
            pixels,
            pixels_shape: [images, 3, blank.height, blank.width],
            text_shape: [text.batch, text.length],
            zeros: match inputs.token_types {
                Some(_) => vec![0; text.input_ids.len()],
                None => Vec::new(),
            },
            text,
        }
    }

    fn inputs<'b>(&'b self, names: &'b Inputs) -> Vec<(&'b str, Input<'b>)> {
        let text = |data: &'b [i64]| Input::I64(data, &self.text_shape);
        let all = [
            (&names.pixels, Input::F32(&self.pixels, &self.pixels_shape)),
            (&names.input_ids, text(&self.text.input_ids)),
            (&names.attention_mask, text(&self.text.attention_mask)),
            (&names.token_types, text(&self.zeros)),
        ];
        all.into_iter()
            .filter_map(|(port, data)| Some((port.as_ref()?.name.as_str(), data)))
            .collect()
    }
}

/// How many blank inputs the side that is not asked gets: as few as the graph allows, since each of
/// them is computed; none where it takes none.
fn rows(absent: Option<&Port>, asked: Option<&Port>, batch: usize) -> usize {
    match (absent, asked) {
        (None, _) => 0,
        (Some(absent), Some(asked)) if absent.batches_apart_from(asked) => 1,
        (Some(absent), _) => absent.fixed(0).unwrap_or(batch),
    }
}

/// Makes a graph one that both towers can hold.
pub(crate) fn shared(graph: Graph) -> SharedGraph {
    Arc::new(Mutex::new(graph))
}
