//! A model bundle running in ONNX Runtime: the library, sessions over its graphs, and the check that
//! it still answers as it did when it was measured.
//!
//! The only crate that names ONNX Runtime; it knows nothing of queues, SQL or HTTP.
//! Its invariant: what leaves a tower is an [`clip::Embedding`] of the model's dimension.

pub mod environment;
mod error;
mod graph;
mod layout;
pub mod library;
mod measured;
mod model;
mod profile;
mod self_check;
mod side;
mod signature;
mod towers;

pub use clip::GraphFiles;
pub use error::RuntimeError;
pub use graph::{Graph, Input, Output, Running};
pub use layout::{precision_order, precisions};
pub use model::{Model, ModelOptions, Provider};
pub use profile::Placement;
pub use self_check::{SelfCheck, self_check};
pub use towers::{ImageTower, TextTower};
