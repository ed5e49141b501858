//! `metrics.jsonl` as series of points.

use serde_json::Value;

/// A figure over the steps: (step, value), steps rising.
pub(super) type Points = Vec<(f64, f64)>;

/// The lines of a `metrics.jsonl`.
pub(super) struct Metrics(Vec<Value>);

impl Metrics {
    /// Reads the text of the file; a line that is no JSON is left out.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// All values of the figure at a JSON pointer, times `unit`.
    pub(super) fn series(&self, pointer: &str, unit: f64) -> Points {
        let point = |line: &Value| {
            let value = line.pointer(pointer)?.as_f64()? * unit;
            Some((line.get("step")?.as_f64()?, value)).filter(|_| value.is_finite())
        };
        self.0.iter().filter_map(point).collect()
    }
}

/// Each value as the mean of its neighbors, about a hundredth of all on either side, fewer near the
/// ends so that none weighs more there.
pub(super) fn smooth(points: &[(f64, f64)]) -> Points {
    let mut sums = vec![0.0];
    points.iter().for_each(|point| sums.push(sums[sums.len() - 1] + point.1));
    let mean = |(i, &(x, _)): (usize, &(f64, f64))| {
        let reach = (points.len() / 100).min(i).min(points.len() - 1 - i);
        let (from, to) = (i - reach, i + reach + 1);
        (x, (sums[to] - sums[from]) / (to - from) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

/// At most `most` points, each the mean of its neighbors where there are more.
pub(super) fn thin(points: &[(f64, f64)], most: usize) -> Points {
    let size = points.len().div_ceil(most.max(1)).max(1);
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(size).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_pointer_and_gaps_are_left_out() {
        let text = "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"loss\":null}\n{\"step\":2,\"i\":{\"r\":0.5}}\n{\"st";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.series("/loss", 1.0), [(1.0, 2.0)]);
        assert_eq!(metrics.series("/i/r", 100.0), [(2.0, 50.0)]);
        assert!(metrics.series("/other", 1.0).is_empty());
    }

    #[test]
    fn few_points_stay_as_they_are_and_a_constant_stays_constant() {
        let few = [(1.0, 3.0), (2.0, 1.0)];
        assert_eq!(smooth(&few), few);
        assert_eq!(thin(&few, 10), few);
        let flat: Points = (0..500).map(|i| (f64::from(i), 2.0)).collect();
        assert!(smooth(&flat).iter().all(|(_, y)| (y - 2.0).abs() < 1e-9));
        let thinned = thin(&flat, 100);
        assert_eq!((thinned.len(), thinned[0]), (100, (2.0, 2.0)));
    }

    #[test]
    fn the_average_follows_the_points_and_flattens_their_noise() {
        let noisy: Points = (0..1000)
            .map(|i| (f64::from(i), f64::from(1000 - i) + f64::from(i % 2) * 50.0))
            .collect();
        let smooth = smooth(&noisy);
        let jumps = |points: &[(f64, f64)]| {
            points.windows(2).map(|p| (p[1].1 - p[0].1).abs()).fold(0.0, f64::max)
        };
        assert!(jumps(&smooth[10..990]) < 0.2 * jumps(&noisy));
        // Halfway up the noise of ± 25, with no lag behind a slope of one a step.
        assert!((smooth[500].1 - 525.0).abs() < 5.0, "{}", smooth[500].1);
    }
}
