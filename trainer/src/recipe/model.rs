//! `[model]`: what training starts from, and how fast each part of it learns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RecipeError, finite, one, wrong};

/// `[model]`: a CLIP, or two pretrained towers and what joins them.
///
/// Which keys go together is said by [`ModelSection::start`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The family.
    pub model_type: ModelKind,
    /// A CLIP's checkpoint: the folder of `config.json`, `model.safetensors` and `tokenizer.json`; or the
    /// folder of a run, of a CLIP or over the same two towers, whose learned weights are begun from; or a
    /// bundle that such a run was exported to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// A CLIP's `config.json`, in place of the one in `init`. Without `init` the weights are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// The image tower.
    #[serde(default)]
    pub image: ImageTowerSection,
    /// The text tower.
    #[serde(default)]
    pub text: TextTowerSection,
    /// What maps each tower's pooled output into the shared space.
    pub projection: ProjectionSection,
    /// Step sizes of their own, by the beginning of weights' names up to a dot; the longest wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub learning_rates: BTreeMap<String, f64>,
}

/// The families that a recipe can describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// CLIP as `transformers` has it.
    Clip,
    /// Two towers and two projections.
    DualEncoder,
}

/// `model.image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageTowerSection {
    /// The architecture, of a `dual-encoder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<ImageEncoder>,
    /// Of a `dual-encoder`: a safetensors file, or the folder of a `model.safetensors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Step size at the top of the schedule; a tower without any is locked and its outputs cached.
    pub learning_rate: f64,
    /// How fast a block learns beside the block after it.
    pub layer_decay: f64,
    /// Share of its outputs that the projection does not see in a training step; 0 is none.
    pub dropout: f64,
    /// Whether its blocks keep their inputs alone for the way back and are computed once more there: less
    /// memory for more time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Of a `dual-encoder`: the names of the classes of the tower's own classifier, a line each, several
    /// with `, ` between them. With it, what the classifier sees goes into the embedding by these names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<PathBuf>,
    /// Adapters beside weights that stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSection>,
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

/// `model.text`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextTowerSection {
    /// The architecture, of a `dual-encoder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<TextEncoder>,
    /// Of a `dual-encoder`: a safetensors file, or the folder of a `model.safetensors`;
    /// `config.json` and `tokenizer.json` lie beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The longest text in tokens, special ones included; as many as the tower takes where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<usize>,
    /// Step size at the top of the schedule; a tower without any is locked and its outputs cached.
    pub learning_rate: f64,
    /// How fast a block learns beside the block after it.
    pub layer_decay: f64,
    /// Share of its outputs that the projection does not see in a training step; 0 is none.
    pub dropout: f64,
    /// Whether its blocks keep their inputs alone for the way back and are computed once more there: less
    /// memory for more time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Adapters beside weights that stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSection>,
}

/// `model.image.lora` and `model.text.lora`: the tower stays as it is, and narrow matrices beside its
/// weights learn at its rate (Hu et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSection {
    /// Columns of the one and rows of the other matrix.
    pub rank: usize,
    /// Their product counts alpha / rank times.
    pub alpha: f64,
    /// Which weights have them, by the beginnings of their names up to a dot; empty: all matrices of the
    /// tower's blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

/// Text architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextEncoder {
    /// BERT with the mean over real tokens as its pooled output.
    Bert,
}

impl Default for ImageTowerSection {
    /// A locked tower.
    fn default() -> Self {
        let (learning_rate, layer_decay, dropout) = (0.0, one(), 0.0);
        let (encoder, weights, classes, lora) = (None, None, None, None);
        let gradient_checkpointing = false;
        Self {
            encoder,
            weights,
            learning_rate,
            layer_decay,
            dropout,
            gradient_checkpointing,
            lora,
            classes,
        }
    }
}

impl Default for TextTowerSection {
    /// A locked tower.
    fn default() -> Self {
        let (encoder, weights, context_length, lora) = (None, None, None, None);
        let (learning_rate, layer_decay, dropout) = (0.0, one(), 0.0);
        let gradient_checkpointing = false;
        Self {
            encoder,
            weights,
            context_length,
            learning_rate,
            layer_decay,
            dropout,
            gradient_checkpointing,
            lora,
        }
    }
}

/// `model.projection`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionSection {
    /// Width of the shared space, of a `dual-encoder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// The shape of the map, of a `dual-encoder`; linear where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProjectionKind>,
    /// Width of the hidden layer of a residual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Share of the hidden numbers that a training step does not see; 0 is none.
    #[serde(default)]
    pub dropout: f64,
    /// Step size at the top of the schedule, for both projections and `logit_scale`.
    pub learning_rate: f64,
}

/// The shapes that a projection can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectionKind {
    /// One matrix and one bias.
    Linear,
    /// The same, and a perceptron with one hidden layer added to it.
    Residual,
}

/// What the weights are before the first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start<'a> {
    /// Those of a CLIP's folder; `config` in place of its own `config.json`.
    Checkpoint {
        /// The folder.
        folder: &'a Path,
        /// Another configuration.
        config: Option<&'a Path>,
    },
    /// Random ones, for a CLIP's `config.json`.
    Nothing {
        /// The configuration.
        config: &'a Path,
    },
    /// Those of two towers, and projections that start anew.
    Towers(Towers<'a>),
}

/// Two pretrained towers that never met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Towers<'a> {
    /// Architecture of the image tower.
    pub image: ImageEncoder,
    /// Its weights.
    pub image_weights: &'a Path,
    /// Architecture of the text tower.
    pub text: TextEncoder,
    /// Its weights.
    pub text_weights: &'a Path,
    /// Names of the image tower's classes.
    pub classes: Option<&'a Path>,
    /// Width of the shared space.
    pub dim: usize,
    /// Width of the hidden layer of residual projections.
    pub hidden: Option<usize>,
    /// A run, or the bundle of one, whose learned weights go before all that.
    pub init: Option<&'a Path>,
}

impl ModelSection {
    /// What training starts from, by the keys that go with the family.
    ///
    /// # Errors
    /// [`RecipeError::Value`] names a key that is missing or that does not go with the others.
    pub fn start(&self) -> Result<Start<'_>, RecipeError> {
        match self.model_type {
            ModelKind::Clip => self.clip_start(),
            ModelKind::DualEncoder => self.towers().map(Start::Towers),
        }
    }

    fn clip_start(&self) -> Result<Start<'_>, RecipeError> {
        for (key, given) in [
            ("model.image.encoder", self.image.encoder.is_some()),
            ("model.image.weights", self.image.weights.is_some()),
            ("model.text.encoder", self.text.encoder.is_some()),
            ("model.text.weights", self.text.weights.is_some()),
            ("model.image.classes", self.image.classes.is_some()),
            ("model.projection.dim", self.projection.dim.is_some()),
            ("model.projection.kind", self.projection.kind.is_some()),
            ("model.projection.hidden", self.projection.hidden.is_some()),
            ("model.projection.dropout", self.projection.dropout != 0.0),
        ] {
            if given {
                let reason = "does not go with model_type = \"clip\", whose towers and projections \
                              are those of model.init or model.config";
                return wrong(key, reason);
            }
        }
        match (self.init.as_deref(), self.config.as_deref()) {
            (Some(folder), config) => Ok(Start::Checkpoint { folder, config }),
            (None, Some(config)) => Ok(Start::Nothing { config }),
            (None, None) => wrong(
                "model.init",
                "is missing: name a checkpoint's folder there or by --init, or name a config.json \
                 in model.config to start from random weights",
            ),
        }
    }

    fn towers(&self) -> Result<Towers<'_>, RecipeError> {
        if self.config.is_some() {
            let reason = "does not go with model_type = \"dual-encoder\", whose weights are \
                          model.image.weights and model.text.weights";
            return wrong("model.config", reason);
        }
        let dim = needed("model.projection.dim", self.projection.dim)?;
        if dim == 0 {
            return wrong("model.projection.dim", "is 0, but the shared space needs a width");
        }
        Ok(Towers {
            image: needed("model.image.encoder", self.image.encoder)?,
            image_weights: needed("model.image.weights", self.image.weights.as_deref())?,
            text: needed("model.text.encoder", self.text.encoder)?,
            text_weights: needed("model.text.weights", self.text.weights.as_deref())?,
            classes: self.image.classes.as_deref(),
            dim,
            hidden: self.projection.hidden()?,
            init: self.init.as_deref(),
        })
    }

    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        self.start()?;
        finite("model.image.learning_rate", self.image.learning_rate)?;
        finite("model.text.learning_rate", self.text.learning_rate)?;
        finite("model.projection.learning_rate", self.projection.learning_rate)?;
        for (prefix, rate) in &self.learning_rates {
            finite(&format!("model.learning_rates.\"{prefix}\""), *rate)?;
        }
        self.validate_lora()?;
        for (key, decay) in [
            ("model.image.layer_decay", self.image.layer_decay),
            ("model.text.layer_decay", self.text.layer_decay),
        ] {
            if !(decay > 0.0 && decay <= 1.0) {
                return wrong(key, "must lie above 0 and be at most 1");
            }
        }
        for (key, share) in [
            ("model.image.dropout", self.image.dropout),
            ("model.text.dropout", self.text.dropout),
            ("model.projection.dropout", self.projection.dropout),
        ] {
            if !(0.0..1.0).contains(&share) {
                return wrong(key, "must be at least 0 and less than 1");
            }
        }
        Ok(())
    }
}

impl ModelSection {
    fn validate_lora(&self) -> Result<(), RecipeError> {
        let (image, text) = (&self.image, &self.text);
        for (tower, lora, learning_rate) in [
            ("model.image", &image.lora, image.learning_rate),
            ("model.text", &text.lora, text.learning_rate),
        ] {
            let Some(lora) = lora else { continue };
            if lora.rank == 0 {
                return wrong(&format!("{tower}.lora.rank"), "is 0, but no matrix is that narrow");
            }
            if !(lora.alpha.is_finite() && lora.alpha > 0.0) {
                return wrong(&format!("{tower}.lora.alpha"), "must be a finite number above 0");
            }
            if learning_rate == 0.0 {
                let reason =
                    "needs a rate: put learning_rate beside it, at which its matrices learn";
                return wrong(&format!("{tower}.lora"), reason);
            }
            if matches!(self.start()?, Start::Nothing { .. }) {
                let reason = "goes with a tower that has learned something; model.config alone starts \
                              from random weights, which would stay as they are";
                return wrong(&format!("{tower}.lora"), reason);
            }
        }
        Ok(())
    }
}

impl ProjectionSection {
    /// Width of the hidden layer, where the kind has one.
    fn hidden(&self) -> Result<Option<usize>, RecipeError> {
        match (self.kind.unwrap_or(ProjectionKind::Linear), self.hidden) {
            (ProjectionKind::Linear, None) if self.dropout != 0.0 => wrong(
                "model.projection.dropout",
                "goes with kind = \"residual\" alone; model.image.dropout and model.text.dropout are for \
                 what the towers hand over",
            ),
            (ProjectionKind::Linear, None) => Ok(None),
            (ProjectionKind::Linear, Some(_)) => wrong(
                "model.projection.hidden",
                "goes with kind = \"residual\" alone; a linear map has no hidden layer",
            ),
            (ProjectionKind::Residual, Some(hidden)) if hidden > 0 => Ok(Some(hidden)),
            (ProjectionKind::Residual, _) => wrong(
                "model.projection.hidden",
                "must be at least 1: it is the width of a residual projection's hidden layer",
            ),
        }
    }
}

/// A key of two towers that never met.
fn needed<T>(key: &str, value: Option<T>) -> Result<T, RecipeError> {
    match value {
        Some(value) => Ok(value),
        None => wrong(key, "is missing; model_type = \"dual-encoder\" needs it"),
    }
}
