//! `SimCLR`: two views of a picture are told from all other views of the batch (Chen et al. 2020).
//!
//! Views: two alike, strongly changed. Head: a projector of two layers. Targets: each other.
//!
//! Both layers have a batch normalization, as in the authors' code; unlike there, and as in `lightly`,
//! each view has batch statistics of its own.

use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use super::{image_learns, scale};
use crate::encoder::Encoder;
use crate::objectives::nt_xent;
use crate::recipe::{ImageSection, SimClr as Keys};

#[derive(Debug)]
pub(super) struct SimClr {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

/// The projector of `keys` on a tower of `width`.
pub(super) fn projector(keys: Keys, width: usize) -> Head {
    let widths = [width, keys.hidden.unwrap_or(width), keys.dim];
    Head::new("projector", &widths, Ending::Scaled)
}

impl Method for SimClr {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        vec![View::of(image, views::simclr()); 2]
    }

    fn heads(&self) -> Vec<Head> {
        vec![projector(self.keys, self.width)]
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        image_learns("simclr", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let encoder = learner.online.encoder;
        let projector = projector(self.keys, self.width);
        let z = learner.online.embedded(batch.views::<2>()?, &projector)?; // [B, D] each
        let scale = scale(self.keys.temperature, encoder)?;
        let loss = nt_xent(&z[0], &z[1], &scale, &batch.same_picture(encoder)?);
        Step::of(loss, &z)
    }

    fn cure(&self) -> &'static str {
        "larger batches, a lower train.method.temperature, or a lower learning rate with more \
         train.warmup_steps"
    }
}
