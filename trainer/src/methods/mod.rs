//! Methods: what a training is made of.
//!
//! A [`Method`] says which views of a picture a step looks at, which heads stand on the image tower,
//! what is the target and what the objective; one file each, and the loop does not know which one
//! runs. It begins behind the towers: how a batch goes through them is no method's matter.
//! This room knows nothing of files, schedules, the rules of optimizers or the command line.
//! Invariant: heads are weights under `heads.…` that a training learns and its checkpoints keep; what
//! is measured and exported never depends on them.

mod batch;
mod byol;
mod clip;
mod dropout;
mod heads;
mod learner;
mod lit;
mod moco_v3;
mod momentum;
mod objective;
mod simclr;
mod simsiam;
mod slip;
mod sup_con;
mod swav;
mod views;

use std::fmt::Debug;

use ::clip::config::VisionConfig;
use tch::{TchError, Tensor};

use crate::encoder::{Encoder, EncoderError};
use crate::model::{ModelError, Side};
use crate::objectives::negative_cosine;
use crate::recipe::{ImageSection, Method as Chosen, Recipe};

pub use batch::{Batch, Words};
pub use heads::{Ending, Head, add_heads, is_head};
pub use learner::{Branch, Learner};
pub use momentum::Momentum;
pub use views::View;

/// One way to learn.
pub trait Method: Debug {
    /// The views of each picture that a step looks at; what `[image]` says goes before the method's own.
    fn views(&self, image: &ImageSection) -> Vec<View>;

    /// What stands on the image tower while it learns, and is dropped afterwards.
    fn heads(&self) -> Vec<Head> {
        Vec::new()
    }

    /// How much of itself the momentum encoder keeps in the first step, of a method that has one.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// Refuses a model from which it cannot learn.
    ///
    /// # Errors
    /// [`MethodError::ImageLocked`], [`MethodError::ImageLearns`] or [`MethodError::TextLocked`].
    fn check(&self, encoder: &Encoder) -> Result<(), MethodError>;

    /// The loss of a batch.
    ///
    /// # Errors
    /// [`MethodError`] where the model or libtorch refuses.
    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError>;

    /// What helps against a collapse.
    fn cure(&self) -> &'static str;
}

/// What a batch loses, and how its samples lie.
#[derive(Debug)]
pub struct Step {
    /// A scalar, f32.
    pub loss: Tensor,
    /// Two normalized embeddings `[B, D]` of each sample, of two views or of picture and caption.
    pub embeddings: [Tensor; 2],
}

impl Step {
    /// Of a method whose first two views have the embeddings `views`.
    fn of(loss: Tensor, views: &[Tensor]) -> Result<Self, MethodError> {
        let [first, second, ..] = views else {
            return Err(MethodError::Views { wanted: 2, found: views.len() });
        };
        Ok(Self { loss, embeddings: [first.shallow_clone(), second.shallow_clone()] })
    }
}

/// Why a method cannot learn, or a step cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The image tower is locked.
    #[error(
        "train.method = \"{method}\" teaches the image tower, but nothing of it learns; set \
         model.image.learning_rate, as 1e-3 from random weights"
    )]
    ImageLocked {
        /// The method.
        method: &'static str,
    },
    /// The image tower learns.
    #[error(
        "train.method = \"lit\" keeps the image tower as it is, but some of it learns; leave \
         model.image.learning_rate out, or train with \"clip\""
    )]
    ImageLearns,
    /// The text tower is locked.
    #[error(
        "train.method = \"lit\" teaches the text tower, but nothing of it learns; set \
         model.text.learning_rate, or train with \"clip\""
    )]
    TextLocked,
    /// A view of a size that the image tower does not take.
    #[error(
        "{key} is {side}, but this image tower takes pictures of {edge} pixels alone; leave the key \
         out"
    )]
    Size {
        /// The recipe's key.
        key: &'static str,
        /// What it says.
        side: u32,
        /// What the tower takes.
        edge: usize,
    },
    /// A batch has other views than the method asked for.
    #[error("a step needs {wanted} views of each picture, and has {found}")]
    Views {
        /// As many as the method asked for.
        wanted: usize,
        /// As many as there are.
        found: usize,
    },
    /// A batch without captions.
    #[error("a step needs a caption of each picture, and has none")]
    NoCaptions,
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A weight.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch refused.
    #[error("libtorch cannot compute the loss")]
    Torch(#[from] TchError),
}

/// The method that `recipe` names, for the image tower of `encoder`.
#[must_use]
pub fn of<'a>(recipe: &'a Recipe, encoder: &Encoder) -> Box<dyn Method + 'a> {
    let width = encoder.model.config.vision_config.hidden_size();
    match recipe.train.method {
        Chosen::Clip(_) => Box::new(clip::Clip { recipe }),
        Chosen::Lit(_) => Box::new(lit::Lit { clip: clip::Clip { recipe } }),
        Chosen::SimClr(keys) => Box::new(simclr::SimClr { keys, width }),
        Chosen::MoCoV3(keys) => Box::new(moco_v3::MoCoV3 { keys, width }),
        Chosen::Byol(keys) => Box::new(byol::Byol { keys, width }),
        Chosen::SimSiam(keys) => Box::new(simsiam::SimSiam { keys, width }),
        Chosen::SwAv(keys) => Box::new(swav::SwAv { keys, width }),
        Chosen::SupCon(keys) => Box::new(sup_con::SupCon { keys, width }),
        Chosen::Slip(keys) => Box::new(slip::Slip { keys, width, clip: clip::Clip { recipe } }),
    }
}

/// Refuses an image tower that a self-supervised method could not teach.
fn image_learns(method: &'static str, encoder: &Encoder) -> Result<(), MethodError> {
    if encoder.rates.is_locked(Side::Image) {
        return Err(MethodError::ImageLocked { method });
    }
    Ok(())
}

/// `logit_scale` of a temperature that is not learned: a scalar log on the encoder's device.
fn scale(temperature: f64, encoder: &Encoder) -> Result<Tensor, MethodError> {
    Ok(encoder.moved(&Tensor::from(-temperature.ln() as f32))?)
}

/// Refuses views of a size of their own where the image tower has positions for one size alone.
fn takes_size(key: &'static str, side: Option<u32>, encoder: &Encoder) -> Result<(), MethodError> {
    let vision = &encoder.model.config.vision_config;
    let edge = vision.image_size();
    match (side, vision) {
        (Some(side), VisionConfig::ClipVision(_)) if side as usize != edge => {
            Err(MethodError::Size { key, side, edge })
        }
        _ => Ok(()),
    }
}

/// The sum over both views of the negative cosine of its prediction with the other's target.
fn foretold(predictions: &[Tensor], targets: &[Tensor]) -> Tensor {
    negative_cosine(&predictions[0], &targets[1]) + negative_cosine(&predictions[1], &targets[0])
}
