//! All that `eval` says of a labelled set: accuracy, how sure it is, whether probabilities hold, how
//! its embeddings lie, and what can be learned from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use clip::Embedding;
use serde::Serialize;

use super::bootstrap::{Bootstrap, Interval, mean};
use super::calibration::{Calibration, calibration};
use super::confusion::{Confusion, Mistake};
use super::geometry::{Cloud, Estimate};
use super::learned::{LearnedFigures, Training};
use super::zero_shot::{Classified, labels_of};
use super::{Embedder, EvalError, LabelFigures};
use crate::data::Dataset;

/// A labelled set, and how it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// The set.
    pub set: &'a Arc<Dataset>,
    /// How its classes are put into words.
    pub templates: &'a [String],
    /// The temperature of the model's softmax; none where it gives each label a probability of its own.
    pub temperature: Option<f64>,
    /// Pictures of the same classes that a linear probe and neighbors learn from.
    pub training: Option<&'a Arc<Dataset>>,
    /// Decides what the bootstrap draws, and which parts a temperature and a penalty are chosen on.
    pub seed: u64,
}

/// What was found on a labelled set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelStudy {
    /// Zero-shot accuracy.
    #[serde(flatten)]
    pub figures: LabelFigures,
    /// Mean squared distance of two pictures of a class (Wang and Isola 2020, equation 2); none where
    /// no class has two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<f64>,
    /// How evenly the pictures lie (the same, equation 3); none for a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uniformity: Option<f64>,
    /// Where 95 % of the bootstrap's draws lie, by the name of the figure.
    pub intervals: BTreeMap<&'static str, Interval>,
    /// Reliability of the zero-shot probabilities; none for a model without a softmax, or fewer than
    /// two pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What a linear probe and the neighbors in a training set say; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<LearnedFigures>,
    /// The most frequent mistakes of the zero-shot classes.
    pub mistakes: Vec<Mistake>,
    /// How often each class was taken for each, for a picture.
    #[serde(skip)]
    pub confusion: Confusion,
}

/// Embeds a set and measures all of it.
///
/// # Errors
/// [`EvalError::WrongKind`] for a set without labels, [`EvalError::OneClass`] for one in which there
/// is nothing to tell apart, [`EvalError::OtherClasses`] and [`EvalError::NothingToLearn`] for a
/// training set that does not fit it, others where the model cannot run.
pub fn study_labels(
    embedder: &mut dyn Embedder,
    labelled: &Labelled<'_>,
) -> Result<LabelStudy, EvalError> {
    let &Labelled { set, templates, temperature, training, seed } = labelled;
    several_classes(set)?;
    let training = training.map(|training| Training::of(embedder, training, set)).transpose()?;
    let found = Classified::of(embedder, set, templates)?;
    let (alignment, uniformity) = geometry(&found.images, &found.scores.truth, seed)?;
    let mut intervals = accuracy_intervals(&found.ranks, seed);
    for (name, estimate) in [("alignment", &alignment), ("uniformity", &uniformity)] {
        intervals.extend(estimate.map(|estimate| (name, estimate.interval)));
    }
    let judge = |training: Training| training.judge(&found.images, &found.scores.truth, seed);
    let learned = training.map(judge).transpose()?;
    let confusion = Confusion::of(&set.classes, &found.scores.truth, &found.guesses());
    Ok(LabelStudy {
        figures: found.figures(set, templates),
        alignment: alignment.map(|estimate| estimate.value),
        uniformity: uniformity.map(|estimate| estimate.value),
        intervals,
        calibration: temperature.and_then(|own| calibration(&found.scores, own, seed)),
        learned,
        mistakes: confusion.mistakes(),
        confusion,
    })
}

/// # Errors
/// [`EvalError::WrongKind`] for a set without labels, [`EvalError::OneClass`] for one with one.
pub(super) fn several_classes(set: &Dataset) -> Result<(), EvalError> {
    match labels_of(set)? {
        [class] => Err(EvalError::OneClass { set: set.name(), class: class.clone() }),
        _ => Ok(()),
    }
}

/// Alignment by the classes `truth`, and uniformity.
pub(super) fn geometry(
    images: &[Embedding],
    truth: &[usize],
    seed: u64,
) -> Result<(Option<Estimate>, Option<Estimate>), EvalError> {
    let pictures: Vec<usize> = (0..images.len()).collect();
    let cloud = Cloud { embeddings: images, pictures: &pictures, count: images.len(), seed };
    Ok((cloud.alignment(truth)?, cloud.uniformity()?))
}

fn accuracy_intervals(ranks: &[usize], seed: u64) -> BTreeMap<&'static str, Interval> {
    let within = |k| ranks.iter().map(|rank| f64::from(u8::from(*rank <= k))).collect();
    let [one, five]: [Vec<f64>; 2] = [1, 5].map(within);
    let figures = |times: &[f64]| [mean(&one, times), mean(&five, times)];
    let intervals = Bootstrap::new(ranks.len(), seed).intervals(figures);
    ["top_1", "top_5"].into_iter().zip(intervals).collect()
}
