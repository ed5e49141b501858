//! All that `eval` says of a labelled set where the model knows no words: how its embeddings lie, and
//! what can be learned from them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::Interval;
use super::labelled::{geometry, several_classes};
use super::learned::{LearnedFigures, Training};
use super::{Embedder, EvalError, Labelled, usable};
use crate::data::BadSample;

/// What was found on a labelled set without asking for its classes by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PictureStudy {
    /// Its name.
    pub set: String,
    /// Pictures measured.
    pub pictures: usize,
    /// Classes told apart.
    pub classes: usize,
    /// Samples that could not be used.
    pub unusable: Vec<BadSample>,
    /// Mean squared distance of two pictures of a class (Wang and Isola 2020, equation 2); none where
    /// no class has two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<f64>,
    /// How evenly the pictures lie (the same, equation 3); none for a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uniformity: Option<f64>,
    /// Where 95 % of the bootstrap's draws lie, by the name of the figure.
    pub intervals: BTreeMap<&'static str, Interval>,
    /// What a linear probe and the neighbors in a training set say.
    pub learned: LearnedFigures,
}

/// Embeds a set, and measures what the pictures of `labelled.training` teach of it.
///
/// # Errors
/// [`EvalError::NoWords`] without a training set; others as
/// [`study_labels`](super::study_labels).
pub fn study_pictures(
    embedder: &mut dyn Embedder,
    labelled: &Labelled<'_>,
) -> Result<PictureStudy, EvalError> {
    let &Labelled { set, training, seed, .. } = labelled;
    several_classes(set)?;
    let training = Training::of(embedder, training.ok_or(EvalError::NoWords)?, set)?;
    let found = usable(embedder.pictures(set)?, set)?;
    let truth: Vec<usize> = found.pairs.iter().filter_map(|&pair| set.pairs[pair].class).collect();
    let (alignment, uniformity) = geometry(&found.images, &truth, seed)?;
    let named = [("alignment", &alignment), ("uniformity", &uniformity)];
    let interval = |(name, estimate): (&'static str, &Option<super::geometry::Estimate>)| {
        estimate.map(|estimate| (name, estimate.interval))
    };
    Ok(PictureStudy {
        set: set.name(),
        pictures: found.images.len(),
        classes: set.classes.len(),
        alignment: alignment.map(|estimate| estimate.value),
        uniformity: uniformity.map(|estimate| estimate.value),
        intervals: named.into_iter().filter_map(interval).collect(),
        learned: training.judge(&found.images, &truth, seed)?,
        unusable: found.bad,
    })
}
