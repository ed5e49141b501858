//! How a weight lies in the file, and how it is multiplied.
//!
//! Arithmetic is f32 but in [`WeightStorage::Half`] and for the products of
//! [`WeightStorage::Int8Dynamic`]: compact forms are widened by `Cast` (and `Mul` with the scales),
//! which ONNX Runtime's constant folding runs once when the session is made: seen in the optimized
//! graphs of version 1.32, under plain session settings. `DequantizeLinear` would not do: unless the
//! session sets `session.disable_quant_qdq`, it is fused with its `MatMul` into `MatMulNBits`, which
//! goes back to the bytes at each run.

use super::{Attribute, ElementType, GraphBuilder, Wire};

/// The form of the large weights of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightStorage {
    /// As trained.
    F32,
    /// Half precision, weights and arithmetic alike, from the first operation to the features; only
    /// their length is computed in f32. For devices that multiply f16 fast: a CPU widens every
    /// operand, and must not rewrite such convolutions (see the crate `runtime`).
    Half,
    /// Half precision for all but the small ones (fewer than 1,024 numbers).
    F16,
    /// Signed bytes with one f32 scale for each output channel (each row of an embedding) for
    /// matrices of 4,096 numbers or more with at least 16 to a channel; the rest as [`Self::F16`].
    Int8,
    /// [`Self::Int8`] for matrices and [`Self::F16`] for the kernels of convolutions, which lose more by
    /// bytes.
    Int8Matrices,
    /// Stored as [`Self::Int8`]; matrix products are those of bytes. The other side is rounded to
    /// unsigned bytes at each run, by its range over the whole batch, so that an answer depends a
    /// little on its batch mates. Fast where the CPU multiplies bytes (VNNI, dot product), and the
    /// matrices stay bytes in memory.
    Int8Dynamic,
}

/// A weight as a matrix: `channels` rows that each could have a scale of their own.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// Shape in the graph.
    pub dims: &'a [usize],
    /// Which dimension counts the channels.
    pub channel_axis: usize,
    /// Elements in row-major order of `dims`.
    pub data: &'a [f32],
}

const SMALL: usize = 1_024;
const INT8_MIN: usize = 4_096;
const INT8_MIN_PER_CHANNEL: usize = 16;

impl WeightStorage {
    /// How it is stored, in words for a manifest.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Half => "f16, multiplied and added as f16; lengths f32",
            Self::F16 => "f16, widened to f32 at load; small tensors f32",
            Self::Int8 => {
                "int8 with an f32 scale per output channel, widened to f32 at load; \
                 depthwise and middling tensors f16, small ones f32"
            }
            Self::Int8Matrices => {
                "matrices int8 with an f32 scale per output channel, kernels f16, both widened to f32 at \
                 load; small ones f32"
            }
            Self::Int8Dynamic => {
                "int8 with an f32 scale per output channel, multiplied as bytes with inputs rounded \
                 to 8 bits over the batch; tables widened to f32, middling tensors f16, small ones f32"
            }
        }
    }

    /// What is done with a tower in this form, in few words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "in f32",
            Self::Half => "multiplied as f16",
            Self::F16 => "stored as f16",
            Self::Int8 => "stored as int8",
            Self::Int8Matrices => "stored as int8 but for its kernels",
            Self::Int8Dynamic => "multiplied as int8",
        }
    }

    /// What the operations between input and features compute with.
    #[must_use]
    pub fn arithmetic(self) -> ElementType {
        match self {
            Self::Half => ElementType::F16,
            _ => ElementType::F32,
        }
    }

    /// Adds numbers that are never stored compactly; the wire carries [`Self::arithmetic`].
    pub fn add_plain(
        self,
        graph: &mut GraphBuilder,
        label: &str,
        dims: &[usize],
        data: &[f32],
    ) -> Wire {
        match self {
            Self::Half => graph.f16s(label, dims, data),
            _ => graph.f32s(label, dims, data),
        }
    }

    /// Adds a weight to `graph` in this form; the wire carries [`Self::arithmetic`].
    pub fn add(self, graph: &mut GraphBuilder, label: &str, matrix: Matrix<'_>) -> Wire {
        match self.form_of(&matrix) {
            plain @ (Self::F32 | Self::Half) => {
                plain.add_plain(graph, label, matrix.dims, matrix.data)
            }
            Self::F16 => {
                let narrow = graph.f16s(label, matrix.dims, matrix.data);
                widen(graph, &narrow)
            }
            Self::Int8 | Self::Int8Matrices | Self::Int8Dynamic => {
                let (bytes, scales) = quantize(&matrix);
                let narrow = graph.i8s(label, matrix.dims, &bytes);
                let scales = graph.f32s(&format!("{label}.scale"), &scale_dims(&matrix), &scales);
                let wide = widen(graph, &narrow);
                graph.node("Mul", &[&wide, &scales], &[])
            }
        }
    }

    /// Whether `matrix` is multiplied as bytes.
    #[must_use]
    pub fn multiplies_bytes(self, matrix: &Matrix<'_>) -> bool {
        self == Self::Int8Dynamic && self.form_of(matrix) == Self::Int8
    }

    /// Adds `x · matrix`: `[…, K]` by a matrix of `dims` `[K, N]` → `[…, N]`.
    pub fn multiply(
        self,
        graph: &mut GraphBuilder,
        label: &str,
        x: &Wire,
        matrix: Matrix<'_>,
    ) -> Wire {
        if self.multiplies_bytes(&matrix) {
            let x = Rounded::of(graph, x);
            return x.multiply(graph, label, matrix);
        }
        let weight = self.add(graph, label, matrix);
        graph.node("MatMul", &[x, &weight], &[])
    }

    /// Adds a table `[rows, width]` and looks up `ids`: only the rows asked for are widened, so
    /// that a vocabulary stays small in memory too.
    pub fn add_lookup(
        self,
        graph: &mut GraphBuilder,
        label: &str,
        table: Matrix<'_>,
        ids: &Wire,
    ) -> Wire {
        let axis = [("axis", Attribute::Int(0))];
        match self.form_of(&table) {
            plain @ (Self::F32 | Self::Half) => {
                let rows = plain.add_plain(graph, label, table.dims, table.data);
                graph.node("Gather", &[&rows, ids], &axis)
            }
            Self::F16 => {
                let rows = graph.f16s(label, table.dims, table.data);
                let narrow = graph.node("Gather", &[&rows, ids], &axis);
                widen(graph, &narrow)
            }
            Self::Int8 | Self::Int8Matrices | Self::Int8Dynamic => {
                let (bytes, scales) = quantize(&table);
                let rows = graph.i8s(label, table.dims, &bytes);
                let scales = graph.f32s(&format!("{label}.scale"), &scale_dims(&table), &scales);
                let narrow = graph.node("Gather", &[&rows, ids], &axis);
                let wide = widen(graph, &narrow);
                let scale = graph.node("Gather", &[&scales, ids], &axis);
                graph.node("Mul", &[&wide, &scale], &[])
            }
        }
    }

    /// The form that this policy chooses for one weight: [`Self::F32`], [`Self::Half`], [`Self::F16`] or
    /// [`Self::Int8`].
    fn form_of(self, matrix: &Matrix<'_>) -> Self {
        if matches!(self, Self::F32 | Self::Half) {
            return self;
        }
        let count = matrix.data.len();
        let channels = matrix.dims[matrix.channel_axis].max(1);
        let fits_bytes = count >= INT8_MIN && count / channels >= INT8_MIN_PER_CHANNEL;
        match self {
            _ if count < SMALL => Self::F32,
            Self::Int8 | Self::Int8Dynamic if fits_bytes => Self::Int8,
            Self::Int8Matrices if fits_bytes && matrix.dims.len() == 2 => Self::Int8,
            _ => Self::F16,
        }
    }
}

/// Numbers rounded to unsigned bytes, by the range of all of them.
#[derive(Debug, Clone)]
pub struct Rounded {
    /// The bytes.
    pub bytes: Wire,
    scale: Wire,
    zero: Wire,
}

impl Rounded {
    /// Rounds `x`; the same wire is rounded once.
    pub fn of(graph: &mut GraphBuilder, x: &Wire) -> Self {
        let [bytes, scale, zero] = graph.shared_nodes("DynamicQuantizeLinear", &[x]);
        Self { bytes, scale, zero }
    }

    /// Adds the product with a matrix of `dims` `[K, N]`, back in f32.
    pub fn multiply(&self, graph: &mut GraphBuilder, label: &str, matrix: Matrix<'_>) -> Wire {
        let (bytes, scales) = quantize(&matrix);
        let weight = graph.i8s(label, matrix.dims, &bytes);
        let scales = graph.f32s(&format!("{label}.scale"), &[scales.len()], &scales);
        let sums = graph.node("MatMulInteger", &[&self.bytes, &weight, &self.zero], &[]);
        let sums = widen(graph, &sums);
        let scale = graph.node("Mul", &[&self.scale, &scales], &[]);
        graph.node("Mul", &[&sums, &scale], &[])
    }
}

fn widen(graph: &mut GraphBuilder, narrow: &Wire) -> Wire {
    graph.node("Cast", &[narrow], &[("to", Attribute::Int(ElementType::F32 as i64))])
}

/// The shape that lets the scales broadcast over the matrix: ones but for the channels.
fn scale_dims(matrix: &Matrix<'_>) -> Vec<usize> {
    let mut dims = vec![1; matrix.dims.len()];
    dims[matrix.channel_axis] = matrix.dims[matrix.channel_axis];
    dims
}

/// Symmetric rounding to -127..=127 by the largest magnitude of each channel.
fn quantize(matrix: &Matrix<'_>) -> (Vec<i8>, Vec<f32>) {
    let channels = matrix.dims[matrix.channel_axis];
    let inner: usize = matrix.dims[matrix.channel_axis + 1..].iter().product();
    let channel = |index: usize| (index / inner) % channels;
    let mut scales = vec![0f32; channels];
    for (index, value) in matrix.data.iter().enumerate() {
        let scale = &mut scales[channel(index)];
        *scale = scale.max(value.abs() / 127.0);
    }
    let byte = |(index, value): (usize, &f32)| {
        let scale = scales[channel(index)];
        if scale == 0.0 { 0 } else { (value / scale).round().clamp(-127.0, 127.0) as i8 }
    };
    let bytes = matrix.data.iter().enumerate().map(byte).collect();
    (bytes, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_rounded_by_its_own_largest_value() {
        let data = [1.27, -0.64, 0.0, 254.0, 100.9, -254.0];
        let rows = Matrix { dims: &[2, 3], channel_axis: 0, data: &data };
        let (bytes, scales) = quantize(&rows);
        assert_eq!(bytes, [127, -64, 0, 127, 50, -127]);
        assert!((scales[0] - 0.01).abs() < 1e-8 && scales[1] == 2.0);
        assert_eq!(scale_dims(&rows), [2, 1]);
    }

    #[test]
    fn channels_may_be_the_last_dimension() {
        let data = [1.27, 254.0, -0.64, 100.9];
        let columns = Matrix { dims: &[2, 2], channel_axis: 1, data: &data };
        let (bytes, scales) = quantize(&columns);
        assert_eq!(bytes, [127, 127, -64, 50]);
        assert_eq!(scales.len(), 2);
        assert_eq!(scale_dims(&columns), [1, 2]);
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let (bytes, scales) = quantize(&Matrix { dims: &[1, 2], channel_axis: 0, data: &[0.0; 2] });
        assert_eq!((bytes, scales), (vec![0, 0], vec![0.0]));
    }

    #[test]
    fn depthwise_kernels_and_small_tensors_are_not_stored_as_bytes() {
        let data = vec![0f32; 9 * 1_000];
        let depthwise = Matrix { dims: &[1_000, 1, 3, 3], channel_axis: 0, data: &data };
        assert_eq!(WeightStorage::Int8.form_of(&depthwise), WeightStorage::F16);
        let bias = Matrix { dims: &[384], channel_axis: 0, data: &data[..384] };
        assert_eq!(WeightStorage::Int8.form_of(&bias), WeightStorage::F32);
        let matrix = Matrix { dims: &[90, 100], channel_axis: 0, data: &data };
        assert_eq!(WeightStorage::Int8.form_of(&matrix), WeightStorage::Int8);
        let kernel = Matrix { dims: &[90, 100, 1, 1], channel_axis: 0, data: &data };
        assert_eq!(WeightStorage::Int8.form_of(&kernel), WeightStorage::Int8);
        assert_eq!(WeightStorage::Int8Matrices.form_of(&kernel), WeightStorage::F16);
        assert_eq!(WeightStorage::Int8Matrices.form_of(&matrix), WeightStorage::Int8);
        assert_eq!(WeightStorage::F32.form_of(&matrix), WeightStorage::F32);
    }
}
