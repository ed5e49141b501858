//! Classes by words alone: templates, class vectors and probabilities.

use thiserror::Error;

use crate::Embedding;
use crate::config::LOGIT_SCALE_MAX;
use crate::embedding::EmbeddingError;

/// The template of the CLIP paper (Radford et al. 2021, section 3.1.4), used where none is given.
pub const DEFAULT_TEMPLATE: &str = "a photo of a {}";

/// Where the class goes in a template.
const SLOT: &str = "{}";

/// A template that does not say where the class goes.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("template {template:?} has no {{}} where the class goes")]
pub struct TemplateError {
    /// The template as given.
    pub template: String,
}

/// Puts `class` where the template says `{}`.
///
/// # Errors
/// [`TemplateError`] where it says so nowhere.
pub fn fill_template(template: &str, class: &str) -> Result<String, TemplateError> {
    if !template.contains(SLOT) {
        return Err(TemplateError { template: template.to_owned() });
    }
    Ok(template.replace(SLOT, class))
}

/// The vector of a class: the normalized mean of its filled templates' embeddings (the prompt
/// ensemble of the CLIP paper, section 3.1.4).
///
/// # Errors
/// Those of [`Embedding::weighted_sum`].
pub fn class_embedding(prompts: &[Embedding]) -> Result<Embedding, EmbeddingError> {
    let terms: Vec<(f32, &Embedding)> = prompts.iter().map(|prompt| (1.0, prompt)).collect();
    Embedding::weighted_sum(&terms)
}

/// How the cosine between a picture and a class becomes a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logits {
    /// The learned scale, as the logarithm that Hugging Face stores.
    pub logit_scale: f32,
    /// The learned bias of a model that was trained with a sigmoid; `None` for a softmax.
    pub logit_bias: Option<f32>,
}

impl Default for Logits {
    /// A softmax at the scale where CLIP's training ends.
    fn default() -> Self {
        Self { logit_scale: LOGIT_SCALE_MAX, logit_bias: None }
    }
}

impl Logits {
    /// The probability of each class by its cosine to the picture.
    ///
    /// With a bias each class stands for itself: `σ(exp(logit_scale) · cosine + logit_bias)` (Zhai et
    /// al. 2023, algorithm 1). Without, they compete: the softmax of `exp(logit_scale) · cosine`,
    /// which sums to one.
    #[must_use]
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        let scale = self.logit_scale.exp();
        match self.logit_bias {
            Some(bias) => scores.iter().map(|score| sigmoid(score * scale + bias)).collect(),
            None => softmax(scores, scale),
        }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn softmax(scores: &[f32], scale: f32) -> Vec<f32> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|s| ((s - highest) * scale).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_needs_a_slot() {
        assert_eq!(fill_template("a photo of a {}", "dog").unwrap(), "a photo of a dog");
        let error = fill_template("a photo", "dog").unwrap_err();
        assert_eq!(error.to_string(), "template \"a photo\" has no {} where the class goes");
    }

    #[test]
    fn a_class_is_the_mean_direction_of_its_prompts() {
        let x = Embedding::new(vec![1.0, 0.0]).unwrap();
        let y = Embedding::new(vec![0.0, 1.0]).unwrap();
        assert_eq!(class_embedding(&[x, y]).unwrap(), Embedding::new(vec![1.0, 1.0]).unwrap());
        assert_eq!(class_embedding(&[]), Err(EmbeddingError::Empty));
    }

    #[test]
    fn probabilities_are_a_softmax_of_scaled_cosines() {
        // exp(ln 10 · …): logits 1 and 0 → e/(e+1)
        let softmax = Logits { logit_scale: 10f32.ln(), logit_bias: None };
        let p = softmax.probabilities(&[0.2, 0.1]);
        let e = std::f32::consts::E;
        assert!((p[0] - e / (e + 1.0)).abs() < 1e-5);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(softmax.probabilities(&[]).is_empty());
    }

    #[test]
    fn with_a_bias_each_class_stands_for_itself() {
        // 10 · 0.2 − 2 = 0 → one half, whatever else was asked for
        let sigmoid = Logits { logit_scale: 10f32.ln(), logit_bias: Some(-2.0) };
        let p = sigmoid.probabilities(&[0.2, -1.0, 1.0]);
        assert!((p[0] - 0.5).abs() < 1e-5 && p[1] < 1e-5 && p[2] > 0.999, "{p:?}");
    }
}
