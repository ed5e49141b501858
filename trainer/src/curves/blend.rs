//! What `blend` draws: what is won and what is kept along the line from a run's start to its end.

use std::path::Path;

use super::axis::Axis;
use super::canvas::{Area, Canvas};
use super::panel::{self, Line, Panel};
use super::{BLUE, CurvesError, GREEN, ORANGE, PURPLE, write};
use crate::blend::Point;

/// Width and height of the picture.
const SIZE: (u32, u32) = (760, 480);

/// Draws `points`, marked at the share that is recommended, as a PNG, which appears whole or not at all.
///
/// # Errors
/// [`CurvesError`], naming the file.
pub fn draw_blend(points: &[Point], recommended: f64, picture: &Path) -> Result<(), CurvesError> {
    let (right, bottom) = (f64::from(SIZE.0) - 4.0, f64::from(SIZE.1) - 8.0);
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    let line = |name: &str, color, value: fn(&Point) -> f64| {
        let points = points.iter().map(|point| (point.share, 100.0 * value(point))).collect();
        Line { name: name.to_owned(), points, color, width: 2.0, dots: true }
    };
    let lines = [
        line("top-1", ORANGE, |point| point.top_1),
        line("R@10 text to image", GREEN, |point| point.recall_at_10),
        line("R@10 image to text", PURPLE, |point| point.image_to_text_recall_at_10),
        line("mean", BLUE, Point::mean),
    ];
    let panel = Panel {
        title: "what is won and what is kept, %",
        lines: &lines,
        along: (Axis::linear(0.0, 1.0), "share of the end"),
        height: None,
        mark: Some((recommended, format!("{recommended}"))),
    };
    panel::draw(&mut canvas, Area { left: 0.0, top: 14.0, right, bottom }, &panel);
    write(&canvas, picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clip::image::{DecodeLimits, decode};

    #[test]
    fn every_figure_has_its_line() {
        let points: Vec<Point> = [0.0, 0.5, 1.0]
            .map(|share| Point {
                share,
                top_1: 0.3 + share / 2.0,
                recall_at_10: 0.6 - share / 10.0,
                image_to_text_recall_at_10: 0.7 - share / 5.0,
            })
            .into();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.png");
        draw_blend(&points, 0.5, &file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let picture = decode(&bytes, &DecodeLimits::default()).unwrap().pixels;
        assert_eq!(picture.dimensions(), SIZE);
        for color in [BLUE, GREEN, ORANGE, PURPLE] {
            let count = picture.pixels().filter(|pixel| pixel.0 == color).count();
            assert!(count > 100, "{color:?}: {count}");
        }
    }
}
