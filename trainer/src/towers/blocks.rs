//! Gradient checkpointing: of a way through a tower the inputs of its blocks are kept and nothing in
//! between; each block goes once more, backwards (Chen et al. 2016, section 4.1, with a block as the
//! segment).

use tch::{TchError, Tensor};

use super::TowersError;
use super::tape::{Sums, product};
use crate::encoder::{Encoder, EncoderError};
use crate::model::{ModelError, Side, Torch};

/// What a tower is fed, on the encoder's device.
#[derive(Debug)]
pub(super) enum Feed {
    /// `[B, 3, H, W]`.
    Pixels(Tensor),
    /// As it is behind the first `blocks` blocks, f16 `[B, …]`.
    Begun { rows: Tensor, blocks: usize },
    /// Ids and mask, i64 `[B, L]`.
    Tokens([Tensor; 2]),
}

/// A way through a tower. Its stages are what comes before the first block, each block but the last, and
/// the last with what comes behind it.
#[derive(Debug)]
pub(super) struct Chain {
    feed: Feed,
    /// The input of each stage but the first, which asks for gradients where something before it learns.
    inputs: Vec<Tensor>,
    /// `[V · B, hidden]`, without its graph; asks for gradients where the tower learns.
    pooled: Tensor,
    /// `V`: views that went through one below the other.
    views: usize,
}

impl Chain {
    /// Sends `feed`, whose rows are those of `views` views, through its tower.
    pub(super) fn forward(
        encoder: &Encoder,
        feed: Feed,
        views: usize,
    ) -> Result<Self, TowersError> {
        let (mut inputs, mut learns) = (Vec::new(), false);
        for stage in 0..feed.stages(encoder) {
            let answer = feed.stage(encoder, inputs.last(), stage)?;
            // Its graph ends here, and goes.
            learns |= answer.requires_grad();
            inputs.push(answer.detach().set_requires_grad(learns));
        }
        let pooled = inputs.pop().ok_or(TowersError::Encoder(ModelError::Batch.into()))?;
        Ok(Self { feed, inputs, pooled, views })
    }

    /// The tower's answers to each view, `[B, hidden]`.
    pub(super) fn answers(&self) -> Result<Vec<Tensor>, TchError> {
        self.pooled.f_detach()?.f_chunk(self.views as i64, 0)
    }

    /// How many views it answers.
    pub(super) fn views(&self) -> usize {
        self.views
    }

    /// Adds to `sums` what the gradients `arrived` say of `parameters`: of the answer to each view they are
    /// the first `B` rows.
    pub(super) fn backward(
        &self,
        encoder: &Encoder,
        arrived: &[Tensor],
        parameters: &[&Tensor],
        sums: &mut Sums,
    ) -> Result<(), TowersError> {
        if !self.pooled.requires_grad() {
            return Ok(());
        }
        let rows = self.pooled.size()[0] / self.views as i64;
        let of_it = arrived.iter().map(|view| view.f_narrow(0, 0, rows));
        let mut gradient = Tensor::f_cat(&of_it.collect::<Result<Vec<_>, _>>()?, 0)?; // [V · B, hidden]
        for stage in (0..=self.inputs.len()).rev() {
            let input = stage.checked_sub(1).and_then(|before| self.inputs.get(before));
            let answer = self.feed.stage(encoder, input, stage)?;
            let scalar = product(&answer, &gradient)?;
            drop(answer);
            let input = input.filter(|input| input.requires_grad());
            let all: Vec<&Tensor> = parameters.iter().copied().chain(input).collect();
            let mut found = Tensor::f_run_backward(&[scalar], &all, false, false)?;
            let before = found.split_off(parameters.len()).pop();
            sums.add(found)?;
            let Some(before) = before else { break };
            gradient = before;
        }
        Ok(())
    }
}

impl Feed {
    fn side(&self) -> Side {
        match self {
            Self::Pixels(_) | Self::Begun { .. } => Side::Image,
            Self::Tokens(_) => Side::Text,
        }
    }

    /// Blocks that lie behind it already.
    fn passed(&self) -> usize {
        if let Self::Begun { blocks, .. } = self { *blocks } else { 0 }
    }

    fn stages(&self, encoder: &Encoder) -> usize {
        // The first one is before the blocks.
        1 + encoder.model.block_count(self.side()).saturating_sub(self.passed()).max(1)
    }

    /// The answer of a stage to that of the one before it, which the first does not have.
    fn stage(
        &self,
        encoder: &Encoder,
        input: Option<&Tensor>,
        stage: usize,
    ) -> Result<Tensor, EncoderError> {
        let (model, mut ops) = (&encoder.model, Torch::in_kind(&encoder.weights, encoder.kind));
        let Some(input) = input else {
            return match self {
                Self::Pixels(pixels) => Ok(model.image_beginning(&mut ops, pixels, 0)?),
                Self::Begun { rows, .. } => Ok(rows.to_kind(tch::Kind::Float)),
                Self::Tokens([ids, _]) => Ok(model.text_beginning(&mut ops, ids)?),
            };
        };
        let (x, block) = (input.shallow_clone(), self.passed() + stage - 1);
        let last = stage + 1 == self.stages(encoder);
        let answer = match self {
            Self::Tokens([ids, mask]) if last => {
                model.text_rest(&mut ops, x, [ids, mask], block)?
            }
            Self::Tokens([ids, mask]) => model.text_block(&mut ops, x, [ids, mask], block)?,
            Self::Pixels(_) | Self::Begun { .. } if last => model.image_rest(&mut ops, x, block)?,
            Self::Pixels(_) | Self::Begun { .. } => model.image_block(&mut ops, x, block)?,
        };
        Ok(answer)
    }
}
