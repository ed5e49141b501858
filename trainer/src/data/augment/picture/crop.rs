//! A random cut of a picture (`torchvision`'s `RandomResizedCrop`).

use clip::image::{Cut, ImageProcessor};
use rand::{Rng, RngExt};

/// What decides a cut, each uniform between 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    area: f64,
    shape: f64,
    x: f64,
    y: f64,
}

impl Chance {
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let (area, shape) = (rng.random(), rng.random());
        Self { area, shape, x: rng.random(), y: rng.random() }
    }

    /// The cut of a picture of `size` (width, height); none where `scale` begins at 1, for what the
    /// evaluation transform shows. `scale` and `ratio` as
    /// [`Augmentation::crop_scale`](super::Augmentation::crop_scale) and `crop_ratio`.
    pub(super) fn cut(
        &self,
        [low, high]: [f64; 2],
        ratio: [f64; 2],
        size: (u32, u32),
        processor: &ImageProcessor,
    ) -> Option<Cut> {
        (low < 1.0).then(|| {
            let share = low + self.area * (high - low);
            let ratio = fitting(share, ratio, self.shape);
            let (width, height) = processor.shown(size.0, size.1);
            let (x, width) = placed(width * (share * ratio).sqrt(), size.0, self.x);
            let (y, height) = placed(height * (share / ratio).sqrt(), size.1, self.y);
            Cut { x, y, width, height }
        })
    }
}

/// A ratio, uniform as a log, among those with which a cut of `share` stays within its frame: the
/// sides are √(share · ratio) and √(share / ratio) of the frame's, and neither may pass 1.
///
/// `torchvision`'s `RandomResizedCrop` draws area and ratio until they fit, which makes small areas
/// likelier than its range says; here the area is uniform.
fn fitting(share: f64, [low, high]: [f64; 2], at: f64) -> f64 {
    let (low, high) = (low.max(share).ln(), high.min(1.0 / share).ln());
    (low + at * (high - low)).exp()
}

/// Where a stretch of about `len` pixels begins among `whole`, at a share `at` of its play; and its
/// length.
fn placed(len: f64, whole: u32, at: f64) -> (u32, u32) {
    let len = (len.round() as u32).clamp(1, whole.max(1));
    let play = f64::from(whole.saturating_sub(len)) + 1.0;
    (((at * play) as u32).min(whole.saturating_sub(len)), len)
}
