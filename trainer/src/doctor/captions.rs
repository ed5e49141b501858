//! Captions that are cut, that say the same of several pictures, or that say nothing.

use std::collections::{BTreeMap, HashSet};

use super::{Context, DoctorError, Finding, Kind, Severity, counted};
use crate::data::{Dataset, Pair};

/// A caption that at least so many pictures have, and so large a part of all, tells none of them apart.
const COMMON: (usize, f64) = (10, 0.01);

/// Characters of a caption that are shown.
const SHOWN: usize = 60;

/// All that is wrong with the captions of a set; those of classes only by their length.
pub(super) fn findings(
    set: &Dataset,
    context: Option<&Context>,
) -> Result<Vec<Finding>, DoctorError> {
    let mut found: Vec<Finding> =
        context.map(|c| long(set, c)).transpose()?.into_iter().flatten().collect();
    if set.classes.is_empty() {
        let said = Said::of(set);
        let all = [said.same_words(), said.same_captions(), said.common()];
        found.extend(all.into_iter().flatten());
        found.extend(odd(set));
        found.extend(short(set));
    }
    Ok(found)
}

/// Words in the middle caption by length.
pub(super) fn median_words(set: &Dataset) -> Option<usize> {
    let mut words: Vec<usize> =
        texts(set).map(|(_, text)| text.split_whitespace().count()).collect();
    words.sort_unstable();
    words.get(words.len() / 2).copied()
}

fn texts(set: &Dataset) -> impl Iterator<Item = (&Pair, &str)> {
    set.pairs
        .iter()
        .flat_map(|pair| pair.captions.iter().map(move |caption| (pair, &*caption.text)))
}

fn long(set: &Dataset, context: &Context) -> Result<Option<Finding>, DoctorError> {
    let (mut seen, mut cut) = (HashSet::new(), Vec::new());
    for (pair, text) in texts(set) {
        if !seen.insert(text) {
            continue;
        }
        let unread = |source| {
            let (key, set) = (pair.key.clone(), set.name());
            DoctorError::Caption { key, set, source }
        };
        let tokens = context.tokens(text).map_err(unread)?;
        if tokens > context.length() {
            cut.push((tokens, pair.key.as_str(), text));
        }
    }
    cut.sort_by_key(|(tokens, ..)| std::cmp::Reverse(*tokens));
    let Some(&(longest, ..)) = cut.first() else { return Ok(None) };
    let (number, all) = (cut.len(), seen.len());
    let (set, length) = (set.name(), context.length());
    let what = format!(
        "{} of {all} in {set} are cut after {length} tokens; the longest has {longest}",
        counted(number, "caption", "captions")
    );
    let things = cut
        .iter()
        .map(|(tokens, key, text)| format!("{key}: {tokens} tokens, {}", shown(text)))
        .collect();
    Ok(Some(Finding {
        kind: Kind::LongCaption,
        severity: Severity::Harm,
        what,
        cure: "say first what matters, part long captions into several, or raise \
               model.text.context_length where the tower takes more",
        things,
    }))
}

/// Who says what, by the words alone.
struct Said<'a> {
    set: &'a Dataset,
    /// Wordings by their words, with the places of the pairs that have them.
    by_words: BTreeMap<String, BTreeMap<&'a str, Vec<usize>>>,
}

impl<'a> Said<'a> {
    fn of(set: &'a Dataset) -> Self {
        let mut by_words: BTreeMap<String, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
        for (place, pair) in set.pairs.iter().enumerate() {
            let own: HashSet<&str> = pair.captions.iter().map(|caption| &*caption.text).collect();
            for text in own {
                by_words.entry(words(text)).or_default().entry(text).or_default().push(place);
            }
        }
        by_words.remove("");
        Self { set, by_words }
    }

    /// Captions of different pictures that a reader takes for the same and the objective does not.
    fn same_words(&self) -> Option<Finding> {
        let things: Vec<String> = self
            .by_words
            .values()
            .filter(|wordings| wordings.len() > 1 && several(wordings.values().flatten()))
            .map(|wordings| {
                let named = |(text, places): (&&str, &Vec<usize>)| {
                    format!("{} ({})", shown(text), self.set.pairs[places[0]].key)
                };
                wordings.iter().map(named).collect::<Vec<_>>().join(", ")
            })
            .collect();
        let number = things.len();
        let finding = Finding {
            kind: Kind::SameWords,
            severity: Severity::Harm,
            what: format!(
                "{} in {} of different pictures that differ in case, spaces or punctuation alone, \
                 so that they count as negatives to each other",
                counted(number, "group of captions", "groups of captions"),
                self.set.name()
            ),
            cure: "write them alike: pairs with the very same caption are no negatives to each other",
            things,
        };
        (number > 0).then_some(finding)
    }

    /// Captions that fit more than one picture.
    fn same_captions(&self) -> Option<Finding> {
        let shared = self.shared();
        let things: Vec<String> = shared
            .iter()
            .map(|(text, places)| {
                let keys: Vec<&str> = places
                    .iter()
                    .take(3)
                    .map(|&place| self.set.pairs[place].key.as_str())
                    .collect();
                let more = if places.len() > 3 { ", …" } else { "" };
                format!("{}: {} pictures ({}{more})", shown(text), places.len(), keys.join(", "))
            })
            .collect();
        let number = things.len();
        let finding = Finding {
            kind: Kind::SameCaption,
            severity: Severity::Note,
            what: format!(
                "{} in {} of several pictures each; they are no negatives to each other in \
                 training, and a search by one of them can find only one right picture",
                counted(number, "caption", "captions"),
                self.set.name()
            ),
            cure: "say what tells these pictures apart",
            things,
        };
        (number > 0).then_some(finding)
    }

    /// Captions that stand in for one.
    fn common(&self) -> Option<Finding> {
        let (least, share) = COMMON;
        let all = self.set.pairs.len();
        let many = |places: &Vec<usize>| {
            places.len() >= least && places.len() as f64 >= share * all as f64
        };
        let things: Vec<String> = self
            .shared()
            .into_iter()
            .filter(|(_, places)| many(places))
            .map(|(text, places)| format!("{}: {} pictures", shown(text), places.len()))
            .collect();
        let number = things.len();
        let finding = Finding {
            kind: Kind::CommonCaption,
            severity: Severity::Harm,
            what: format!(
                "{} in {} of at least {least} pictures and {:.0} % of all",
                counted(number, "caption", "captions"),
                self.set.name(),
                100.0 * share
            ),
            cure: "take out what stands in for a caption; pictures of a few kinds are better given \
                   as a labelled set",
            things,
        };
        (number > 0).then_some(finding)
    }

    /// Captions of several pictures with these, the most frequent first.
    fn shared(&self) -> Vec<(&'a str, &Vec<usize>)> {
        let mut shared: Vec<_> = self
            .by_words
            .values()
            .flatten()
            .filter(|(_, places)| places.len() > 1)
            .map(|(text, places)| (*text, places))
            .collect();
        shared.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
        shared
    }
}

/// Whether there are two different places.
fn several<'a>(mut places: impl Iterator<Item = &'a usize>) -> bool {
    places.next().is_some_and(|first| places.any(|place| place != first))
}

/// A text's words without case and punctuation.
fn words(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn odd(set: &Dataset) -> Option<Finding> {
    let things: Vec<String> = texts(set)
        .filter_map(|(pair, text)| {
            Some(format!("{}: {}, {}", pair.key, oddity(text)?, shown(text)))
        })
        .collect();
    let number = things.len();
    let finding = Finding {
        kind: Kind::OddCaption,
        severity: Severity::Harm,
        what: format!(
            "{} in {} with what is no word of a description",
            counted(number, "caption", "captions"),
            set.name()
        ),
        cure: "write what the picture shows, in UTF-8, without markup",
        things,
    };
    (number > 0).then_some(finding)
}

/// What is odd about a text.
fn oddity(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let is_file = |word: &str| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
        [".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif"].iter().any(|end| word.ends_with(end))
    };
    if words(text).is_empty() {
        return Some("no word at all");
    }
    if text.contains(char::REPLACEMENT_CHARACTER)
        || ["Ã©", "Ã¨", "â€™", "Ã¼"].iter().any(|broken| text.contains(broken))
    {
        return Some("characters that were read in the wrong encoding");
    }
    if ["http://", "https://", "www."].iter().any(|start| lower.contains(start)) {
        return Some("an address");
    }
    let entities = ["&amp;", "&quot;", "&lt;", "&gt;", "&nbsp;", "&#"];
    let tags = ["<br", "<p>", "</", "<a ", "<img", "<b>", "<i>"];
    if entities.iter().chain(&tags).any(|markup| lower.contains(markup)) {
        return Some("markup");
    }
    lower.split_whitespace().any(is_file).then_some("a file's name")
}

fn short(set: &Dataset) -> Option<Finding> {
    let is_short = |text: &&str| {
        let words = words(text);
        !words.is_empty() && !words.contains(' ')
    };
    let things: Vec<String> = texts(set)
        .filter(|(_, text)| is_short(text))
        .map(|(pair, text)| format!("{}: {}", pair.key, shown(text)))
        .collect();
    let number = things.len();
    let finding = Finding {
        kind: Kind::ShortCaption,
        severity: Severity::Note,
        what: format!(
            "{} of a single word in {}",
            counted(number, "caption", "captions"),
            set.name()
        ),
        cure: "describe the picture, or give its kind as a class in a labelled set with templates",
        things,
    };
    (number > 0).then_some(finding)
}

/// The beginning of a text, in quotes.
fn shown(text: &str) -> String {
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let start: String = text.chars().take(SHOWN).collect();
    format!("\"{start}{more}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_neither_case_nor_punctuation() {
        assert_eq!(words(" Two  DOGS, (one red)!"), "two dogs one red");
        assert_eq!(words("Zwei Hündchen"), "zwei hündchen");
        assert_eq!(words(" … !"), "");
    }

    #[test]
    fn what_is_no_description_is_told_and_what_is_one_is_not() {
        for (text, expected) in [
            ("IMG_2034.JPG", Some("a file's name")),
            ("see photo.png.", Some("a file's name")),
            ("dogs &amp; cats", Some("markup")),
            ("two dogs<br>one cat", Some("markup")),
            ("from https://example.org/a", Some("an address")),
            ("un cafÃ© noir", Some("characters that were read in the wrong encoding")),
            ("caf\u{fffd}", Some("characters that were read in the wrong encoding")),
            ("…", Some("no word at all")),
            ("Two dogs & a cat at 10:30, 5 < 6", None),
            ("São Paulo, a café", None),
            ("a jpg of a dog", None),
        ] {
            assert_eq!(oddity(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_is_shown_to_sixty_characters() {
        assert_eq!(shown("é"), "\"é\"");
        assert_eq!(shown(&"é".repeat(61)), format!("\"{}…\"", "é".repeat(60)));
    }
}
