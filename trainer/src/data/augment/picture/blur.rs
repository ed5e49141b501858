//! Gaussian blur.

use clip::image::RgbImage;

/// Weights that are lighter than this share of the middle one change no byte and are left out.
const LIGHTEST: f32 = 1e-5;

/// Blurs by a Gaussian of `sigma` pixels, cut off at `reach` pixels to each side, the picture being
/// mirrored at its edges (`torchvision`, `gaussian_blur` with a kernel of 2 · `reach` + 1).
///
/// One axis after the other, rounded once. Where the picture is narrower than `reach`, which the
/// reference refuses, it is mirrored again and again.
pub fn blur(pixels: &mut RgbImage, sigma: f32, reach: usize) {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let weights = half_kernel(sigma, reach);
    if width == 0 || height == 0 || weights.len() == 1 {
        return;
    }
    let source = pixels.as_raw().clone();
    let row_of = |y: usize| &source[y * width * 3..][..width * 3];
    let margin = (weights.len() - 1) * 3;
    let mut padded = vec![0f32; width * 3 + 2 * margin];
    let mut blurred = vec![0f32; width * 3];
    for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let middle = &mut padded[margin..][..width * 3];
        scaled(row_of(y), weights[0], middle);
        for (away, &weight) in weights.iter().enumerate().skip(1) {
            let [above, below] = neighbors(y, away, height).map(row_of);
            for ((sum, &a), &b) in middle.iter_mut().zip(above).zip(below) {
                *sum += weight * f32::from(u16::from(a) + u16::from(b));
            }
        }
        mirror_ends(&mut padded, width, weights.len() - 1);
        along(&padded, &weights, &mut blurred);
        for (byte, &value) in out.iter_mut().zip(&blurred) {
            *byte = (value + 0.5) as u8;
        }
    }
}

/// How far a blur of a picture of `side` pixels reaches: its kernel is a tenth of the side, as in
/// `SimCLR` (Chen et al. 2020, appendix A); 23 for 224.
#[must_use]
pub fn usual_reach(side: u32) -> usize {
    ((f64::from(side) / 20.0).round() as usize).max(1)
}

/// The middle weight and those to one side; with their mirror images they sum to 1.
fn half_kernel(sigma: f32, reach: usize) -> Vec<f32> {
    let weight = |away: usize| (-0.5 * (away as f64 / f64::from(sigma)).powi(2)).exp();
    let all: Vec<f64> = (0..=reach).map(weight).collect();
    let sum = 2.0 * all.iter().sum::<f64>() - all[0];
    all.into_iter()
        .map(|weight| weight as f32)
        .take_while(|&weight| weight >= LIGHTEST)
        .map(|weight| (f64::from(weight) / sum) as f32)
        .collect()
}

/// Places `away` from `at` to both sides among `count`, mirrored at the ends without repeating them.
fn neighbors(at: usize, away: usize, count: usize) -> [usize; 2] {
    let period = (2 * (count - 1)).max(1);
    let fold = |place: usize| {
        let place = place % period;
        place.min(period - place)
    };
    [fold(at + period * away.div_ceil(period) - away), fold(at + away)]
}

fn scaled(row: &[u8], weight: f32, out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(row) {
        *out = weight * f32::from(value);
    }
}

/// Fills `margin` pixels before and behind a row of `width` with its mirror images.
fn mirror_ends(padded: &mut [f32], width: usize, margin: usize) {
    for away in 1..=margin {
        let ends = [(0, margin - away), (width - 1, margin + width - 1 + away)];
        for (side, (end, to)) in ends.into_iter().enumerate() {
            let from = margin + neighbors(end, away, width)[side];
            padded.copy_within(from * 3..from * 3 + 3, to * 3);
        }
    }
}

/// Sums a padded row of three channels over its neighbors.
fn along(padded: &[f32], weights: &[f32], out: &mut [f32]) {
    let (margin, len) = ((weights.len() - 1) * 3, out.len());
    for (out, &value) in out.iter_mut().zip(&padded[margin..]) {
        *out = weights[0] * value;
    }
    for (away, &weight) in weights.iter().enumerate().skip(1) {
        let (before, behind) = (&padded[margin - away * 3..], &padded[margin + away * 3..]);
        for ((out, &a), &b) in out.iter_mut().zip(&before[..len]).zip(&behind[..len]) {
            *out += weight * (a + b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column or a row of gray values.
    fn line(values: &[u8], upright: bool) -> RgbImage {
        let len = values.len() as u32;
        let (width, height) = if upright { (1, len) } else { (len, 1) };
        RgbImage::from_fn(width, height, |x, y| [values[(x + y) as usize]; 3].into())
    }

    fn grays(pixels: &RgbImage) -> Vec<u8> {
        pixels.pixels().map(|pixel| pixel.0[1]).collect()
    }

    #[test]
    fn a_kernel_sums_to_one_and_is_as_short_as_its_sigma_allows() {
        for (sigma, reach) in [(0.5, 1), (1.0, 3), (2.0, 11), (5.0, 11)] {
            let half = half_kernel(sigma, reach);
            let sum = 2.0 * half.iter().sum::<f32>() - half[0];
            assert!((sum - 1.0).abs() < 1e-4, "{sigma}: {sum}");
            assert!(half.len() <= reach + 1);
        }
        assert_eq!(half_kernel(0.1, 11).len(), 1);
        let ratio = half_kernel(1.0, 3)[1] / half_kernel(1.0, 3)[0];
        assert!((ratio - (-0.5f32).exp()).abs() < 1e-6);
    }

    #[test]
    fn places_beyond_the_ends_are_mirror_images_without_the_end_itself() {
        assert_eq!([1, 2, 3].map(|away| neighbors(0, away, 4)), [[1, 1], [2, 2], [3, 3]]);
        assert_eq!(neighbors(3, 2, 4), [1, 1]);
        assert_eq!(neighbors(1, 1, 4), [0, 2]);
        assert_eq!([1, 2, 3, 4].map(|away| neighbors(0, away, 2)[1]), [1, 0, 1, 0]);
        assert_eq!(neighbors(0, 7, 1), [0, 0]);
    }

    #[test]
    fn a_point_becomes_the_kernel_along_both_axes() {
        // exp(−1/2) = 0.6065; 255 / 2.2131 = 115.2 and 69.9 beside it
        for upright in [false, true] {
            let mut pixels = line(&[0, 0, 0, 255, 0, 0, 0], upright);
            blur(&mut pixels, 1.0, 1);
            assert_eq!(grays(&pixels), [0, 0, 70, 115, 70, 0, 0]);
        }
        // At the end a neighbor counts twice.
        let mut end = line(&[0, 255, 0, 0], false);
        blur(&mut end, 1.0, 1);
        assert_eq!(grays(&end), [140, 115, 70, 0]);
    }

    #[test]
    fn an_even_picture_stays_even_and_a_single_pixel_itself() {
        for (width, height) in [(1, 1), (1, 9), (30, 2), (0, 0)] {
            let even = RgbImage::from_pixel(width, height, [9, 200, 255].into());
            let mut blurred = even.clone();
            blur(&mut blurred, 2.0, 11);
            assert_eq!(blurred, even);
        }
    }

    #[test]
    fn a_kernel_is_a_tenth_of_the_side() {
        assert_eq!([224, 96, 32, 8].map(usual_reach), [11, 5, 2, 1]);
    }
}
