//! `SimSiam`: one view foretells the other, which stands still (Chen and He 2021).
//!
//! Views: two alike. Heads: a projector of three layers that ends in a batch normalization, and a
//! predictor with a bottleneck. Targets: the projections of the same network, without gradients.
//!
//! Unlike the paper's, the predictor's rate follows the schedule as all others do.

use super::{Batch, Ending, Head, Learner, Method, MethodError, Step, View, views};
use super::{foretold, image_learns};
use crate::encoder::Encoder;
use crate::recipe::{ImageSection, SimSiam as Keys};

#[derive(Debug)]
pub(super) struct SimSiam {
    pub(super) keys: Keys,
    /// Of the image tower.
    pub(super) width: usize,
}

impl SimSiam {
    fn projector(&self) -> Head {
        let dim = self.keys.dim;
        Head::new("projector", &[self.width, dim, dim, dim], Ending::Normalized)
    }

    fn predictor(&self) -> Head {
        let Keys { dim, bottleneck } = self.keys;
        Head::new("predictor", &[dim, bottleneck, dim], Ending::Bias)
    }
}

impl Method for SimSiam {
    fn views(&self, image: &ImageSection) -> Vec<View> {
        vec![View::of(image, views::mild()); 2]
    }

    fn heads(&self) -> Vec<Head> {
        vec![self.projector(), self.predictor()]
    }

    fn check(&self, encoder: &Encoder) -> Result<(), MethodError> {
        image_learns("simsiam", encoder)
    }

    fn step(&self, batch: &Batch, learner: &Learner<'_>) -> Result<Step, MethodError> {
        let online = learner.online;
        let z = online.through(&self.projector(), batch.views::<2>()?)?; // [B, D] each
        let p = online.normalized(&online.through(&self.predictor(), &z)?)?; // [B, D] each
        let z = online.normalized(&z)?; // [B, D] each
        Step::of(foretold(&p, &z) / 2.0, &z)
    }

    fn cure(&self) -> &'static str {
        "an image tower that learns more slowly than the heads (model.image.learning_rate a tenth and \
         less of model.projection.learning_rate), more train.warmup_steps, or train.method = \"byol\", \
         whose targets move slowly"
    }
}
