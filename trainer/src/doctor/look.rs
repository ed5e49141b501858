//! What a picture looks like, in a few hundred bytes: its size, a small copy, and a hash of that.
//!
//! The hash is the difference hash of Krawetz ("Kind of Like That", 2013): whether each of 8 × 8
//! places of a copy in 9 × 8 gray pixels is darker than its right neighbor. It holds through another
//! size, compression and brightness; cut edges, turned and mirrored copies escape it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clip::image::{
    DecodeLimits, ImageProcessor, ImageProcessorConfig, PixelValues, ProcessorError, Resample,
    RgbImage, Size,
};
use crossbeam_channel::{Sender, bounded};

use super::{DoctorError, Examination};
use crate::data::decode::with_pixels;
use crate::data::{BadSample, Dataset, Pair};

/// Columns of the small copy; one more than of the hash.
const COLUMNS: usize = 9;
/// Rows of both.
const ROWS: usize = 8;
/// Values of the small copy: red, green and blue.
pub(super) const VALUES: usize = 3 * COLUMNS * ROWS;

/// Looks that may wait to be taken in.
const WAITING: usize = 64;

/// A standard deviation of a channel's values, out of 255, under which they are one value and noise.
const BLANK: f64 = 2.0;

/// Pixels from which a picture's deviation is taken, evenly spread over it.
const SAMPLED: usize = 1 << 16;

/// What is kept of a picture.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) hash: u64,
    /// Whether there is nothing to see on it: one color, with noise at most.
    pub(super) blank: bool,
    /// Channel by channel, row by row.
    pub(super) small: [u8; VALUES],
}

impl Look {
    fn of(picture: &RgbImage, processor: &ImageProcessor) -> Self {
        let PixelValues { data, .. } = processor.process(picture);
        let mut small = [0; VALUES];
        small.iter_mut().zip(&data).for_each(|(to, from)| *to = from.round() as u8);
        let (width, height) = picture.dimensions();
        Self { width, height, hash: hash(&small), blank: is_blank(picture), small }
    }

    /// The mean absolute difference to another picture's small copy, out of 255.
    pub(super) fn difference(&self, other: &Self) -> f32 {
        let apart = self.small.iter().zip(&other.small).map(|(a, b)| u32::from(a.abs_diff(*b)));
        apart.sum::<u32>() as f32 / VALUES as f32
    }
}

fn is_blank(picture: &RgbImage) -> bool {
    let step = (picture.pixels().len() / SAMPLED).max(1);
    let (mut count, mut sum, mut squares) = (0.0, [0.0; 3], [0.0; 3]);
    for pixel in picture.pixels().step_by(step) {
        count += 1.0;
        for (channel, &value) in pixel.0.iter().enumerate() {
            let value = f64::from(value);
            sum[channel] += value;
            squares[channel] += value * value;
        }
    }
    let variance = |(sum, squares): (f64, f64)| squares / count - (sum / count).powi(2);
    sum.into_iter().zip(squares).all(|channel| variance(channel) < BLANK * BLANK)
}

/// A bit for each place: whether its gray is less than that of its right neighbor.
fn hash(small: &[u8; VALUES]) -> u64 {
    let places = COLUMNS * ROWS;
    // ITU-R BT.601, as Pillow's "L".
    let gray = |at: usize| {
        let [red, green, blue] = [at, places + at, 2 * places + at].map(|i| u32::from(small[i]));
        299 * red + 587 * green + 114 * blue
    };
    let at = (0..ROWS).flat_map(|row| (0..COLUMNS - 1).map(move |column| row * COLUMNS + column));
    at.fold(0, |bits, at| bits << 1 | u64::from(gray(at) < gray(at + 1)))
}

/// Squashes a picture into the small copy's size, each value between 0 and 255.
fn processor() -> Result<ImageProcessor, ProcessorError> {
    ImageProcessor::new(ImageProcessorConfig {
        size: Size::Rectangle { height: ROWS as u32, width: COLUMNS as u32 },
        resample: Resample::Bilinear,
        do_center_crop: false,
        crop_size: None,
        rescale_factor: 1.0,
        image_mean: [0.0; 3],
        image_std: [1.0; 3],
    })
}

/// What all pictures of a set look like, a broken one with its reason, in the order of its pairs.
pub(super) fn all(
    set: &Arc<Dataset>,
    examination: &mut Examination<'_>,
) -> Result<Vec<Result<Look, BadSample>>, DoctorError> {
    let processor = processor()?;
    let total = set.pairs.len();
    let lost = |pair: &Pair| BadSample {
        key: pair.key.clone(),
        reason: "the thread that decodes it is gone".to_owned(),
    };
    let mut looks: Vec<_> = set.pairs.iter().map(|pair| Err(lost(pair))).collect();
    let next = AtomicUsize::new(0);
    let task = format!("pictures of {}", set.name());
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(WAITING);
        for _ in 0..examination.threads.clamp(1, total.max(1)) {
            let sender = sender.clone();
            scope.spawn(|| work(&set.pairs, &next, &processor, sender));
        }
        drop(sender);
        for (done, (pair, look)) in (1u64..).zip(receiver) {
            if examination.stop.asked() {
                return Err(DoctorError::Stopped);
            }
            looks[pair] = look;
            examination.watch.progress(&task, done, total as u64, "");
        }
        Ok(())
    })?;
    Ok(looks)
}

/// Takes one pair after the other until none is left or nobody listens.
fn work(
    pairs: &[Pair],
    next: &AtomicUsize,
    processor: &ImageProcessor,
    sender: Sender<(usize, Result<Look, BadSample>)>,
) {
    while let Some((at, pair)) =
        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, pairs.get(at)?)))
    {
        let look =
            with_pixels(pair, &DecodeLimits::default(), |picture| Look::of(picture, processor));
        if sender.send((at, look)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A look of its own for each number: waves whose length and place it decides.
    pub(in crate::doctor) fn look(number: u32) -> Look {
        let picture = RgbImage::from_fn(90, 80, |x, y| {
            let wave = |scale: u32| {
                let angle =
                    f64::from(x * (1 + number % 7) + y * (1 + number % 5)) / f64::from(scale);
                (127.0 + 100.0 * (angle + f64::from(number)).sin()) as u8
            };
            [wave(20), wave(31), wave(47)].into()
        });
        of(&picture)
    }

    pub(in crate::doctor) fn of(picture: &RgbImage) -> Look {
        Look::of(picture, &processor().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_says_whether_the_right_neighbor_is_brighter() {
        let rising = testing::of(&RgbImage::from_fn(90, 80, |x, _| [x as u8 * 2; 3].into()));
        let falling = testing::of(&RgbImage::from_fn(90, 80, |x, _| [255 - x as u8 * 2; 3].into()));
        assert_eq!((rising.hash, falling.hash), (u64::MAX, 0));
        assert_eq!((rising.width, rising.height), (90, 80));
    }

    #[test]
    fn one_color_is_blank_whatever_it_is_and_a_line_or_a_fine_grain_is_not() {
        let plain = RgbImage::from_pixel(60, 40, [200, 10, 90].into());
        assert!(testing::of(&plain).blank);
        let lined = RgbImage::from_fn(60, 40, |x, _| if x < 8 { [0; 3] } else { [90; 3] }.into());
        assert!(!testing::of(&lined).blank);
        let blue = RgbImage::from_fn(60, 40, |x, _| [9, 9, if x < 30 { 0 } else { 255 }].into());
        assert!(!testing::of(&blue).blank);
        let grain =
            RgbImage::from_fn(600, 400, |x, y| [90 + (x * 7 + y * 13) as u8 % 11; 3].into());
        assert!(!testing::of(&grain).blank);
    }

    #[test]
    fn another_size_and_another_brightness_change_little() {
        let photo = |scale: f64, gain: f64| {
            let side = |length: f64| (length * scale) as u32;
            RgbImage::from_fn(side(120.0), side(90.0), |x, y| {
                let (x, y) = (f64::from(x) / scale, f64::from(y) / scale);
                let value = 120.0 + 90.0 * (x / 17.0).sin() * (y / 23.0).cos();
                [(value * gain) as u8; 3].into()
            })
        };
        let (whole, small) = (testing::of(&photo(4.0, 1.0)), testing::of(&photo(1.0, 0.95)));
        assert!((whole.hash ^ small.hash).count_ones() <= 2);
        assert!(whole.difference(&small) < 8.0, "{}", whole.difference(&small));
        assert!(whole.difference(&testing::look(3)) > 20.0);
    }
}
