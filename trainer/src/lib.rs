//! The trainer of Clipsight: aligns two towers on image-caption pairs, measures them, exports ONNX.
pub mod checkpoint;
pub mod cli;
pub mod curves;
pub mod data;
pub mod encoder;
pub mod eval;
pub mod export;
pub mod model;
pub mod objectives;
pub mod onnx;
pub mod optimizer;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod tensor_file;
pub mod train;
pub mod watch;
