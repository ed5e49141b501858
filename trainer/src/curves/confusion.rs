//! What `eval --confusion` draws: which class was taken for which.

use std::path::Path;

use super::canvas::{Align, Canvas, Color, LINE, width_of};
use super::panel::INK;
use super::{CurvesError, write};
use crate::eval::confusion::Confusion;

/// The side of a matrix in pixels, about.
const SIDE: usize = 640;

/// The smallest and the largest side of a cell in pixels.
const CELL: [usize; 2] = [4, 48];

/// Classes whose names have room beside their rows.
const NAMED: usize = 40;

/// Letters of a name that are written; longer ones are cut.
const LETTERS: usize = 18;

const MARGIN: usize = 24;

const RIGHT: Color = [32, 94, 190];
const WRONG: Color = [200, 60, 40];
const NOTHING: Color = [244, 245, 247];

/// Draws matrices beside each other as a PNG, which appears whole or not at all: a row for each class,
/// a column for what its pictures were taken for, darker for a larger share of the row.
///
/// # Errors
/// [`CurvesError`], naming the file.
pub fn draw_confusion(all: &[(&str, &Confusion)], picture: &Path) -> Result<(), CurvesError> {
    let classes = all.first().map_or(0, |(_, confusion)| confusion.classes.len());
    let cell = (SIDE / classes.max(1)).clamp(CELL[0], CELL[1]);
    let named = classes <= NAMED && cell as f64 >= LINE;
    let left = MARGIN + if named { width_of(&"m".repeat(LETTERS)) as usize + 8 } else { 0 };
    let top = MARGIN + 2 * LINE as usize;
    let width = left + cell * classes + MARGIN;
    let height = top + cell * classes + MARGIN + LINE as usize;
    let mut canvas = Canvas::new((width * all.len().max(1)) as u32, height as u32);
    for (place, (title, confusion)) in all.iter().enumerate() {
        let corner = (place * width + left, top);
        canvas.title(title, (corner.0 as f64, MARGIN as f64 / 2.0), INK);
        draw_matrix(&mut canvas, corner, cell, confusion);
        if named {
            draw_names(&mut canvas, corner, cell, &confusion.classes);
        }
        let below = (corner.0 as f64, (top + cell * classes + 6) as f64);
        canvas.words("rows: classes; columns, same order: taken for", below, Align::Left, INK);
    }
    write(&canvas, picture)
}

fn draw_matrix(canvas: &mut Canvas, corner: (usize, usize), cell: usize, confusion: &Confusion) {
    for (class, row) in confusion.counts.iter().enumerate() {
        let pictures: usize = row.iter().sum();
        for (guess, &count) in row.iter().enumerate() {
            let share = if pictures > 0 { count as f64 / pictures as f64 } else { 0.0 };
            let color = shade(if class == guess { RIGHT } else { WRONG }, share);
            fill(canvas, (corner.0 + guess * cell, corner.1 + class * cell), cell - 1, color);
        }
    }
}

fn draw_names(canvas: &mut Canvas, corner: (usize, usize), cell: usize, classes: &[String]) {
    for (class, name) in classes.iter().enumerate() {
        let short: String = name.chars().take(LETTERS).collect();
        let middle = (corner.1 + class * cell) as f64 + (cell as f64 - LINE) / 2.0;
        canvas.words(&short, (corner.0 as f64 - 8.0, middle), Align::Right, INK);
    }
}

/// From nearly white to `color`; the root shows single pictures among many.
fn shade(color: Color, share: f64) -> Color {
    let share = share.sqrt();
    std::array::from_fn(|channel| {
        let [from, to] = [NOTHING, color].map(|color| f64::from(color[channel]));
        (from + (to - from) * share).round() as u8
    })
}

fn fill(canvas: &mut Canvas, (left, top): (usize, usize), side: usize, color: Color) {
    for y in top..top + side {
        for x in left..left + side {
            if let Some(pixel) = canvas.0.get_pixel_mut_checked(x as u32, y as u32) {
                pixel.0 = color;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clip::image::{DecodeLimits, RgbImage, decode};

    fn drawn(all: &[(&str, &Confusion)]) -> RgbImage {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.png");
        draw_confusion(all, &file).unwrap();
        decode(&std::fs::read(&file).unwrap(), &DecodeLimits::default()).unwrap().pixels
    }

    fn count(picture: &RgbImage, color: Color) -> usize {
        picture.pixels().filter(|pixel| pixel.0 == color).count()
    }

    #[test]
    fn right_and_wrong_have_their_colors_by_their_shares() {
        let classes = ["cat", "dog"].map(str::to_owned);
        let confusion = Confusion::of(&classes, &[0, 0, 1, 1], &[0, 0, 0, 1]);
        let picture = drawn(&[("zero-shot", &confusion)]);
        let cell = (CELL[1] - 1) * (CELL[1] - 1);
        assert_eq!(count(&picture, RIGHT), cell, "all cats are cats");
        assert_eq!(count(&picture, shade(RIGHT, 0.5)), cell, "half of the dogs are dogs");
        assert_eq!(count(&picture, shade(WRONG, 0.5)), cell, "the others are cats");
        assert_eq!(count(&picture, NOTHING), cell);
        let both = drawn(&[("zero-shot", &confusion), ("linear probe", &confusion)]);
        assert_eq!(both.width(), 2 * picture.width());
        assert_eq!(count(&both, RIGHT), 2 * cell);
    }

    #[test]
    fn many_classes_have_room_and_no_names() {
        let classes: Vec<String> = (0..300).map(|i| format!("a class of the number {i}")).collect();
        let all: Vec<usize> = (0..300).collect();
        let picture = drawn(&[("zero-shot", &Confusion::of(&classes, &all, &all))]);
        assert!((1200..2000).contains(&picture.width()), "{}", picture.width());
        assert_eq!(count(&picture, RIGHT), 300 * (CELL[0] - 1) * (CELL[0] - 1));
    }
}
