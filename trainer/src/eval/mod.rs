//! How good a model is on held-out sets: recall both ways on captions, accuracy on labels, what can be
//! learned from its embeddings, whether its probabilities hold, and how sure each figure is.
//!
//! What embeds is behind [`Embedder`]: a run by libtorch ([`RunEmbedder`]) or a bundle by ONNX
//! Runtime ([`BundleEmbedder`]), measured by the same lines.
//! This room knows nothing of training.
//! Invariant: a picture that cannot be used is counted and named, never scored.

pub mod bootstrap;
mod bundle;
pub mod calibration;
mod captioned;
pub mod confusion;
mod geometry;
mod labelled;
pub mod lbfgs;
mod learned;
pub mod nearest;
pub mod probe;
mod run;
mod sharpness;
mod wordless;
mod zero_shot;

use std::sync::Arc;

use clip::Embedding;
use clip::bundle::BundleError;
use clip::embedding::EmbeddingError;
use clip::metrics::{Classification, Retrieval};
use clip::tokenize::TokenizeError;
use clip::zero_shot::TemplateError;
use serde::Serialize;

use crate::data::{BadSample, Dataset};
use crate::encoder::EncoderError;

pub use bundle::BundleEmbedder;
use captioned::Captioned;
pub use captioned::{CaptionIntervals, CaptionStudy, study_captions};
pub use labelled::{LabelStudy, Labelled, study_labels};
pub use learned::LearnedFigures;
pub use run::RunEmbedder;
pub use sharpness::{Sharpness, SharpnessFigures, sharpness};
pub use wordless::{PictureStudy, study_pictures};
use zero_shot::Classified;

/// Something that embeds pictures and texts.
pub trait Embedder {
    /// Whether it embeds texts at all.
    fn knows_words(&self) -> bool {
        true
    }

    /// One embedding for each pair's picture, none where it is broken.
    ///
    /// # Errors
    /// [`EvalError`] when the model cannot run.
    fn pictures(&mut self, set: &Arc<Dataset>) -> Result<EmbeddedPictures, EvalError>;

    /// One embedding for each text.
    ///
    /// # Errors
    /// [`EvalError`] when the model cannot run.
    fn texts(&mut self, texts: &[Arc<str>]) -> Result<Vec<Embedding>, EvalError>;
}

/// What became of a set's pictures.
#[derive(Debug)]
pub struct EmbeddedPictures {
    /// One for each pair of the set.
    pub embeddings: Vec<Option<Embedding>>,
    /// The broken ones.
    pub bad: Vec<BadSample>,
}

/// Figures on a set with captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionFigures {
    /// Its name.
    pub set: String,
    /// Pictures measured.
    pub pictures: usize,
    /// Captions measured.
    pub captions: usize,
    /// Samples that could not be used.
    pub unusable: Vec<BadSample>,
    /// Each caption seeks its picture.
    pub text_to_image: Retrieval,
    /// Each picture seeks one of its captions.
    pub image_to_text: Retrieval,
    /// Standard deviation of the cosines of captions with pictures that are not theirs; 0 for a
    /// single picture.
    pub score_deviation: f32,
}

/// Figures on a labelled set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelFigures {
    /// Its name.
    pub set: String,
    /// Pictures measured.
    pub pictures: usize,
    /// Classes told apart.
    pub classes: usize,
    /// How the classes were put into words.
    pub templates: Vec<String>,
    /// Samples that could not be used.
    pub unusable: Vec<BadSample>,
    /// Each picture seeks its class.
    #[serde(flatten)]
    pub classification: Classification,
}

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The run's model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The bundle's folder.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle's graphs.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// A text that the tokenizer cannot read.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// A template without a place for the class.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A class whose templates cancel out.
    #[error("the templates of class {class} give no direction")]
    Class {
        /// Its name.
        class: String,
        /// Why.
        source: EmbeddingError,
    },
    /// Labels where captions were asked for, or the other way round.
    #[error("{set} has no {wanted}; measure it with {flag}")]
    WrongKind {
        /// The set.
        set: String,
        /// What was asked for.
        wanted: &'static str,
        /// What would do.
        flag: &'static str,
    },
    /// Words where none were learned.
    #[error(
        "the run has learned from pictures alone and knows no words; measure what can be learned from \
         it with --labels DEV --probe TRAIN, or join it with words by a training that begins from it \
         (model.init)"
    )]
    NoWords,
    /// A set of one class.
    #[error("{set} has one class, \"{class}\": there is nothing to tell apart")]
    OneClass {
        /// The set.
        set: String,
        /// Its class.
        class: String,
    },
    /// A training set of other classes than the measured one.
    #[error("--probe and --labels have to have the same classes: {differences}")]
    OtherClasses {
        /// Which classes only one of them has.
        differences: String,
    },
    /// Classes that a training set has no picture of.
    #[error(
        "{set} has no picture that can be used of {classes}, so that nothing can be learned of it; \
         add some, or take the class out of both sets"
    )]
    NothingToLearn {
        /// The set.
        set: String,
        /// The classes, a few by name.
        classes: String,
    },
    /// libtorch refused.
    #[error("the embeddings cannot be compared")]
    Torch(#[from] tch::TchError),
    /// Every picture of a set is broken.
    #[error("no picture of {set} can be used")]
    NoPicture {
        /// The set.
        set: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// Recall of pictures by captions and of captions by pictures.
///
/// # Errors
/// [`EvalError::WrongKind`] for a labelled set, others where the model cannot run.
pub fn captions(
    embedder: &mut dyn Embedder,
    set: &Arc<Dataset>,
) -> Result<CaptionFigures, EvalError> {
    Ok(Captioned::of(embedder, set)?.figures(set))
}

/// Pictures that each caption is compared with for [`CaptionFigures::score_deviation`].
const STRANGERS: usize = 16;

/// The standard deviation of the scores of texts with pictures that are not theirs, some for each,
/// evenly spread; `of_text` holds the pictures of each text.
fn deviation(texts: &[Embedding], images: &[Embedding], of_text: &[Vec<usize>]) -> f32 {
    let step = images.len().div_ceil(STRANGERS).max(1);
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (place, (text, own)) in texts.iter().zip(of_text).enumerate() {
        for image in (place % step..images.len()).step_by(step).filter(|i| !own.contains(i)) {
            let score = f64::from(text.cosine(&images[image]));
            (count, sum, squares) = (count + 1.0, sum + score, squares + score * score);
        }
    }
    if count == 0.0 {
        return 0.0;
    }
    let mean: f64 = sum / count;
    (squares / count - mean * mean).max(0.0).sqrt() as f32
}

/// Zero-shot accuracy: each class is the mean of its filled templates.
///
/// # Errors
/// [`EvalError::WrongKind`] for a set without labels, others where the model cannot run.
pub fn labels(
    embedder: &mut dyn Embedder,
    set: &Arc<Dataset>,
    templates: &[String],
) -> Result<LabelFigures, EvalError> {
    Ok(Classified::of(embedder, set, templates)?.figures(set, templates))
}

/// The pictures that could be used, and which pairs they are of.
struct Usable {
    images: Vec<Embedding>,
    pairs: Vec<usize>,
    bad: Vec<BadSample>,
}

fn usable(all: EmbeddedPictures, set: &Dataset) -> Result<Usable, EvalError> {
    let mut bad = set.bad.clone();
    bad.extend(all.bad);
    let (mut images, mut pairs) = (Vec::new(), Vec::new());
    for (pair, embedding) in all.embeddings.into_iter().enumerate() {
        if let Some(embedding) = embedding {
            images.push(embedding);
            pairs.push(pair);
        }
    }
    if images.is_empty() {
        return Err(EvalError::NoPicture { set: set.name() });
    }
    Ok(Usable { images, pairs, bad })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_of_the_pictures_that_are_not_a_texts_own() {
        let unit = |x: f32| Embedding::new(vec![x, (1.0 - x * x).sqrt()]).unwrap();
        let text = unit(1.0);
        let images = [unit(0.9), unit(0.5), unit(0.1), unit(0.3)];
        let own = vec![vec![0]];
        // 0.5, 0.1 and 0.3: their mean is 0.3, the mean of the squares 0.35 / 3.
        let found = deviation(std::slice::from_ref(&text), &images, &own);
        assert!((found - (0.35f32 / 3.0 - 0.09).sqrt()).abs() < 1e-6, "{found}");
        assert_eq!(deviation(&[text], &images[..1], &own), 0.0);
    }

    #[test]
    fn of_many_pictures_an_even_part_is_looked_at() {
        // Cosines that repeat each ten pictures; each text begins one picture further on.
        let unit = |x: f32| Embedding::new(vec![x, (1.0 - x * x).sqrt()]).unwrap();
        let images: Vec<Embedding> = (0..1000u16).map(|i| unit(f32::from(i % 10) / 10.0)).collect();
        let texts = vec![unit(1.0); 630];
        let found = deviation(&texts, &images, &vec![Vec::new(); 630]);
        let whole = (0.285f32 - 0.45 * 0.45).sqrt();
        assert!((found - whole).abs() < 0.01, "{found}, not {whole}");
    }
}
