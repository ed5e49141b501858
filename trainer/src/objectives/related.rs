//! False negatives: pairs of a batch that say the same of the same, and so must not be pushed apart.

use tch::{Device, Kind, Tensor};

use super::blocks::Rows;

/// Which pairs of a batch are no negatives to each other, by keys: two pairs are related where they
/// share any of them. No pair is related to itself.
///
/// It holds `[B]` numbers, and makes of the mask `[B, B]` as many rows as somebody looks at.
#[derive(Debug)]
pub struct Related {
    /// Each i64 `[B]`. On a CPU, those in which nothing repeats are left out: they relate nobody.
    keys: Vec<Tensor>,
    pairs: i64,
    device: Device,
}

/// Pairs that share the picture or the caption: [`Related::by`] of two keys.
///
/// `pictures` and `captions` `[B]` hold one key a pair; equal keys mean the same picture or the same
/// caption.
///
/// # Panics
/// When the two differ in length.
#[must_use]
pub fn related_pairs(pictures: &Tensor, captions: &Tensor) -> Related {
    Related::by(&[pictures, captions])
}

impl Related {
    /// By each of `keys`, i64 `[B]`: one number a pair, equal for the same picture, caption, class or
    /// whatever else makes two pairs no negatives to each other.
    ///
    /// # Panics
    /// When there are none, or they differ in length.
    #[must_use]
    pub fn by(keys: &[&Tensor]) -> Self {
        let first = keys.first().expect("at least one key a pair");
        let (pairs, device) = (first.numel() as i64, first.device());
        for key in keys {
            assert_eq!(key.size(), [pairs], "one number a pair of each key");
        }
        let telling = |key: &&&Tensor| device != Device::Cpu || repeats(key);
        let keys = keys.iter().filter(telling).map(|key| key.shallow_clone()).collect();
        Self { keys, pairs, device }
    }

    /// `[B, B]` bool, symmetric, false on the diagonal.
    pub fn mask(&self) -> Tensor {
        self.rows(Rows::all(self.pairs)).unwrap_or_else(|| self.nobody(self.pairs))
    }

    /// `[B, B]` bool: true where image i and text j are neither a pair nor related.
    pub fn negatives(&self) -> Tensor {
        let itself = Tensor::eye(self.pairs, (Kind::Bool, self.device));
        self.mask().logical_or(&itself).logical_not()
    }

    /// Some rows of the mask, `[R, B]`; none where no row could hold anything.
    pub(super) fn rows(&self, rows: Rows) -> Option<Tensor> {
        let shared = |keys: &Tensor| rows.of(keys).unsqueeze(1).eq_tensor(&keys.unsqueeze(0));
        let mask = self.keys.iter().map(shared).reduce(|mut all, one| all.logical_or_(&one))?;
        let _ = rows.own(&mask).fill_(0);
        Some(mask)
    }

    /// As [`Related::rows`], all false where no row could hold anything.
    pub(super) fn rows_or_nobody(&self, rows: Rows) -> Tensor {
        self.rows(rows).unwrap_or_else(|| self.nobody(rows.count))
    }

    /// Of a batch whose pairs stand twice, one copy behind the other: `[2B]`. The two copies of a
    /// pair share what keys it has.
    pub(super) fn twice(&self) -> Self {
        let keys = self.keys.iter().map(|key| Tensor::cat(&[key, key], 0)).collect();
        Self { keys, pairs: 2 * self.pairs, device: self.device }
    }

    fn nobody(&self, rows: i64) -> Tensor {
        Tensor::zeros([rows, self.pairs], (Kind::Bool, self.device))
    }
}

/// Whether any number of `key` `[B]` stands there twice.
fn repeats(key: &Tensor) -> bool {
    let (sorted, _) = key.sort(0, false);
    let last = (key.numel() as i64 - 1).max(0);
    let next = sorted.narrow(0, key.numel() as i64 - last, last);
    sorted.narrow(0, 0, last).eq_tensor(&next).any().int64_value(&[]) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::testing::{bools, related};

    #[test]
    fn the_same_picture_or_the_same_caption_relates_two_pairs() {
        let mask = related(&[1, 1, 2], &[5, 6, 6]).mask();
        assert_eq!(bools(&mask), [false, true, false, true, false, true, false, true, false]);
    }

    #[test]
    fn the_same_class_relates_two_pairs_of_other_pictures_and_captions() {
        let keys = [[1i64, 2, 3], [4, 5, 6], [7, 8, 7]].map(|key| Tensor::from_slice(&key));
        let all = Related::by(&[&keys[0], &keys[1], &keys[2]]);
        let mask = [false, false, true, false, false, false, true, false, false];
        assert_eq!(bools(&all.mask()), mask);
        let negatives = [false, true, false, true, false, true, false, true, false];
        assert_eq!(bools(&all.negatives()), negatives);
    }

    #[test]
    fn keys_that_differ_relate_nobody() {
        let none = related(&[1, 2, 3], &[4, 5, 6]);
        assert!(none.rows(Rows::all(3)).is_none());
        assert_eq!(none.mask().sum(Kind::Int64).int64_value(&[]), 0);
        assert_eq!(none.negatives().sum(Kind::Int64).int64_value(&[]), 6);
    }

    #[test]
    fn some_rows_are_those_of_the_whole() {
        let some = related(&[1, 1, 2, 3, 1], &[5, 6, 6, 7, 8]);
        let rows = Rows { start: 2, count: 3 };
        assert_eq!(some.rows(rows).unwrap(), some.mask().narrow(0, 2, 3));
    }

    #[test]
    fn a_single_pair_is_related_to_nobody() {
        assert_eq!(bools(&related(&[1], &[1]).mask()), [false]);
    }

    #[test]
    #[should_panic(expected = "one number a pair")]
    fn keys_of_another_length_are_refused() {
        related(&[1, 2], &[1]);
    }
}
