//! Whether zero-shot probabilities mean what they say, as they are and at a temperature that is fitted
//! on pictures which are then not measured.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::bootstrap::{Bootstrap, Interval, mean};

/// Bins of equal width (Guo et al. 2017, section 5).
pub const BINS: usize = 15;

/// Temperatures among which the best is sought; where all pictures are right, colder is always better.
const TEMPERATURES: [f64; 2] = [1e-4, 1e3];

/// Halvings of their range, which leave less than f64 tells apart.
const HALVINGS: usize = 64;

/// The cosines of pictures with all classes.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// One row a picture, one cosine a class.
    pub rows: Vec<Vec<f32>>,
    /// Each picture's class.
    pub truth: Vec<usize>,
}

/// The reliability of the model's own probabilities, and of those at a fitted temperature, on the same
/// half of the pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Pictures of the half that the temperature was fitted on.
    pub fitted_on: usize,
    /// Pictures of the other half, which everything else is about.
    pub measured_on: usize,
    /// At the model's own temperature, 1 / e^`logit_scale`.
    pub own: Reliability,
    /// At the fitted one.
    pub fitted: Reliability,
}

/// How far confidence and accuracy lie apart at a temperature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// What the cosines are divided by before the softmax.
    pub temperature: f64,
    /// Mean distance of the bins' accuracy from their confidence (Guo et al. 2017, equation 3).
    pub expected_calibration_error: f64,
    /// Where 95 % of the bootstrap's draws lie.
    pub expected_calibration_error_interval: Interval,
    /// Mean of -ln p of the right class.
    pub negative_log_likelihood: f64,
    /// Where 95 % of the bootstrap's draws lie.
    pub negative_log_likelihood_interval: Interval,
    /// By confidence.
    pub bins: Vec<Bin>,
}

/// Pictures with confidences in a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// The end of the range, which belongs to it; it begins a fifteenth below.
    pub up_to: f64,
    /// Pictures in it.
    pub pictures: usize,
    /// Mean of their confidences; 0 where there is none.
    pub confidence: f64,
    /// Share of them that are right; 0 where there is none.
    pub accuracy: f64,
}

/// Fits a temperature on one half of the pictures, drawn by `seed`, and measures it and `own` on the
/// other. None for fewer than two pictures.
#[must_use]
pub fn calibration(scores: &Scores, own: f64, seed: u64) -> Option<Calibration> {
    let mut order: Vec<usize> = (0..scores.rows.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (fitting, measured) = order.split_at(order.len() / 2);
    if fitting.is_empty() {
        return None;
    }
    let (fitting, measured) = (scores.of(fitting), scores.of(measured));
    let at = |temperature| reliability(&measured, temperature, seed);
    Some(Calibration {
        fitted_on: fitting.rows.len(),
        measured_on: measured.rows.len(),
        own: at(own),
        fitted: at(fitted_temperature(&fitting)),
    })
}

/// The temperature with the lowest negative log-likelihood (Guo et al. 2017, section 4.2).
///
/// Over the inverse temperature β it is convex, and its slope is the mean over pictures of the
/// expected cosine under softmax(β cosines) less the right class's: where it crosses zero is found by
/// halving on a logarithmic scale.
#[must_use]
pub fn fitted_temperature(scores: &Scores) -> f64 {
    let [mut cold, mut hot] = TEMPERATURES.map(f64::ln);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(cold, hot);
        let slope: f64 = scores.pairs().map(|(row, truth)| slope(row, truth, middle.exp())).sum();
        // Falling still as β grows, or by less than f64 tells: the best is colder.
        if slope <= 0.0 { hot = middle } else { cold = middle }
    }
    f64::midpoint(cold, hot).exp()
}

/// Measures `scores` at `temperature`.
#[must_use]
pub fn reliability(scores: &Scores, temperature: f64, seed: u64) -> Reliability {
    let pictures: Vec<Judged> =
        scores.pairs().map(|(row, truth)| Judged::of(row, truth, temperature)).collect();
    let losses: Vec<f64> = pictures.iter().map(|picture| -picture.log_probability).collect();
    let [error_interval, loss_interval] = Bootstrap::new(pictures.len(), seed).intervals(|times| {
        [expected_calibration_error(&binned(&pictures, times)), mean(&losses, times)]
    });
    let once = vec![1.0; pictures.len()];
    let bins = binned(&pictures, &once);
    Reliability {
        temperature,
        expected_calibration_error: expected_calibration_error(&bins),
        expected_calibration_error_interval: error_interval,
        negative_log_likelihood: mean(&losses, &once),
        negative_log_likelihood_interval: loss_interval,
        bins: (1..).zip(&bins).map(|(number, sums)| sums.bin(number)).collect(),
    }
}

impl Scores {
    fn of(&self, pictures: &[usize]) -> Self {
        Self {
            rows: pictures.iter().map(|&picture| self.rows[picture].clone()).collect(),
            truth: pictures.iter().map(|&picture| self.truth[picture]).collect(),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&[f32], usize)> {
        self.rows.iter().map(Vec::as_slice).zip(self.truth.iter().copied())
    }
}

/// What the model says of a picture.
struct Judged {
    /// Its highest probability.
    confidence: f64,
    /// Whether the right class has it, alone: a tie counts against the model.
    right: bool,
    /// ln p of the right class.
    log_probability: f64,
}

impl Judged {
    fn of(row: &[f32], truth: usize, temperature: f64) -> Self {
        let (best, sum) = softmax_sum(row, temperature);
        let own = row[truth];
        let rivals = row.iter().enumerate().filter(|(class, _)| *class != truth);
        Self {
            confidence: 1.0 / sum,
            right: rivals.into_iter().all(|(_, score)| *score < own),
            log_probability: f64::from(own - best) / temperature - sum.ln(),
        }
    }
}

/// The highest of `row`, and the sum of exp((score - highest) / temperature).
fn softmax_sum(row: &[f32], temperature: f64) -> (f32, f64) {
    let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (best, row.iter().map(|score| (f64::from(score - best) / temperature).exp()).sum())
}

/// The slope of -ln p of the right class over 1 / temperature.
fn slope(row: &[f32], truth: usize, temperature: f64) -> f64 {
    let (best, sum) = softmax_sum(row, temperature);
    let weighted = |score: &f32| {
        let below = f64::from(score - best);
        below * (below / temperature).exp()
    };
    row.iter().map(weighted).sum::<f64>() / sum - f64::from(row[truth] - best)
}

/// Sums over the pictures of a bin.
#[derive(Clone, Copy, Default)]
struct Sums {
    pictures: f64,
    confidence: f64,
    right: f64,
}

/// Bins of pictures that come so often.
fn binned(pictures: &[Judged], times: &[f64]) -> [Sums; BINS] {
    let mut bins = [Sums::default(); BINS];
    for (picture, times) in pictures.iter().zip(times) {
        let bin = ((picture.confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].pictures += times;
        bins[bin].confidence += times * picture.confidence;
        bins[bin].right += if picture.right { *times } else { 0.0 };
    }
    bins
}

fn expected_calibration_error(bins: &[Sums]) -> f64 {
    let pictures: f64 = bins.iter().map(|bin| bin.pictures).sum();
    let distances: f64 = bins.iter().map(|bin| (bin.right - bin.confidence).abs()).sum();
    if pictures > 0.0 { distances / pictures } else { 0.0 }
}

impl Sums {
    fn bin(&self, number: u32) -> Bin {
        let mean = |sum: f64| if self.pictures > 0.0 { sum / self.pictures } else { 0.0 };
        Bin {
            up_to: f64::from(number) / BINS as f64,
            pictures: self.pictures as usize,
            confidence: mean(self.confidence),
            accuracy: mean(self.right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes whose cosines differ by `gap`; the first is right as `right` says.
    fn picture(gap: f32, right: bool) -> (Vec<f32>, usize) {
        (vec![gap, 0.0], usize::from(!right))
    }

    fn scores(pictures: impl IntoIterator<Item = (Vec<f32>, usize)>) -> Scores {
        let (rows, truth) = pictures.into_iter().unzip();
        Scores { rows, truth }
    }

    #[test]
    fn the_error_is_the_mean_distance_of_accuracy_from_confidence() {
        // Confidence e^ln(4) / (e^ln(4) + 1) = 0.8 in bin 12 of 15 (0.733, 0.8], half of four right;
        // confidence 1/2 in bin 8 (0.467, 0.533], a tie that counts as wrong.
        let sure = |right| picture(4f32.ln(), right);
        let scores = scores([sure(true), sure(false), sure(true), sure(false), picture(0.0, true)]);
        let found = reliability(&scores, 1.0, 0);
        let expected = (4.0 * (0.8 - 0.5) + 0.5) / 5.0;
        assert!((found.expected_calibration_error - expected).abs() < 1e-6, "{found:?}");
        let filled: Vec<usize> = found.bins.iter().map(|bin| bin.pictures).collect();
        assert_eq!(filled.iter().sum::<usize>(), 5);
        assert_eq!(filled[7], 1);
        let nll = -(2.0 * 0.8f64.ln() + 2.0 * 0.2f64.ln() + 0.5f64.ln()) / 5.0;
        assert!((found.negative_log_likelihood - nll).abs() < 1e-6, "{found:?}");
        let [low, high] = found.expected_calibration_error_interval;
        assert!(low <= expected && expected <= high, "{low} {high}");
    }

    #[test]
    fn the_fitted_temperature_makes_confidence_meet_accuracy() {
        // Three of four are right at a gap of 1: the best p is 3/4, at 1 / temperature = ln 3.
        let four = (0..4).map(|i| picture(1.0, i > 0));
        let found = fitted_temperature(&scores(four));
        assert!((found - 1.0 / 3f64.ln()).abs() < 1e-9, "{found}");
        let certain = fitted_temperature(&scores([picture(1.0, true)]));
        assert!((certain / TEMPERATURES[0] - 1.0).abs() < 1e-9, "{certain}");
        let hopeless = fitted_temperature(&scores([picture(1.0, false)]));
        assert!((hopeless / TEMPERATURES[1] - 1.0).abs() < 1e-9, "{hopeless}");
    }

    #[test]
    fn a_model_that_is_too_sure_is_calibrated_on_pictures_that_it_was_not_fitted_on() {
        let many = (0..4000u16).map(|i| picture(1.0, i % 4 > 0));
        let found = calibration(&scores(many), 0.1, 7).unwrap();
        assert_eq!((found.fitted_on, found.measured_on), (2000, 2000));
        assert!(found.own.expected_calibration_error > 0.2, "{found:?}");
        assert!(found.fitted.expected_calibration_error < 0.06, "{found:?}");
        assert!(found.fitted.negative_log_likelihood < found.own.negative_log_likelihood);
        assert_eq!(calibration(&scores([picture(1.0, true)]), 0.1, 7), None);
    }
}
