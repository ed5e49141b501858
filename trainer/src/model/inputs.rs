//! What the towers are fed in training: batches as tensors.

use clip::image::PixelValues;
use clip::tokenize::TokenBatch;
use tch::Tensor;

use super::ModelError;

/// Stacks pictures of one size: `[B, 3, H, W]`, f32, normalized as the processor did.
///
/// # Errors
/// [`ModelError::Batch`] for an empty batch or several sizes.
pub fn pixel_batch(images: &[PixelValues]) -> Result<Tensor, ModelError> {
    let first = images.first().ok_or(ModelError::Batch)?;
    let (height, width) = (first.height, first.width);
    let mut data = Vec::with_capacity(images.len() * 3 * height * width);
    for image in images {
        if (image.height, image.width) != (height, width) {
            return Err(ModelError::Batch);
        }
        data.extend_from_slice(&image.data);
    }
    reshaped(Tensor::from_slice(&data), &[images.len(), 3, height, width])
}

/// Token ids and attention mask, both i64 `[B, L]`.
///
/// # Errors
/// [`ModelError::Batch`] where the batch contradicts its own size.
pub fn token_batch(batch: &TokenBatch) -> Result<(Tensor, Tensor), ModelError> {
    let shape = [batch.batch, batch.length];
    let ids = reshaped(Tensor::from_slice(&batch.input_ids), &shape)?;
    let mask = reshaped(Tensor::from_slice(&batch.attention_mask), &shape)?;
    Ok((ids, mask))
}

fn reshaped(flat: Tensor, shape: &[usize]) -> Result<Tensor, ModelError> {
    let shape: Vec<i64> = shape.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
    flat.f_view(shape.as_slice()).map_err(|_| ModelError::Batch)
}
