//! The encoders, each written once over [`Ops`]: computed by [`Torch`], recorded by [`Onnx`].
//!
//! It knows nothing of data, objectives or the loop that trains.
//! Its invariant: training, evaluation and export run the same forward code, under the weight
//! names of the original checkpoints.

mod bert;
mod class_mixture;
mod clip_text;
mod clip_vision;
mod differences;
mod dual_encoder;
mod efficientnet_lite;
mod exported;
mod graphs;
mod inputs;
pub mod lora;
mod onnx;
mod open_clip;
mod ops;
mod pretrained;
mod projection;
mod torch;
mod transformer;
mod wanted;
mod weights;

use std::path::PathBuf;

use thiserror::Error;

pub use bert::Bert;
pub use class_mixture::{CLASSES, ClassMixture};
pub use clip_text::ClipText;
pub use clip_vision::ClipVision;
pub use differences::{Differences, OtherShape};
pub use dual_encoder::{DualEncoder, Side};
pub use efficientnet_lite::EfficientNetLite;
pub use inputs::{picture, picture_batch, pixel_batch, token_batch};
pub use onnx::Onnx;
pub use ops::{BatchNorm, Bias, Conv, EndToken, Heads, Init, Ops, Parameter};
pub use projection::{Between, Projection};
pub use torch::Torch;
pub use wanted::{LOGIT_BIAS, LOGIT_SCALE, TowerFiles};
pub use weights::Weights;

/// What can go wrong with a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A weight file cannot be read or written.
    #[error("weights {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tch::TchError,
    },
    /// The configuration of a checkpoint folder does not serve.
    #[error(transparent)]
    Configuration(#[from] clip::config::ConfigError),
    /// A checkpoint folder without weights that can be read.
    #[error(
        "there is no model.safetensors in {}; weights in another format (pytorch_model.bin) must \
         be saved as safetensors first",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The list of a checkpoint's parts is none.
    #[error("{} does not list the parts of a checkpoint", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Weights that are not those of the configuration.
    #[error("{0}")]
    Differs(Differences),
    /// A weight that the forward code asks for is not there.
    #[error("there is no weight `{name}`")]
    Missing {
        /// Its full name.
        name: String,
    },
    /// A weight has another shape than the configuration says.
    #[error("weight `{name}` has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        /// Its full name.
        name: String,
        /// By the configuration.
        expected: Vec<i64>,
        /// In the file.
        found: Vec<i64>,
    },
    /// A weight holds NaN or infinity.
    #[error("weight `{name}` is not finite")]
    NotFinite {
        /// Its full name.
        name: String,
    },
    /// The configuration contradicts itself.
    #[error("{key} must {rule}")]
    Config {
        /// Key in `config.json`.
        key: &'static str,
        /// What holds for it.
        rule: &'static str,
    },
    /// A batch that cannot be stacked: empty, or of several sizes.
    #[error("a batch must hold at least one input, all of one size")]
    Batch,
    /// libtorch refused an operation.
    #[error("{operation} at `{name}`")]
    Torch {
        /// The operation of [`Ops`].
        operation: &'static str,
        /// The weight that it is about; empty where there is none.
        name: String,
        /// libtorch's words.
        source: tch::TchError,
    },
}
