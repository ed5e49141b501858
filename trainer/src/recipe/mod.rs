//! What is to be trained, on what and how: one TOML file.
//!
//! A [`Recipe`] is the typed form of that file, with every path resolved, so that the copy kept in a
//! run says the whole of it.
//! This room knows nothing of tensors, pictures or checkpoints.
//! Invariant: a `Recipe` that exists has passed [`Recipe::validate`], and no key was ignored.

mod resolve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use resolve::{RecipeError, Resolver, from_table, load};

/// A recipe as resolved: paths absolute, defaults written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The two towers and the projections.
    pub model: ModelSection,
    /// How a picture becomes the image tower's input.
    pub image: ImageSection,
    /// Where the pairs come from; mixed by weight.
    pub data: Vec<DataSection>,
    /// The loop.
    pub train: TrainSection,
    /// What is measured while training.
    #[serde(default)]
    pub eval: EvalSection,
}

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

/// `[image]`: the picture as the image tower sees it, in training and ever after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSection {
    /// Edge of the square input in pixels.
    pub size: u32,
    /// How a picture that is not square becomes square.
    pub resize_mode: ResizeMode,
    /// Subtracted from each channel, in units of the pixel range 0 to 1.
    pub mean: [f32; 3],
    /// Divides each channel, in units of the pixel range 0 to 1.
    pub std: [f32; 3],
}

/// How a picture becomes square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// The whole picture, its shape given up.
    Squash,
    /// The shorter side to `size`, then the middle square.
    Shortest,
}

/// One `[[data]]`: a set of pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// A WebDataset tar of `KEY.jpg` with `KEY.txt` or `KEY.cls`.
    pub path: PathBuf,
    /// How often each picture of the set comes in an epoch: 1 once, 2 twice, 0.5 every other epoch.
    #[serde(default = "one")]
    pub weight: f64,
    /// Captions for a labelled set, `{}` where the class goes.
    #[serde(default = "default_templates")]
    pub templates: Vec<String>,
}

/// `[train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// The loss.
    #[serde(default)]
    pub objective: Objective,
    /// Pairs in a step; also the number of negatives plus one.
    pub batch_size: usize,
    /// Passes over the data, as mixed by weight.
    pub epochs: u64,
    /// Steps over which the learning rates rise from zero.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Decoupled weight decay of matrices; biases and `logit_scale` have none.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decides the start, the order and the captions drawn.
    #[serde(default)]
    pub seed: u64,
    /// Arithmetic of the towers.
    #[serde(default)]
    pub precision: Precision,
    /// Gradients whose common norm is above this are scaled down to it; 0 for never.
    #[serde(default = "one")]
    pub grad_clip: f64,
    /// Start of `logit_scale`, as a log.
    #[serde(default = "logit_scale_init")]
    pub logit_scale_init: f64,
}

/// The losses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Symmetric cross-entropy over the batch's similarities.
    #[default]
    InfoNce,
}

/// Arithmetic of the towers while training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
}

/// `[eval]`: held-out sets measured while training; none of it steers the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// A set with captions, for recall both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<PathBuf>,
    /// A labelled set, for zero-shot accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Epochs between measurements; the last epoch is always measured.
    #[serde(default = "one_epoch")]
    pub every_epochs: u64,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self { captions: None, labels: None, every_epochs: one_epoch() }
    }
}

/// The largest weight of a set; a typing error above it would fill the memory.
const MOST: f64 = 1000.0;

fn one() -> f64 {
    1.0
}

fn one_epoch() -> u64 {
    1
}

/// The value of CLIP itself.
fn logit_scale_init() -> f64 {
    f64::from(clip::config::LOGIT_SCALE_INIT)
}

fn default_templates() -> Vec<String> {
    vec![clip::zero_shot::DEFAULT_TEMPLATE.to_owned()]
}

impl Recipe {
    /// All templates of all sets, each once: how the model has seen classes put into words.
    #[must_use]
    pub fn templates(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for template in self.data.iter().flat_map(|data| &data.templates) {
            if !all.contains(template) {
                all.push(template.clone());
            }
        }
        all
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`RecipeError::Value`] names the key, what is wrong with it and what would be right.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let wrong = |key: &str, reason: &str| {
            Err(RecipeError::Value { key: key.to_owned(), reason: reason.to_owned() })
        };
        let rate = |x: f64| x.is_finite() && x >= 0.0;
        let (model, train) = (&self.model, &self.train);
        if model.projection.dim == 0 {
            return wrong("model.projection.dim", "is 0, but the shared space needs a width");
        }
        for (key, value) in [
            ("model.image.learning_rate", model.image.learning_rate),
            ("model.text.learning_rate", model.text.learning_rate),
            ("model.projection.learning_rate", model.projection.learning_rate),
            ("train.weight_decay", train.weight_decay),
            ("train.grad_clip", train.grad_clip),
        ] {
            if !rate(value) {
                return wrong(key, "must be a finite number of at least 0");
            }
        }
        for (key, share) in [
            ("model.image.dropout", model.image.dropout),
            ("model.text.dropout", model.text.dropout),
        ] {
            if !(0.0..1.0).contains(&share) {
                return wrong(key, "must be at least 0 and less than 1");
            }
        }
        if !(8..=4096).contains(&self.image.size) {
            return wrong("image.size", "must lie between 8 and 4096 pixels");
        }
        if self.image.std.iter().any(|&s| !s.is_finite() || s <= 0.0) {
            return wrong("image.std", "must be three finite numbers above 0");
        }
        if self.image.mean.iter().any(|m| !m.is_finite()) {
            return wrong("image.mean", "must be three finite numbers");
        }
        if train.batch_size < 2 {
            return wrong("train.batch_size", "must be at least 2: a pair alone has no negatives");
        }
        if train.epochs == 0 {
            return wrong("train.epochs", "is 0, but nothing is learned in no epoch");
        }
        if !(0.0..=f64::from(clip::config::LOGIT_SCALE_MAX)).contains(&train.logit_scale_init) {
            return wrong("train.logit_scale_init", "is a log and must lie between 0 and ln 100");
        }
        if self.eval.every_epochs == 0 {
            return wrong("eval.every_epochs", "must be at least 1");
        }
        self.validate_data()
    }

    fn validate_data(&self) -> Result<(), RecipeError> {
        let wrong =
            |key: String, reason: &str| Err(RecipeError::Value { key, reason: reason.to_owned() });
        if self.data.is_empty() {
            return wrong("data".to_owned(), "is empty; add a [[data]] with a path");
        }
        for (i, data) in self.data.iter().enumerate() {
            if !(data.weight > 0.0 && data.weight <= MOST) {
                return wrong(format!("data.{i}.weight"), "must lie above 0 and be at most 1000");
            }
            if data.templates.is_empty() {
                return wrong(
                    format!("data.{i}.templates"),
                    "is empty; leave it out for the usual",
                );
            }
            if let Some(bad) = data.templates.iter().find(|t| !t.contains("{}")) {
                let reason = format!("holds \"{bad}\", which has no {{}} where the class goes");
                return wrong(format!("data.{i}.templates"), &reason);
            }
        }
        Ok(())
    }
}
