//! Runs a case in libtorch and in ONNX Runtime on the same random inputs.

use clipsight_trainer::model::{ModelError, Onnx, Ops, Torch, Weights};
use clipsight_trainer::onnx::{Dimension, ElementType, WeightStorage, Wire};
use runtime::{Graph, Input, Output, Running};
use tch::{Device, Kind, Tensor};

/// Something to run over any `Ops`.
pub(super) trait Case {
    fn run<O: Ops>(&self, ops: &mut O, inputs: Vec<O::Value>) -> Result<O::Value, ModelError>;
}

/// An input to make up, by its shape.
#[derive(Debug, Clone, Copy)]
pub(super) enum Feed {
    /// Standard normal.
    Floats(&'static [i64]),
    /// Normal, ten times as wide.
    Wide(&'static [i64]),
    /// Normal, a thousandth as wide.
    Small(&'static [i64]),
    /// Zeros.
    Zeros(&'static [i64]),
    /// Ids below a bound.
    Ids(&'static [i64], i64),
    /// Ones, then at least no zero in the first place: each row a length of its own.
    Mask(&'static [i64]),
}

impl Feed {
    fn tensor(self) -> Tensor {
        let floats = (Kind::Float, Device::Cpu);
        match self {
            Self::Floats(shape) => Tensor::randn(shape, floats),
            Self::Wide(shape) => Tensor::randn(shape, floats) * 10.0,
            Self::Small(shape) => Tensor::randn(shape, floats) / 1e3,
            Self::Zeros(shape) => Tensor::zeros(shape, floats),
            Self::Ids(shape, bound) => Tensor::randint(bound, shape, (Kind::Int64, Device::Cpu)),
            Self::Mask(shape) => {
                let places = Tensor::arange(shape[1], (Kind::Int64, Device::Cpu)).unsqueeze(0);
                let lengths = Tensor::randint(shape[1], [shape[0], 1], (Kind::Int64, Device::Cpu));
                places.le_tensor(&lengths).to_kind(Kind::Int64)
            }
        }
    }

    fn rank(self) -> usize {
        match self {
            Self::Floats(shape)
            | Self::Wide(shape)
            | Self::Small(shape)
            | Self::Zeros(shape)
            | Self::Ids(shape, _)
            | Self::Mask(shape) => shape.len(),
        }
    }

    fn element(self) -> ElementType {
        match self {
            Self::Ids(..) | Self::Mask(_) => ElementType::I64,
            Self::Floats(_) | Self::Wide(_) | Self::Small(_) | Self::Zeros(_) => ElementType::F32,
        }
    }
}

/// Random weights of these names and shapes.
pub(super) fn weights(named: &[(&str, &[i64])]) -> Weights {
    let mut weights = Weights::new();
    for (name, shape) in named {
        weights.insert(*name, Tensor::randn(*shape, (Kind::Float, Device::Cpu)));
    }
    weights
}

/// The same but for the matrix `name`, of which any processor multiplies the bytes exactly: one without VNNI adds
/// neighbors in 16 bits, so each output channel has one large weight beside a zero, and is stored by half of
/// the range in all else.
pub(super) fn multiplied_exactly(mut weights: Weights, name: &str) -> Weights {
    let matrix = weights.get(name).unwrap();
    let rows = matrix.copy().flatten(1, -1); // [outputs, inputs]
    // The neighbor is the next input; kernels are stored pixel by pixel, where it is the next channel.
    let next = matrix.size()[2..].iter().product::<i64>();
    let _ = rows.narrow(1, 0, 1).zero_();
    let _ = rows.narrow(1, next, 1).zero_();
    let largest = rows.abs().amax([1], true); // [outputs, 1]
    rows.narrow(1, 0, 1).copy_(&(largest * 2.1));
    let changed = rows.view_as(matrix);
    weights.insert(name, changed);
    weights
}

/// Records the case once, with every dimension of its inputs open, and compares it with libtorch
/// on each set of feeds: the worst difference is at most `tolerance` times the largest number.
pub(super) fn agree(
    case: &impl Case,
    weights: &Weights,
    storage: WeightStorage,
    feeds: &[Vec<Feed>],
    tolerance: f64,
) {
    runtime::library::load(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.onnx");
    std::fs::write(&path, record(case, weights, storage, &feeds[0]).unwrap()).unwrap();
    let half = storage == WeightStorage::Half;
    let mut graph = Graph::open_with(&path, Running { threads: 1, cuda: false, half }).unwrap();
    for feed in feeds {
        let inputs: Vec<Tensor> = feed.iter().map(|feed| feed.tensor()).collect();
        let expected = case.run(&mut Torch::new(weights), copies(&inputs)).unwrap();
        let found = run(&mut graph, &inputs);
        let shape: Vec<i64> = found.shape.iter().map(|&dim| dim as i64).collect();
        assert_eq!(shape, expected.size(), "{feed:?}");
        let found = Tensor::from_slice(&found.data).view(shape.as_slice());
        let worst = (found - &expected).abs().max().double_value(&[]);
        let largest = expected.abs().max().double_value(&[]).max(1.0);
        assert!(worst <= tolerance * largest, "{feed:?}: {worst} of {largest}");
    }
}

/// What both interpretations say where the case cannot run.
pub(super) fn errors(case: &impl Case, weights: &Weights, feed: &[Feed]) -> [ModelError; 2] {
    let inputs: Vec<Tensor> = feed.iter().map(|feed| feed.tensor()).collect();
    let torch = case.run(&mut Torch::new(weights), copies(&inputs)).unwrap_err();
    [torch, record(case, weights, WeightStorage::F32, feed).unwrap_err()]
}

fn record(
    case: &impl Case,
    weights: &Weights,
    storage: WeightStorage,
    feed: &[Feed],
) -> Result<Vec<u8>, ModelError> {
    const DIMENSIONS: [[&str; 4]; 4] = [
        ["a0", "a1", "a2", "a3"],
        ["b0", "b1", "b2", "b3"],
        ["c0", "c1", "c2", "c3"],
        ["d0", "d1", "d2", "d3"],
    ];
    let mut ops = Onnx::new("case", weights, storage);
    let mut inputs: Vec<Wire> = Vec::new();
    for (index, feed) in feed.iter().enumerate() {
        let shape = DIMENSIONS[index][..feed.rank()].iter().map(|name| Dimension::Named(name));
        let shape: Vec<Dimension> = shape.collect();
        let input = ops.graph.input(&format!("x{index}"), feed.element(), &shape);
        let floats = feed.element() == ElementType::F32;
        inputs.push(if floats { ops.enter(&input) } else { input });
    }
    let y = case.run(&mut ops, inputs)?;
    let y = ops.leave(&y);
    ops.graph.output(&y, "y", ElementType::F32, &[]);
    Ok(ops.graph.finish())
}

fn run(graph: &mut Graph, inputs: &[Tensor]) -> Output {
    let shapes: Vec<Vec<usize>> = inputs
        .iter()
        .map(|tensor| tensor.size().iter().map(|&dim| dim as usize).collect())
        .collect();
    let floats: Vec<Vec<f32>> = inputs.iter().map(|tensor| flat(tensor, Kind::Float)).collect();
    let integers: Vec<Vec<i64>> = inputs.iter().map(|tensor| flat(tensor, Kind::Int64)).collect();
    let names: Vec<String> = (0..inputs.len()).map(|index| format!("x{index}")).collect();
    let feeds: Vec<(&str, Input<'_>)> = (0..inputs.len())
        .map(|index| {
            let input = if inputs[index].kind() == Kind::Int64 {
                Input::I64(&integers[index], &shapes[index])
            } else {
                Input::F32(&floats[index], &shapes[index])
            };
            (names[index].as_str(), input)
        })
        .collect();
    graph.run(&feeds).unwrap().remove(0)
}

fn copies(inputs: &[Tensor]) -> Vec<Tensor> {
    inputs.iter().map(Tensor::copy).collect()
}

fn flat<T: tch::kind::Element>(tensor: &Tensor, kind: Kind) -> Vec<T>
where
    Vec<T>: TryFrom<Tensor, Error: std::fmt::Debug>,
{
    Vec::try_from(tensor.to_kind(kind).contiguous().view([-1])).unwrap()
}
