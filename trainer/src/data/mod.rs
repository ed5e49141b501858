//! Where pairs of a picture and a caption come from.
//!
//! A [`Dataset`] is a list of pairs whose pictures stay on disk, whatever the layout that it was read
//! from; [`mixture`] says which pairs an epoch draws, [`augment`] how each is looked at and worded,
//! and [`decode`] turns pictures into pixel values on a bounded pool.
//! This room knows nothing of tensors or models.
//! Invariant: what is drawn is a function of (seed, epoch) alone, and a sample that cannot be used
//! is named, never silently passed over.

pub mod augment;
mod braces;
pub mod decode;
mod decoded;
mod folder;
mod gathering;
pub mod mixture;
mod place;
mod stems;
mod table;
mod webdataset;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip::zero_shot::TemplateError;

pub use decoded::DecodedCache;
use gathering::Gathering;
pub use place::Place;
use table::Format;

/// A set of pairs, opened.
#[derive(Debug)]
pub struct Dataset {
    /// The file or folder that it was opened from, as the recipe names it.
    pub path: PathBuf,
    /// All usable pairs, in the order of the file, or of the names in a folder.
    pub pairs: Vec<Pair>,
    /// Names of the classes, where the set has labels.
    pub classes: Vec<String>,
    /// Samples that cannot be used, with their reasons.
    pub bad: Vec<BadSample>,
    identity: String,
}

/// One picture and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The sample's name within its set.
    pub key: String,
    /// Where the picture lies.
    pub picture: Place,
    /// At least one, but in a set that is opened for its pictures alone.
    pub captions: Vec<Caption>,
    /// What could be said of it and is wrong; of tables that have such a column.
    pub negatives: Vec<Caption>,
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
    #[error(
        "{} is no set: neither a .tar, .csv, .tsv or .jsonl nor a folder of pictures",
        path.display()
    )]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// The folder has no layout that we read, or more than one.
    #[error(
        "{} {found}; a folder is a set with KEY.jpg beside KEY.txt (captions, one a line), or with \
         CLASS/NAME.jpg",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The table does not say which column is which.
    #[error("the table {} {found}", path.display())]
    Columns {
        /// The table.
        path: PathBuf,
        /// What is wrong with its first line.
        found: String,
    },
    /// Braces that stand for no files.
    #[error("{} {found}", path.display())]
    Braces {
        /// As given.
        path: PathBuf,
        /// What is wrong with them.
        found: String,
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
    /// Opens a set; `templates` say how a class is put into words.
    ///
    /// The layout is seen by the path: a WebDataset tar, several written with braces
    /// (`train-{000..009}.tar`), a table (`.csv`, `.tsv`, `.jsonl`), a folder of pictures with
    /// captions beside them, or a folder of class folders.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be read, has no layout that we know, or holds no usable pair.
    pub fn open(path: &Path, templates: &[String]) -> Result<Self, DataError> {
        Self::gathered(path, Gathering::new(templates))
    }

    /// Opens a set for its pictures alone, whatever is said of them; in a folder they may lie at any
    /// depth.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn pictures(path: &Path) -> Result<Self, DataError> {
        Self::gathered(path, Gathering::of_pictures())
    }

    fn gathered(path: &Path, mut gathering: Gathering<'_>) -> Result<Self, DataError> {
        if path.is_dir() {
            folder::read(path, &mut gathering)?;
        } else {
            let files = files(path)?;
            for file in &files {
                let shard = file.file_name().unwrap_or_default().to_string_lossy();
                let prefix = if files.len() > 1 { format!("{shard}/") } else { String::new() };
                read_file(file, &prefix, &mut gathering)?;
            }
        }
        gathering.finish(path)
    }

    /// Names the set's files as they were when it was opened: paths, lengths and times of change,
    /// and which stretches of them are its pictures; hexadecimal.
    #[must_use]
    pub fn identity(&self) -> String {
        self.identity.clone()
    }

    /// The file's name, for people.
    #[must_use]
    pub fn name(&self) -> String {
        let parts: Vec<_> = self.path.iter().map(|p| p.to_string_lossy()).collect();
        parts[parts.len().saturating_sub(2)..].join("/")
    }
}

/// The files that a path stands for: itself, or several where it has braces.
fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    match path.to_str() {
        Some(pattern) if pattern.contains('{') && !path.exists() => {
            let braces = |found| DataError::Braces { path: path.to_owned(), found };
            let names = braces::expand(pattern).map_err(braces)?;
            Ok(names.into_iter().map(PathBuf::from).collect())
        }
        _ => Ok(vec![path.to_owned()]),
    }
}

fn read_file(path: &Path, prefix: &str, to: &mut Gathering<'_>) -> Result<(), DataError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match Format::of(ending) {
        Some(format) => table::read(path, format, prefix, to),
        None if ending.eq_ignore_ascii_case("tar") => webdataset::read(path, prefix, to),
        None => Err(match std::fs::metadata(path) {
            Ok(_) => DataError::Kind { path: path.to_owned() },
            Err(source) => DataError::Read { path: path.to_owned(), source },
        }),
    }
}
