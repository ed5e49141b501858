//! How far two unit vectors lie apart.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Squares below this are no distance: a square root has no gradient at 0.
const NEAREST: f64 = 1e-12;

/// A distance of unit vectors, worked out of their cosine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// `1 − cos`, from 0 to 2: half of the squared Euclidean distance.
    #[default]
    Cosine,
    /// `√(2 − 2 cos)`, from 0 to 2.
    Euclidean,
}

impl Distance {
    /// Of cosines of any shape, the same shape. In f32 a Euclidean distance below about 1e-3 is
    /// rounded, since its cosine is.
    pub fn of(self, cosines: &Tensor) -> Tensor {
        let cosine = -cosines + 1.0;
        match self {
            Self::Cosine => cosine,
            Self::Euclidean => (cosine * 2.0).clamp_min(NEAREST).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::objectives::testing::close;

    #[test]
    fn distances_of_the_same_the_orthogonal_and_the_opposite() {
        for (cosine, of_cosine, euclidean) in
            [(1f32, 0.0, 0.0), (0.0, 1.0, 2f64.sqrt()), (-1.0, 2.0, 2.0)]
        {
            close(&Distance::Cosine.of(&Tensor::from(cosine)), of_cosine);
            let got = Distance::Euclidean.of(&Tensor::from(cosine));
            assert!((got.double_value(&[]) - euclidean).abs() < 2e-6);
        }
    }

    #[test]
    fn the_gradient_of_no_distance_is_none() {
        let cosine = Tensor::from_slice(&[1f32, 1.0001]).set_requires_grad(true);
        Distance::Euclidean.of(&cosine).sum(Kind::Float).backward();
        assert_eq!(cosine.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }
}
