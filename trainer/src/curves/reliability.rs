//! What `eval --reliability` draws: accuracy over confidence, as a model is and at a fitted temperature.

use std::path::Path;

use super::axis::Axis;
use super::canvas::{Area, Canvas, Color};
use super::panel::{self, Line, Panel};
use super::{BLUE, CurvesError, ORANGE, temperature_words, write};
use crate::eval::calibration::{BINS, Bin, Calibration, Reliability};

/// Width and height of the picture.
const SIZE: (u32, u32) = (1080, 480);

const GRAY: Color = [176, 181, 190];

/// Draws `calibration` as a PNG, which appears whole or not at all.
///
/// # Errors
/// [`CurvesError`], naming the file.
pub fn draw_reliability(calibration: &Calibration, picture: &Path) -> Result<(), CurvesError> {
    let (width, height) = (f64::from(SIZE.0), f64::from(SIZE.1));
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    let middle = width / 2.0;
    let area = |left, right| Area { left, top: 14.0, right, bottom: height - 8.0 };
    draw_half(&mut canvas, area(0.0, middle), "its own", &calibration.own);
    draw_half(&mut canvas, area(middle, width - 4.0), "fitted", &calibration.fitted);
    write(&canvas, picture)
}

fn draw_half(canvas: &mut Canvas, area: Area, whose: &str, at: &Reliability) {
    let pictures: usize = at.bins.iter().map(|bin| bin.pictures).sum();
    let filled: Vec<&Bin> = at.bins.iter().filter(|bin| bin.pictures > 0).collect();
    let share = |bin: &Bin| 100.0 * bin.pictures as f64 / pictures.max(1) as f64;
    let line = |name: &str, points, color, width, dots| {
        let name = name.to_owned();
        Line { name, points, color, width, dots }
    };
    let middle = |bin: &Bin| 100.0 * (bin.up_to - 0.5 / BINS as f64);
    let shares = at.bins.iter().map(|bin| (middle(bin), share(bin))).collect();
    let accuracy = filled.iter().map(|bin| (100.0 * bin.confidence, 100.0 * bin.accuracy));
    let lines = [
        line("pictures in the bin", shares, ORANGE, 1.5, false),
        line("as it should be", vec![(0.0, 0.0), (100.0, 100.0)], GRAY, 1.5, false),
        line("accuracy", accuracy.collect(), BLUE, 2.0, true),
    ];
    let title = format!(
        "temperature {} ({whose}): ECE {:.1} %",
        temperature_words(at.temperature),
        100.0 * at.expected_calibration_error
    );
    let per_cent = Axis::linear(0.0, 100.0);
    let panel = Panel {
        title: &title,
        lines: &lines,
        along: (per_cent, "confidence, %"),
        height: Some(per_cent),
        mark: None,
    };
    panel::draw(canvas, area, &panel);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::calibration::{Scores, calibration};
    use clip::image::{DecodeLimits, decode};

    #[test]
    fn both_halves_have_their_lines() {
        let rows = (0..90u8).map(|i| vec![f32::from(i) / 90.0, 0.0]).collect();
        let truth = (0..90usize).map(|i| usize::from(i % 3 == 0)).collect();
        let found = calibration(&Scores { rows, truth }, 0.05, 0).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.png");
        draw_reliability(&found, &file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let picture = decode(&bytes, &DecodeLimits::default()).unwrap().pixels;
        assert_eq!(picture.dimensions(), SIZE);
        for half in [0..SIZE.0 / 2, SIZE.0 / 2..SIZE.0] {
            for color in [BLUE, ORANGE, GRAY] {
                let pixels = picture.enumerate_pixels().filter(|pixel| pixel.2.0 == color);
                let count = pixels.filter(|(x, ..)| half.contains(x)).count();
                assert!(count > 20, "{color:?} in {half:?}: {count}");
            }
        }
        let lost = draw_reliability(&found, Path::new("nowhere/r.png")).unwrap_err();
        assert!(lost.to_string().contains("cannot write nowhere/r.png"), "{lost}");
    }
}
