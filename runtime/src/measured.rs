//! Scale and bias of a joint graph, measured: its logits are a line over its cosines.

use clip::zero_shot::Logits;
use clip::{ModelBundle, TokenIds};

use crate::side::{Asked, Half};
use crate::{ImageTower, TextTower};

/// The output of a joint graph that holds `exp(logit_scale) · cosine + logit_bias`.
const LOGITS: &str = "logits_per_image";

/// Texts whose cosines to a picture differ.
const TEXTS: [&str; 3] =
    ["a dog", "two red cars in the rain", "a map of the city, seen from above"];

/// Scale, and for a sigmoid model the bias, of a graph that holds both towers and gives logits as
/// well; `None` where it does not, or where they are no line over the cosines.
pub(crate) fn logits(image: &ImageTower, text: &TextTower, bundle: &ModelBundle) -> Option<Logits> {
    let half = text.half();
    let joint = half.inputs.pixels.is_some()
        && crate::side::locked(&half.graph).output_ports().iter().any(|port| port.name == LOGITS);
    if !joint {
        return None;
    }
    let mut points = Vec::with_capacity(TEXTS.len());
    for words in TEXTS {
        let ids = half.tokenizer.encode(words).ok()?;
        points.push(point(half, &image.half().output.name, &ids)?);
    }
    line(&points, bundle.rules.sigmoid)
}

/// (cosine, logit) of a text and a black picture.
fn point(half: &Half, image: &str, ids: &TokenIds) -> Option<(f64, f64)> {
    let batch = half.tokenizer.pad_batch(&[ids]);
    let outputs = [LOGITS, half.output.name.as_str(), image];
    let [logits, text, image] = half.run(&Asked::Text(&batch), outputs).ok()?;
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let length = dot(&text.data, &text.data).sqrt() * dot(&image.data, &image.data).sqrt();
    match logits.data.as_slice() {
        [logit] if length > 0.0 => Some((dot(&text.data, &image.data) / length, f64::from(*logit))),
        _ => None,
    }
}

/// Least spread of cosines that a line can be laid through, and the largest distance from it.
const SPREAD: f64 = 1e-3;
const OFF_THE_LINE: f64 = 0.05;

/// The line through (cosine, logit), by least squares; through the origin where there is no bias.
fn line(points: &[(f64, f64)], biased: bool) -> Option<Logits> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = if biased { (mean(|p| p.0), mean(|p| p.1)) } else { (0.0, 0.0) };
    let squares: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let products: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let slope = products / squares;
    let bias = y - slope * x;
    let off = points.iter().map(|p| (slope * p.0 + bias - p.1).abs()).fold(0.0, f64::max);
    let sound = squares.sqrt() > SPREAD && slope > 0.0 && off < OFF_THE_LINE;
    sound.then(|| Logits {
        logit_scale: slope.ln() as f32,
        logit_bias: biased.then_some(bias as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_the_points_is_found_and_what_is_none_is_not() {
        // 100 · cosine − 10
        let found = line(&[(0.1, 0.0), (0.2, 10.0), (0.15, 5.0)], true).unwrap();
        assert!((found.logit_scale - 100f32.ln()).abs() < 1e-4);
        assert!((found.logit_bias.unwrap() + 10.0).abs() < 1e-3);
        let plain = line(&[(0.1, 10.0), (0.2, 20.0)], false).unwrap();
        assert!((plain.logit_scale - 100f32.ln()).abs() < 1e-4 && plain.logit_bias.is_none());
        assert_eq!(line(&[(0.1, 10.0), (0.2, 10.0)], false), None);
        assert_eq!(line(&[(0.1, 10.0), (0.1, 10.0)], true), None);
        assert_eq!(line(&[(0.1, 3.0), (0.2, -20.0)], true), None);
    }
}
