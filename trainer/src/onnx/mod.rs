//! Writing ONNX files: the messages of the format, a builder of graphs, and the forms in which
//! weights are stored and taken back.
//!
//! It knows nothing of libtorch, of encoders or of ONNX Runtime.
//! Its invariant: every value has one name and is written before it is read.

mod builder;
pub mod proto;
mod storage;
mod stored;

pub use builder::{Attribute, Dimension, GraphBuilder, Wire};
pub use storage::{Matrix, Rounded, WeightStorage};
pub use stored::{Stored, stored};

/// Version of the file format; 8 is read by every ONNX Runtime since 1.13.
pub const IR_VERSION: i64 = 8;

/// Version of the operator set; 17 is the first with `LayerNormalization`.
pub const OPSET: i64 = 17;

/// Element types by ONNX's numbers (`TensorProto.DataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ElementType {
    /// 32-bit float.
    F32 = 1,
    /// Signed byte.
    I8 = 3,
    /// Signed 64-bit integer.
    I64 = 7,
    /// 16-bit float.
    F16 = 10,
}
