//! A range of numbers along an edge, with round numbers to mark it by.

/// A range from `low` to `high`, `high` being the greater.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) scale: Scale,
}

/// What equal distances along an axis mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios; the range lies above 0.
    Log,
}

/// Decades that a logarithmic axis marks by 1, 2 and 5; longer ones by powers of ten alone.
const FINE_DECADES: f64 = 2.5;

impl Axis {
    /// From `low` to `high` by equal differences.
    pub(super) fn linear(low: f64, high: f64) -> Self {
        Self { low, high, scale: Scale::Linear }
    }

    /// From `low`, which is above 0, to `high` by equal ratios.
    pub(super) fn log(low: f64, high: f64) -> Self {
        Self { low, high, scale: Scale::Log }
    }

    /// Holds all of `values`; none for no finite value. A single value gets some room around it.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values = values.filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return None;
        }
        let room = if high > low { 0.0 } else { (low.abs() * 0.1).max(1e-9) };
        Some(Self::linear(low - room, high + room))
    }

    /// Wider by a share of its length at both ends, but not past zero where it lies on one side.
    pub(super) fn widened(self, share: f64) -> Self {
        let room = (self.high - self.low) * share;
        let low = if self.low >= 0.0 { (self.low - room).max(0.0) } else { self.low - room };
        Self { low, high: self.high + room, ..self }
    }

    /// Where a value lies, 0 at `low` and 1 at `high`.
    pub(super) fn share(self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        }
    }

    /// Round numbers within, with their words; on a linear axis at most `most` steps apart.
    pub(super) fn marks(self, most: u32) -> Vec<(f64, String)> {
        if self.scale == Scale::Log {
            return self.log_marks();
        }
        let step = round_step((self.high - self.low) / f64::from(most));
        let first = (self.low / step - 1e-9).ceil();
        let numbers = (0..=most).map(|i| (first + f64::from(i)) * step);
        let within = numbers.filter(|number| *number <= self.high + step * 1e-9);
        within.map(|number| (number, words(number, step))).collect()
    }

    fn log_marks(self) -> Vec<(f64, String)> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let fine = (self.high / self.low).log10() <= FINE_DECADES;
        let steps: &[f64] = if fine { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let numbers =
            (first..=last).flat_map(|power| steps.iter().map(move |m| m * 10f64.powi(power)));
        let within = numbers.filter(|n| (self.low * 0.999_999..=self.high * 1.000_001).contains(n));
        within.map(|number| (number, words(number, number))).collect()
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= least * 0.999_999)
        .unwrap_or(least)
}

/// A number with as many digits as its step needs.
fn words(number: f64, step: f64) -> String {
    if number.abs() < step / 2.0 {
        return "0".to_owned();
    }
    let digits = -step.log10().floor();
    if step < 1e-3 {
        let power = number.abs().log10().floor();
        let digits = (digits + power).max(0.0) as usize;
        let rounded = format!("{number:.digits$e}");
        return format!("{:e}", rounded.parse().unwrap_or(number));
    }
    if step >= 1000.0 {
        return format!("{}k", number / 1000.0);
    }
    format!("{number:.0$}", digits.max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(low: f64, high: f64) -> Vec<String> {
        Axis::linear(low, high).marks(5).into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn marks_are_round_and_lie_within() {
        assert_eq!(marks(0.0, 880.0), ["0", "200", "400", "600", "800"]);
        assert_eq!(marks(1.93, 3.1), ["2.0", "2.5", "3.0"]);
        assert_eq!(marks(0.0, 1e-3), ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]);
        assert_eq!(marks(0.0, 2.4e-5), ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]);
        assert_eq!(marks(0.0, 25_000.0), ["0", "5k", "10k", "15k", "20k", "25k"]);
        assert_eq!(marks(-0.4, 0.3), ["-0.4", "-0.2", "0", "0.2"]);
    }

    #[test]
    fn a_logarithmic_axis_is_marked_by_powers_of_ten_and_where_it_is_short_between_them() {
        let words = |low, high| -> Vec<String> {
            Axis::log(low, high).marks(5).into_iter().map(|(_, words)| words).collect()
        };
        assert_eq!(words(0.01, 1.0), ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(words(1.0, 31_000.0), ["1", "10", "100", "1k", "10k"]);
        assert_eq!(words(3e-5, 1.0), ["1e-4", "0.001", "0.01", "0.1", "1"]);
        let axis = Axis::log(0.01, 1.0);
        assert!((axis.share(0.1) - 0.5).abs() < 1e-12 && axis.share(1.0) == 1.0);
    }

    #[test]
    fn an_axis_holds_its_values_and_leaves_out_what_is_no_number() {
        let axis = Axis::around([2.0, f64::NAN, 1.0, f64::INFINITY].into_iter()).unwrap();
        assert_eq!((axis.low, axis.high), (1.0, 2.0));
        assert_eq!(axis.share(1.5), 0.5);
        assert_eq!(Axis::around([f64::NAN].into_iter()), None);
        let one = Axis::around([5.0].into_iter()).unwrap();
        assert!(one.low < 5.0 && one.high > 5.0);
        let zero = Axis::around([0.0].into_iter()).unwrap();
        assert!(!zero.marks(5).is_empty());
        assert_eq!(Axis::linear(0.1, 2.1).widened(0.1).low, 0.0);
    }
}
