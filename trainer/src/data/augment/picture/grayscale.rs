//! Gray.

use clip::image::RgbImage;

/// The brightness of a pixel, 0 to 255: ITU-R BT.601 with the weights of `torchvision`'s
/// `rgb_to_grayscale`, which cuts off the fraction. They sum to 0.9999, so gray pixels lose one.
pub(super) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    (f32::from(red) * 0.2989 + f32::from(green) * 0.587 + f32::from(blue) * 0.114) as u8
}

/// Takes the colors out; three equal channels stay (`torchvision`, `rgb_to_grayscale`).
pub fn grayscale(pixels: &mut RgbImage) {
    let (values, _) = pixels.as_chunks_mut::<3>();
    for pixel in values {
        *pixel = [luma(*pixel); 3];
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;

    #[test]
    fn green_weighs_most_and_the_fraction_is_cut_off() {
        assert_eq!(one([255, 0, 0], grayscale), [76; 3]); // 76.2
        assert_eq!(one([0, 255, 0], grayscale), [149; 3]); // 149.7
        assert_eq!(one([0, 0, 255], grayscale), [29; 3]); // 29.1
        assert_eq!(one([100, 100, 100], grayscale), [99; 3]); // 99.99
    }
}
