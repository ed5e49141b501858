//! What `temperature` draws: how much of the probability the first ranks take at each temperature, and
//! what becomes of the right picture.

use std::path::Path;

use super::axis::Axis;
use super::canvas::{Area, Canvas, Color};
use super::panel::{self, INK, Line, Panel};
use super::{BLUE, CurvesError, ORANGE, write};
use crate::eval::{Sharpness, SharpnessFigures};

/// Width and height of the picture.
const SIZE: (u32, u32) = (1080, 440);

/// Where the left diagram ends.
const MIDDLE: f64 = 620.0;

/// The lowest probability that is drawn.
const FLOOR: f64 = 1e-5;

/// From the sharpest to the flattest; colors between them are mixed.
const COLORS: [Color; 5] =
    [[32, 60, 160], [22, 140, 160], [60, 150, 70], [217, 130, 24], [190, 40, 50]];

/// Draws `figures` as a PNG, which appears whole or not at all; `own` is the model's temperature.
///
/// # Errors
/// [`CurvesError`], naming the file.
pub fn draw_sharpness(
    figures: &SharpnessFigures,
    own: Option<f64>,
    picture: &Path,
) -> Result<(), CurvesError> {
    let (width, height) = (f64::from(SIZE.0), f64::from(SIZE.1));
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    let area = |left, right| Area { left, top: 14.0, right, bottom: height - 8.0 };
    draw_ranks(&mut canvas, area(0.0, MIDDLE), figures, own);
    draw_shares(&mut canvas, area(MIDDLE, width - 4.0), figures, own);
    write(&canvas, picture)
}

/// A temperature in three digits, as a table and the picture say it.
#[must_use]
pub fn temperature_words(temperature: f64) -> String {
    let digits = (2.0 - temperature.log10().floor()).max(0.0) as usize;
    let words = format!("{temperature:.digits$}");
    if !words.contains('.') {
        return words;
    }
    words.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Probability by rank, one line a temperature.
fn draw_ranks(canvas: &mut Canvas, area: Area, figures: &SharpnessFigures, own: Option<f64>) {
    let last = figures.at.len().saturating_sub(1).max(1) as f64;
    let line = |(place, at): (usize, &Sharpness)| {
        let is_own = Some(at.temperature) == own;
        let words = temperature_words(at.temperature);
        let points = at.by_rank.iter().filter(|(_, probability)| *probability >= FLOOR);
        Line {
            name: if is_own { format!("{words} (its own)") } else { words },
            points: points.map(|&(rank, probability)| (rank as f64, probability)).collect(),
            color: if is_own { INK } else { mixed(place as f64 / last) },
            width: if is_own { 3.0 } else { 2.0 },
            dots: false,
        }
    };
    let lines: Vec<Line> = figures.at.iter().enumerate().map(line).collect();
    let panel = Panel {
        title: "probability of the picture at each rank, by temperature",
        lines: &lines,
        along: (Axis::log(1.0, figures.pictures.max(2) as f64), "rank"),
        height: Some(Axis::log(FLOOR, 1.0)),
        mark: None,
    };
    panel::draw(canvas, area, &panel);
}

/// The right picture's probability and the entropy over the temperatures.
fn draw_shares(canvas: &mut Canvas, area: Area, figures: &SharpnessFigures, own: Option<f64>) {
    let line = |name: &str, color, share: fn(&Sharpness) -> f64| {
        let points = figures.at.iter().map(|at| (at.temperature, 100.0 * share(at))).collect();
        Line { name: name.to_owned(), points, color, width: 2.0, dots: true }
    };
    let lines = [
        line("right picture", BLUE, |at| at.probability),
        line("entropy, of ln N", ORANGE, |at| at.entropy),
    ];
    let temperatures = Axis::around(figures.at.iter().map(|at| at.temperature));
    let along = temperatures.map_or(Axis::log(0.01, 1.0), |axis| Axis::log(axis.low, axis.high));
    let panel = Panel {
        title: "per cent, over the temperatures",
        lines: &lines,
        along: (along, "temperature"),
        height: Some(Axis::linear(0.0, 100.0)),
        mark: own.map(|own| (own, "its own".to_owned())),
    };
    panel::draw(canvas, area, &panel);
}

/// The color at a share of the way along [`COLORS`].
fn mixed(share: f64) -> Color {
    let at = share.clamp(0.0, 1.0) * (COLORS.len() - 1) as f64;
    let first = (at.floor() as usize).min(COLORS.len() - 2);
    let part = at - first as f64;
    std::array::from_fn(|channel| {
        let [low, high] = [first, first + 1].map(|color| f64::from(COLORS[color][channel]));
        (low + (high - low) * part).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clip::image::{DecodeLimits, decode};

    fn at(temperature: f64) -> Sharpness {
        let by_rank = (1..=50usize).map(|rank| (rank, 0.5 * (-temperature).exp() / rank as f64));
        let by_rank = by_rank.collect();
        let (probability, entropy, effective_pictures) = (0.4, 0.6, 9.0);
        Sharpness { temperature, probability, entropy, effective_pictures, by_rank }
    }

    fn figures(temperatures: &[f64]) -> SharpnessFigures {
        let at = temperatures.iter().copied().map(at).collect();
        let set = "set".to_owned();
        SharpnessFigures { set, pictures: 50, captions: 250, unusable: Vec::new(), at }
    }

    #[test]
    fn every_temperature_has_its_color_and_the_models_own_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.png");
        draw_sharpness(&figures(&[0.01, 0.1, 1.0]), Some(0.1), &file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let picture = decode(&bytes, &DecodeLimits::default()).unwrap().pixels;
        assert_eq!(picture.dimensions(), SIZE);
        let count = |color: Color| picture.pixels().filter(|pixel| pixel.0 == color).count();
        for color in [COLORS[0], COLORS[4], INK, BLUE, ORANGE] {
            assert!(count(color) > 30, "{color:?}");
        }
    }

    #[test]
    fn one_temperature_and_one_picture_can_be_drawn_too() {
        let dir = tempfile::tempdir().unwrap();
        let alone = SharpnessFigures { pictures: 1, ..figures(&[0.07]) };
        draw_sharpness(&alone, None, &dir.path().join("t.png")).unwrap();
    }

    #[test]
    fn temperatures_are_told_in_three_digits() {
        let words = [0.01, 0.07, 0.012_34, 0.5, 1.0, 12.5, 100.0].map(temperature_words);
        assert_eq!(words, ["0.01", "0.07", "0.0123", "0.5", "1", "12.5", "100"]);
    }

    #[test]
    fn colors_are_mixed_between_their_neighbors() {
        assert_eq!((mixed(0.0), mixed(1.0)), (COLORS[0], COLORS[4]));
        assert_eq!(mixed(0.125), [27, 100, 160]);
    }
}
