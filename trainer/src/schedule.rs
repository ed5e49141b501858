//! The learning rate over the steps, as a share of its top.

/// Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017, equation 5, without
/// restarts).
///
/// `step` counts from 0; the answer lies between 0 and 1. The first warm-up step is not zero, so no
/// step is wasted, and the last step of `total` is just above zero.
#[must_use]
pub fn warmup_cosine(step: u64, warmup_steps: u64, total_steps: u64) -> f64 {
    if step < warmup_steps {
        return (step + 1) as f64 / warmup_steps as f64;
    }
    let falling = total_steps.saturating_sub(warmup_steps).max(1);
    let progress = ((step - warmup_steps) as f64 / falling as f64).min(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::warmup_cosine;

    #[test]
    fn rises_linearly_then_falls_as_a_cosine() {
        let at = |step| warmup_cosine(step, 4, 12);
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
        assert_eq!(warmup_cosine(0, 0, 10), 1.0);
        assert_eq!(warmup_cosine(4, 5, 5), 1.0);
        assert_eq!(warmup_cosine(5, 5, 5), 1.0);
        assert_eq!(warmup_cosine(0, 0, 0), 1.0);
    }
}
