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
    /// Shorter side in pixels of a picture that holds as much as its smallest cut can show.
    #[must_use]
    pub fn wanted_side(&self) -> u32 {
        let what = &self.views.augmentation;
        let narrowest = (what.crop_scale[0] * what.crop_ratio[0]).sqrt(); // as a share of a side
        let shown = self.processor.width().max(self.processor.height());
        (shown as f64 / narrowest).ceil() as u32
    }

    /// The picture of `draw`; `which` is the number of this look among those of a step, from 0.
    #[must_use]
    pub fn of(&self, picture: &RgbImage, draw: &Draw, which: usize) -> PixelValues {
        let view = self.views.view(draw, which, picture.dimensions(), &self.processor);
        view.of(picture, &self.processor)
    }
}

#[cfg(test)]
mod tests {
    use clip::image::{DecodeLimits, decode};

    use super::super::tests::{draw, processors, views};
    use super::*;

    const DRAWING: &[u8] = br##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36"><circle cx="18"
        cy="18" r="17" fill="#fc4"/><path d="M9 22a9 7 0 0 0 18 0" fill="none" stroke="#632" stroke-width="2"/></svg>"##;

    #[test]
    fn a_drawing_is_painted_large_enough_for_its_smallest_cut() {
        for processor in processors() {
            let look = |scale| Look { views: views(scale, 0.5), processor: processor.clone() };
            assert_eq!(look([0.48, 1.0]).wanted_side(), 167); // 100 / √(0.48 · 0.75)
            assert_eq!(look([0.01, 1.0]).wanted_side(), 1155);
        }
    }

    #[test]
    fn a_drawing_painted_for_a_look_is_seen_as_a_larger_one_is() {
        let [squash, _] = processors();
        let look = Look { views: views([0.5, 1.0], 0.5), processor: squash };
        let painted = |drawing_side| {
            decode(DRAWING, &DecodeLimits { drawing_side, ..DecodeLimits::default() })
                .unwrap()
                .pixels
        };
        let (small, large) = (painted(look.wanted_side()), painted(1024));
        for at in 0..20 {
            let [a, b] = [&small, &large].map(|picture| look.of(picture, &draw(at), 0));
            let apart = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).sum::<f32>();
            let mean = apart / a.data.len() as f32;
            assert!(mean < 0.05, "view {at}: {mean}");
        }
    }
}
