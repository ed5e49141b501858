//! What the towers are fed in training: batches as tensors.

use clip::image::PixelValues;
use clip::tokenize::TokenBatch;
use tch::Tensor;

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
    let pictures = images.iter().map(picture).collect::<Result<Vec<_>, _>>()?;
    picture_batch(&pictures)
}

/// A picture as [`picture_batch`] takes it: `[H, W, 3]`.
///
/// # Errors
/// [`ModelError::Batch`] where its numbers are not as many as its size says.
pub fn picture(image: &PixelValues) -> Result<Tensor, ModelError> {
    let [height, width] = [image.height, image.width].map(|n| n as i64);
    let (red, others) = image.data.split_at(image.data.len() / 3);
    let (green, blue) = others.split_at(red.len());
    let pixels = red.iter().zip(green).zip(blue);
    let pixels: Vec<f32> = pixels.flat_map(|((r, g), b)| [*r, *g, *b]).collect();
    let pixels = Tensor::f_from_slice(&pixels).and_then(|all| all.f_view([height, width, 3]));
    pixels.map_err(|_| ModelError::Batch)
}

/// Pictures of [`picture`] as [`pixel_batch`] stacks them.
///
/// # Errors
/// As [`pixel_batch`].
pub fn picture_batch(pictures: &[Tensor]) -> Result<Tensor, ModelError> {
    let batch = Tensor::f_stack(pictures, 0).and_then(|batch| batch.f_permute([0, 3, 1, 2]));
    batch.map_err(|_| ModelError::Batch)
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
