//! What a method computes with: the network that learns, and the one that is its target.

use tch::Tensor;

use super::{Head, MethodError};
use crate::encoder::Encoder;
use crate::model::{Ops, Torch, Weights};

/// The networks of a step.
#[derive(Debug, Clone, Copy)]
pub struct Learner<'a> {
    /// With the weights that learn.
    pub online: Branch<'a>,
    /// With those of the momentum encoder; the same as `online` for a method without one.
    pub target: Branch<'a>,
    /// Steps made before this one.
    pub step: u64,
}

/// Image tower and heads with one set of weights.
#[derive(Debug, Clone, Copy)]
pub struct Branch<'a> {
    /// The forward code, and where it computes.
    pub encoder: &'a Encoder,
    /// Those of the image tower and the heads.
    pub weights: &'a Weights,
}

impl Branch<'_> {
    /// The image tower's answers to each view, `[B, 3, H, W]` → `[B, hidden]`. Views of one size go
    /// through it together.
    ///
    /// # Errors
    /// [`MethodError::Model`] for a size that the tower does not take.
    pub fn pooled(&self, views: &[Tensor]) -> Result<Vec<Tensor>, MethodError> {
        let mut answers = Vec::with_capacity(views.len());
        for alike in views.chunk_by(|a, b| a.size() == b.size()) {
            let mut ops = Torch::in_kind(self.weights, self.encoder.kind);
            let pixels = match alike {
                [only] => only.shallow_clone(),
                several => Tensor::f_cat(several, 0)?, // [V · B, 3, H, W]
            };
            let pooled = self.encoder.model.image_pooled(&mut ops, &pixels)?; // [V · B, hidden]
            answers.extend(pooled.f_chunk(alike.len() as i64, 0)?);
        }
        Ok(answers)
    }

    /// What a head answers to each of `inputs` by itself, so that each view has batch statistics of its
    /// own: `[B, in]` → `[B, out]`.
    ///
    /// # Errors
    /// [`MethodError::Model`] where a weight is missing or does not fit.
    pub fn through(&self, head: &Head, inputs: &[Tensor]) -> Result<Vec<Tensor>, MethodError> {
        let answer = |input| Ok(head.forward(self.encoder, self.weights, input)?);
        inputs.iter().map(answer).collect()
    }

    /// Each row at length one, in f32.
    ///
    /// # Errors
    /// [`MethodError::Model`] where libtorch refuses.
    pub fn normalized(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>, MethodError> {
        let mut ops = Torch::new(self.weights);
        tensors.iter().map(|tensor| Ok(ops.l2_normalize(tensor)?)).collect()
    }

    /// Views through the image tower and `head`, at length one.
    ///
    /// # Errors
    /// As [`Branch::pooled`].
    pub fn embedded(&self, views: &[Tensor], head: &Head) -> Result<Vec<Tensor>, MethodError> {
        self.normalized(&self.through(head, &self.pooled(views)?)?)
    }
}
