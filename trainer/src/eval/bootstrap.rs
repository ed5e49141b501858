//! How far a figure would scatter over other pictures of the same kind: the bootstrap.
//!
//! Pictures are drawn, with what belongs to them (all captions of a picture come along): two captions
//! of one picture are no two observations. Only what is asked is drawn anew, never what is chosen
//! from: the gallery of a search, the classes and the training set of a probe stay as they are.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws of as many pictures as there are, with replacement.
const DRAWS: u64 = 1000;

/// Shares of the draws below and up to the ends of an interval: 95 % lie within.
const ENDS: [f64; 2] = [0.025, 0.975];

/// Where 95 % of the draws' figures lie.
pub type Interval = [f64; 2];

/// The draws of a number of pictures; the same for the same seed.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    pictures: usize,
    seed: u64,
}

impl Bootstrap {
    /// Of so many pictures.
    #[must_use]
    pub fn new(pictures: usize, seed: u64) -> Self {
        Self { pictures, seed }
    }

    /// How often each picture comes in each draw, one draw after the other.
    pub fn draws(self) -> impl Iterator<Item = Vec<f64>> {
        (0..DRAWS).map(move |draw| {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(draw);
            let mut times = vec![0.0; self.pictures];
            for _ in 0..self.pictures {
                times[random.random_range(0..self.pictures)] += 1.0;
            }
            times
        })
    }

    /// Percentile intervals (Efron and Tibshirani 1993, section 13.3) of what `figures` computes of
    /// pictures that come so often.
    pub fn intervals<const K: usize>(
        self,
        mut figures: impl FnMut(&[f64]) -> [f64; K],
    ) -> [Interval; K] {
        let found: Vec<[f64; K]> = self.draws().map(|times| figures(&times)).collect();
        std::array::from_fn(|which| {
            percentiles(found.iter().map(|figures| figures[which]).collect())
        })
    }
}

/// The ends of the middle 95 % of `values`, between neighbors in proportion (as numpy's
/// `percentile`); what is no number is left out.
#[must_use]
pub fn percentiles(mut values: Vec<f64>) -> Interval {
    values.retain(|value| value.is_finite());
    values.sort_unstable_by(f64::total_cmp);
    ENDS.map(|share| {
        let at = share * values.len().saturating_sub(1) as f64;
        let (below, above) = (at.floor() as usize, at.ceil() as usize);
        match (values.get(below), values.get(above)) {
            (Some(low), Some(high)) => low + (high - low) * (at - at.floor()),
            _ => f64::NAN,
        }
    })
}

/// The mean of `values` that come so often.
#[must_use]
pub fn mean(values: &[f64], times: &[f64]) -> f64 {
    let sum: f64 = values.iter().zip(times).map(|(value, times)| value * times).sum();
    sum / times.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbors_in_proportion() {
        // numpy.percentile(range(101), [2.5, 97.5]) and of [0, 1, 2, 3]
        assert_eq!(percentiles((0..=100u8).map(f64::from).collect()), [2.5, 97.5]);
        let [low, high] = percentiles(vec![3.0, 1.0, f64::NAN, 0.0, 2.0]);
        assert!((low - 0.075).abs() < 1e-12 && (high - 2.925).abs() < 1e-12);
        assert!(percentiles(Vec::new())[0].is_nan());
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_its_binomial() {
        // 400 pictures, half of them right: sqrt(0.25 / 400) = 0.025 is the deviation.
        let right: Vec<f64> = (0..400u16).map(|i| f64::from(i % 2)).collect();
        let [[low, high]] = Bootstrap::new(400, 0).intervals(|times| [mean(&right, times)]);
        assert!((low - (0.5 - 1.96 * 0.025)).abs() < 0.006, "{low}");
        assert!((high - (0.5 + 1.96 * 0.025)).abs() < 0.006, "{high}");
    }

    #[test]
    fn the_same_seed_draws_the_same_and_each_draw_is_another() {
        let draws = |seed| Bootstrap::new(50, seed).draws().take(2).collect::<Vec<_>>();
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(draws(1)[0], draws(1)[1]);
        assert!(draws(1).iter().all(|times| times.iter().sum::<f64>() == 50.0));
    }
}
