//! What betrays a collapse: how the embeddings of a batch lie.

use std::fmt;

use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

/// Samples that are looked at; more tell little more, and cost by the square.
const MOST: i64 = 512;

/// Embeddings less spread out than this share of what is possible are one point, for any purpose.
const LEAST_STD: f64 = 0.1;

/// Of all directions that there are, embeddings use hardly more than one below this.
const LEAST_RANK: f64 = 2.0;

/// How the embeddings of a batch lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The mean over the dimensions of the deviation, times √D: 1 where embeddings are spread over the
    /// whole sphere, 0 where all are one (Chen and He 2021, figure 2).
    pub(super) embedding_std: f64,
    /// e to the entropy of the singular values, taken as shares: how many directions are in use (Roy and
    /// Vetterli 2007; `RankMe`, Garrido et al. 2023, equation 1), at most the smaller of B and D.
    pub(super) effective_rank: f64,
    /// Mean squared distance of a sample's two embeddings (Wang and Isola 2020, equation 2).
    pub(super) alignment: f64,
    /// ln of the mean of e^(−2 d²) over all pairs of different samples (the same, equation 3).
    pub(super) uniformity: f64,
    /// Whether all that is as good as one point, or one line.
    pub(super) collapsed: bool,
}

impl Spread {
    /// Of two normalized embeddings `[B, D]` of each sample: the first tells how samples lie. None for a
    /// single sample.
    ///
    /// # Errors
    /// libtorch's.
    pub(super) fn of(embeddings: &[Tensor; 2]) -> Result<Option<Self>, TchError> {
        let taken = |embeddings: &Tensor| {
            let rows = MOST.min(embeddings.size()[0]);
            let some = embeddings.f_detach()?.f_narrow(0, 0, rows)?;
            some.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)
        };
        let [first, second] = embeddings;
        let (first, second) = (taken(first)?, taken(second)?); // [R, D]
        let (rows, width) = first.size2()?;
        if rows < 2 {
            return Ok(None);
        }
        let deviations = first.f_std_dim([0i64].as_slice(), false, false)?; // [D]
        let embedding_std =
            deviations.f_mean(Kind::Double)?.f_double_value(&[])? * (width as f64).sqrt();
        let apart = first.f_sub(&second)?.f_square()?; // [R, D]
        let alignment = apart.f_sum(Kind::Double)?.f_double_value(&[])? / rows as f64;
        let effective_rank = effective_rank(&first)?;
        Ok(Some(Self {
            embedding_std,
            effective_rank,
            alignment,
            uniformity: uniformity(&first)?,
            collapsed: embedding_std < LEAST_STD || effective_rank < LEAST_RANK,
        }))
    }
}

/// Of `[R, D]`, by the eigenvalues of the smaller of its two products with itself, which are the
/// squares of its singular values.
fn effective_rank(rows: &Tensor) -> Result<f64, TchError> {
    let (count, width) = rows.size2()?;
    let product =
        if count < width { rows.f_mm(&rows.f_tr()?)? } else { rows.f_tr()?.f_mm(rows)? };
    let values = product.f_linalg_eigvalsh("L")?.f_clamp_min(0.0)?.f_sqrt()?;
    let shares = values.f_div(&values.f_sum(Kind::Double)?)?;
    let entropy = shares.f_xlogy(&shares)?.f_neg()?.f_sum(Kind::Double)?;
    Ok(entropy.f_double_value(&[])?.exp())
}

fn uniformity(rows: &Tensor) -> Result<f64, TchError> {
    let count = rows.size2()?.0;
    let squared = rows.f_mm(&rows.f_tr()?)?.f_mul_scalar(-2.0)?.f_add_scalar(2.0)?; // [R, R]
    let near = squared.f_clamp_min(0.0)?.f_mul_scalar(-2.0)?.f_exp()?;
    let all = near.f_sum(Kind::Double)?.f_double_value(&[])?;
    let itself = near.f_trace()?.f_double_value(&[])?;
    Ok(((all - itself) / (count * (count - 1)) as f64).ln())
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { embedding_std, effective_rank, alignment, uniformity, .. } = self;
        write!(
            f,
            "spread of the embeddings {embedding_std:.2} of 1, effective rank {effective_rank:.1}, \
             alignment {alignment:.2}, uniformity {uniformity:.2}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(rows: &[[f32; 2]]) -> Spread {
        let rows = Tensor::from_slice2(rows);
        Spread::of(&[rows.shallow_clone(), rows]).unwrap().unwrap()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn embeddings_all_around_are_spread_out_and_have_full_rank() {
        let around = spread(&[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]);
        // Each dimension is ±1 half of the time; both singular values are √2.
        close(around.embedding_std, 0.5f64.sqrt() * 2f64.sqrt());
        close(around.effective_rank, 2.0);
        close(around.alignment, 0.0);
        // Of six pairs four are √2 apart and two 2.
        close(around.uniformity, ((4.0 * (-4f64).exp() + 2.0 * (-8f64).exp()) / 6.0).ln());
    }

    #[test]
    fn one_point_and_one_line_have_collapsed() {
        let point = spread(&[[0.6, 0.8], [0.6, 0.8], [0.6, 0.8]]);
        assert!(point.collapsed && point.embedding_std < 1e-6, "{point:?}");
        close(point.effective_rank, 1.0);
        close(point.uniformity, 0.0);
        let line = spread(&[[0.6, 0.8], [-0.6, -0.8], [0.6, 0.8]]);
        assert!(line.collapsed && line.embedding_std > 0.5, "{line:?}");
    }

    #[test]
    fn alignment_is_the_mean_squared_distance_of_the_two() {
        let first = Tensor::from_slice2(&[[1f32, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let second = Tensor::from_slice2(&[[0f32, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let found = Spread::of(&[first.shallow_clone(), second]).unwrap().unwrap();
        close(found.alignment, 2.0 / 3.0);
        close(found.effective_rank, 3.0);
        assert!(!found.collapsed);
        assert_eq!(Spread::of(&[first.narrow(0, 0, 1), first.narrow(0, 0, 1)]).unwrap(), None);
    }
}
