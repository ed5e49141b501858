//! Saturation.

use clip::image::RgbImage;

use super::grayscale::luma;

/// Moves every pixel away from its own gray (factors above 1) or towards it, where 0 leaves the gray
/// alone (`torchvision`, `adjust_saturation`).
pub fn saturation(pixels: &mut RgbImage, factor: f32) {
    let (values, _) = pixels.as_chunks_mut::<3>();
    for pixel in values {
        let gray = f32::from(luma(*pixel)) * (1.0 - factor);
        *pixel = pixel.map(|value| (f32::from(value) * factor + gray) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;

    #[test]
    fn colors_leave_their_gray_or_fall_back_to_it() {
        // luma of pure red: 0.2989 · 200 = 59.78 → 59
        assert_eq!(one([200, 0, 0], |p| saturation(p, 0.0)), [59; 3]);
        assert_eq!(one([200, 0, 0], |p| saturation(p, 0.5)), [129, 29, 29]);
        assert_eq!(one([200, 0, 0], |p| saturation(p, 1.0)), [200, 0, 0]);
        assert_eq!(one([200, 0, 0], |p| saturation(p, 2.0)), [255, 0, 0]);
    }
}
