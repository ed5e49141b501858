//! One of the ways in which training looks at every picture of an epoch.

use clip::image::{ImageProcessor, PixelValues, RgbImage};

use super::Views;
use crate::data::mixture::Draw;

/// What varies from picture to picture, and how large a picture is shown.
#[derive(Debug, Clone)]
pub struct Look {
    /// What varies.
    pub views: Views,
    /// Makes the pixel values.
    pub processor: ImageProcessor,
}

impl Look {
    /// The picture of `draw`; `which` is the number of this look among those of a step, from 0.
    #[must_use]
    pub fn of(&self, picture: &RgbImage, draw: &Draw, which: usize) -> PixelValues {
        let view = self.views.view(draw, which, picture.dimensions(), &self.processor);
        view.of(picture, &self.processor)
    }
}
