//! The dot product of two rows: the whole cost of an exact scan.
//! With AVX2 and FMA where the processor has them (asked once, at run time), in plain code elsewhere.

/// A dot product over rows of equal length, a multiple of [`LANES`].
pub(super) type Dot = fn(&[f32], &[f32]) -> f32;

/// Rows are padded with zeros to a multiple of this.
pub(super) const LANES: usize = 8;

/// The fastest dot product that this processor runs.
pub(super) fn fastest() -> Dot {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        return x86::dot;
    }
    portable
}

/// Eight sums side by side, which the compiler keeps in whatever vector registers there are.
pub(super) fn portable(a: &[f32], b: &[f32]) -> f32 {
    let (a, _) = a.as_chunks::<LANES>();
    let (b, _) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
        _mm256_storeu_ps,
    };

    use super::LANES;

    /// Must only be handed out where AVX2 and FMA were detected.
    #[expect(unsafe_code, reason = "calls code for processor features that `fastest` has detected")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: `fastest` is the only one to name this function, after it found AVX2 and FMA.
        unsafe { dot_avx2(a, b) }
    }

    /// Four independent sums of eight lanes hide the latency of the multiply-add.
    #[target_feature(enable = "avx2,fma")]
    fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
        let (a, _) = a.as_chunks::<LANES>();
        let (b, _) = b.as_chunks::<LANES>();
        let mut sums = [_mm256_setzero_ps(); 4];
        let (a4, a1) = a.as_chunks::<4>();
        let (b4, b1) = b.as_chunks::<4>();
        for (a, b) in a4.iter().zip(b4) {
            for i in 0..4 {
                sums[i] = _mm256_fmadd_ps(load(&a[i]), load(&b[i]), sums[i]);
            }
        }
        for (a, b) in a1.iter().zip(b1) {
            sums[0] = _mm256_fmadd_ps(load(a), load(b), sums[0]);
        }
        let [s0, s1, s2, s3] = sums;
        store(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3))).iter().sum()
    }

    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer; the array's length is its type")]
    fn load(lanes: &[f32; LANES]) -> __m256 {
        // SAFETY: eight f32 are there to be read, and loadu asks for no alignment.
        unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
    }

    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer; the array's length is its type")]
    fn store(lanes: __m256) -> [f32; LANES] {
        let mut out = [0f32; LANES];
        // SAFETY: eight f32 are there to be written, and storeu asks for no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), lanes) };
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both must equal, summed in f64.
    fn plain(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    #[test]
    fn every_way_equals_the_plain_sum() {
        for len in [8, 16, 24, 32, 40, 384, 512, 520] {
            let a: Vec<f32> = (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let b: Vec<f32> = (0..len).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let expected = plain(&a, &b);
            for dot in [portable as Dot, fastest()] {
                let found = f64::from(dot(&a, &b));
                assert!((found - expected).abs() < 1e-4, "{len}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_hand_made_product() {
        let a = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, -1.0];
        let b = [4.0, -5.0, 6.0, 9.0, 0.0, 0.0, 0.0, 2.0];
        assert_eq!(portable(&a, &b), 10.0);
        assert_eq!(fastest()(&a, &b), 10.0);
    }
}
