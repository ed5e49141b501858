//! Where pairs of a picture and a caption come from.
//!
//! A [`Dataset`] is a list of pairs whose pictures stay on disk; [`mixture`] says which pairs an
//! epoch draws, [`decode`] turns pictures into pixel values on a bounded pool.
//! This room knows nothing of tensors or models.
//! Invariant: what is drawn is a function of (seed, epoch) alone, and a sample that cannot be used
//! is named, never silently passed over.

pub mod decode;
pub mod mixture;
mod webdataset;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip::zero_shot::TemplateError;

pub use webdataset::Span;

/// A set of pairs, opened.
#[derive(Debug)]
pub struct Dataset {
    /// The file it was opened from.
    pub path: PathBuf,
    /// All usable pairs, in the order of the file.
    pub pairs: Vec<Pair>,
    /// Names of the classes, where the set has labels.
    pub classes: Vec<String>,
    /// Samples that cannot be used, with their reasons.
    pub bad: Vec<BadSample>,
    archive: webdataset::Archive,
}

/// One picture and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The sample's name within its set.
    pub key: String,
    /// Where the picture lies in the file.
    pub picture: Span,
    /// At least one.
    pub captions: Vec<Caption>,
    /// Index into [`Dataset::classes`], where the set has labels.
    pub class: Option<usize>,
}

/// A text, and what makes two of them the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// As the model reads it.
    pub text: Arc<str>,
    /// Equal for captions that say the same: the text itself, or the class for filled templates, so
    /// that two templates of one class are no negatives to each other.
    pub meaning: Arc<str>,
}

/// A sample that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadSample {
    /// The sample's name within its set.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// A set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file or one beside it cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The ending says nothing that we read.
    #[error("{} is no .tar; a set is a WebDataset tar of KEY.jpg with KEY.txt or KEY.cls", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// Not one pair can be used.
    #[error("{} holds no usable pair{}", path.display(), first_reason(first))]
    Empty {
        /// The file.
        path: PathBuf,
        /// The first sample that could not be used.
        first: Option<BadSample>,
    },
    /// A template without a place for the class.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

fn first_reason(first: &Option<BadSample>) -> String {
    first.as_ref().map(|b| format!("; {}: {}", b.key, b.reason)).unwrap_or_default()
}

impl Dataset {
    /// Opens a WebDataset tar; `templates` say how a class is put into words.
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be read or holds no usable pair.
    pub fn open(path: &Path, templates: &[String]) -> Result<Self, DataError> {
        if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("tar")) {
            return Err(DataError::Kind { path: path.to_owned() });
        }
        let set = webdataset::open(path, templates)?;
        if set.pairs.is_empty() {
            let first = set.bad.first().cloned();
            return Err(DataError::Empty { path: path.to_owned(), first });
        }
        Ok(set)
    }

    /// The bytes of a picture.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn picture_bytes(&self, picture: Span) -> std::io::Result<Vec<u8>> {
        self.archive.read(picture)
    }

    /// Names this file as it is now: path, length and time of change.
    #[must_use]
    pub fn identity(&self) -> String {
        self.archive.identity(&self.path)
    }

    /// The file's name, for people.
    #[must_use]
    pub fn name(&self) -> String {
        let parts: Vec<_> = self.path.iter().map(|p| p.to_string_lossy()).collect();
        parts[parts.len().saturating_sub(2)..].join("/")
    }
}
