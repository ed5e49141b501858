//! Words replaced by others that mean the same.

use rand::{Rng, RngExt};

use super::inflection::plural;
use super::wordnet::{Found, WordNet};

/// Replaces each word that has synonyms, with `probability`, by one of them.
///
/// Words of one function (articles, pronouns, prepositions, numbers) are left alone, and so is a
/// capital that does not begin the caption, since it begins a name. Punctuation around a word stays.
/// What stands beside the word is not adapted: `a picture` may become `a image`.
pub fn replace_words(
    words: &mut [String],
    wordnet: &WordNet,
    probability: f64,
    rng: &mut impl Rng,
) {
    for (place, word) in words.iter_mut().enumerate() {
        let (before, core, behind) = parts(word);
        let capital = core.starts_with(char::is_uppercase);
        if capital && place > 0 {
            continue;
        }
        let lower = core.to_lowercase();
        if is_function_word(&lower) {
            continue;
        }
        let Some(found) = wordnet.synonyms(&lower) else { continue };
        if rng.random::<f64>() >= probability {
            continue;
        }
        let instead = inflected(&found, rng.random_range(0..found.synonyms.len()));
        let instead = if capital { capitalized(&instead) } else { instead };
        *word = format!("{before}{instead}{behind}");
    }
}

fn inflected(found: &Found<'_>, which: usize) -> String {
    let synonym = &found.synonyms[which];
    if found.plural { plural(synonym) } else { synonym.to_string() }
}

/// A word without the punctuation around it, and that punctuation.
fn parts(word: &str) -> (&str, &str, &str) {
    let start = word.find(char::is_alphanumeric).unwrap_or(word.len());
    let (before, rest) = word.split_at(start);
    let core = rest.trim_end_matches(|c: char| !c.is_alphanumeric());
    (before, core, &rest[core.len()..])
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn is_function_word(word: &str) -> bool {
    FUNCTION_WORDS.binary_search(&word).is_ok()
}

/// In the order of the alphabet. Many of them are nouns to `WordNet`, too: `a` is a vitamin, `he`
/// a gas, `in` a state.
#[rustfmt::skip]
const FUNCTION_WORDS: [&str; 169] = [
    "a", "about", "above", "across", "after", "again", "against", "all", "along", "also", "am",
    "among", "an", "and", "another", "any", "are", "around", "as", "at", "away", "back", "be",
    "because", "been", "before", "behind", "being", "below", "beneath", "beside", "between",
    "beyond", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "done", "down",
    "during", "each", "eight", "either", "else", "every", "few", "five", "for", "four", "from",
    "front", "had", "has", "have", "having", "he", "her", "hers", "herself", "him", "himself",
    "his", "how", "i", "if", "in", "inside", "into", "is", "it", "its", "itself", "just", "left",
    "less", "like", "may", "me", "might", "more", "most", "much", "must", "my", "near", "next",
    "nine", "no", "nor", "not", "of", "off", "on", "one", "ones", "only", "onto", "or", "other",
    "others", "our", "out", "outside", "over", "own", "past", "right", "same", "seven", "several",
    "she", "should", "since", "six", "so", "some", "such", "ten", "than", "that", "the", "their",
    "theirs", "them", "themselves", "then", "there", "these", "they", "this", "those", "three",
    "through", "to", "together", "too", "toward", "towards", "two", "under", "until", "up", "upon",
    "us", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom",
    "whose", "why", "will", "with", "within", "without", "would", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::super::wordnet::tests::excerpt;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Everything that becomes of a text over many draws.
    fn outcomes(text: &str, probability: f64) -> Vec<String> {
        let (wordnet, mut rng) = (excerpt(), ChaCha8Rng::seed_from_u64(1));
        let mut all: Vec<String> = (0..200)
            .map(|_| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                replace_words(&mut words, &wordnet, probability, &mut rng);
                words.join(" ")
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn every_synonym_of_the_first_sense_comes_up_and_probability_decides_how_often() {
        assert_eq!(outcomes("picture", 1.0), ["icon", "ikon", "image"]);
        assert_eq!(outcomes("picture", 0.5), ["icon", "ikon", "image", "picture"]);
        assert_eq!(outcomes("picture", 0.0), ["picture"]);
        assert_eq!(outcomes("small", 1.0), ["little"]);
    }

    #[test]
    fn plurals_capitals_and_punctuation_are_kept() {
        assert_eq!(outcomes("boys", 1.0), ["male children"]);
        assert_eq!(outcomes("men.", 1.0), ["adult males."]);
        assert_eq!(outcomes("Small", 1.0), ["Little"]);
        assert_eq!(outcomes("(small,", 1.0), ["(little,"]);
    }

    #[test]
    fn function_words_names_and_unknown_words_stay() {
        for text in ["a he in the", "to Small", "xyzzy", "--", "girl's"] {
            assert_eq!(outcomes(text, 1.0), [text]);
        }
    }

    #[test]
    fn the_list_is_in_order() {
        assert!(FUNCTION_WORDS.is_sorted());
    }
}
