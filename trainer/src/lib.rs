//! The trainer of Clipsight: aligns two towers on image-caption pairs, measures them, exports ONNX.
pub mod data;
pub mod model;
pub mod objectives;
pub mod onnx;
pub mod optimizer;
pub mod recipe;
pub mod schedule;
