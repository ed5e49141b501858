//! Which negatives are worth looking at: functions that choose, without gradients.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Which negatives of a batch an anchor is held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mining {
    /// Every one.
    All,
    /// The most similar one: [`hardest`].
    #[default]
    Hard,
    /// The most similar one that is less similar than the positive: [`semi_hard`].
    SemiHard,
}

/// A negative for each row.
#[derive(Debug)]
pub struct Chosen {
    /// Its column, i64 `[R]`; any column where none was found.
    pub column: Tensor,
    /// Whether there is one, bool `[R]`.
    pub found: Tensor,
}

/// The most similar negative of each row (the hard negatives of Schroff et al. 2015, section 3.2; the
/// hardest in a batch of Faghri et al. 2018, equation 6).
///
/// `similarities` are `[R, C]`; `negatives`, bool `[R, C]`, is true where a column is a negative to a
/// row. Of equally similar ones any may be chosen.
///
/// # Panics
/// When the shapes do not fit.
#[must_use]
pub fn hardest(similarities: &Tensor, negatives: &Tensor) -> Chosen {
    let none = f64::NEG_INFINITY;
    let candidates = similarities.detach().masked_fill(&negatives.logical_not(), none);
    let (similarity, column) = candidates.max_dim(1, false); // [R], [R]
    Chosen { column, found: similarity.gt(none) }
}

/// The most similar negative of each row that is less similar than its positive (the semi-hard
/// negatives of Schroff et al. 2015, equation 4). Beyond the margin that the paper draws around them a
/// triplet loses nothing.
///
/// As [`hardest`]; `positives` `[R]` is the similarity of each row's positive.
///
/// # Panics
/// When the shapes do not fit.
#[must_use]
pub fn semi_hard(similarities: &Tensor, negatives: &Tensor, positives: &Tensor) -> Chosen {
    let below = similarities.lt_tensor(&positives.unsqueeze(1)); // [R, C]
    hardest(similarities, &negatives.logical_and(&below))
}

/// What each row loses to the negatives that `mining` takes: the mean of `loss` over those that lose
/// anything, as few of a batch's do.
///
/// `similarities` are `[B, B]`, the positives on the diagonal; `loss` makes of the similarities of
/// positives and of negatives, both `[B, 1]` and `[B, C]`, what is lost `[B, C]`.
pub(super) fn mean_loss(
    similarities: &Tensor,
    negatives: &Tensor,
    mining: Mining,
    loss: impl Fn(&Tensor, &Tensor) -> Tensor,
) -> Tensor {
    let positives = similarities.diagonal(0, 0, 1); // [B]
    let chosen = match mining {
        Mining::All => None,
        Mining::Hard => Some(hardest(similarities, negatives)),
        Mining::SemiHard => Some(semi_hard(similarities, negatives, &positives)),
    };
    let positives = positives.unsqueeze(1); // [B, 1]
    let losses = match chosen {
        None => loss(&positives, similarities).masked_fill(&negatives.logical_not(), 0.0),
        Some(Chosen { column, found }) => {
            let theirs = similarities.gather(1, &column.unsqueeze(1), false); // [B, 1]
            loss(&positives, &theirs).masked_fill(&found.unsqueeze(1).logical_not(), 0.0)
        }
    };
    let count = losses.gt(0.0).sum(Kind::Float).clamp_min(1.0);
    losses.sum(Kind::Float) / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{bools, close};

    /// Three rows; the diagonal holds the positives.
    fn similarities() -> Tensor {
        Tensor::from_slice(&[0.5f32, 0.4, 0.9, 0.1, 0.3, 0.3, -0.2, 0.7, 0.8]).view([3, 3])
    }

    fn off_diagonal() -> Tensor {
        Tensor::eye(3, (Kind::Bool, tch::Device::Cpu)).logical_not()
    }

    fn columns(chosen: &Chosen) -> Vec<i64> {
        Vec::<i64>::try_from(&chosen.column).unwrap()
    }

    #[test]
    fn the_hardest_negative_is_the_most_similar_one() {
        let chosen = hardest(&similarities(), &off_diagonal());
        assert_eq!((columns(&chosen), bools(&chosen.found)), (vec![2, 2, 1], vec![true; 3]));
    }

    #[test]
    fn what_is_no_negative_is_not_chosen() {
        let negatives = off_diagonal();
        let _ = negatives.get(0).get(2).fill_(0);
        let chosen = hardest(&similarities(), &negatives);
        assert_eq!(columns(&chosen), [1, 2, 1]);
        let _ = negatives.get(0).fill_(0);
        assert_eq!(bools(&hardest(&similarities(), &negatives).found), [false, true, true]);
    }

    #[test]
    fn a_semi_hard_negative_is_less_similar_than_the_positive() {
        let similarities = similarities();
        let positives = similarities.diagonal(0, 0, 1);
        let chosen = semi_hard(&similarities, &off_diagonal(), &positives);
        // Of the first row 0.9 is beyond 0.5; of the second a tie with the positive is none.
        assert_eq!((columns(&chosen), bools(&chosen.found)), (vec![1, 0, 1], vec![true; 3]));
        let none = semi_hard(&similarities, &off_diagonal(), &(positives - 5.0));
        assert_eq!(bools(&none.found), [false; 3]);
    }

    #[test]
    fn the_mean_is_over_the_chosen_that_lose_anything() {
        let loss = |positive: &Tensor, negative: &Tensor| (negative - positive).relu();
        let mean = |mining| mean_loss(&similarities(), &off_diagonal(), mining, loss);
        // Only 0.9 is more similar than its positive, by 0.4.
        close(&mean(Mining::All), 0.4);
        close(&mean(Mining::Hard), 0.4);
        close(&mean(Mining::SemiHard), 0.0);
        let nobody = off_diagonal().zeros_like();
        close(&mean_loss(&similarities(), &nobody, Mining::All, loss), 0.0);
        close(&mean_loss(&similarities(), &nobody, Mining::Hard, loss), 0.0);
    }
}
