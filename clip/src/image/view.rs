//! Which part of a picture a model is shown, and from which side: what training varies.

use image::{GenericImageView, RgbImage};

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
        picture.view(x, y, width, height).to_image()
    }
}
