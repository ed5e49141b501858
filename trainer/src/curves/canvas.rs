//! Pixels to draw on: lines with soft edges, dots, and words in Noto Sans Mono.

use clip::image::RgbImage;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};

/// Red, green and blue.
pub(super) type Color = [u8; 3];

/// Height of a line of words in pixels.
pub(super) const LINE: f64 = 16.0;

const FONT: RasterHeight = RasterHeight::Size16;

/// A rectangle in pixels; `y` grows downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// Where words stand relative to their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// A picture being drawn, white at first.
pub(super) struct Canvas(pub(super) RgbImage);

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, [255; 3].into()))
    }

    /// Lays `color` over a pixel, covering the given share of it.
    fn blend(&mut self, x: i64, y: i64, color: Color, share: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        let Some(pixel) = self.0.get_pixel_mut_checked(x, y) else { return };
        for (below, above) in pixel.0.iter_mut().zip(color) {
            let mixed = f64::from(*below) + (f64::from(above) - f64::from(*below)) * share;
            *below = mixed.round() as u8;
        }
    }

    /// A straight line of `width` pixels with round ends; of no length it is a dot.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, color: Color) {
        let radius = width / 2.0;
        let span = |a: f64, b: f64| {
            let (low, high) = (a.min(b) - radius - 1.0, a.max(b) + radius + 1.0);
            low.floor() as i64..=high.ceil() as i64
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        for y in span(from.1, to.1) {
            for x in span(from.0, to.0) {
                // The middle of the pixel, and the nearest place to it on the line.
                let (px, py) = (x as f64 + 0.5 - from.0, y as f64 + 0.5 - from.1);
                let at = if length > 0.0 { (px * dx + py * dy) / (length * length) } else { 0.0 };
                let at = at.clamp(0.0, 1.0);
                let distance = (px - at * dx).hypot(py - at * dy);
                let share = (radius + 0.5 - distance).clamp(0.0, 1.0);
                if share > 0.0 {
                    self.blend(x, y, color, share);
                }
            }
        }
    }

    /// A line through all points.
    pub(super) fn path(&mut self, points: &[(f64, f64)], width: f64, color: Color) {
        for ends in points.windows(2) {
            self.line(ends[0], ends[1], width, color);
        }
    }

    /// One line of words; `at` is the upper edge of it. Characters beyond ASCII are left blank.
    pub(super) fn words(&mut self, words: &str, at: (f64, f64), align: Align, color: Color) {
        self.letters(words, at, align, (FontWeight::Regular, color));
    }

    /// The same, bold.
    pub(super) fn title(&mut self, words: &str, at: (f64, f64), color: Color) {
        self.letters(words, at, Align::Left, (FontWeight::Bold, color));
    }

    fn letters(
        &mut self,
        words: &str,
        (x, y): (f64, f64),
        align: Align,
        (weight, color): (FontWeight, Color),
    ) {
        let width = width_of(words);
        let left = match align {
            Align::Left => x,
            Align::Center => x - width / 2.0,
            Align::Right => x - width,
        };
        let (mut left, top) = (left.round() as i64, y.round() as i64);
        for letter in words.chars() {
            let raster = get_raster(letter, weight, FONT);
            for (row, y) in raster.iter().flat_map(|raster| raster.rows()).zip(top..) {
                for (&share, x) in row.iter().zip(left..) {
                    self.blend(x, y, color, f64::from(share) / 255.0);
                }
            }
            left += advance();
        }
    }
}

/// Width of words in pixels: every letter has the same.
pub(super) fn width_of(words: &str) -> f64 {
    (words.chars().count() as i64 * advance()) as f64
}

fn advance() -> i64 {
    get_raster('0', FontWeight::Regular, FONT).map_or(0, |raster| raster.width() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Color = [0; 3];

    #[test]
    fn a_line_covers_what_it_passes_and_nothing_else() {
        let mut canvas = Canvas::new(10, 10);
        canvas.line((1.0, 4.5), (9.0, 4.5), 1.0, BLACK);
        assert_eq!(canvas.0.get_pixel(5, 4).0, BLACK);
        for y in [2, 6] {
            assert_eq!(canvas.0.get_pixel(5, y).0, [255; 3]);
        }
        canvas.line((-50.0, 8.5), (50.0, 8.5), 1.0, BLACK);
        assert_eq!(canvas.0.get_pixel(9, 8).0, BLACK);
    }

    #[test]
    fn words_are_as_wide_as_said_and_stand_where_told() {
        let dark = |align| {
            let mut canvas = Canvas::new(100, 20);
            canvas.words("HHH", (50.0, 0.0), align, BLACK);
            let columns = (0..100).filter(|&x| (0..20).any(|y| canvas.0.get_pixel(x, y).0[0] < 99));
            let columns: Vec<u32> = columns.collect();
            (columns[0], columns[columns.len() - 1])
        };
        let width = width_of("HHH") as u32;
        let (first, last) = dark(Align::Left);
        assert!(first >= 50 && last < 50 + width);
        let (first, last) = dark(Align::Right);
        assert!(first >= 50 - width && last < 50);
        let (first, last) = dark(Align::Center);
        assert!(first < 50 && last > 50);
    }
}
