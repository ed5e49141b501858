//! How embeddings lie on the sphere: whether what belongs together lies together, and whether all of
//! them use the whole of it (Wang and Isola 2020).

use clip::Embedding;
use tch::{Kind, TchError, Tensor};

use super::bootstrap::{Bootstrap, Interval, percentiles};

/// Embeddings that pairs are made of; of more, so many are taken evenly, as pairs grow by the square.
const MOST: usize = 4096;

/// A figure and where 95 % of the bootstrap's draws lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    /// Of all.
    pub(super) value: f64,
    /// Of the draws.
    pub(super) interval: Interval,
}

/// Embeddings with what they belong to.
pub(super) struct Cloud<'a> {
    /// Of length one.
    pub(super) embeddings: &'a [Embedding],
    /// The picture that each comes along with when pictures are drawn.
    pub(super) pictures: &'a [usize],
    /// Pictures in all.
    pub(super) count: usize,
    /// Decides what the bootstrap draws.
    pub(super) seed: u64,
}

impl Cloud<'_> {
    /// ln of the mean of exp(-2 |x - y|²) over all pairs (Wang and Isola 2020, equation 3, t = 2): 0
    /// where all are the same, -4 at best in many dimensions. None for fewer than two.
    ///
    /// # Errors
    /// libtorch's, where memory is short.
    pub(super) fn uniformity(&self) -> Result<Option<Estimate>, TchError> {
        let near = self.distances()?.f_mul_scalar(-2.0)?.f_exp()?;
        let others = self.others()?;
        let estimate = self.mean_of_pairs(&near, &others)?;
        Ok(estimate.map(|Estimate { value, interval }| Estimate {
            value: value.ln(),
            interval: interval.map(f64::ln),
        }))
    }

    /// The mean of |x - y|² over all pairs of the same class (Wang and Isola 2020, equation 2, α = 2);
    /// `classes` are the embeddings'. None where no class has two.
    ///
    /// # Errors
    /// libtorch's, where memory is short.
    pub(super) fn alignment(&self, classes: &[usize]) -> Result<Option<Estimate>, TchError> {
        let classes: Vec<i64> = self.taken().map(|at| classes[at] as i64).collect();
        let classes = Tensor::f_from_slice(&classes)?;
        let same = classes.f_unsqueeze(0)?.f_eq_tensor(&classes.f_unsqueeze(1)?)?;
        let same = same.f_to_kind(Kind::Float)?.f_mul(&self.others()?)?;
        self.mean_of_pairs(&self.distances()?, &same)
    }

    fn taken(&self) -> impl Iterator<Item = usize> {
        (0..self.embeddings.len()).step_by(self.embeddings.len().div_ceil(MOST).max(1))
    }

    /// Squared distances, `[N, N]`.
    fn distances(&self) -> Result<Tensor, TchError> {
        let rows: Vec<&[f32]> = self.taken().map(|at| self.embeddings[at].as_slice()).collect();
        let dim = rows.first().map_or(0, |row| row.len()) as i64;
        let flat = Tensor::f_from_slice(&rows.concat())?.f_view([rows.len() as i64, dim])?;
        flat.f_matmul(&flat.f_tr()?)?.f_mul_scalar(-2.0)?.f_add_scalar(2.0)?.f_clamp_min(0.0)
    }

    /// 1 for pairs of different pictures, else 0: `[N, N]`. Two captions of one picture are no pair.
    fn others(&self) -> Result<Tensor, TchError> {
        let pictures: Vec<i64> = self.taken().map(|at| self.pictures[at] as i64).collect();
        let pictures = Tensor::f_from_slice(&pictures)?;
        let other = pictures.f_unsqueeze(0)?.f_ne_tensor(&pictures.f_unsqueeze(1)?)?;
        other.f_to_kind(Kind::Float)
    }

    /// The mean of `values` over the pairs that count by `counted`, both `[N, N]`. In a draw a pair
    /// comes as often as both of its pictures do together; a picture is no pair with itself.
    fn mean_of_pairs(
        &self,
        values: &Tensor,
        counted: &Tensor,
    ) -> Result<Option<Estimate>, TchError> {
        let values = values.f_mul(counted)?;
        let pairs = counted.f_sum(Kind::Double)?.f_double_value(&[])?;
        if pairs == 0.0 {
            return Ok(None);
        }
        let draws = Bootstrap::new(self.count, self.seed).draws();
        let times: Vec<Vec<f32>> = draws
            .map(|times| self.taken().map(|at| times[self.pictures[at]] as f32).collect())
            .collect();
        let count = times.len() as i64;
        let times = Tensor::f_from_slice(&times.concat())?.f_view([count, -1])?; // [R, N]
        let weighted = |matrix: &Tensor| {
            let rows = times.f_matmul(matrix)?.f_mul(&times)?; // [R, N]
            rows.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double) // [R]
        };
        let draws = weighted(&values)?.f_div(&weighted(counted)?)?;
        let value = values.f_sum(Kind::Double)?.f_double_value(&[])? / pairs;
        Ok(Some(Estimate { value, interval: percentiles(Vec::<f64>::try_from(&draws)?) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud<'a>(embeddings: &'a [Embedding], pictures: &'a [usize]) -> Cloud<'a> {
        let count = pictures.iter().max().map_or(0, |last| last + 1);
        Cloud { embeddings, pictures, count, seed: 0 }
    }

    fn at(degrees: f32) -> Embedding {
        Embedding::new(vec![degrees.to_radians().cos(), degrees.to_radians().sin()]).unwrap()
    }

    #[test]
    fn uniformity_is_the_log_of_the_mean_over_pairs() {
        // Squared distances 2, 2 and 4 between 0°, 90° and 180°: 2, 2, 4.
        let three = [at(0.0), at(90.0), at(180.0)];
        let found = cloud(&three, &[0, 1, 2]).uniformity().unwrap().unwrap();
        let expected = ((2.0 * (-4f64).exp() + (-8f64).exp()) / 3.0).ln();
        assert!((found.value - expected).abs() < 1e-5, "{found:?}");
        let same = cloud(&[at(5.0), at(5.0)], &[0, 1]).uniformity().unwrap().unwrap();
        assert!(same.value.abs() < 1e-5, "{same:?}");
        assert_eq!(cloud(&three[..1], &[0]).uniformity().unwrap(), None);
        assert_eq!(cloud(&three, &[0, 0, 0]).uniformity().unwrap(), None);
    }

    #[test]
    fn alignment_is_the_mean_squared_distance_within_classes() {
        let four = [at(0.0), at(90.0), at(180.0), at(180.0)];
        let found = cloud(&four, &[0, 1, 2, 3]).alignment(&[0, 0, 1, 1]).unwrap().unwrap();
        assert!((found.value - 1.0).abs() < 1e-5, "{found:?}");
        let [low, high] = found.interval;
        assert!(low >= 0.0 && high <= 2.0 + 1e-5 && low < high, "{found:?}");
        assert_eq!(cloud(&four, &[0, 1, 2, 3]).alignment(&[0, 1, 2, 3]).unwrap(), None);
    }
}
