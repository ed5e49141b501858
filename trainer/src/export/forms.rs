//! The precisions of a bundle, and the forms that a tower may take in each.

use clip::config::{ModelConfig, VisionConfig};

use crate::model::Side;
use crate::onnx::WeightStorage;

/// Forms in which a bundle can hold the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Precision {
    /// As trained.
    Fp32,
    /// Half the size; computes in 16 bits, for GPUs.
    Fp16,
    /// A quarter of the size; transformers multiply bytes, for CPUs that are fast at it.
    Int8,
}

impl Precision {
    /// All of them, the widest first.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];

    /// Its name in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// What its graphs' names end with.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Fp32 => "",
            Self::Fp16 => "_fp16",
            Self::Int8 => "_int8",
        }
    }

    /// The forms of a tower, the narrowest first; each next one is for a tower that loses too much
    /// by those before. The products of a transformer have few outliers and much to gain by bytes;
    /// convolutions have neither.
    fn forms(self, convolutions: bool) -> &'static [WeightStorage] {
        use WeightStorage::{F16, F32, Half, Int8, Int8Dynamic, Int8Matrices};
        match self {
            Self::Fp32 => &[F32],
            Self::Fp16 => &[Half, F16],
            Self::Int8 if convolutions => &[Int8, Int8Matrices, F16],
            Self::Int8 => &[Int8Dynamic, Int8, F16],
        }
    }
}

/// A tower in one precision: how it is stored, and why not more narrowly.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) storage: WeightStorage,
    /// The narrower ones that were tried, with what they lost.
    refused: Vec<String>,
    wider: std::slice::Iter<'static, WeightStorage>,
}

impl Form {
    /// The narrowest of a tower.
    pub(super) fn narrowest(precision: Precision, side: Side, config: &ModelConfig) -> Self {
        let convolutions = side == Side::Image
            && matches!(config.vision_config, VisionConfig::EfficientnetLite(_));
        let mut wider = precision.forms(convolutions).iter();
        let storage = wider.next().copied().unwrap_or(WeightStorage::F32);
        Self { storage, refused: Vec::new(), wider }
    }

    /// The next wider one, because of what this one lost; false where it is the widest.
    pub(super) fn widen(&mut self, loss: &str) -> bool {
        let Some(wider) = self.wider.next() else { return false };
        self.refused.push(format!("{} it {loss}", self.storage.name()));
        self.storage = *wider;
        true
    }

    /// In words for a manifest.
    pub(super) fn words(&self) -> String {
        let words = self.storage.words();
        if self.refused.is_empty() {
            return words.to_owned();
        }
        format!("{words} ({})", self.refused.join("; "))
    }

    /// Whether an answer depends on its batch mates.
    pub(super) fn depends_on_batch(&self) -> bool {
        self.storage == WeightStorage::Int8Dynamic
    }

    /// The highest lowest cosine that is asked of another machine. f32 sums differ by their order
    /// alone; f16 rounds every sum; bytes are rounded by ranges that such differences move.
    pub(super) fn tolerance(&self) -> f32 {
        match self.storage {
            WeightStorage::F32
            | WeightStorage::F16
            | WeightStorage::Int8
            | WeightStorage::Int8Matrices => 0.9995,
            WeightStorage::Half => 0.999,
            WeightStorage::Int8Dynamic => 0.995,
        }
    }
}

/// Both towers in one precision.
#[derive(Debug, Clone)]
pub(super) struct Forms {
    pub(super) image: Form,
    pub(super) text: Form,
}

impl Forms {
    pub(super) fn narrowest(precision: Precision, config: &ModelConfig) -> Self {
        let form = |side| Form::narrowest(precision, side, config);
        Self { image: form(Side::Image), text: form(Side::Text) }
    }

    pub(super) fn of(&mut self, side: Side) -> &mut Form {
        match side {
            Side::Image => &mut self.image,
            Side::Text => &mut self.text,
        }
    }
}

/// A tower in words.
pub(super) fn name(side: Side) -> &'static str {
    match side {
        Side::Image => "image",
        Side::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vision: &str, text: &str) -> ModelConfig {
        let text = format!(
            r#"{{"model_type": "dual-encoder", "projection_dim": 8,
                "vision_config": {{"model_type": {vision}}}, "text_config": {{"model_type": {text}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_tower_widens_until_nothing_is_left_and_says_why() {
        let config = config(r#""clip_vision_model""#, r#""clip_text_model""#);
        let mut form = Form::narrowest(Precision::Int8, Side::Image, &config);
        assert_eq!(form.storage, WeightStorage::Int8Dynamic);
        assert!(form.widen("keeps a cosine of only 0.9000"));
        assert_eq!(form.storage, WeightStorage::Int8);
        let words = form.words();
        assert!(
            words.ends_with("(multiplied as int8 it keeps a cosine of only 0.9000)"),
            "{words}"
        );
        assert!(form.widen("loses 1.00 points of top-1"));
        assert_eq!(form.storage, WeightStorage::F16);
        assert!(!form.widen("loses 1.00 points of top-1"));
    }

    #[test]
    fn convolutions_are_never_multiplied_as_bytes() {
        let lite =
            r#""efficientnet-lite", "variant": "lite0", "image_size": 32, "hidden_size": 1280"#;
        let config = config(lite, r#""clip_text_model""#);
        let form = |side| Form::narrowest(Precision::Int8, side, &config).storage;
        assert_eq!(form(Side::Image), WeightStorage::Int8);
        assert_eq!(form(Side::Text), WeightStorage::Int8Dynamic);
    }
}
