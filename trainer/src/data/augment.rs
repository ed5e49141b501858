//! How a picture is looked at in training: a random cut, perhaps mirrored.
//!
//! A view is a function of (seed, epoch, draw), so a resumed run sees what an uninterrupted one
//! sees, whatever thread decodes.

use clip::image::{Cut, ImageProcessor, View};
use rand::RngExt;

use super::mixture::{Draw, random};
use crate::recipe::ImageSection;

/// Apart from the streams that [`mixture`](super::mixture) draws from.
const STREAM: u64 = 1 << 63;

/// What varies, and by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Least and largest share, in area, of what the evaluation transform shows; `[1, 1]` is no cut.
    pub crop_scale: [f64; 2],
    /// Least and largest width over height, as a share of what the evaluation transform shows.
    pub crop_ratio: [f64; 2],
    /// How often left and right change places, 0 to 1.
    pub flip: f64,
}

impl Default for Augmentation {
    /// Cuts of nine tenths and more, as `open_clip` trains; CLIP's own training has nothing else
    /// either. Pictures are not mirrored: captions tell left from right, and pictures hold writing.
    fn default() -> Self {
        Self { crop_scale: [0.9, 1.0], crop_ratio: [0.75, 4.0 / 3.0], flip: 0.0 }
    }
}

/// The views of an epoch.
#[derive(Debug, Clone)]
pub struct Views {
    /// What varies.
    pub augmentation: Augmentation,
    /// Of the whole run.
    pub seed: u64,
    /// From 0.
    pub epoch: u64,
}

impl Views {
    /// As a recipe's `[image]` says, or by default.
    #[must_use]
    pub fn of(image: &ImageSection, seed: u64, epoch: u64) -> Self {
        let usual = Augmentation::default();
        let augmentation = Augmentation {
            crop_scale: image.crop_scale.unwrap_or(usual.crop_scale),
            crop_ratio: image.crop_ratio.unwrap_or(usual.crop_ratio),
            flip: image.flip.unwrap_or(usual.flip),
        };
        Self { augmentation, seed, epoch }
    }

    /// The view of one draw on a picture of `size` (width, height).
    #[must_use]
    pub fn view(&self, draw: &Draw, size: (u32, u32), processor: &ImageProcessor) -> View {
        let mut rng = random(self.seed, self.epoch, STREAM | draw.set as u64);
        rng.set_stream((draw.pair as u64) << 20 | draw.turn as u64);
        let [low, high] = self.augmentation.crop_scale;
        let (area, shape) = (rng.random::<f64>(), rng.random::<f64>());
        let (x, y, side) = (rng.random::<f64>(), rng.random::<f64>(), rng.random::<f64>());
        let cut = (low < 1.0).then(|| {
            let share = low + area * (high - low);
            let ratio = fitting(share, self.augmentation.crop_ratio, shape);
            let (width, height) = processor.shown(size.0, size.1);
            let (x, width) = placed(width * (share * ratio).sqrt(), size.0, x);
            let (y, height) = placed(height * (share / ratio).sqrt(), size.1, y);
            Cut { x, y, width, height }
        });
        View { cut, mirrored: side < self.augmentation.flip }
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

#[cfg(test)]
mod tests {
    use super::*;
    use clip::image::{ImageProcessorConfig, Size};

    const SIZE: (u32, u32) = (400, 300);

    fn processor(size: Size, do_center_crop: bool) -> ImageProcessor {
        let config = ImageProcessorConfig { size, do_center_crop, ..Default::default() };
        ImageProcessor::new(config).unwrap()
    }

    fn squash() -> ImageProcessor {
        processor(Size::Rectangle { height: 100, width: 100 }, false)
    }

    fn shortest() -> ImageProcessor {
        processor(Size::Shortest { shortest_edge: 100 }, true)
    }

    fn views(crop_scale: [f64; 2], flip: f64) -> Views {
        let augmentation = Augmentation { crop_scale, crop_ratio: [0.75, 4.0 / 3.0], flip };
        Views { augmentation, seed: 5, epoch: 2 }
    }

    fn draw(pair: usize) -> Draw {
        Draw { set: 0, pair, caption: 0, turn: 0 }
    }

    fn cuts(views: &Views, processor: &ImageProcessor) -> Vec<Cut> {
        (0..1000).map(|i| views.view(&draw(i), SIZE, processor).cut.unwrap()).collect()
    }

    #[test]
    fn areas_are_uniform_in_their_range_and_every_cut_lies_in_the_picture() {
        for (processor, frame) in [(squash(), 120_000.0), (shortest(), 90_000.0)] {
            let cuts = cuts(&views([0.5, 0.9], 0.0), &processor);
            assert!(cuts.iter().all(|c| c.x + c.width <= SIZE.0 && c.y + c.height <= SIZE.1));
            let mut shares: Vec<f64> =
                cuts.iter().map(|c| f64::from(c.width * c.height) / frame).collect();
            shares.sort_by(f64::total_cmp);
            for (at, expected) in [(0, 0.5), (250, 0.6), (500, 0.7), (750, 0.8), (999, 0.9)] {
                assert!((shares[at] - expected).abs() < 0.025, "{at}: {}", shares[at]);
            }
        }
    }

    #[test]
    fn shapes_stay_in_their_range_and_cuts_reach_every_edge() {
        for (processor, of_frame) in [(squash(), 4.0 / 3.0), (shortest(), 1.0)] {
            let cuts = cuts(&views([0.3, 0.5], 0.0), &processor);
            let ratios = cuts.iter().map(|c| f64::from(c.width) / f64::from(c.height) / of_frame);
            let (low, high) = ratios.fold((9.0f64, 0.0f64), |(l, h), r| (l.min(r), h.max(r)));
            assert!((0.74..0.78).contains(&low) && (1.28..1.35).contains(&high), "{low} {high}");
            assert!(cuts.iter().any(|c| c.x < 5) && cuts.iter().any(|c| c.x + c.width > 395));
            assert!(cuts.iter().any(|c| c.y < 5) && cuts.iter().any(|c| c.y + c.height > 295));
        }
    }

    #[test]
    fn a_view_depends_on_seed_epoch_and_draw_alone() {
        let (a, processor) = (views([0.5, 1.0], 0.5), squash());
        let of = |views: &Views, draw: Draw| views.view(&draw, SIZE, &processor);
        assert_eq!(of(&a, draw(7)), of(&a.clone(), draw(7)));
        assert_ne!(of(&a, draw(7)), of(&a, draw(8)));
        assert_ne!(of(&a, draw(7)), of(&a, Draw { turn: 1, ..draw(7) }));
        assert_ne!(of(&a, draw(7)), of(&a, Draw { set: 1, ..draw(7) }));
        assert_ne!(of(&a, draw(7)), of(&Views { epoch: 3, ..a.clone() }, draw(7)));
        assert_ne!(of(&a, draw(7)), of(&Views { seed: 6, ..a.clone() }, draw(7)));
    }

    #[test]
    fn a_scale_of_one_is_the_evaluation_transform() {
        let plain = views([1.0, 1.0], 0.0);
        for processor in [squash(), shortest()] {
            assert_eq!(plain.view(&draw(1), SIZE, &processor), View::default());
        }
        let whole = views([1.0 - 1e-9, 1.0], 0.0);
        let cut = whole.view(&draw(1), SIZE, &squash()).cut.unwrap();
        assert_eq!(cut, Cut { x: 0, y: 0, width: 400, height: 300 });
    }

    #[test]
    fn pictures_are_mirrored_as_often_as_asked() {
        let count = |flip: f64| {
            let views = views([1.0, 1.0], flip);
            (0..1000).filter(|&i| views.view(&draw(i), SIZE, &squash()).mirrored).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 1000));
        assert!((420..580).contains(&count(0.5)), "{}", count(0.5));
    }
}
