//! Words left out.

use rand::{Rng, RngExt};

/// Leaves out each word with `probability` (Iyyer et al. 2015, section 3.2); where all would go, one
/// stays.
pub fn drop_words(words: &mut Vec<String>, probability: f64, rng: &mut impl Rng) {
    if probability == 0.0 || words.is_empty() {
        return;
    }
    let survivor = rng.random_range(0..words.len());
    let mut kept: Vec<bool> = words.iter().map(|_| rng.random::<f64>() >= probability).collect();
    if !kept.contains(&true) {
        kept[survivor] = true;
    }
    let mut kept = kept.into_iter();
    words.retain(|_| kept.next() == Some(true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn numbers(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn as_many_go_as_asked_and_the_rest_keeps_its_order() {
        let mut words = numbers(10_000);
        drop_words(&mut words, 0.3, &mut ChaCha8Rng::seed_from_u64(1));
        assert!((6_800..7_200).contains(&words.len()), "{}", words.len());
        let order: Vec<usize> = words.iter().map(|word| word.parse().unwrap()).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn one_word_stays_and_no_probability_changes_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut first = 0;
        for _ in 0..200 {
            let mut words = numbers(2);
            drop_words(&mut words, 1.0, &mut rng);
            assert_eq!(words.len(), 1);
            first += usize::from(words[0] == "0");
        }
        assert!((60..140).contains(&first), "{first}");
        let mut words = numbers(5);
        drop_words(&mut words, 0.0, &mut rng);
        assert_eq!(words, numbers(5));
        drop_words(&mut Vec::new(), 0.5, &mut rng);
    }
}
