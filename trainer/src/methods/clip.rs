//! CLIP: pictures with their captions, by the recipe's objective (Radford et al. 2021).
//!
//! Views: one, as `[image]` says. Heads: none beside the model's own projections. Targets: each other.

use tch::Tensor;

use super::dropout::Dropout;
use super::{Batch, Learner, Method, MethodError, Step, View, Words};
use crate::data::augment::Augmentation;
use crate::encoder::Encoder;
use crate::model::{LOGIT_BIAS, LOGIT_SCALE, Side};
use crate::objectives::{Negatives, Pairs, related_pairs};
use crate::recipe::{ImageSection, Recipe};

#[derive(Debug)]
pub(super) struct Clip<'a> {
    pub(super) recipe: &'a Recipe,
}

impl Method for Clip<'_> {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        vec![View::of(image, Augmentation::default())]
    }

    fn check(&self, _: &Encoder) -> Result<(), MethodError> {
        Ok(())
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let [images] = batch.views::<1>()?; // [B, hidden]
        self.joined(images, batch, learner)
    }

    fn cure(&self) -> &'static str {
        "larger batches, a lower learning rate with more train.warmup_steps, or captions that differ"
    }
}

impl Clip<'_> {
    /// The same from pooled images `[B, hidden]` on.
    ///
    /// # Errors
    /// As [`Method::step`].
    pub(super) fn joined(
        &self,
        images: &Tensor,
        batch: &Batch,
        learner: &Learner<'_>,
    ) -> Result<Step, MethodError> {
        let (recipe, encoder) = (self.recipe, learner.online.encoder);
        let words = batch.words.as_ref().ok_or(MethodError::NoCaptions)?;
        let dropout = Dropout { encoder, recipe, step: learner.step };
        let images = dropout.embed(Side::Image, images)?; // [B, D]
        let texts = dropout.embed(Side::Text, &words.pooled)?; // [B + N, D]
        let pairs = batch.picture_keys.len();
        let (texts, wrong) = Words::part(&texts, pairs); // [B, D], [N, D]
        let pictures = encoder.moved(&Tensor::from_slice(&batch.picture_keys))?; // [B]
        let keys = encoder.moved(&Tensor::from_slice(&words.keys))?; // [B + N]
        let (captions, negatives) = Words::part(&keys, pairs);
        let excluded = (words.keys.len() > pairs)
            .then(|| captions.unsqueeze(1).f_eq_tensor(&negatives.unsqueeze(0)))
            .transpose()?;
        let pairs = Pairs {
            images: &images,
            texts: &texts,
            logit_scale: encoder.weights.get(LOGIT_SCALE)?,
            logit_bias: encoder.weights.get(LOGIT_BIAS).ok(),
            related: &related_pairs(&pictures, &captions),
            negatives: excluded.as_ref().map(|excluded| Negatives { texts: &wrong, excluded }),
        };
        let loss = recipe.train.objective.loss(&pairs)?; // []
        Ok(Step { loss, embeddings: [images, texts] })
    }
}
