//! Turns by quarters.

use clip::image::RgbImage;

/// Turns a square picture by `quarters` of a circle, clockwise (`torchvision`, `rotate` by −90° each); a
/// picture that is not square turns by halves alone, so that it keeps its size.
pub fn turn(pixels: &mut RgbImage, quarters: u8) {
    let (width, height) = pixels.dimensions();
    let quarters = if width == height { quarters % 4 } else { quarters & 2 };
    let source = pixels.clone();
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        *pixel = match quarters {
            1 => *source.get_pixel(y, height - 1 - x),
            2 => *source.get_pixel(width - 1 - x, height - 1 - y),
            3 => *source.get_pixel(width - 1 - y, x),
            _ => *pixel,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of numbers, row by row.
    fn turned<const N: usize>(numbers: [u8; N], width: u32, quarters: u8) -> Vec<u8> {
        let at = |x, y| numbers[(y * width + x) as usize];
        let mut picture = RgbImage::from_fn(width, N as u32 / width, |x, y| [at(x, y); 3].into());
        turn(&mut picture, quarters);
        picture.pixels().map(|pixel| pixel.0[0]).collect()
    }

    #[test]
    fn the_upper_row_becomes_the_right_column_and_then_the_lower_row() {
        let picture = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(turned(picture, 3, 0), picture);
        assert_eq!(turned(picture, 3, 1), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
        assert_eq!(turned(picture, 3, 2), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(turned(picture, 3, 3), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
    }

    #[test]
    fn what_is_not_square_keeps_its_size() {
        assert_eq!(turned([1, 2], 2, 1), [1, 2]);
        assert_eq!(turned([1, 2], 2, 3), [2, 1]);
    }
}
