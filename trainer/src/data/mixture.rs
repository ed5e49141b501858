//! Which pairs an epoch draws, in which order and with which captions: a pure function of the sets'
//! shapes, the seed and the epoch.
//!
//! Differences from a stream with a shuffle buffer: the order is a true permutation, and any epoch
//! can be planned without the ones before it, which is what makes a resumed run exact.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What [`plan`] needs to know of a set.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Captions of each pair, at least one; 0 for a pair that cannot be used.
    pub captions: Vec<usize>,
    /// How often each pair comes in an epoch.
    pub weight: f64,
}

/// One pair of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Draw {
    /// Index of the set.
    pub set: usize,
    /// Index of the pair in the set.
    pub pair: usize,
    /// Index of the caption in the pair.
    pub caption: usize,
    /// How often the pair has come in this epoch before, in the order of planning.
    pub turn: usize,
}

/// All draws of an epoch, shuffled.
///
/// The whole part of a set's weight repeats each of its pairs. The rest takes that share of them:
/// the next stretch of a fixed shuffled circle, so that over the epochs all come equally often.
/// The repetitions of a pair within an epoch have different captions while there are enough.
#[must_use]
pub fn plan(sets: &[Shape], seed: u64, epoch: u64) -> Vec<Draw> {
    let mut rng = random(seed, epoch, 0);
    let mut draws = Vec::new();
    for (set, shape) in sets.iter().enumerate() {
        let usable: Vec<usize> =
            (0..shape.captions.len()).filter(|&pair| shape.captions[pair] > 0).collect();
        let repeats = shape.weight.floor() as usize;
        let share = ((shape.weight - shape.weight.floor()) * usable.len() as f64).round() as usize;
        let mut times = vec![repeats; shape.captions.len()];
        let mut circle = usable.clone();
        circle.shuffle(&mut random(seed, 0, 1 + set as u64));
        let start = (epoch as usize).wrapping_mul(share);
        for i in 0..share {
            times[circle[(start + i) % circle.len()]] += 1;
        }
        for pair in usable {
            let count = shape.captions[pair];
            let first = rng.random_range(0..count);
            draws.extend((0..times[pair]).map(|turn| Draw {
                set,
                pair,
                caption: (first + turn) % count,
                turn,
            }));
        }
    }
    draws.shuffle(&mut rng);
    draws
}

/// The sizes of an epoch's batches: all full, the remainder left out unless it is all there is.
#[must_use]
pub fn batches(draws: usize, batch_size: usize) -> usize {
    if draws < batch_size { usize::from(draws > 0) } else { draws / batch_size }
}

/// A generator of its own for each stream of an epoch.
pub(crate) fn random(seed: u64, epoch: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..24].copy_from_slice(&stream.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(captions: &[usize], weight: f64) -> Shape {
        Shape { captions: captions.to_vec(), weight }
    }

    fn times(draws: &[Draw], set: usize, pair: usize) -> usize {
        draws.iter().filter(|d| d.set == set && d.pair == pair).count()
    }

    #[test]
    fn the_plan_depends_on_seed_and_epoch_alone() {
        let sets = [shape(&[5; 40], 1.0), shape(&[2; 10], 2.0)];
        assert_eq!(plan(&sets, 1, 3), plan(&sets, 1, 3));
        assert_ne!(plan(&sets, 1, 3), plan(&sets, 1, 4));
        assert_ne!(plan(&sets, 1, 3), plan(&sets, 2, 3));
    }

    #[test]
    fn whole_weights_repeat_every_pair_with_different_captions() {
        let draws = plan(&[shape(&[3, 1], 2.0), shape(&[1], 1.0)], 0, 0);
        assert_eq!(draws.len(), 5);
        assert_eq!((times(&draws, 0, 0), times(&draws, 0, 1), times(&draws, 1, 0)), (2, 2, 1));
        let captions: Vec<usize> =
            draws.iter().filter(|d| d.set == 0 && d.pair == 0).map(|d| d.caption).collect();
        assert_ne!(captions[0], captions[1]);
    }

    #[test]
    fn half_a_weight_shows_every_pair_every_other_epoch() {
        let sets = [shape(&[1; 10], 0.5)];
        let mut seen = [0; 10];
        for epoch in 0..4 {
            let draws = plan(&sets, 9, epoch);
            assert_eq!(draws.len(), 5);
            draws.iter().for_each(|d| seen[d.pair] += 1);
        }
        assert_eq!(seen, [2; 10]);
    }

    #[test]
    fn every_caption_has_its_turn_and_an_unusable_pair_has_none() {
        let sets = [shape(&[4, 0], 1.0)];
        let mut seen = [0; 4];
        for epoch in 0..100 {
            let draws = plan(&sets, 5, epoch);
            assert_eq!((draws.len(), draws[0].pair), (1, 0));
            seen[draws[0].caption] += 1;
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
    }

    #[test]
    fn a_remainder_is_left_out_unless_it_is_all() {
        assert_eq!(
            [batches(25, 10), batches(20, 10), batches(3, 10), batches(0, 10)],
            [2, 2, 1, 0]
        );
    }
}
