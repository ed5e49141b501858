//! What weights a dual encoder wants, and where they come from.

use std::path::Path;

use super::dual_encoder::{ImageTower, TEXT, TextTower, VISION};
use super::{CLASSES, ClassMixture, DualEncoder, ModelError, Parameter, Side, Weights};

/// Name of the learned scale, a logarithm, shape `[]`.
pub const LOGIT_SCALE: &str = "logit_scale";

/// Name of the learned bias of a sigmoid model, shape `[]`.
pub const LOGIT_BIAS: &str = "logit_bias";

/// Where the weights of two pretrained towers lie, under the names of their own checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct TowerFiles<'a> {
    /// Safetensors of the image tower.
    pub image: &'a Path,
    /// Safetensors of the text tower.
    pub text: &'a Path,
}

impl DualEncoder {
    /// What weights a tower wants, under their full names.
    #[must_use]
    pub fn tower_parameters(&self, side: Side) -> Vec<Parameter> {
        match side {
            Side::Image => match &self.image_tower {
                ImageTower::EfficientNetLite(tower) => tower.parameters(),
                ImageTower::ClipVision(tower) => tower.parameters(),
            },
            Side::Text => match &self.text_tower {
                TextTower::Bert(tower) => tower.parameters(),
                TextTower::ClipText(tower) => tower.parameters(),
            },
        }
    }

    /// The bias of a sigmoid model.
    pub(super) fn bias_parameter(&self) -> Option<Parameter> {
        let bias = |init| Parameter::constant(LOGIT_BIAS.to_owned(), &[], init);
        self.logit_bias_init.map(bias)
    }

    /// What weights the projections, the scale and the bias want.
    #[must_use]
    pub fn head_parameters(&self) -> Vec<Parameter> {
        let scale = f64::from(self.config.logit_scale_init_value);
        let mut all = self.image_projection.parameters();
        all.extend(self.text_projection.parameters());
        all.push(Parameter::constant(LOGIT_SCALE.to_owned(), &[], scale));
        all.extend(self.bias_parameter());
        all
    }

    /// What weights the classes want, but for the answers for their names; none where there are none.
    #[must_use]
    pub fn class_parameters(&self) -> Vec<Parameter> {
        self.classes.as_ref().map(ClassMixture::parameters).unwrap_or_default()
    }

    /// Every weight that the model wants.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.tower_parameters(Side::Image);
        all.extend(self.class_parameters());
        all.extend(self.classes.as_ref().map(ClassMixture::names_parameter));
        all.extend(self.tower_parameters(Side::Text));
        all.extend(self.head_parameters());
        all
    }

    /// Pretrained towers, the classifier in the image tower's file where the model has classes (without
    /// the answers for their names), and projections that start anew from `seed`.
    ///
    /// # Errors
    /// [`ModelError`] where a file cannot be read or does not fit the configuration.
    pub fn from_towers(&self, files: TowerFiles<'_>, seed: u64) -> Result<Weights, ModelError> {
        let mut weights = Weights::random(&self.head_parameters(), seed);
        for (path, prefix, wanted) in [
            (files.image, VISION, self.tower_parameters(Side::Image)),
            (files.image, CLASSES, self.class_parameters()),
            (files.text, TEXT, self.tower_parameters(Side::Text)),
        ] {
            if wanted.is_empty() {
                continue;
            }
            let mut tower = Weights::new();
            tower.extend(prefix, Weights::load(path)?);
            weights.extend("", tower.select(&wanted)?);
        }
        Ok(weights)
    }
}
