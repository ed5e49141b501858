//! What the towers are fed in training: batches as tensors.

use clip::image::PixelValues;
use clip::tokenize::TokenBatch;
use tch::{Device, Kind, TchError, Tensor};

use super::ModelError;

/// Stacks pictures of one size: `[B, 3, H, W]`, f32, normalized as the processor did, in memory
/// channel by channel within a pixel ("channels last"), which libtorch's convolutions keep.
///
/// On a CPU small batches are the fast ones: the memory of large activations goes back to the
/// system after each operation and is cleared anew. Without gradients feed four pictures at a time.
///
/// # Errors
/// [`ModelError::Batch`] for an empty batch or several sizes.
pub fn pixel_batch(images: &[PixelValues]) -> Result<Tensor, ModelError> {
    let first = images.first().ok_or(ModelError::Batch)?;
    let size = (first.height, first.width);
    if images.iter().any(|image| (image.height, image.width) != size) {
        return Err(ModelError::Batch);
    }
    channels_last(images, size).map_err(|_| ModelError::Batch)
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

/// Written once, each picture at its place, with the channels next to each other in memory.
fn channels_last(
    images: &[PixelValues],
    (height, width): (usize, usize),
) -> Result<Tensor, TchError> {
    let [count, height, width] = [images.len(), height, width].map(|n| n as i64);
    let pixels = Tensor::f_empty([count, height, width, 3], (Kind::Float, Device::Cpu))?;
    let planes = pixels.f_permute([0, 3, 1, 2])?;
    for (row, image) in (0..).zip(images) {
        let own = Tensor::f_from_slice(&image.data)?.f_view([3, height, width])?;
        planes.f_select(0, row)?.f_copy_(&own)?;
    }
    Ok(planes)
}

fn reshaped(flat: Tensor, shape: &[usize]) -> Result<Tensor, ModelError> {
    let shape: Vec<i64> = shape.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
    flat.f_view(shape.as_slice()).map_err(|_| ModelError::Batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(first: f32, width: usize) -> PixelValues {
        let data = (0..3 * 2 * width).map(|i| first + i as f32).collect();
        PixelValues { data, height: 2, width }
    }

    #[test]
    fn a_batch_holds_each_picture_at_its_place() {
        let batch = pixel_batch(&[picture(0.0, 2), picture(100.0, 2)]).unwrap();
        assert_eq!(batch.size(), [2, 3, 2, 2]);
        assert_eq!(batch.stride(), [12, 1, 6, 3]);
        assert_eq!(batch.double_value(&[1, 2, 0, 1]), 109.0);
    }

    #[test]
    fn an_empty_or_mixed_batch_is_refused() {
        assert!(matches!(pixel_batch(&[]), Err(ModelError::Batch)));
        assert!(matches!(pixel_batch(&[picture(0.0, 2), picture(0.0, 3)]), Err(ModelError::Batch)));
    }
}
