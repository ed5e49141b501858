//! `curves.png`: the figures of a run over its steps, for a look in passing; and what `temperature`,
//! `eval` and `blend` draw.
//!
//! The curves are drawn from `metrics.jsonl` alone, so a resumed run has all of its past in them.
//! This room knows nothing of training.
//! Invariant: a picture that cannot be drawn never stops a run; it is told once.

mod axis;
mod blend;
mod canvas;
mod confusion;
mod panel;
mod reliability;
mod series;
mod sharpness;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clip::image::ImageFormat;

use crate::tensor_file::write_atomically;
use crate::watch::Watch;
use axis::Axis;
pub use blend::draw_blend;
use canvas::{Area, Canvas, Color};
pub use confusion::draw_confusion;
use panel::{Line, Panel};
pub use reliability::draw_reliability;
use series::{Metrics, smooth};
pub use sharpness::{draw_sharpness, temperature_words};

/// Width and height of the picture.
const SIZE: (u32, u32) = (1360, 900);

const BLUE: Color = [32, 94, 190];
const PALE_BLUE: Color = [178, 203, 238];
const ORANGE: Color = [217, 108, 24];
const GREEN: Color = [36, 140, 84];
const PURPLE: Color = [132, 76, 178];

/// The picture of one run.
#[derive(Debug)]
pub struct Curves {
    folder: PathBuf,
    told: bool,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// The figures cannot be read or the picture cannot be written.
    #[error("cannot {verb} {}", path.display())]
    System {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The picture cannot be encoded.
    #[error("cannot encode the picture: {reason}")]
    Encode {
        /// The encoder's words.
        reason: String,
    },
}

impl Curves {
    /// Of the run in `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), told: false }
    }

    /// Draws the picture anew; the first failure is told to `watch`.
    pub fn redraw(&mut self, watch: &mut dyn Watch) {
        let drawn = draw(&self.folder.join("metrics.jsonl"), &self.folder.join("curves.png"));
        if let Err(error) = drawn
            && !self.told
        {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let cause = cause.unwrap_or_default();
            watch.say(&format!("no curves.png, the training goes on: {error}{cause}"));
            self.told = true;
        }
    }
}

/// Draws the figures of a `metrics.jsonl` as a PNG, which appears whole or not at all.
///
/// # Errors
/// [`CurvesError`], naming the file.
pub fn draw(metrics: &Path, picture: &Path) -> Result<(), CurvesError> {
    let unread = |source| CurvesError::System { verb: "read", path: metrics.to_owned(), source };
    let text = std::fs::read_to_string(metrics).map_err(unread)?;
    write(&drawn(&Metrics::parse(&text)), picture)
}

/// Writes a picture whole or not at all.
fn write(canvas: &Canvas, picture: &Path) -> Result<(), CurvesError> {
    let mut bytes = Cursor::new(Vec::new());
    canvas
        .0
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| CurvesError::Encode { reason: error.to_string() })?;
    write_atomically(picture, &bytes.into_inner()).map_err(|source| CurvesError::System {
        verb: "write",
        path: picture.to_owned(),
        source,
    })
}

fn drawn(metrics: &Metrics) -> Canvas {
    let learned = |name: &str, pointer, color| {
        let (name, points) = (name.to_owned(), metrics.series(pointer, 1.0));
        Line { name, points, color, width: 2.0, dots: false }
    };
    let measured = |name: &str, pointer, color| {
        let (name, points) = (name.to_owned(), metrics.series(pointer, 100.0));
        Line { name, points, color, width: 2.0, dots: true }
    };
    let each = Line { width: 1.0, ..learned("each step", "/loss", PALE_BLUE) };
    let points = smooth(&each.points);
    let mean = Line { name: "average".to_owned(), points, color: BLUE, width: 2.0, dots: false };
    let held_out = vec![
        measured("R@1 text to image", "/recall_at_1", BLUE),
        measured("R@10 text to image", "/recall_at_10", GREEN),
        measured("R@10 image to text", "/image_to_text/recall_at_10", PURPLE),
        measured("top-1", "/top_1", ORANGE),
    ];
    let rank = learned("effective rank", "/effective_rank", BLUE);
    let scale = learned("scale", "/logit_scale", PURPLE);
    // A run that knows no words has neither recall nor a scale.
    let knows_words = !scale.points.is_empty();
    let diagrams = [
        ("loss", vec![each, mean]),
        if knows_words {
            ("held-out sets, %", held_out)
        } else {
            ("directions in use", vec![Line { dots: true, ..rank }])
        },
        ("highest learning rate", vec![learned("rate", "/learning_rate", GREEN)]),
        if knows_words {
            ("logit_scale (a log)", vec![scale])
        } else {
            ("spread of the embeddings, %", vec![measured("spread", "/embedding_std", PURPLE)])
        },
    ];
    let steps = metrics.series("/step", 1.0).into_iter().map(|(step, _)| step);
    let steps = Axis::around(steps.chain([0.0])).unwrap_or(Axis::linear(0.0, 1.0));
    let (width, height) = (f64::from(SIZE.0), f64::from(SIZE.1));
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    for (i, (title, lines)) in diagrams.iter().enumerate() {
        let (column, row) = ((i % 2) as f64, (i / 2) as f64);
        let (left, top) = (8.0 + column * width / 2.0, 18.0 + row * (height - 18.0) / 2.0);
        let (right, bottom) = (left + width / 2.0 - 16.0, top + (height - 18.0) / 2.0 - 12.0);
        let panel = Panel { title, lines, along: (steps, "step"), height: None, mark: None };
        panel::draw(&mut canvas, Area { left, top, right, bottom }, &panel);
    }
    canvas
}

#[cfg(test)]
mod tests {
    use super::*;
    use clip::image::{DecodeLimits, RgbImage, decode};

    /// Keeps what was said.
    struct Said(Vec<String>);

    impl Watch for Said {
        fn say(&mut self, sentence: &str) {
            self.0.push(sentence.to_owned());
        }

        fn progress(&mut self, _: &str, _: u64, _: u64, _: &str) {}
    }

    fn metrics(steps: u32) -> String {
        let line = |step: u32| {
            let x = f64::from(step);
            let mut text = format!(
                "{{\"step\":{step},\"loss\":{},\"learning_rate\":{},\"logit_scale\":2.6}}\n",
                3.0 / (1.0 + x / 50.0),
                1e-3 * x
            );
            if step.is_multiple_of(100) {
                text += &format!("{{\"step\":{step},\"recall_at_1\":{},\"top_1\":0.5}}\n", x / 1e3);
            }
            text
        };
        (1..=steps).map(line).collect()
    }

    fn picture(folder: &Path, text: &str) -> RgbImage {
        std::fs::write(folder.join("metrics.jsonl"), text).unwrap();
        Curves::of(folder).redraw(&mut Said(Vec::new()));
        let bytes = std::fs::read(folder.join("curves.png")).unwrap();
        decode(&bytes, &DecodeLimits::default()).unwrap().pixels
    }

    fn count(picture: &RgbImage, color: Color) -> usize {
        picture.pixels().filter(|pixel| pixel.0 == color).count()
    }

    #[test]
    fn every_figure_is_drawn_in_its_color_and_more_steps_change_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let short = picture(dir.path(), &metrics(300));
        assert_eq!(short.dimensions(), SIZE);
        for color in [BLUE, ORANGE, GREEN, PURPLE] {
            assert!(count(&short, color) > 100, "{color:?}");
        }
        assert_ne!(short, picture(dir.path(), &metrics(600)));
    }

    #[test]
    fn a_run_that_knows_no_words_shows_how_its_embeddings_lie() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step: u32| {
            format!(
                "{{\"step\":{step},\"loss\":1,\"effective_rank\":{step},\"embedding_std\":0.9}}\n"
            )
        };
        let text: String = (1..=30).map(line).collect();
        let drawn = picture(dir.path(), &text);
        assert!(count(&drawn, PURPLE) > 100);
        assert_ne!(drawn, picture(dir.path(), &text.replace("effective_rank", "other")));
    }

    #[test]
    fn a_run_without_a_figure_or_with_one_step_has_a_picture_too() {
        let dir = tempfile::tempdir().unwrap();
        let empty = picture(dir.path(), "");
        assert_eq!(count(&empty, BLUE), 0);
        assert!(count(&picture(dir.path(), &metrics(1)), BLUE) > 5);
    }

    #[test]
    fn a_picture_that_cannot_be_drawn_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut curves = Curves::of(&dir.path().join("nowhere"));
        let mut said = Said(Vec::new());
        curves.redraw(&mut said);
        curves.redraw(&mut said);
        assert_eq!(said.0.len(), 1);
        assert!(
            said.0[0].contains("metrics.jsonl") && said.0[0].contains("goes on"),
            "{said:?}",
            said = said.0
        );
    }
}
