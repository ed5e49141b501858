//! `MoCo` v3: one view finds, among a momentum encoder's answers to the batch, that to the other view
//! of its picture (Chen et al. 2021).
//!
//! Views: two that are changed differently. Heads: a projector of three layers and a predictor of two,
//! both ending in a batch normalization. Targets: the momentum encoder's projections.

use tch::Tensor;

use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use super::{image_learns, scale};
use crate::encoder::Encoder;
use crate::objectives::{Related, info_nce_with_negatives};
use crate::recipe::{ImageSection, MoCoV3 as Keys};

#[derive(Debug)]
pub(super) struct MoCoV3 {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

impl MoCoV3 {
    fn projector(&self) -> Head {
        let Keys { hidden, dim, .. } = self.keys;
        Head::new("projector", &[self.width, hidden, hidden, dim], Ending::Normalized)
    }

    fn predictor(&self) -> Head {
        let Keys { hidden, dim, .. } = self.keys;
        Head::new("predictor", &[dim, hidden, dim], Ending::Normalized)
    }

    /// Algorithm 1, `ctr`: a cross-entropy, which 2τ gives gradients of like size at all temperatures.
    fn found(&self, q: &Tensor, k: &Tensor, scale: &Tensor, related: &Related) -> Tensor {
        let own_or_related = related.negatives().logical_not(); // [B, B]
        info_nce_with_negatives(q, k, k, scale, Some(&own_or_related))
            * (2.0 * self.keys.temperature)
    }
}

impl Method for MoCoV3 {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        views::byol().map(|usual| View::of(image, usual)).to_vec()
    }

    fn heads(&self) -> Vec<Head> {
        vec![self.projector(), self.predictor()]
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.keys.momentum)
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        image_learns("moco_v3", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let projector = self.projector();
        let Learner { online, target, .. } = learner;
        let k = tch::no_grad(|| target.embedded(batch.targets::<2>()?, &projector))?; // [B, D] each
        let z = online.through(&projector, batch.views::<2>()?)?; // [B, D] each
        let q = online.normalized(&online.through(&self.predictor(), &z)?)?; // [B, D] each
        let scale = scale(self.keys.temperature, online.encoder)?;
        let related = batch.same_picture(online.encoder)?;
        let loss =
            self.found(&q[0], &k[1], &scale, &related) + self.found(&q[1], &k[0], &scale, &related);
        Step::of(loss, &online.normalized(&z)?)
    }

    fn cure(&self) -> &'static str {
        "larger batches, a lower learning rate with more train.warmup_steps, or a locked patch \
         embedding (learning_rates = { \"vision_model.embeddings.patch_embedding\" = 0.0 })"
    }
}
