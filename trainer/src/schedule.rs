//! The learning rate over the steps, as a share of its top: pure functions of the step.

use crate::recipe::Schedule;

/// The share at `step`, counted from 0, of `total_steps`: a linear warm-up, then what `schedule` says.
///
/// The answer lies between 0 and 1. The first warm-up step is not zero, so no step is wasted, and
/// neither is the last of `total_steps`.
///
/// - `cosine`: half a cosine down to zero (Loshchilov and Hutter 2017, equation 5, without restarts).
/// - `linear`: a straight line down to zero.
/// - `constant`: 1.
/// - `step`: `factor` to the power of the moments `at` that have passed; these are shares of
///   `total_steps`, the warm-up counted in.
#[must_use]
pub fn share(schedule: &Schedule, step: u64, warmup_steps: u64, total_steps: u64) -> f64 {
    if step < warmup_steps {
        return (step + 1) as f64 / warmup_steps as f64;
    }
    let falling = total_steps.saturating_sub(warmup_steps).max(1);
    let progress = ((step - warmup_steps) as f64 / falling as f64).min(1.0);
    match schedule {
        Schedule::Cosine {} => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        Schedule::Linear {} => 1.0 - progress,
        Schedule::Constant {} => 1.0,
        Schedule::Step { at, factor } => {
            let done = step as f64 / total_steps.max(1) as f64;
            let passed = at.iter().filter(|moment| done >= **moment).count();
            factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: Schedule = Schedule::Cosine {};

    #[test]
    fn rises_linearly_then_falls_as_a_cosine() {
        let at = |step| share(&COSINE, step, 4, 12);
        assert_eq!([at(0), at(1), at(3)], [0.25, 0.5, 1.0]);
        assert_eq!(at(4), 1.0);
        assert!((at(8) - 0.5).abs() < 1e-12);
        assert!((at(6) - 0.853_553_390_593).abs() < 1e-9);
        assert!(at(11) > 0.0 && at(11) < 0.05);
        assert_eq!(at(12), 0.0);
        assert_eq!(at(500), 0.0);
    }

    #[test]
    fn works_without_warmup_and_with_nothing_but_warmup() {
        assert_eq!(share(&COSINE, 0, 0, 10), 1.0);
        assert_eq!(share(&COSINE, 4, 5, 5), 1.0);
        assert_eq!(share(&COSINE, 5, 5, 5), 1.0);
        assert_eq!(share(&COSINE, 0, 0, 0), 1.0);
    }

    #[test]
    fn falls_along_a_line_or_not_at_all() {
        let line = [0, 2, 3, 7, 11].map(|step| share(&Schedule::Linear {}, step, 2, 12));
        for (found, expected) in line.into_iter().zip([0.5, 1.0, 0.9, 0.5, 0.1]) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        let flat = [0, 1, 5, 11].map(|step| share(&Schedule::Constant {}, step, 2, 12));
        assert_eq!(flat, [0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn falls_in_steps_at_shares_of_the_whole() {
        let schedule = Schedule::Step { at: vec![0.5, 0.75], factor: 0.1 };
        let at = |step| share(&schedule, step, 4, 20);
        assert_eq!([at(1), at(4), at(9)], [0.5, 1.0, 1.0]);
        assert_eq!([at(10), at(14)], [0.1, 0.1]);
        assert!((at(15) - 0.01).abs() < 1e-15 && at(19) == at(15));
    }
}
