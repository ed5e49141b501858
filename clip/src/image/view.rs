//! Which part of a picture a model is shown, and from which side: what training varies.

use image::RgbImage;

/// How a picture is looked at; the default is as in evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// The part that is shown; none for what the processor shows by itself.
    pub cut: Option<Cut>,
    /// Whether left and right change places.
    pub mirrored: bool,
}

/// A rectangle of a picture, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Columns to the left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Cut {
    /// Its pixels, as far as they lie in `picture`; at least one where the picture has any.
    pub(super) fn of(self, picture: &RgbImage) -> RgbImage {
        let within = |start: u32, len: u32, whole: u32| {
            let start = start.min(whole.saturating_sub(1));
            (start, len.clamp(1, (whole - start).max(1)).min(whole - start))
        };
        let (x, width) = within(self.x, self.width, picture.width());
        let (y, height) = within(self.y, self.height, picture.height());
        let mut cut = RgbImage::new(width, height);
        // Row by row: `image`'s own views copy pixel by pixel, which takes as long as decoding.
        let [row_len, left, len] = [picture.width(), x, width].map(|pixels| pixels as usize * 3);
        let rows = picture.chunks_exact(row_len.max(1)).skip(y as usize);
        for (row, out) in rows.zip(cut.chunks_exact_mut(len.max(1))) {
            out.copy_from_slice(&row[left..left + len]);
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_holds_the_pixels_of_its_rectangle_as_far_as_there_are_any() {
        let picture = RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8, y as u8, 3]));
        for (cut, expected) in [
            (Cut { x: 2, y: 3, width: 4, height: 2 }, (2, 3, 4, 2)),
            (Cut { x: 7, y: 5, width: 40, height: 40 }, (7, 5, 2, 2)),
            (Cut { x: 99, y: 0, width: 0, height: 7 }, (8, 0, 1, 7)),
        ] {
            let (x, y, width, height) = expected;
            let own = image::imageops::crop_imm(&picture, x, y, width, height).to_image();
            assert_eq!(cut.of(&picture), own, "{cut:?}");
        }
        let empty = Cut { x: 1, y: 1, width: 2, height: 2 }.of(&RgbImage::new(0, 0));
        assert_eq!(empty.dimensions(), (0, 0));
    }
}
