//! What a dual encoder is, without any runtime: its configuration, how text becomes token ids and
//! picture bytes become pixel values, what an embedding is, how a model lies on disk, and how
//! answers are measured.
//!
//! This crate knows neither ONNX Runtime nor libtorch, neither SQL nor HTTP.
//! Its invariant: an [`Embedding`] is finite and of unit length wherever it comes from.

pub mod bundle;
pub mod config;
pub mod embedding;
pub mod image;
pub mod layout;
mod learned;
pub mod metrics;
pub mod rules;
pub mod tokenize;
pub mod zero_shot;

pub use bundle::{Manifest, ModelBundle, ModelId};
pub use config::ModelConfig;
pub use embedding::Embedding;
pub use layout::{GraphFiles, Layout};
pub use rules::Rules;
pub use tokenize::{TokenIds, Tokenizer};
