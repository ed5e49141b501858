//! Plurals and stems, as far as rules tell them.

/// Nouns of captions whose plural no rule tells, and one that ends like them; others are left as they
/// are.
const IRREGULAR: [(&str, &str); 7] = [
    ("human", "humans"),
    ("child", "children"),
    ("foot", "feet"),
    ("goose", "geese"),
    ("man", "men"),
    ("mouse", "mice"),
    ("tooth", "teeth"),
];

/// What a plural may be the plural of, by the rules of `WordNet`'s own `morphy` for nouns.
pub(super) fn singulars(word: &str) -> impl Iterator<Item = String> {
    let irregular = IRREGULAR.iter().filter_map(move |(one, many)| replaced_end(word, many, one));
    let rules = [
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ies", "y"),
        ("s", ""),
    ];
    irregular.chain(endings(word, rules))
}

/// What a form of a verb may be a form of: the rules of `morphy`, and the consonant that `running`
/// doubles taken back.
pub(super) fn verb_stems(word: &str) -> impl Iterator<Item = String> {
    let rules = [
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("s", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ];
    endings(word, rules).flat_map(|stem| [undoubled(&stem), Some(stem)].into_iter().flatten())
}

/// The plural of a noun, or of the last word of several.
pub(super) fn plural(noun: &str) -> String {
    let irregular = IRREGULAR.iter().find_map(|(one, many)| replaced_end(noun, one, many));
    if let Some(plural) = irregular {
        return plural;
    }
    if let Some(stem) = noun.strip_suffix('y')
        && !stem.ends_with(['a', 'e', 'i', 'o', 'u'])
    {
        return format!("{stem}ies");
    }
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|ending| noun.ends_with(ending));
    format!("{noun}{}", if hisses { "es" } else { "s" })
}

fn endings<const N: usize>(
    word: &str,
    rules: [(&'static str, &'static str); N],
) -> impl Iterator<Item = String> {
    let stem = move |(ending, instead): (&str, &str)| {
        replaced_end(word, ending, instead).filter(|stem| stem != instead)
    };
    rules.into_iter().filter_map(stem)
}

fn replaced_end(word: &str, end: &str, instead: &str) -> Option<String> {
    word.strip_suffix(end).map(|stem| stem.to_owned() + instead)
}

/// `runn` → `run`
fn undoubled(stem: &str) -> Option<String> {
    let mut letters = stem.chars();
    let last = letters.next_back()?;
    let shorter = letters.as_str();
    shorter.ends_with(last).then(|| shorter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_and_their_singulars() {
        for (one, many) in [
            ("dog", "dogs"),
            ("beach", "beaches"),
            ("bush", "bushes"),
            ("box", "boxes"),
            ("puppy", "puppies"),
            ("boy", "boys"),
            ("woman", "women"),
            ("male child", "male children"),
            ("human", "humans"),
        ] {
            assert_eq!(plural(one), many);
            assert!(singulars(many).any(|found| found == one), "{many}");
        }
        assert_eq!(singulars("sheep").count(), 0);
        assert_eq!(singulars("s").count(), 0);
    }

    #[test]
    fn stems_of_verbs() {
        for (form, stem) in [
            ("runs", "run"),
            ("running", "run"),
            ("riding", "ride"),
            ("walked", "walk"),
            ("carries", "carry"),
            ("watches", "watch"),
            ("posed", "pose"),
        ] {
            assert!(verb_stems(form).any(|found| found == stem), "{form}");
        }
        assert_eq!(verb_stems("dog").count(), 0);
        assert!(verb_stems("éénéé₂₂ing").any(|found| found == "éénéé₂"));
    }
}
