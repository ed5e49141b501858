//! `SwAV`: views of a picture foretell to which prototypes another one of them belongs (Caron et al.
//! 2020).
//!
//! Views: two large ones and several small ones. Heads: a projector of two layers, and prototypes.
//! Targets: the large views, shared out evenly among the prototypes.
//!
//! Unlike the authors' code there is no queue of past batches, and the prototypes' length is taken out
//! where they are used in place of being set to one after each step.

use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use crate::data::augment::Augmentation;
use crate::encoder::Encoder;
use crate::objectives::{Sharing, swapped_prediction};
use crate::recipe::{ImageSection, SwAv as Keys};

/// Views that are shared out, and what share of a picture, in area, they show.
const LARGE: (usize, [f64; 2]) = (2, [0.14, 1.0]);

#[derive(Debug)]
pub(super) struct SwAv {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

impl SwAv {
    fn projector(&self) -> Head {
        Head::new("projector", &[self.width, self.keys.hidden, self.keys.dim], Ending::Bias)
    }

    fn prototypes(&self) -> Head {
        Head::new("prototypes", &[self.keys.dim, self.keys.prototypes], Ending::Cosines)
    }
}

impl Method for SwAv {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        let large = View::of(image, Augmentation { crop_scale: LARGE.1, ..views::simclr() });
        let crop_scale = self.keys.small_scale;
        let augmentation = Augmentation { crop_scale, ..large.augmentation };
        let small = View { augmentation, side: self.keys.small_size };
        let mut all = vec![large; LARGE.0];
        all.extend(std::iter::repeat_n(small, self.keys.small_views));
        all
    }

    fn heads(&self) -> Vec<Head> {
        vec![self.projector(), self.prototypes()]
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        super::image_learns("swav", encoder)?;
        super::takes_size("train.method.small_size", self.keys.small_size, encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let (online, views) = (learner.online, batch.views.as_slice());
        let wanted = LARGE.0 + self.keys.small_views;
        if views.len() != wanted {
            return Err(MethodError::Views { wanted, found: views.len() });
        }
        let z = online.embedded(views, &self.projector())?; // [B, D] each
        let Keys { temperature, epsilon, iterations, freeze_prototypes, .. } = self.keys;
        let prototypes = self.prototypes().still(learner.step < freeze_prototypes);
        let scores = online.through(&prototypes, &z)?; // [B, K] each
        let loss =
            swapped_prediction(&scores, LARGE.0, temperature, Sharing { epsilon, iterations });
        Step::of(loss, &z)
    }

    fn cure(&self) -> &'static str {
        "a lower train.method.epsilon, as 0.01 in short trainings, more train.method.prototypes than its \
         dim, so that no direction lies apart from all of them, or a lower learning rate with more \
         train.warmup_steps"
    }
}
