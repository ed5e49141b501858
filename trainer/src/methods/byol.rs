//! `BYOL`: one view foretells what a momentum encoder makes of the other (Grill et al. 2020).
//!
//! Views: two that are changed differently. Heads: projector and predictor of two layers each.
//! Targets: the momentum encoder's projections.

use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use super::{foretold, image_learns};
use crate::encoder::Encoder;
use crate::recipe::{Byol as Keys, ImageSection};

#[derive(Debug)]
pub(super) struct Byol {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

impl Byol {
    fn projector(&self) -> Head {
        Head::new("projector", &[self.width, self.keys.hidden, self.keys.dim], Ending::Bias)
    }

    fn predictor(&self) -> Head {
        let Keys { hidden, dim, .. } = self.keys;
        Head::new("predictor", &[dim, hidden, dim], Ending::Bias)
    }
}

impl Method for Byol {
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
        image_learns("byol", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let projector = self.projector();
        let Learner { online, target, .. } = learner;
        let targets = tch::no_grad(|| target.embedded(batch.targets::<2>()?, &projector))?; // [B, D] each
        let z = online.through(&projector, batch.views::<2>()?)?; // [B, D] each
        let p = online.normalized(&online.through(&self.predictor(), &z)?)?; // [B, D] each
        // Equation 2, 2 − 2 cos, once for each view.
        Step::of(foretold(&p, &targets) * 2.0 + 4.0, &online.normalized(&z)?)
    }

    fn cure(&self) -> &'static str {
        "a train.method.momentum nearer to 1, an image tower that learns more slowly than the heads \
         (model.image.learning_rate), more train.warmup_steps, or larger batches"
    }
}
