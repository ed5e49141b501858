//! Dropout on what a tower hands to its projection, and within a residual one: the projection of a locked
//! tower sees the same few thousand vectors in every epoch, and learns them by heart without it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{TchError, Tensor};

use crate::device::moved;
use crate::encoder::{Encoder, EncoderError};
use crate::model::{ModelError, Side};
use crate::recipe::Recipe;

/// What is dropped at one step of a training; a function of (seed, step, side), so that a resumed run drops
/// the same.
pub(super) struct Dropout<'a> {
    pub(super) encoder: &'a Encoder,
    pub(super) recipe: &'a Recipe,
    pub(super) step: u64,
}

/// Apart from the streams of what a tower hands over.
const HIDDEN: u64 = 1 << 63;

impl Dropout<'_> {
    /// Pooled outputs `[B, …]` of a side → embeddings `[B, D]`, as a training step sees them: without the
    /// recipe's share of the tower's outputs and of a residual projection's hidden numbers.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where libtorch refuses.
    pub(super) fn embed(&self, side: Side, pooled: &Tensor) -> Result<Tensor, EncoderError> {
        let pooled = self.drop(side, pooled)?;
        let share = self.recipe.model.projection.dropout;
        let mut rng = self.rng(side, HIDDEN);
        let mut between = |hidden: Tensor| match share {
            0.0 => Ok(hidden),
            share => drop_to_mean(&hidden, None, share, &mut rng).map_err(|s| self.failed(side, s)),
        };
        self.encoder.embed_between(side, &pooled, &mut between)
    }

    /// Drops the recipe's share of the tower's own outputs (Srivastava et al. 2014, the kept ones scaled
    /// by 1 / (1 − share)); a dropped number becomes its mean over the training set, which is zero once
    /// it is standardized.
    fn drop(&self, side: Side, pooled: &Tensor) -> Result<Tensor, EncoderError> {
        let share = match side {
            Side::Image => self.recipe.model.image.dropout,
            Side::Text => self.recipe.model.text.dropout,
        };
        if share == 0.0 {
            return Ok(pooled.shallow_clone());
        }
        let [mean, _] = self.encoder.model.projection(side).measured();
        let mean = self.encoder.weights.get(&mean).ok();
        let own = self.encoder.own_part(side, pooled)?;
        let dropped = || {
            let dropped = drop_to_mean(&own, mean, share, &mut self.rng(side, 0))?;
            let (width, all) = (own.size()[1], pooled.size()[1]);
            if width == all {
                return Ok(dropped);
            }
            Tensor::f_cat(&[dropped, pooled.f_narrow(1, width, all - width)?], 1)
        };
        Ok(dropped().map_err(|source| self.failed(side, source))?)
    }

    fn rng(&self, side: Side, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.recipe.train.seed);
        rng.set_stream(stream | (self.step * 2 + u64::from(side == Side::Text)));
        rng
    }

    fn failed(&self, side: Side, source: TchError) -> ModelError {
        let name = self.encoder.model.projection(side).name.clone();
        ModelError::Torch { operation: "dropout", name, source }
    }
}

/// libtorch's own dropout draws from a generator that the whole process shares.
fn drop_to_mean(
    pooled: &Tensor,
    mean: Option<&Tensor>,
    share: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Tensor, TchError> {
    let kept = (1.0 / (1.0 - share)) as f32;
    let threshold = (share * f64::from(u16::MAX)) as u16;
    let mut draws = vec![0u16; pooled.numel()];
    rng.fill(&mut draws[..]);
    let mask: Vec<f32> =
        draws.into_iter().map(|draw| if draw < threshold { 0.0 } else { kept }).collect();
    let mask = Tensor::from_slice(&mask).f_view(pooled.size().as_slice())?;
    let mask = moved(&mask, pooled.device())?;
    match mean {
        Some(mean) => pooled.f_sub(mean)?.f_mul(&mask)?.f_add(mean),
        None => pooled.f_mul(&mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_becomes_the_mean_and_the_rest_moves_away_from_it() {
        let pooled = Tensor::from_slice(&[3f32; 1000]).view([10, 100]);
        let mean = Tensor::from_slice(&[1f32; 100]);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let dropped = drop_to_mean(&pooled, Some(&mean), 0.5, &mut rng).unwrap();
        let values = Vec::<f32>::try_from(dropped.view([-1])).unwrap();
        // 1 + (3 − 1) / (1 − 0.5) = 5
        assert!(values.iter().all(|&v| v == 1.0 || v == 5.0));
        let kept = values.iter().filter(|&&v| v == 5.0).count();
        assert!((400..600).contains(&kept), "{kept}");
    }
}
