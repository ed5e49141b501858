//! Words moved a little.

use rand::{Rng, RngExt};

/// Moves each word by at most `most` places: words are sorted by their place plus a number between 0
/// and `most` + 1 (Lample et al. 2018, arXiv 1711.00043, section 2.3).
pub fn shuffle_words(words: &mut [String], most: usize, rng: &mut impl Rng) {
    if most == 0 {
        return;
    }
    let reach = most as f64 + 1.0;
    let mut places: Vec<(f64, String)> = words
        .iter_mut()
        .enumerate()
        .map(|(place, word)| (place as f64 + rng.random::<f64>() * reach, std::mem::take(word)))
        .collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (to, (_, word)) in words.iter_mut().zip(places) {
        *to = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn moved(count: usize, most: usize) -> Vec<usize> {
        let mut words: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        shuffle_words(&mut words, most, &mut ChaCha8Rng::seed_from_u64(1));
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn no_word_is_lost_and_none_moves_further_than_asked() {
        for most in [1, 2, 3] {
            let order = moved(2000, most);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..2000));
            let farthest = order.iter().enumerate().map(|(to, &from)| to.abs_diff(from)).max();
            assert_eq!(farthest, Some(most));
        }
    }

    #[test]
    fn no_place_is_no_move() {
        assert!(moved(50, 0).into_iter().eq(0..50));
        assert!(moved(0, 3).is_empty());
    }
}
