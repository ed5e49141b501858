//! Dropout on what a tower hands to its projection: the projection of a locked tower sees the same
//! few thousand vectors in every epoch, and learns them by heart without it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{TchError, Tensor};

use crate::encoder::{Encoder, EncoderError};
use crate::model::{ModelError, Side};
use crate::recipe::Recipe;

/// Drops the recipe's share of a side's pooled outputs `[B, hidden]` (Srivastava et al. 2014, the
/// kept ones scaled by 1 / (1 − share)); a dropped number becomes its mean over the training set,
/// which is zero once it is standardized.
///
/// What is dropped is a function of (seed, step, side), so a resumed run drops the same.
///
/// # Errors
/// [`EncoderError::Model`] where libtorch refuses.
pub(super) fn dropout(
    pooled: &Tensor,
    side: Side,
    encoder: &Encoder,
    recipe: &Recipe,
    step: u64,
) -> Result<Tensor, EncoderError> {
    let (share, projection, salt) = match side {
        Side::Image => (recipe.model.image.dropout, &encoder.model.image_projection, 0),
        Side::Text => (recipe.model.text.dropout, &encoder.model.text_projection, 1),
    };
    if share == 0.0 {
        return Ok(pooled.shallow_clone());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.train.seed);
    rng.set_stream(step * 2 + salt);
    let mean = encoder.weights.get(&format!("{}.input_mean", projection.name)).ok();
    drop_to_mean(pooled, mean, share, &mut rng).map_err(|source| {
        let name = projection.name.clone();
        EncoderError::Model(ModelError::Torch { operation: "dropout", name, source })
    })
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
    let mask =
        Tensor::from_slice(&mask).f_view(pooled.size().as_slice())?.f_to_device(pooled.device())?;
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
