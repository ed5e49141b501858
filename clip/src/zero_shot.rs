//! Classes by words alone: templates, class vectors and probabilities.

use thiserror::Error;

use crate::Embedding;
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

/// Softmax over cosine `scores` times `exp(logit_scale)`; they sum to one.
///
/// `logit_scale` is the logarithm, as Hugging Face stores it.
#[must_use]
pub fn probabilities(scores: &[f32], logit_scale: f32) -> Vec<f32> {
    let scale = logit_scale.exp();
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
        let p = probabilities(&[0.2, 0.1], 10f32.ln());
        let e = std::f32::consts::E;
        assert!((p[0] - e / (e + 1.0)).abs() < 1e-5);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(probabilities(&[], 0.0).is_empty());
    }
}
