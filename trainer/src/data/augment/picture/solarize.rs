//! Solarization.

use clip::image::RgbImage;

/// Inverts every channel that reaches `threshold` (`torchvision`, `solarize`).
pub fn solarize(pixels: &mut RgbImage, threshold: u8) {
    for value in pixels.iter_mut() {
        *value = if *value >= threshold { 255 - *value } else { *value };
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;

    #[test]
    fn what_reaches_the_threshold_is_inverted() {
        assert_eq!(one([127, 128, 255], |p| solarize(p, 128)), [127, 127, 0]);
        assert_eq!(one([0, 1, 200], |p| solarize(p, 0)), [255, 254, 55]);
    }
}
