//! What is to be trained, on what and how: one TOML file.
//!
//! A [`Recipe`] is the typed form of that file, with every path resolved, so that the copy kept in a
//! run says the whole of it.
//! This room knows nothing of tensors, pictures or checkpoints.
//! Invariant: a `Recipe` that exists has passed [`Recipe::validate`], and no key was ignored.

mod data;
mod image;
mod method;
mod model;
mod named;
mod objective;
mod optimizer;
mod resolve;
mod text;
mod train;

use serde::{Deserialize, Serialize};

pub use data::DataSection;
pub use image::{ImageSection, ResizeMode};
pub use method::{Byol, Method, MoCoV3, NoKeys, Reads, SimClr, SimSiam, Slip, SwAv};
pub use model::{
    ImageEncoder, ImageTowerSection, LoraSection, ModelKind, ModelSection, ProjectionKind,
    ProjectionSection, Start, TextEncoder, TextTowerSection, Towers,
};
pub use objective::{NegativesFrom, Objective};
pub use optimizer::{AdamW, Lamb, Lars, OptimizerSection, Schedule, Sgd};
pub use resolve::{RecipeError, Resolver, from_table, load, load_from};
pub use text::{BackTranslationSection, SynonymsSection, TextSection};
pub use train::{Auto, EvalSection, MicroBatch, Precision, TrainSection};

/// A recipe as resolved: paths absolute, defaults written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The two towers and the projections.
    pub model: ModelSection,
    /// How a picture becomes the image tower's input.
    #[serde(default)]
    pub image: ImageSection,
    /// How the wording of captions varies in training.
    #[serde(default)]
    pub text: TextSection,
    /// Where the pairs come from; mixed by weight.
    pub data: Vec<DataSection>,
    /// The loop.
    pub train: TrainSection,
    /// What is measured while training.
    #[serde(default)]
    pub eval: EvalSection,
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
        self.model.validate()?;
        self.image.validate()?;
        self.text.validate()?;
        self.train.validate()?;
        self.train.method.validate(self)?;
        match self.model.start()? {
            Start::Towers(_) => self.image.whole("two towers that never met need it")?,
            Start::Checkpoint { .. } if self.train.logit_scale_init.is_some() => {
                let reason = "does not go with model.init: logit_scale is the checkpoint's";
                return wrong("train.logit_scale_init", reason);
            }
            Start::Checkpoint { .. } | Start::Nothing { .. } => {}
        }
        if self.train.class_pictures > 0 && self.model.image.classes.is_none() {
            let reason = "needs the names of the classes in model.image.classes";
            return wrong("train.class_pictures", reason);
        }
        let objective = &self.train.objective;
        if self.train.class_pictures > 0
            && matches!(objective, Objective::Triplet { .. })
            && objective.takes_given_negatives()
        {
            let reason = "does not go with a triplet objective whose negatives are given: class pictures \
                          have none";
            return wrong("train.class_pictures", reason);
        }
        self.eval.validate()?;
        if self.data.is_empty() {
            return wrong("data", "is empty; add a [[data]] with a path");
        }
        self.data.iter().enumerate().try_for_each(|(place, data)| data.validate(place))
    }
}

fn wrong<T>(key: &str, reason: &str) -> Result<T, RecipeError> {
    Err(RecipeError::Value { key: key.to_owned(), reason: reason.to_owned() })
}

/// Refuses what is negative, infinite or no number.
fn finite(key: &str, value: f64) -> Result<(), RecipeError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    wrong(key, "must be a finite number of at least 0")
}

/// Refuses what is no share.
fn probability(key: &str, value: f64) -> Result<(), RecipeError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    wrong(key, "must lie between 0 and 1")
}

fn one() -> f64 {
    1.0
}
