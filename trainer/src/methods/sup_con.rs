//! Supervised contrastive learning: views of all pictures of a class belong together (Khosla et al.
//! 2020).
//!
//! Views: two alike. Head: a projector of two layers. Targets: every view of the same class.
//!
//! Unlike the paper's projector this one has a batch normalization within, as `SimCLR`'s.

use tch::Tensor;

use super::simclr::projector;
use super::{Batch, Head, Learner, Method, MethodError, Step, View, views};
use super::{image_learns, scale};
use crate::encoder::Encoder;
use crate::objectives::{Related, sup_con};
use crate::recipe::{ImageSection, SimClr as Keys};

#[derive(Debug)]
pub(super) struct SupCon {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

impl Method for SupCon {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        vec![View::of(image, views::mild()); 2]
    }

    fn heads(&self) -> Vec<Head> {
        vec![projector(self.keys, self.width)]
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        image_learns("sup_con", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let encoder = learner.online.encoder;
        let projector = projector(self.keys, self.width);
        let z = learner.online.embedded(batch.views::<2>()?, &projector)?; // [B, D] each
        let classes = encoder.moved(&Tensor::from_slice(&batch.class_keys))?; // [B]
        let related = Related::by(&[&Tensor::f_cat(&[&classes, &classes], 0)?]);
        let both = Tensor::f_cat(&z, 0)?; // [2B, D]
        let loss = sup_con(&both, &scale(self.keys.temperature, encoder)?, &related);
        Step::of(loss, &z)
    }

    fn cure(&self) -> &'static str {
        "larger batches, so that each has pictures of several classes, or a lower learning rate with \
         more train.warmup_steps"
    }
}
