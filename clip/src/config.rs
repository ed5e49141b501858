//! A model's configuration in the keys of Hugging Face's `config.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// ln(1 / 0.07): where `logit_scale` starts (Radford et al. 2021, section 2.5).
pub const LOGIT_SCALE_INIT: f32 = 2.659_26;

/// ln(100): above this `logit_scale` is clamped (same place).
pub const LOGIT_SCALE_MAX: f32 = 4.605_17;

/// Two towers, two projections, one scale.
///
/// `"clip"` and `"siglip"` mean what they mean in `transformers`; `"dual-encoder"` is our own, for
/// two towers that never met: their pooled outputs go through one linear projection each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Which family.
    pub model_type: ModelType,
    /// Dimension `D` of the embeddings.
    pub projection_dim: usize,
    /// Whether the projections add a bias (`"clip"` has none).
    #[serde(default)]
    pub projection_bias: bool,
    /// Where training starts `logit_scale`, as a logarithm.
    #[serde(default = "logit_scale_init")]
    pub logit_scale_init_value: f32,
    /// The image tower.
    pub vision_config: VisionConfig,
    /// The text tower.
    pub text_config: TextConfig,
}

/// The family of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelType {
    /// Any two towers with a linear projection each.
    DualEncoder,
}

/// An image tower, told apart by its `model_type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "kebab-case")]
pub enum VisionConfig {
    /// EfficientNet-Lite, without squeeze-and-excitation.
    EfficientnetLite(EfficientNetLiteConfig),
}

/// EfficientNet-Lite (Tan and Le 2019 scaled; the Lite release of 2020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EfficientNetLiteConfig {
    /// Which of the family: it fixes width and depth.
    pub variant: LiteVariant,
    /// Pixels a side that the tower was trained with.
    pub image_size: usize,
    /// Channels of the pooled output.
    pub hidden_size: usize,
    /// Added to the variance in batch normalization.
    #[serde(default = "lite_batch_norm_eps")]
    pub batch_norm_eps: f64,
}

/// The members of EfficientNet-Lite that we build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiteVariant {
    /// 224 pixels, width 1.0, depth 1.0.
    Lite0,
    /// 240 pixels, width 1.0, depth 1.1.
    Lite1,
    /// 260 pixels, width 1.1, depth 1.2.
    Lite2,
}

/// A text tower, told apart by its `model_type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "kebab-case")]
pub enum TextConfig {
    /// BERT (Devlin et al. 2018) with pooled tokens.
    Bert(BertConfig),
}

/// BERT in the keys of its own `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of the tower and of its pooled output.
    pub hidden_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position embedding: the longest text.
    pub max_position_embeddings: usize,
    /// Rows of the segment embedding.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalization.
    #[serde(default = "bert_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Activation of the feed-forward layer.
    #[serde(default)]
    pub hidden_act: HiddenAct,
    /// Id that fills short texts of a batch.
    #[serde(default)]
    pub pad_token_id: i64,
    /// How token states become one vector.
    #[serde(default)]
    pub pooling: Pooling,
}

/// Activations by Hugging Face's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// x · Φ(x), exact (by the error function).
    #[default]
    Gelu,
}

/// How the states of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over real tokens, special ones included (sentence-transformers).
    #[default]
    Mean,
}

/// A configuration that cannot be read.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not such a configuration.
    #[error(
        "{} is not a configuration that Clipsight knows (model_type \"dual-encoder\" with \
         \"efficientnet-lite\" and \"bert\" towers)",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl ModelConfig {
    /// Reads a `config.json`; keys that we do not use are passed over, as `transformers` does.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }
}

impl VisionConfig {
    /// Width of the pooled output that the image projection takes.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::EfficientnetLite(config) => config.hidden_size,
        }
    }

    /// Pixels a side that the tower was trained with.
    #[must_use]
    pub fn image_size(&self) -> usize {
        match self {
            Self::EfficientnetLite(config) => config.image_size,
        }
    }
}

impl TextConfig {
    /// Width of the pooled output that the text projection takes.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.hidden_size,
        }
    }

    /// The longest text in tokens, special ones included.
    #[must_use]
    pub fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_position_embeddings,
        }
    }

    /// Id that fills short texts of a batch.
    #[must_use]
    pub fn pad_token_id(&self) -> i64 {
        match self {
            Self::Bert(config) => config.pad_token_id,
        }
    }
}

impl LiteVariant {
    /// (width, depth) multipliers over EfficientNet-B0.
    #[must_use]
    pub fn multipliers(self) -> (f64, f64) {
        match self {
            Self::Lite0 => (1.0, 1.0),
            Self::Lite1 => (1.0, 1.1),
            Self::Lite2 => (1.1, 1.2),
        }
    }

    /// Pixels a side that its ImageNet weights were trained with.
    #[must_use]
    pub fn image_size(self) -> usize {
        match self {
            Self::Lite0 => 224,
            Self::Lite1 => 240,
            Self::Lite2 => 260,
        }
    }
}

fn logit_scale_init() -> f32 {
    LOGIT_SCALE_INIT
}

fn lite_batch_norm_eps() -> f64 {
    1e-3
}

fn bert_layer_norm_eps() -> f64 {
    1e-12
}

fn two() -> usize {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTER: &str = r#"{
        "model_type": "dual-encoder", "projection_dim": 384, "projection_bias": true,
        "vision_config": {"model_type": "efficientnet-lite", "variant": "lite2",
                          "image_size": 260, "hidden_size": 1280},
        "text_config": {"model_type": "bert", "vocab_size": 30522, "hidden_size": 384,
                        "num_hidden_layers": 6, "num_attention_heads": 12,
                        "intermediate_size": 1536, "max_position_embeddings": 512,
                        "pooling": "mean", "torch_dtype": "float32"}
    }"#;

    #[test]
    fn a_dual_encoder_round_trips() {
        let config: ModelConfig = serde_json::from_str(STARTER).unwrap();
        assert_eq!(config.vision_config.hidden_size(), 1280);
        assert_eq!(config.text_config.max_position_embeddings(), 512);
        assert_eq!(config.logit_scale_init_value, LOGIT_SCALE_INIT);
        let again = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn an_unknown_tower_is_named() {
        let text = STARTER.replace("\"bert\"", "\"mamba\"");
        let error = serde_json::from_str::<ModelConfig>(&text).unwrap_err().to_string();
        assert!(error.contains("mamba"), "{error}");
    }

    #[test]
    fn constants_are_the_logarithms_they_claim() {
        assert!((LOGIT_SCALE_INIT - (1f32 / 0.07).ln()).abs() < 1e-5);
        assert!((LOGIT_SCALE_MAX - 100f32.ln()).abs() < 1e-5);
    }
}
