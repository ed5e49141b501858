//! `[model]`: the towers and what joins them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RecipeError, finite, wrong};

/// `[model]`: two pretrained towers and what joins them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The family; two towers that never met are a `dual-encoder`.
    pub model_type: ModelKind,
    /// The image tower.
    pub image: ImageTowerSection,
    /// The text tower.
    pub text: TextTowerSection,
    /// What maps each tower's pooled output into the shared space.
    pub projection: ProjectionSection,
}

/// The families that a recipe can describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Two towers and two projections.
    DualEncoder,
}

/// `model.image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTowerSection {
    /// The architecture.
    pub encoder: ImageEncoder,
    /// A safetensors file, or the folder of a `model.safetensors`.
    pub weights: PathBuf,
    /// Step size at the top of the schedule; 0 locks the tower, whose outputs are then cached.
    #[serde(default)]
    pub learning_rate: f64,
    /// Share of its outputs that the projection does not see in a training step; 0 is none.
    #[serde(default)]
    pub dropout: f64,
}

/// Image architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageEncoder {
    /// EfficientNet-Lite0, made for 224 px.
    EfficientnetLite0,
    /// EfficientNet-Lite1, made for 240 px.
    EfficientnetLite1,
    /// EfficientNet-Lite2, made for 260 px.
    EfficientnetLite2,
}

/// `model.text`; `config.json` and `tokenizer.json` lie beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTowerSection {
    /// The architecture.
    pub encoder: TextEncoder,
    /// A safetensors file, or the folder of a `model.safetensors`.
    pub weights: PathBuf,
    /// The longest text in tokens, special ones included; as many as the tower takes where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<usize>,
    /// Step size at the top of the schedule; 0 locks the tower, whose outputs are then cached.
    #[serde(default)]
    pub learning_rate: f64,
    /// Share of its outputs that the projection does not see in a training step; 0 is none.
    #[serde(default)]
    pub dropout: f64,
}

/// Text architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextEncoder {
    /// BERT with the mean over real tokens as its pooled output.
    Bert,
}

/// `model.projection`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionSection {
    /// Width of the shared space.
    pub dim: usize,
    /// The shape of the map.
    #[serde(default)]
    pub kind: ProjectionKind,
    /// Step size at the top of the schedule, for both projections and `logit_scale`.
    pub learning_rate: f64,
}

/// The shapes that a projection can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectionKind {
    /// One matrix and one bias.
    #[default]
    Linear,
}

impl ModelSection {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        if self.projection.dim == 0 {
            return wrong("model.projection.dim", "is 0, but the shared space needs a width");
        }
        for (key, value) in [
            ("model.image.learning_rate", self.image.learning_rate),
            ("model.text.learning_rate", self.text.learning_rate),
            ("model.projection.learning_rate", self.projection.learning_rate),
        ] {
            finite(key, value)?;
        }
        for (key, share) in
            [("model.image.dropout", self.image.dropout), ("model.text.dropout", self.text.dropout)]
        {
            if !(0.0..1.0).contains(&share) {
                return wrong(key, "must be at least 0 and less than 1");
            }
        }
        Ok(())
    }
}
