//! Brightness.

use clip::image::RgbImage;

use super::mapped;

/// Multiplies every channel by `factor` (0 is black, 1 changes nothing) and cuts off what is no byte
/// (`torchvision`, `adjust_brightness`).
pub fn brightness(pixels: &mut RgbImage, factor: f32) {
    mapped(pixels, |value| value * factor);
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;

    #[test]
    fn values_are_multiplied_and_stay_bytes() {
        assert_eq!(one([10, 100, 200], |p| brightness(p, 1.5)), [15, 150, 255]);
        assert_eq!(one([10, 101, 200], |p| brightness(p, 0.5)), [5, 50, 100]);
        assert_eq!(one([10, 100, 200], |p| brightness(p, 0.0)), [0, 0, 0]);
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        for value in 0..=255 {
            assert_eq!(one([value; 3], |p| brightness(p, 1.0)), [value; 3]);
        }
    }
}
