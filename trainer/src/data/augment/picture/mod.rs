//! How a picture is looked at in training: a random cut, perhaps mirrored, perhaps in other colors.
//!
//! [`Views`] draws a [`PictureView`], which says all that was drawn; the operations are functions of
//! 8-bit pixels and of what was drawn, one in each file, and equal to `torchvision`'s of the same name
//! on the same parameters (0.28, `transforms.v2.functional` on `uint8` tensors) but for one in 255:
//! both compute in f32 and sums may round differently.

mod blur;
mod brightness;
mod contrast;
mod crop;
mod grayscale;
mod hue;
mod jitter;
mod look;
mod multi_crop;
mod saturation;
mod solarize;
mod turn;
mod view;

use clip::image::{ImageProcessor, RgbImage, View};
use rand::RngExt;

use super::{Side, stream};
use crate::data::mixture::Draw;
use crate::recipe::ImageSection;

pub use blur::{blur, usual_reach};
pub use brightness::brightness;
pub use contrast::contrast;
pub use grayscale::grayscale;
pub use hue::hue;
pub use jitter::{Change, Jitter};
pub use look::Look;
pub use multi_crop::{Crops, SizedView, of_side};
pub use saturation::saturation;
pub use solarize::solarize;
pub use turn::turn;
pub use view::PictureView;

/// Channels from here on are inverted by a solarization, as `BYOL`, `SwAV` and `DINO` have it.
const SOLARIZED_FROM: u8 = 128;

/// What varies, and by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Least and largest share, in area, of what the evaluation transform shows; `[1, 1]` is no cut.
    pub crop_scale: [f64; 2],
    /// Least and largest width over height, as a share of what the evaluation transform shows.
    pub crop_ratio: [f64; 2],
    /// How often left and right change places, 0 to 1.
    pub flip: f64,
    /// How often it is turned by one, two or three quarters, 0 to 1.
    pub turn: f64,
    /// How much brightness, contrast and saturation may change, as a share, and hue, as a part of the
    /// color circle; none for no such change.
    pub color_jitter: Option<[f64; 4]>,
    /// How often they do.
    pub color_jitter_probability: f64,
    /// How often colors are taken out.
    pub grayscale: f64,
    /// How often a picture is blurred.
    pub blur: f64,
    /// Least and largest deviation of that blur, in pixels of what the tower sees.
    pub blur_sigma: [f64; 2],
    /// How often channels of 128 and more are inverted.
    pub solarize: f64,
}

impl Default for Augmentation {
    /// Cuts of nine tenths and more, as `open_clip` trains; CLIP's own training has nothing else
    /// either. Pictures are not mirrored: captions tell left from right, and pictures hold writing.
    /// Colors stay as they are: captions name them.
    fn default() -> Self {
        Self {
            crop_scale: [0.9, 1.0],
            crop_ratio: [0.75, 4.0 / 3.0],
            flip: 0.0,
            turn: 0.0,
            color_jitter: None,
            color_jitter_probability: 0.8,
            grayscale: 0.0,
            blur: 0.0,
            blur_sigma: [0.1, 2.0],
            solarize: 0.0,
        }
    }
}

impl Augmentation {
    /// As a recipe's `[image]` says, and as `usual` where it says nothing.
    #[must_use]
    pub fn or(image: &ImageSection, usual: Self) -> Self {
        Self {
            crop_scale: image.crop_scale.unwrap_or(usual.crop_scale),
            crop_ratio: image.crop_ratio.unwrap_or(usual.crop_ratio),
            flip: image.flip.unwrap_or(usual.flip),
            turn: image.turn.unwrap_or(usual.turn),
            color_jitter: image.color_jitter.or(usual.color_jitter),
            color_jitter_probability: image
                .color_jitter_probability
                .unwrap_or(usual.color_jitter_probability),
            grayscale: image.grayscale.unwrap_or(usual.grayscale),
            blur: image.blur.unwrap_or(usual.blur),
            blur_sigma: image.blur_sigma.unwrap_or(usual.blur_sigma),
            solarize: image.solarize.unwrap_or(usual.solarize),
        }
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
        Self { augmentation: Augmentation::or(image, Augmentation::default()), seed, epoch }
    }

    /// View `which` (from 0) of one draw on a picture of `size` (width, height).
    ///
    /// All numbers are drawn whatever is switched on, so that one change leaves the others as they
    /// were.
    #[must_use]
    pub fn view(
        &self,
        draw: &Draw,
        which: usize,
        size: (u32, u32),
        processor: &ImageProcessor,
    ) -> PictureView {
        let what = &self.augmentation;
        let mut rng = stream(Side::Picture, (self.seed, self.epoch), draw, which);
        let cut = crop::Chance::draw(&mut rng);
        let mut happens = |share: f64| rng.random::<f64>() < share;
        let mirrored = happens(what.flip);
        let jittered = happens(what.color_jitter_probability);
        let (gray, blurred, solarized) =
            (happens(what.grayscale), happens(what.blur), happens(what.solarize));
        let [least, most] = what.blur_sigma;
        let sigma = (least + rng.random::<f64>() * (most - least)) as f32;
        let jitter = Jitter::draw(what.color_jitter.unwrap_or_default(), &mut rng);
        let (turned, quarters) = (rng.random::<f64>() < what.turn, rng.random_range(1..4));
        PictureView {
            view: View {
                cut: cut.cut(what.crop_scale, what.crop_ratio, size, processor),
                mirrored,
            },
            quarters: if turned { quarters } else { 0 },
            jitter: (jittered && what.color_jitter.is_some()).then_some(jitter),
            gray,
            blur: blurred.then_some(sigma),
            solarize: solarized.then_some(SOLARIZED_FROM),
        }
    }
}

impl Views {
    /// Whether the first view of a draw shows left and right in each other's place, which does not
    /// depend on the size of its picture.
    #[must_use]
    pub fn mirrored(&self, draw: &Draw, processor: &ImageProcessor) -> bool {
        self.view(draw, 0, (1, 1), processor).view.mirrored
    }
}

/// Replaces every channel of every pixel by a function of it; what is no byte is cut off, and so is
/// the fraction.
fn mapped(pixels: &mut RgbImage, of: impl Fn(f32) -> f32) {
    let table: [u8; 256] = std::array::from_fn(|value| of(value as f32) as u8);
    for value in pixels.iter_mut() {
        *value = table[usize::from(*value)];
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clip::image::{Cut, ImageProcessorConfig, Size};

    pub(in super::super) const SIZE: (u32, u32) = (400, 300);

    /// What becomes of pixels in a row.
    pub(super) fn row<const N: usize>(
        pixels: [[u8; 3]; N],
        change: impl Fn(&mut RgbImage),
    ) -> [[u8; 3]; N] {
        let mut image = RgbImage::from_fn(N as u32, 1, |x, _| pixels[x as usize].into());
        change(&mut image);
        std::array::from_fn(|x| image.get_pixel(x as u32, 0).0)
    }

    /// What becomes of a pixel alone.
    pub(super) fn one(pixel: [u8; 3], change: impl Fn(&mut RgbImage)) -> [u8; 3] {
        row([pixel], change)[0]
    }

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

    /// The two ways of making a picture square.
    pub(in super::super) fn processors() -> [ImageProcessor; 2] {
        [squash(), shortest()]
    }

    pub(in super::super) fn views(crop_scale: [f64; 2], flip: f64) -> Views {
        let augmentation = Augmentation { crop_scale, flip, ..Augmentation::default() };
        Views { augmentation, seed: 5, epoch: 2 }
    }

    pub(in super::super) fn draw(pair: usize) -> Draw {
        Draw { set: 0, pair, caption: 0, turn: 0 }
    }

    fn cuts(views: &Views, processor: &ImageProcessor) -> Vec<Cut> {
        (0..1000).map(|i| views.view(&draw(i), 0, SIZE, processor).view.cut.unwrap()).collect()
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
        let of = |views: &Views, draw: Draw| views.view(&draw, 0, SIZE, &processor);
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
            assert_eq!(plain.view(&draw(1), 0, SIZE, &processor), PictureView::default());
        }
        let whole = views([1.0 - 1e-9, 1.0], 0.0);
        let cut = whole.view(&draw(1), 0, SIZE, &squash()).view.cut.unwrap();
        assert_eq!(cut, Cut { x: 0, y: 0, width: 400, height: 300 });
    }

    #[test]
    fn pictures_are_mirrored_as_often_as_asked() {
        let count = |flip: f64| {
            let views = views([1.0, 1.0], flip);
            (0..1000).filter(|&i| views.view(&draw(i), 0, SIZE, &squash()).view.mirrored).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 1000));
        assert!((420..580).contains(&count(0.5)), "{}", count(0.5));
    }

    #[test]
    fn pictures_are_turned_as_often_as_asked_each_way_alike() {
        let mut views = views([1.0, 1.0], 0.0);
        let count = |views: &Views| {
            let mut ways = [0; 4];
            for i in 0..1000 {
                ways[usize::from(views.view(&draw(i), 0, SIZE, &squash()).quarters)] += 1;
            }
            ways
        };
        assert_eq!(count(&views), [1000, 0, 0, 0]);
        views.augmentation.turn = 0.75;
        assert!(count(&views).iter().all(|ways| (200..300).contains(ways)), "{:?}", count(&views));
    }

    /// Everything on, by chance.
    fn colorful() -> Views {
        let augmentation = Augmentation {
            color_jitter: Some([0.4, 0.4, 0.4, 0.1]),
            turn: 0.5,
            grayscale: 0.2,
            blur: 0.5,
            solarize: 0.1,
            ..Augmentation::default()
        };
        Views { augmentation, seed: 5, epoch: 2 }
    }

    fn sights(views: &Views, which: usize) -> Vec<PictureView> {
        (0..1000).map(|i| views.view(&draw(i), which, SIZE, &squash())).collect()
    }

    #[test]
    fn each_change_comes_as_often_as_asked_and_within_its_range() {
        let sights = sights(&colorful(), 0);
        let count = |is: fn(&PictureView) -> bool| sights.iter().filter(|sight| is(sight)).count();
        assert!((760..840).contains(&count(|s| s.jitter.is_some())));
        assert!((150..250).contains(&count(|s| s.gray)));
        assert!((440..560).contains(&count(|s| s.blur.is_some())));
        assert!((60..140).contains(&count(|s| s.solarize == Some(128))));
        let sigmas: Vec<f32> = sights.iter().filter_map(|s| s.blur).collect();
        assert!(sigmas.iter().all(|sigma| (0.1..=2.0).contains(sigma)));
        let mean = sigmas.iter().sum::<f32>() / sigmas.len() as f32;
        assert!((mean - 1.05).abs() < 0.1, "{mean}");
    }

    #[test]
    fn a_change_that_is_switched_on_leaves_the_others_as_they_were() {
        let (all, mut less) = (colorful(), colorful());
        less.augmentation.color_jitter = None;
        less.augmentation.blur = 0.0;
        for (a, b) in sights(&all, 0).iter().zip(sights(&less, 0)) {
            assert_eq!(PictureView { jitter: None, blur: None, ..*a }, b);
        }
    }

    #[test]
    fn views_of_a_draw_differ_and_each_can_be_drawn_again() {
        let views = colorful();
        let (first, second) = (sights(&views, 0), sights(&views, 1));
        assert_eq!(second, sights(&views, 1));
        let equal = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert_eq!(equal, 0);
    }

    #[test]
    fn a_table_cuts_off_fractions_and_what_is_no_byte() {
        assert_eq!(one([0, 10, 255], |p| mapped(p, |v| v * 1.99 - 3.0)), [0, 16, 255]);
    }
}
