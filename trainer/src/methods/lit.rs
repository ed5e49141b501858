//! `LiT`: the text tower learns to read what a locked image tower sees (Zhai et al. 2022).
//!
//! All is as in CLIP, but that the image tower has to be locked; its outputs are computed once.

use super::clip::Clip;
use super::{Batch, Learner, Method, MethodError, Step, View};
use crate::encoder::Encoder;
use crate::model::Side;
use crate::recipe::ImageSection;

#[derive(Debug)]
pub(super) struct Lit<'a> {
    pub(super) clip: Clip<'a>,
}

impl Method for Lit<'_> {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        self.clip.views(image)
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        if !encoder.rates.is_locked(Side::Image) {
            return Err(MethodError::ImageLearns);
        }
        if encoder.rates.is_locked(Side::Text) {
            return Err(MethodError::TextLocked);
        }
        Ok(())
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        self.clip.step(batch, learner)
    }

    fn cure(&self) -> &'static str {
        self.clip.cure()
    }
}
