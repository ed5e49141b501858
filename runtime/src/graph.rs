//! One ONNX graph in a session of its own, with inputs and outputs by name.

use std::path::{Path, PathBuf};

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{TensorRef, ValueType};

use crate::{RuntimeError, library};

/// A loaded graph.
pub struct Graph {
    session: Session,
    path: PathBuf,
}

/// A tensor that goes in.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// f32 values and their shape.
    F32(&'a [f32], &'a [usize]),
    /// i64 values and their shape.
    I64(&'a [i64], &'a [usize]),
}

/// An f32 tensor that came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The graph's name for it.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Row by row.
    pub data: Vec<f32>,
}

impl Graph {
    /// Loads a graph to run on `threads` threads of its own; [`library::load`] comes first.
    ///
    /// # Errors
    /// [`RuntimeError::NotLoaded`] and [`RuntimeError::Graph`].
    pub fn open(path: &Path, threads: usize) -> Result<Self, RuntimeError> {
        let environment = library::environment()?;
        let failed = |reason: String| RuntimeError::Graph { path: path.to_owned(), reason };
        if !path.is_file() {
            return Err(failed("there is no such file".to_owned()));
        }
        let session = build(environment, path, threads).map_err(failed)?;
        Ok(Self { session, path: path.to_owned() })
    }

    /// The graph's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes of the inputs; a dimension that may vary is -1.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Vec<i64>)> {
        self.session.inputs().iter().map(|outlet| (outlet.name(), shape_of(outlet.dtype())))
    }

    /// Names and shapes of the outputs; a dimension that may vary is -1.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Vec<i64>)> {
        self.session.outputs().iter().map(|outlet| (outlet.name(), shape_of(outlet.dtype())))
    }

    /// Runs the graph; all its outputs must be f32.
    ///
    /// # Errors
    /// [`RuntimeError::Run`], with ONNX Runtime's words.
    pub fn run(&mut self, inputs: &[(&str, Input<'_>)]) -> Result<Vec<Output>, RuntimeError> {
        run(&mut self.session, inputs)
            .map_err(|reason| RuntimeError::Run { path: self.path.clone(), reason })
    }
}

fn build(
    environment: &ort::environment::Environment,
    path: &Path,
    threads: usize,
) -> Result<Session, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    Session::builder(environment)
        .map_err(|error| say(&error))?
        .with_intra_threads(threads.max(1))
        .map_err(|error| say(&error))?
        // Waiting threads sleep: the cores belong to decoding between two batches.
        .with_intra_op_spinning(false)
        .map_err(|error| say(&error))?
        // Weights stored as int8 are widened once at load instead of at every run: with this
        // rewriting on, constant folding leaves `DequantizeLinear` alone.
        .with_quant_qdq(false)
        .map_err(|error| say(&error))?
        .commit_from_file(path)
        .map_err(|error| say(&error))
}

fn run(session: &mut Session, inputs: &[(&str, Input<'_>)]) -> Result<Vec<Output>, String> {
    let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        let value: SessionInputValue<'_> = match input {
            Input::F32(data, shape) => {
                TensorRef::from_array_view((shape.to_vec(), *data)).map(Into::into)
            }
            Input::I64(data, shape) => {
                TensorRef::from_array_view((shape.to_vec(), *data)).map(Into::into)
            }
        }
        .map_err(|error| error.to_string())?;
        values.push((name, value));
    }
    let outputs = session.run(values).map_err(|error| error.to_string())?;
    collect(&outputs)
}

fn collect(outputs: &SessionOutputs<'_>) -> Result<Vec<Output>, String> {
    outputs
        .iter()
        .map(|(name, value)| {
            let (shape, data) =
                value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            let shape = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
            Ok(Output { name: name.to_owned(), shape, data: data.to_vec() })
        })
        .collect()
}

fn shape_of(dtype: &ValueType) -> Vec<i64> {
    dtype.tensor_shape().map(|shape| shape.iter().copied().collect()).unwrap_or_default()
}
