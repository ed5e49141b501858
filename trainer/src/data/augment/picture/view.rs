//! One look at a picture: all that was drawn for it, and how it is applied.

use clip::image::{ImageProcessor, PixelValues, RgbImage, View};

use super::{Jitter, blur, grayscale, solarize, turn, usual_reach};

/// How a picture is looked at; the default is as in evaluation.
///
/// The part is cut, resized, mirrored and turned first, then the colors change, on 8-bit pixels and in the
/// order of the fields, as usual recipes have it (`BYOL`, Grill et al. 2020, appendix B).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PictureView {
    /// Which part, and from which side.
    pub view: View,
    /// By how many quarters it is turned, clockwise, 0 to 3.
    pub quarters: u8,
    /// Changes of the colors.
    pub jitter: Option<Jitter>,
    /// Whether the colors are taken out.
    pub gray: bool,
    /// Deviation of a Gaussian blur in pixels.
    pub blur: Option<f32>,
    /// From which value on channels are inverted.
    pub solarize: Option<u8>,
}

impl PictureView {
    /// The model's input: the picture as it is looked at, `[3, H, W]` with the sides of `processor`.
    #[must_use]
    pub fn of(&self, picture: &RgbImage, processor: &ImageProcessor) -> PixelValues {
        if *self == (Self { view: self.view, ..Self::default() }) {
            return processor.process_view(picture, &self.view);
        }
        let mut pixels = processor.view_pixels(picture, &self.view);
        turn(&mut pixels, self.quarters);
        self.recolor(&mut pixels);
        processor.normalized(&pixels)
    }

    /// Changes the colors of pixels that have been cut and resized.
    pub fn recolor(&self, pixels: &mut RgbImage) {
        if let Some(jitter) = &self.jitter {
            jitter.apply(pixels);
        }
        if self.gray {
            grayscale(pixels);
        }
        if let Some(sigma) = self.blur {
            let reach = usual_reach(pixels.width().min(pixels.height()));
            blur(pixels, sigma, reach);
        }
        if let Some(threshold) = self.solarize {
            solarize(pixels, threshold);
        }
    }
}
