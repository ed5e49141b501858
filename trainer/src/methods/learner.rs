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

/// Heads with one set of weights.
#[derive(Debug, Clone, Copy)]
pub struct Branch<'a> {
    /// Where it computes, and in which arithmetic.
    pub encoder: &'a Encoder,
    /// Those of the heads among others.
    pub weights: &'a Weights,
}

impl Branch<'_> {
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

    /// The tower's answers to each view, `[B, hidden]`, through `head`, at length one.
    ///
    /// # Errors
    /// As [`Branch::through`].
    pub fn embedded(&self, pooled: &[Tensor], head: &Head) -> Result<Vec<Tensor>, MethodError> {
        self.normalized(&self.through(head, pooled)?)
    }
}
