//! [`Ops`] written down as nodes of an ONNX graph.

use super::{BatchNorm, Bias, Conv, EndToken, Heads, ModelError, Ops, Weights};
use crate::onnx::{Attribute, ElementType, GraphBuilder, Matrix, Rounded, WeightStorage, Wire};

/// Records what is asked for; the weights go into the graph in the form that `storage` says.
#[derive(Debug)]
pub struct Onnx<'w> {
    weights: &'w Weights,
    storage: WeightStorage,
    /// The graph so far; inputs and outputs are declared here.
    pub graph: GraphBuilder,
}

type Recorded = Result<Wire, ModelError>;

/// The least of an attention's scores: e⁻¹⁰⁰⁰⁰ is 0 in f32.
const UNSEEN: f32 = -10_000.0;

impl<'w> Onnx<'w> {
    /// An empty graph `name` over `weights`.
    #[must_use]
    pub fn new(name: &str, weights: &'w Weights, storage: WeightStorage) -> Self {
        Self { weights, storage, graph: GraphBuilder::new(name) }
    }

    /// An f32 input as the operations compute with it.
    pub fn enter(&mut self, x: &Wire) -> Wire {
        match self.storage.arithmetic() {
            ElementType::F32 => x.clone(),
            arithmetic => self.cast(x, arithmetic),
        }
    }

    /// The result of an operation as f32.
    pub fn leave(&mut self, x: &Wire) -> Wire {
        match self.storage.arithmetic() {
            ElementType::F32 => x.clone(),
            _ => self.cast(x, ElementType::F32),
        }
    }

    fn cast(&mut self, x: &Wire, to: ElementType) -> Wire {
        self.graph.node("Cast", &[x], &[("to", Attribute::Int(to as i64))])
    }

    /// Integers or truths as the operations compute with them.
    fn number(&mut self, x: &Wire) -> Wire {
        self.cast(x, self.storage.arithmetic())
    }

    /// Numbers that are not stored compactly.
    fn plain(&mut self, label: &str, dims: &[usize], data: &[f32]) -> Wire {
        self.storage.add_plain(&mut self.graph, label, dims, data)
    }

    fn scalar(&mut self, label: &str, value: f32) -> Wire {
        self.plain(label, &[], &[value])
    }

    /// A vector or other small weight.
    fn small(&mut self, name: &str) -> Recorded {
        let (dims, data) = self.weights.data(name)?;
        Ok(self.plain(name, &dims, &data))
    }

    /// A table `[rows, width]`.
    fn table(&self, name: &str) -> Result<([usize; 2], Vec<f32>), ModelError> {
        let name = format!("{name}.weight");
        let (dims, data) = self.weights.data(&name)?;
        match dims[..] {
            [rows, width] => Ok(([rows, width], data)),
            _ => Err(misshapen(name, &[-1, -1], &dims)),
        }
    }

    /// `y` and the bias of `name`, where it has one.
    fn with_bias(&mut self, y: Wire, name: &str) -> Recorded {
        let bias = format!("{name}.bias");
        if !self.has(&bias) {
            return Ok(y);
        }
        let bias = self.small(&bias)?;
        Ok(self.op("Add", &[&y, &bias]))
    }

    /// One operation without attributes.
    fn op(&mut self, op_type: &str, inputs: &[&Wire]) -> Wire {
        self.graph.node(op_type, inputs, &[])
    }

    /// `[B, L, W]` → `[B, heads, L, d]` by `order` of (batch, token, head, within).
    fn split_heads(&mut self, x: &Wire, heads: Heads, order: [i64; 4]) -> Wire {
        let shape = [0, 0, int(heads.count), int(heads.width)];
        let shape = self.graph.i64s("heads", &[4], &shape);
        let split = self.op("Reshape", &[x, &shape]);
        self.graph.node("Transpose", &[&split], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    fn sum_tokens(&mut self, x: &Wire) -> Wire {
        let axis = self.graph.i64s("axis", &[1], &[1]);
        self.graph.node("ReduceSum", &[x, &axis], &[("keepdims", Attribute::Int(0))])
    }

    /// One dimension of `x`, i64 `[1]`.
    fn size(&mut self, x: &Wire, axis: i64) -> Wire {
        let shape = self.op("Shape", &[x]);
        let axis = self.graph.i64s("axis", &[1], &[axis]);
        self.graph.node("Gather", &[&shape, &axis], &[("axis", Attribute::Int(0))])
    }

    fn unsqueeze(&mut self, x: &Wire, axes: &[i64]) -> Wire {
        let axes = self.graph.i64s("axes", &[axes.len()], axes);
        self.op("Unsqueeze", &[x, &axes])
    }
}

impl Ops for Onnx<'_> {
    type Value = Wire;

    fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    /// A product with the transposed weight, so that the channels are its last dimension.
    fn linear(&mut self, x: &Wire, name: &str) -> Recorded {
        let ([outputs, inputs], data) = self.table(name)?;
        let transposed = transpose(&data, outputs, inputs);
        let dims = [inputs, outputs];
        let matrix = Matrix { dims: &dims, channel_axis: 1, data: &transposed };
        let y = self.storage.multiply(&mut self.graph, &format!("{name}.weight"), x, matrix);
        self.with_bias(y, name)
    }

    /// The normalization is folded into kernel and bias, as in the other interpretation.
    fn conv_batch_norm(
        &mut self,
        x: &Wire,
        name: &str,
        conv: Conv,
        norm: BatchNorm<'_>,
    ) -> Recorded {
        let weight_name = format!("{name}.weight");
        let (dims, mut kernel) = self.weights.data(&weight_name)?;
        let (scale, shift) = self.scale_and_shift(norm)?;
        let [outputs, per_group, height, width] = dims[..] else {
            return Err(misshapen(weight_name, &[-1; 4], &dims));
        };
        if outputs != scale.len() || (conv.depthwise && per_group != 1) {
            return Err(misshapen(weight_name, &[int(scale.len()), -1, -1, -1], &dims));
        }
        for (channel, scale) in kernel.chunks_mut(per_group * height * width).zip(&scale) {
            channel.iter_mut().for_each(|value| *value *= scale);
        }
        let matrix = Matrix { dims: &dims, channel_axis: 0, data: &kernel };
        let weight = self.storage.add(&mut self.graph, &weight_name, matrix);
        let bias = self.plain(&format!("{}.folded", norm.name), &[outputs], &shift);
        let groups = if conv.depthwise { outputs } else { 1 };
        let attributes = [
            ("auto_pad", Attribute::Text("SAME_UPPER")),
            ("group", Attribute::Int(int(groups))),
            ("kernel_shape", Attribute::Ints(vec![int(height), int(width)])),
            ("strides", Attribute::Ints(vec![conv.stride; 2])),
        ];
        Ok(self.graph.node("Conv", &[x, &weight, &bias], &attributes))
    }

    /// As bytes a patch is a row of its pixels, and there must be no rest that fills none.
    fn patches(&mut self, x: &Wire, name: &str) -> Recorded {
        let weight_name = format!("{name}.weight");
        let (dims, data) = self.weights.data(&weight_name)?;
        let [outputs, channels, height, width] = dims[..] else {
            return Err(misshapen(weight_name, &[-1; 4], &dims));
        };
        let by_pixel = [height * width * channels, outputs];
        let rows = pixels_first(&data, channels, height * width);
        let rows = Matrix { dims: &by_pixel, channel_axis: 1, data: &rows };
        if height == width && self.storage.multiplies_bytes(&rows) {
            return self.patches_of_bytes(x, name, height, rows);
        }
        let kernel = Matrix { dims: &dims, channel_axis: 0, data: &data };
        let mut inputs = vec![x.clone(), self.storage.add(&mut self.graph, &weight_name, kernel)];
        let bias = format!("{name}.bias");
        if self.has(&bias) {
            inputs.push(self.small(&bias)?);
        }
        let size = vec![int(height), int(width)];
        let attributes =
            [("kernel_shape", Attribute::Ints(size.clone())), ("strides", Attribute::Ints(size))];
        let inputs: Vec<&Wire> = inputs.iter().collect();
        let grid = self.graph.node("Conv", &inputs, &attributes); // [B, O, rows, columns]
        let shape = self.graph.i64s("flat", &[3], &[0, int(outputs), -1]);
        let flat = self.op("Reshape", &[&grid, &shape]); // [B, O, N]
        Ok(self.graph.node("Transpose", &[&flat], &[("perm", Attribute::Ints(vec![0, 2, 1]))]))
    }

    fn relu6(&mut self, x: Wire) -> Recorded {
        let (low, high) = (self.scalar("low", 0.0), self.scalar("high", 6.0));
        Ok(self.op("Clip", &[&x, &low, &high]))
    }

    /// The chain that ONNX Runtime fuses: `0.5 · (x · (erf(x / √2) + 1))`.
    fn gelu(&mut self, x: &Wire) -> Recorded {
        let root = self.scalar("root_two", std::f32::consts::SQRT_2);
        let (one, half) = (self.scalar("one", 1.0), self.scalar("half", 0.5));
        let scaled = self.op("Div", &[x, &root]);
        let erf = self.op("Erf", &[&scaled]);
        let twice_phi = self.op("Add", &[&erf, &one]);
        let product = self.op("Mul", &[x, &twice_phi]);
        Ok(self.op("Mul", &[&product, &half]))
    }

    fn quick_gelu(&mut self, x: &Wire) -> Recorded {
        let slope = self.scalar("slope", 1.702);
        let scaled = self.op("Mul", &[x, &slope]);
        let share = self.op("Sigmoid", &[&scaled]);
        Ok(self.op("Mul", &[x, &share]))
    }

    fn add(&mut self, a: Wire, b: &Wire) -> Recorded {
        Ok(self.op("Add", &[&a, b]))
    }

    fn layer_norm(&mut self, x: &Wire, name: &str, eps: f64) -> Recorded {
        let weight = self.small(&format!("{name}.weight"))?;
        let bias = self.small(&format!("{name}.bias"))?;
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps as f32))];
        Ok(self.graph.node("LayerNormalization", &[x, &weight, &bias], &attributes))
    }

    fn embedding(&mut self, ids: &Wire, name: &str) -> Recorded {
        let (dims, data) = self.table(name)?;
        let table = Matrix { dims: &dims, channel_axis: 0, data: &data };
        Ok(self.storage.add_lookup(&mut self.graph, &format!("{name}.weight"), table, ids))
    }

    fn leading_rows(&mut self, ids: &Wire, name: &str) -> Recorded {
        let (dims, data) = self.table(name)?;
        let table = Matrix { dims: &dims, channel_axis: 0, data: &data };
        let rows = self.storage.add(&mut self.graph, &format!("{name}.weight"), table);
        let length = self.size(ids, 1);
        let start = self.graph.i64s("start", &[1], &[0]);
        Ok(self.op("Slice", &[&rows, &start, &length, &start]))
    }

    fn row(&mut self, name: &str, index: usize) -> Recorded {
        let ([rows, width], data) = self.table(name)?;
        let row = data.chunks(width.max(1)).nth(index).ok_or_else(|| {
            misshapen(format!("{name}.weight"), &[int(index + 1), int(width)], &[rows, width])
        })?;
        Ok(self.plain(&format!("{name}.row"), &[width], row))
    }

    fn all_rows(&mut self, name: &str) -> Recorded {
        let (dims, data) = self.table(name)?;
        let table = Matrix { dims: &dims, channel_axis: 0, data: &data };
        Ok(self.storage.add(&mut self.graph, &format!("{name}.weight"), table))
    }

    fn prepend(&mut self, x: &Wire, name: &str) -> Recorded {
        let token = self.small(name)?;
        let batch = self.size(x, 0);
        let rest = self.graph.i64s("rest", &[2], &[1, int(self.weights.data(name)?.1.len())]);
        let axis = ("axis", Attribute::Int(0));
        let shape = self.graph.node("Concat", &[&batch, &rest], &[axis]);
        let tokens = self.op("Expand", &[&token, &shape]); // [B, 1, W]
        Ok(self.graph.node("Concat", &[&tokens, x], &[("axis", Attribute::Int(1))]))
    }

    fn token(&mut self, x: &Wire, index: usize) -> Recorded {
        let index = self.graph.i64s("index", &[], &[int(index)]);
        Ok(self.graph.node("Gather", &[x, &index], &[("axis", Attribute::Int(1))]))
    }

    fn one_token(&mut self, x: &Wire) -> Recorded {
        Ok(self.unsqueeze(x, &[1]))
    }

    /// Of equal ids `ArgMax` takes the first.
    fn end_token(&mut self, x: &Wire, ids: &Wire, end: EndToken) -> Recorded {
        let marks = match end {
            EndToken::Id(id) => {
                let id = self.graph.i64s("end", &[], &[id]);
                let equal = self.op("Equal", &[ids, &id]);
                self.cast(&equal, ElementType::F32)
            }
            EndToken::Highest => ids.clone(),
        };
        let at = self.graph.node("ArgMax", &[&marks], &[("axis", Attribute::Int(1))]); // [B, 1]
        Ok(self.graph.node("GatherND", &[x, &at], &[("batch_dims", Attribute::Int(1))]))
    }

    fn causal_bias(&mut self, ids: &Wire) -> Recorded {
        let length = self.size(ids, 1);
        let empty = self.graph.i64s("scalar", &[0], &[]);
        let length = self.op("Reshape", &[&length, &empty]);
        let (zero, one) = (self.graph.i64s("zero", &[], &[0]), self.graph.i64s("one", &[], &[1]));
        let places = self.op("Range", &[&zero, &length, &one]); // [L]
        let own = self.unsqueeze(&places, &[0, 1, 3]); // [1, 1, L, 1]
        let others = self.unsqueeze(&places, &[0, 1, 2]); // [1, 1, 1, L]
        let behind = self.op("Greater", &[&others, &own]); // [1, 1, L, L]
        let behind = self.number(&behind);
        let unseen = self.scalar("unseen", UNSEEN);
        Ok(self.op("Mul", &[&behind, &unseen]))
    }

    fn padding_bias(&mut self, mask: &Wire) -> Recorded {
        let real = self.number(mask);
        let real = self.unsqueeze(&real, &[1, 2]);
        let (one, large) = (self.scalar("one", 1.0), self.scalar("large", 10_000.0));
        let minus_padding = self.op("Sub", &[&real, &one]);
        Ok(self.op("Mul", &[&minus_padding, &large]))
    }

    /// Plain `MatMul` and `Softmax`; ONNX Runtime folds the transposes and the scale into them.
    fn attention(&mut self, qkv: [&Wire; 3], heads: Heads, bias: Bias<'_, Wire>) -> Recorded {
        let scale = self.scalar("scale", (heads.width as f32).sqrt().recip());
        let q = self.split_heads(qkv[0], heads, [0, 2, 1, 3]); // [B, heads, L, d]
        let k = self.split_heads(qkv[1], heads, [0, 2, 3, 1]); // [B, heads, d, L]
        let v = self.split_heads(qkv[2], heads, [0, 2, 1, 3]); // [B, heads, L, d]
        let scores = self.op("MatMul", &[&q, &k]); // [B, heads, L, L]
        let mut scores = self.op("Mul", &[&scores, &scale]);
        if let Bias::Padding(bias) | Bias::Causal(bias) = bias {
            scores = self.op("Add", &[&scores, bias]);
        }
        let shares = self.graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let mixed = self.op("MatMul", &[&shares, &v]); // [B, heads, L, d]
        let order = [("perm", Attribute::Ints(vec![0, 2, 1, 3]))];
        let mixed = self.graph.node("Transpose", &[&mixed], &order); // [B, L, heads, d]
        let width = int(heads.count * heads.width);
        let shape = self.graph.i64s("width", &[3], &[0, 0, width]);
        Ok(self.op("Reshape", &[&mixed, &shape])) // [B, L, W]
    }

    fn masked_mean(&mut self, x: &Wire, mask: &Wire) -> Recorded {
        let mask = self.number(mask);
        let mask = self.unsqueeze(&mask, &[2]); // [B, L, 1]
        let real = self.op("Mul", &[x, &mask]);
        let (sum, count) = (self.sum_tokens(&real), self.sum_tokens(&mask)); // [B, W], [B, 1]
        let one = self.scalar("one", 1.0);
        let count = self.op("Max", &[&count, &one]);
        Ok(self.op("Div", &[&sum, &count]))
    }

    fn global_average(&mut self, x: &Wire) -> Recorded {
        let mean = self.op("GlobalAveragePool", &[x]); // [B, C, 1, 1]
        Ok(self.graph.node("Flatten", &[&mean], &[("axis", Attribute::Int(1))]))
    }

    fn standardize(&mut self, x: &Wire, name: &str) -> Recorded {
        let mean = self.small(&format!("{name}.input_mean"))?;
        let std = self.small(&format!("{name}.input_std"))?;
        let centred = self.op("Sub", &[x, &mean]);
        Ok(self.op("Div", &[&centred, &std]))
    }

    /// In f32, as the other interpretation: what follows multiplies it in the graph's arithmetic.
    fn softmax(&mut self, x: &Wire) -> Recorded {
        let x = &self.leave(x);
        let shares = self.graph.node("Softmax", &[x], &[("axis", Attribute::Int(-1))]);
        Ok(self.enter(&shares))
    }

    fn beside(&mut self, a: &Wire, b: &Wire) -> Recorded {
        Ok(self.graph.node("Concat", &[a, b], &[("axis", Attribute::Int(1))]))
    }

    fn parted(&mut self, x: &Wire, at: usize) -> Result<[Wire; 2], ModelError> {
        let axis = self.graph.i64s("axis", &[1], &[1]);
        let mut part = |from: i64, to: i64| {
            let (from, to) =
                (self.graph.i64s("from", &[1], &[from]), self.graph.i64s("to", &[1], &[to]));
            self.op("Slice", &[x, &from, &to, &axis])
        };
        Ok([part(0, int(at)), part(int(at), i64::MAX)])
    }

    /// In f32: the least length has no place in f16, and squares may have none either.
    fn l2_normalize(&mut self, x: &Wire) -> Recorded {
        let x = &self.leave(x);
        let axes = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
        let length = self.graph.node("ReduceL2", &[x], &axes);
        let least = self.graph.scalar("least", 1e-12);
        let length = self.op("Max", &[&length, &least]);
        Ok(self.op("Div", &[x, &length]))
    }
}

impl Onnx<'_> {
    /// `[B, C, rows · side, columns · side]` → `[B, rows · columns, O]` by bytes: the picture is
    /// rounded before it is taken apart, which moves a quarter of the memory.
    fn patches_of_bytes(
        &mut self,
        x: &Wire,
        name: &str,
        side: usize,
        rows: Matrix<'_>,
    ) -> Recorded {
        let mut x = Rounded::of(&mut self.graph, x);
        let block = [("blocksize", Attribute::Int(int(side)))];
        let grid = self.graph.node("SpaceToDepth", &[&x.bytes], &block); // [B, P · C, rows, columns]
        let shape = self.graph.i64s("flat", &[3], &[0, int(rows.dims[0]), -1]);
        let flat = self.op("Reshape", &[&grid, &shape]); // [B, P · C, N]
        let order = [("perm", Attribute::Ints(vec![0, 2, 1]))];
        x.bytes = self.graph.node("Transpose", &[&flat], &order); // [B, N, P · C]
        let y = x.multiply(&mut self.graph, &format!("{name}.weight"), rows); // [B, N, O]
        self.with_bias(y, name)
    }

    /// `γ/√(σ² + ε)` and `β - μ · γ/√(σ² + ε)` for each channel.
    fn scale_and_shift(&self, norm: BatchNorm<'_>) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        let part = |part: &str| -> Result<Vec<f32>, ModelError> {
            Ok(self.weights.data(&format!("{}.{part}", norm.name))?.1)
        };
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, variance)| gamma / (variance + norm.eps as f32).sqrt())
            .collect();
        let shift = scale.iter().zip(&mean).zip(&beta);
        let shift = shift.map(|((scale, mean), beta)| beta - mean * scale).collect();
        Ok((scale, shift))
    }
}

/// Kernels `[O, C, P]` → rows `[P · C, O]`: channels of a pixel side by side, pixels in order.
fn pixels_first(kernels: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let outputs = kernels.len() / (channels * pixels).max(1);
    let places = (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel)));
    places
        .flat_map(|(pixel, channel)| {
            (0..outputs).map(move |output| kernels[(output * channels + channel) * pixels + pixel])
        })
        .collect()
}

fn misshapen(name: String, expected: &[i64], found: &[usize]) -> ModelError {
    let found = found.iter().map(|&dim| int(dim)).collect();
    ModelError::Shape { name, expected: expected.to_vec(), found }
}

fn int(dim: usize) -> i64 {
    i64::try_from(dim).unwrap_or(i64::MAX)
}

/// `[rows, columns]` → `[columns, rows]`.
fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|index| data[(index % rows) * columns + index / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::{pixels_first, transpose};

    #[test]
    fn kernels_become_rows_of_pixels() {
        // Two kernels of two channels and two pixels.
        let kernels = [1., 2., 3., 4., 5., 6., 7., 8.];
        assert_eq!(pixels_first(&kernels, 2, 2), [1., 5., 3., 7., 2., 6., 4., 8.]);
    }

    #[test]
    fn a_matrix_is_transposed() {
        assert_eq!(transpose(&[1., 2., 3., 4., 5., 6.], 2, 3), [1., 4., 2., 5., 3., 6.]);
    }
}
