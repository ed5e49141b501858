//! A model's configuration in the keys of Hugging Face's `config.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// ln(1 / 0.07): where `logit_scale` starts (Radford et al. 2021, section 2.5).
pub const LOGIT_SCALE_INIT: f32 = 2.659_26;

/// ln(100): above this `logit_scale` is clamped (same place).
pub const LOGIT_SCALE_MAX: f32 = 4.605_17;

/// Two towers, two projections, one scale.
///
/// `"clip"` means what it means in `transformers`; `"dual-encoder"` is our own, for two towers that
/// never met: their pooled outputs go through one projection each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Which family.
    pub model_type: ModelType,
    /// Dimension `D` of the embeddings.
    pub projection_dim: usize,
    /// Whether the projections add a bias (`"clip"` has none).
    #[serde(default)]
    pub projection_bias: bool,
    /// Width of the hidden layer of the projections, of a `"dual-encoder"` whose projections are
    /// residual: a small perceptron beside the linear map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_hidden_size: Option<usize>,
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
    /// CLIP as `transformers` has it: projections without a bias.
    Clip,
    /// Any two towers with a projection each.
    DualEncoder,
}

/// An image tower, told apart by its `model_type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type")]
pub enum VisionConfig {
    /// EfficientNet-Lite, without squeeze-and-excitation.
    #[serde(rename = "efficientnet-lite")]
    EfficientnetLite(EfficientNetLiteConfig),
    /// CLIP's vision transformer.
    #[serde(rename = "clip_vision_model")]
    ClipVision(ClipVisionConfig),
}

/// CLIP's vision transformer (Dosovitskiy et al. 2021 with CLIP's changes), in Hugging Face's keys;
/// an absent key means what it means in `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of the tower and of its pooled output.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Pixels a side.
    pub image_size: usize,
    /// Pixels a side of a patch; divides `image_size`.
    pub patch_size: usize,
    /// Activation of the feed-forward layer.
    pub hidden_act: HiddenAct,
    /// Added to the variance in layer normalization.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    /// ViT-B/32.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
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
    /// Classes of the tower's own classifier, where what it says goes into the embedding by the
    /// classes' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_labels: Option<usize>,
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
#[serde(tag = "model_type")]
pub enum TextConfig {
    /// BERT (Devlin et al. 2018) with pooled tokens.
    #[serde(rename = "bert")]
    Bert(BertConfig),
    /// CLIP's causal text transformer.
    #[serde(rename = "clip_text_model")]
    ClipText(ClipTextConfig),
}

/// CLIP's causal text transformer, pooled at the end token, in Hugging Face's keys; an absent key
/// means what it means in `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the tower and of its pooled output.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Rows of the position embedding: the longest text.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward layer.
    pub hidden_act: HiddenAct,
    /// Added to the variance in layer normalization.
    pub layer_norm_eps: f64,
    /// The end token, where the text is pooled; 2 in old files, which means the highest id.
    pub eos_token_id: i64,
}

impl Default for ClipTextConfig {
    /// The text side of ViT-B/32.
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
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
    /// x · σ(1.702 x), as `OpenAI` trained CLIP.
    QuickGelu,
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
        "{} is not a configuration that Clipsight knows (model_type \"clip\", or \"dual-encoder\" \
         with towers of \"efficientnet-lite\", \"bert\", \"clip_vision_model\", \"clip_text_model\")",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file of a public model that says something else than it should.
    #[error("cannot understand {}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A family whose rules we do not know.
    #[error(
        "{} describes {found}, which Clipsight does not serve; it serves {known}, and \
         configurations of open_clip (text_cfg, vision_cfg)",
        path.display()
    )]
    Family {
        /// The configuration.
        path: PathBuf,
        /// What it says of itself.
        found: String,
        /// The families that are served.
        known: String,
    },
    /// Nothing says how long a text may be.
    #[error(
        "nothing in {} says how many tokens a text may have (text_config.max_position_embeddings, \
         text_cfg.context_length, or model_max_length in tokenizer_config.json)",
        dir.display()
    )]
    ContextLength {
        /// The model's folder.
        dir: PathBuf,
    },
    /// Texts are to be filled up, and nothing says with what.
    #[error(
        "nothing in {} names the token that short texts are filled up with (pad_token in \
         tokenizer_config.json, or pad_id in model_config.json), and this model sees it",
        dir.display()
    )]
    PadToken {
        /// The model's folder.
        dir: PathBuf,
    },
}

/// Reads a JSON file of a model.
pub(crate) fn read_json(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| ConfigError::Settings { path: path.to_owned(), source })
}

impl ModelConfig {
    /// Reads a `config.json`; keys that we do not use are passed over, as `transformers` does, and
    /// what the older files of CLIP leave out is filled in (see [`fill_in_clip`]).
    ///
    /// # Errors
    /// [`ConfigError`], naming the file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let parse = |source| ConfigError::Parse { path: path.to_owned(), source };
        let mut config: Value = serde_json::from_slice(&text).map_err(parse)?;
        if config["model_type"] == "clip" {
            fill_in_clip(&mut config);
        }
        serde_json::from_value(config).map_err(parse)
    }
}

/// Width of the shared space where the file of a CLIP leaves it out, as in `transformers`.
const CLIP_PROJECTION_DIM: usize = 512;

/// What `transformers` reads between the lines of a CLIP: towers without a `model_type` are CLIP's,
/// a tower that is absent or null has the sizes of ViT-B/32, and the keys of the old
/// `vision_config_dict` and `text_config_dict` go before those of `vision_config` and
/// `text_config`.
fn fill_in_clip(config: &mut Value) {
    let Value::Object(config) = config else { return };
    for tower in ["vision", "text"] {
        let older = config.remove(&format!("{tower}_config_dict"));
        let inner = config.entry(format!("{tower}_config")).or_insert(Value::Null);
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        let Value::Object(inner) = inner else { continue };
        if let Some(Value::Object(older)) = older {
            inner.extend(older);
        }
        inner.entry("model_type").or_insert_with(|| format!("clip_{tower}_model").into());
    }
    config.entry("projection_dim").or_insert(CLIP_PROJECTION_DIM.into());
}

impl VisionConfig {
    /// Width of the pooled output that the image projection takes.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::EfficientnetLite(config) => config.hidden_size,
            Self::ClipVision(config) => config.hidden_size,
        }
    }

    /// Pixels a side that the tower was trained with.
    #[must_use]
    pub fn image_size(&self) -> usize {
        match self {
            Self::EfficientnetLite(config) => config.image_size,
            Self::ClipVision(config) => config.image_size,
        }
    }
}

impl TextConfig {
    /// Width of the pooled output that the text projection takes.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.hidden_size,
            Self::ClipText(config) => config.hidden_size,
        }
    }

    /// The longest text in tokens, special ones included.
    #[must_use]
    pub fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_position_embeddings,
            Self::ClipText(config) => config.max_position_embeddings,
        }
    }

    /// Id that fills short texts of a batch. CLIP is causal and pooled at its first end token, so
    /// what stands behind that is never seen; its configuration's own `pad_token_id` is wrong.
    #[must_use]
    pub fn pad_token_id(&self) -> i64 {
        match self {
            Self::Bert(config) => config.pad_token_id,
            Self::ClipText(_) => 0,
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
mod tests;
