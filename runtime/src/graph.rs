//! One ONNX graph in a session of its own, with inputs and outputs by name.

use std::path::{Path, PathBuf};

use half::f16;
use ort::ep;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{Tensor, TensorElementType, TensorRef, ValueType};

use crate::profile::{Placement, Recording};
use crate::signature::Port;
use crate::{RuntimeError, library};

/// A loaded graph.
pub struct Graph {
    session: Session,
    path: PathBuf,
    recording: Option<Recording>,
}

/// How a graph is run.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Threads of its own; 0 counts as 1.
    pub threads: usize,
    /// On the first CUDA device instead of the CPU.
    pub cuda: bool,
    /// Whether the graph computes in 16 bits; a CPU may end the process on one that does not say so.
    pub half: bool,
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
        Self::open_with(path, Running { threads, cuda: false, half: false })
    }

    /// As [`Graph::open`], for graphs that want more than threads.
    ///
    /// # Errors
    /// As [`Graph::open`].
    pub fn open_with(path: &Path, running: Running) -> Result<Self, RuntimeError> {
        Self::with(path, running, None)
    }

    /// Loads a graph and records where its nodes run, until [`Graph::placement`].
    pub(crate) fn open_recording(path: &Path, running: Running) -> Result<Self, RuntimeError> {
        Self::with(path, running, Some(Recording::new()?))
    }

    fn with(
        path: &Path,
        running: Running,
        recording: Option<Recording>,
    ) -> Result<Self, RuntimeError> {
        let environment = library::environment()?;
        let failed = |reason: String| RuntimeError::Graph { path: path.to_owned(), reason };
        if !path.is_file() {
            return Err(failed("there is no such file".to_owned()));
        }
        let prefix = recording.as_ref().map(Recording::prefix);
        let session = build(environment, path, running, prefix.as_deref()).map_err(failed)?;
        Ok(Self { session, path: path.to_owned(), recording })
    }

    /// Ends the recording: where the nodes of the runs so far ran, and in what arithmetic.
    pub(crate) fn placement(&mut self) -> Result<Placement, RuntimeError> {
        let recording = self.recording.take();
        let file = self.session.end_profiling().map_err(|error| RuntimeError::Profile {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        let placement = Placement::read(Path::new(&file));
        drop(recording);
        placement
    }

    /// The inputs as the graph declares them.
    pub(crate) fn input_ports(&self) -> Vec<Port> {
        self.session.inputs().iter().map(Port::of).collect()
    }

    /// The outputs as the graph declares them.
    pub(crate) fn output_ports(&self) -> Vec<Port> {
        self.session.outputs().iter().map(Port::of).collect()
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

    /// Runs the graph; all its outputs must be f32 or f16, which is widened. Where the graph takes
    /// f16 or i32, inputs are converted.
    ///
    /// # Errors
    /// [`RuntimeError::Run`], with ONNX Runtime's words.
    pub fn run(&mut self, inputs: &[(&str, Input<'_>)]) -> Result<Vec<Output>, RuntimeError> {
        run(&mut self.session, inputs, None)
            .map_err(|reason| RuntimeError::Run { path: self.path.clone(), reason })
    }

    /// Runs the graph for some of its outputs, in that order; the others may be anything.
    pub(crate) fn run_for<const N: usize>(
        &mut self,
        outputs: [&str; N],
        inputs: &[(&str, Input<'_>)],
    ) -> Result<[Output; N], RuntimeError> {
        let failed = |reason| RuntimeError::Run { path: self.path.clone(), reason };
        let mut found = run(&mut self.session, inputs, Some(&outputs)).map_err(failed)?;
        found.sort_by_key(|output| outputs.iter().position(|name| *name == output.name));
        let missing = |_| failed(format!("it did not give {}", outputs.join(", ")));
        found.try_into().map_err(missing)
    }
}

fn build(
    environment: &ort::environment::Environment,
    path: &Path,
    running: Running,
    profile: Option<&Path>,
) -> Result<Session, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string().trim_end().to_owned();
    let mut builder = Session::builder(environment)
        .map_err(|error| say(&error))?
        .with_intra_threads(running.threads.max(1))
        .map_err(|error| say(&error))?
        // Waiting threads sleep: the cores belong to decoding between two batches.
        .with_intra_op_spinning(false)
        .map_err(|error| say(&error))?
        // Weights stored as int8 are widened once at load instead of at every run: with this
        // rewriting on, constant folding leaves `DequantizeLinear` alone.
        .with_quant_qdq(false)
        .map_err(|error| say(&error))?;
    if running.half && !running.cuda {
        // This rewriting of convolutions ends the process on graphs that compute in 16 bits.
        builder =
            builder.with_disabled_optimizers("NchwcTransformer").map_err(|error| say(&error))?;
    }
    if running.cuda {
        // Without the demand for an error it would run on the CPU and not say so.
        let cuda = ep::CUDA::default().build().error_on_failure();
        builder = builder.with_execution_providers([cuda]).map_err(|error| say(&error))?;
    }
    if let Some(prefix) = profile {
        builder = builder.with_profiling(prefix).map_err(|error| say(&error))?;
    }
    builder.commit_from_file(path).map_err(|error| say(&error))
}

fn run(
    session: &mut Session,
    inputs: &[(&str, Input<'_>)],
    wanted: Option<&[&str]>,
) -> Result<Vec<Output>, String> {
    let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        let declared = session.inputs().iter().find(|outlet| outlet.name() == *name);
        let declared = declared.and_then(|outlet| outlet.dtype().tensor_type());
        values.push((name, value(input, declared).map_err(|error| error.to_string())?));
    }
    let outputs = session.run(values).map_err(|error| error.to_string())?;
    collect(&outputs, wanted)
}

/// An input as the graph declares it.
fn value<'a>(
    input: &Input<'a>,
    declared: Option<TensorElementType>,
) -> ort::Result<SessionInputValue<'a>> {
    Ok(match (*input, declared) {
        (Input::F32(data, shape), Some(TensorElementType::Float16)) => {
            let data: Vec<f16> = data.iter().map(|&value| f16::from_f32(value)).collect();
            Tensor::from_array((shape.to_vec(), data))?.into()
        }
        (Input::I64(data, shape), Some(TensorElementType::Int32)) => {
            // Token ids are far below 2³¹.
            let data: Vec<i32> = data.iter().map(|&value| value as i32).collect();
            Tensor::from_array((shape.to_vec(), data))?.into()
        }
        (Input::F32(data, shape), _) => TensorRef::from_array_view((shape.to_vec(), data))?.into(),
        (Input::I64(data, shape), _) => TensorRef::from_array_view((shape.to_vec(), data))?.into(),
    })
}

fn collect(outputs: &SessionOutputs<'_>, wanted: Option<&[&str]>) -> Result<Vec<Output>, String> {
    outputs
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted.contains(name)))
        .map(|(name, value)| {
            let (shape, data) = if value.dtype().tensor_type() == Some(TensorElementType::Float16) {
                let half = value.try_extract_tensor::<f16>().map_err(|error| error.to_string())?;
                (half.0, half.1.iter().map(|value| value.to_f32()).collect())
            } else {
                let full = value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
                (full.0, full.1.to_vec())
            };
            let shape = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
            Ok(Output { name: name.to_owned(), shape, data })
        })
        .collect()
}

fn shape_of(dtype: &ValueType) -> Vec<i64> {
    dtype.tensor_shape().map(|shape| shape.iter().copied().collect()).unwrap_or_default()
}
