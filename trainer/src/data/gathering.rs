//! Samples on their way into a set: judged, put into words, and fingerprinted.
//!
//! Each layout's reader tells what it found; what makes a pair usable is decided here once.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;

use clip::zero_shot::{TemplateError, fill_template};
use sha2::{Digest, Sha256};

use super::place::stamp;
use super::{BadSample, Caption, DataError, Dataset, Pair, Place};

/// Bytes of the largest picture file that is read; camera raws and scans stay far below it.
const LARGEST_PICTURE: u64 = 1 << 30;

/// Bytes of captions that one sample may have; more is no caption, but some other text.
pub(super) const LONGEST_TEXT: u64 = 1 << 20;

/// What is said of a picture.
#[derive(Debug)]
pub(super) enum Said {
    /// Each of these, and what is wrong of it.
    Captions {
        /// What is right.
        captions: Vec<String>,
        /// What sounds alike and is wrong.
        negatives: Vec<String>,
    },
    /// That it shows one of the class of this name.
    Class(String),
    /// Nothing, in a set that is opened for its pictures alone.
    Nothing,
}

/// A set being read.
pub(super) struct Gathering<'a> {
    templates: &'a [String],
    /// Whether what is said of pictures is looked at.
    pub(super) reads_words: bool,
    pairs: Vec<Pair>,
    bad: Vec<BadSample>,
    classes: Vec<String>,
    /// The filled templates of each class.
    prompts: Vec<Vec<Caption>>,
    class_of: HashMap<String, usize>,
    fingerprint: Sha256,
}

impl<'a> Gathering<'a> {
    /// Nothing yet; `templates` say how a class is put into words.
    pub(super) fn new(templates: &'a [String]) -> Self {
        Self {
            templates,
            reads_words: true,
            pairs: Vec::new(),
            bad: Vec::new(),
            classes: Vec::new(),
            prompts: Vec::new(),
            class_of: HashMap::new(),
            fingerprint: Sha256::new(),
        }
    }

    /// Nothing yet, of a set that is opened for its pictures alone.
    pub(super) fn of_pictures() -> Self {
        Self { reads_words: false, ..Self::new(&[]) }
    }

    /// Takes note of a file that the set is made of, as it is now.
    pub(super) fn note(&mut self, file: &Path, metadata: &Metadata) {
        self.note_words(&stamp(file, metadata));
    }

    fn note_words(&mut self, words: &str) {
        self.fingerprint.update((words.len() as u64).to_le_bytes());
        self.fingerprint.update(words.as_bytes());
    }

    /// Makes a class known, whether or not a sample shows it; a name counts once.
    pub(super) fn class(&mut self, name: &str) -> Result<usize, TemplateError> {
        if let Some(&class) = self.class_of.get(name) {
            return Ok(class);
        }
        let meaning: Arc<str> = name.into();
        let fill = |template: &String| {
            let text = fill_template(template, name)?.into();
            Ok(Caption { text, meaning: Arc::clone(&meaning) })
        };
        self.prompts.push(self.templates.iter().map(fill).collect::<Result<_, _>>()?);
        self.classes.push(name.to_owned());
        self.class_of.insert(name.to_owned(), self.classes.len() - 1);
        Ok(self.classes.len() - 1)
    }

    /// Takes a sample in, or names it as bad.
    pub(super) fn add(
        &mut self,
        key: String,
        found: Result<(Place, Said), String>,
    ) -> Result<(), TemplateError> {
        match found.and_then(|(picture, said)| usable(picture, said)) {
            Err(reason) => self.bad(key, reason),
            Ok((picture, said)) => {
                self.note_words(&format!("{key}:{}:{}", picture.offset, picture.len));
                let pair = match said {
                    Said::Nothing => {
                        let (captions, negatives) = (Vec::new(), Vec::new());
                        Pair { key, picture, captions, negatives, class: None }
                    }
                    Said::Captions { captions, negatives } => {
                        let [captions, negatives] = [captions, negatives]
                            .map(|texts| texts.into_iter().map(plain).collect());
                        Pair { key, picture, captions, negatives, class: None }
                    }
                    Said::Class(name) => {
                        let class = self.class(&name)?;
                        let captions = self.prompts[class].clone();
                        Pair { key, picture, captions, negatives: Vec::new(), class: Some(class) }
                    }
                };
                self.pairs.push(pair);
            }
        }
        Ok(())
    }

    /// Names what cannot be used.
    pub(super) fn bad(&mut self, key: String, reason: String) {
        self.bad.push(BadSample { key, reason });
    }

    /// The set, opened from `path`.
    pub(super) fn finish(self, path: &Path) -> Result<Dataset, DataError> {
        if self.pairs.is_empty() {
            let first = self.bad.into_iter().next();
            return Err(DataError::Empty { path: path.to_owned(), first });
        }
        let digest = self.fingerprint.finalize();
        let identity = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let Self { pairs, bad, classes, .. } = self;
        Ok(Dataset { path: path.to_owned(), pairs, classes, bad, identity })
    }
}

fn usable(picture: Place, said: Said) -> Result<(Place, Said), String> {
    if picture.len == 0 {
        return Err("its picture is empty".to_owned());
    }
    if picture.len > LARGEST_PICTURE {
        return Err(format!(
            "its picture has {} bytes, more than the limit of {LARGEST_PICTURE}",
            picture.len
        ));
    }
    match &said {
        Said::Captions { captions, .. } if captions.is_empty() => Err("has no caption".to_owned()),
        Said::Captions { captions, negatives } => {
            match negatives.iter().find(|negative| captions.contains(negative)) {
                Some(both) => Err(format!("\"{both}\" is among its captions and its negatives")),
                None => Ok((picture, said)),
            }
        }
        Said::Class(name) if name.trim().is_empty() => Err("its class has no name".to_owned()),
        Said::Class(_) | Said::Nothing => Ok((picture, said)),
    }
}

/// A caption that means what it says.
fn plain(text: String) -> Caption {
    let text: Arc<str> = text.into();
    Caption { meaning: Arc::clone(&text), text }
}

/// The captions in a text, one a line.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
