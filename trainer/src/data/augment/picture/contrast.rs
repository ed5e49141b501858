//! Contrast.

use clip::image::RgbImage;

use super::grayscale::luma;
use super::mapped;

/// Moves every channel away from the picture's mean brightness (factors above 1) or towards it, where
/// 0 leaves that gray alone (`torchvision`, `adjust_contrast`).
pub fn contrast(pixels: &mut RgbImage, factor: f32) {
    let (values, _) = pixels.as_raw().as_chunks::<3>();
    let sum: u64 = values.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / values.len().max(1) as f64) as f32;
    mapped(pixels, |value| value * factor + mean * (1.0 - factor));
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn values_move_away_from_the_mean_gray_or_towards_it() {
        // luma 0.9999 · 100 → 99 and 0.9999 · 200 → 199: the mean is 149
        let (dark, light) = ([100; 3], [200; 3]);
        assert_eq!(row([dark, light], |p| contrast(p, 0.0)), [[149; 3]; 2]);
        assert_eq!(row([dark, light], |p| contrast(p, 1.0)), [dark, light]);
        assert_eq!(row([dark, light], |p| contrast(p, 2.0)), [[51; 3], [251; 3]]);
    }

    #[test]
    fn a_picture_without_pixels_stays_one() {
        let mut none = RgbImage::new(0, 0);
        contrast(&mut none, 2.0);
        assert_eq!(none.dimensions(), (0, 0));
    }
}
