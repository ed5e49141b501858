//! `SLIP`: CLIP and `SimCLR` at once, in one image tower (Mu et al. 2022).
//!
//! Views: one, as `[image]` says, that is joined with the caption, and two that are compared with each
//! other. Head: a projector of three layers. Targets: captions, and each other.

use super::clip::Clip;
use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use super::{image_learns, scale};
use crate::data::augment::Augmentation;
use crate::encoder::Encoder;
use crate::objectives::nt_xent;
use crate::recipe::{ImageSection, Slip as Keys};

#[derive(Debug)]
pub(super) struct Slip<'a> {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
    pub(super) clip: Clip<'a>,
}

impl Slip<'_> {
    fn projector(&self) -> Head {
        let Keys { hidden, dim, .. } = self.keys;
        Head::new("projector", &[self.width, hidden, hidden, dim], Ending::Bias)
    }
}

impl Method for Slip<'_> {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        let told = Augmentation { crop_scale: [0.5, 1.0], ..Augmentation::default() };
        let compared = Augmentation { crop_scale: [0.08, 1.0], ..views::mild() };
        let compared = View { augmentation: compared, side: None };
        vec![View::of(image, told), compared, compared]
    }

    fn heads(&self) -> Vec<Head> {
        vec![self.projector()]
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        image_learns("slip", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let online = learner.online;
        let [told, compared @ ..] = batch.views::<3>()?; // [B, hidden] each
        let joined = self.clip.joined(told, batch, learner)?;
        let z = online.through(&self.projector(), compared)?; // [B, D'] each
        let z = online.normalized(&z)?;
        let scale = scale(self.keys.temperature, online.encoder)?;
        let compared = nt_xent(&z[0], &z[1], &scale, &batch.same_picture(online.encoder)?);
        Ok(Step { loss: joined.loss + compared * self.keys.scale, ..joined })
    }

    fn cure(&self) -> &'static str {
        self.clip.cure()
    }
}
