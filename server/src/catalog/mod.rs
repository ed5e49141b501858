//! The catalog: pictures, the places where they lie and their embeddings, in SQLite.
//! It knows nothing of models, indexes, files' contents or HTTP; it is the only room with SQL.
//! Invariant: what a call acknowledged is on disk, each content stands once, and a hidden picture has no embedding.
mod add;
mod backgrounds;
mod embeddings;
mod error;
mod folder;
mod hide;
mod models;
mod open;
mod pictures;
mod places;

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use add::{Added, NewPicture, Origin, Status};
pub use backgrounds::Background;
pub use error::CatalogError;
pub use folder::{DataFolder, DataLock};
pub use models::CurrentModel;
pub use open::{Reader, Writer};
pub use pictures::{Counts, Picture, Summary};
pub use places::{KnownPlace, Vanished};

/// Names a picture of this collection, for as long as the data folder lives; never given twice.
/// To clients it is an opaque string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureId(i64);

impl PictureId {
    /// The key under which an index keeps this picture's vector.
    pub fn key(self) -> u64 {
        self.0.cast_unsigned()
    }

    /// The picture whose vector an index keeps under `key`.
    pub fn from_key(key: u64) -> Self {
        Self(key.cast_signed())
    }
}

impl fmt::Display for PictureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A string that no picture has ever had as its id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the id of a picture")]
pub struct NotAnId(String);

impl FromStr for PictureId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        // One spelling only: "+7" and "007" are nobody's id.
        match text.parse() {
            Ok(id) if id > 0 && i64::to_string(&id) == text => Ok(Self(id)),
            _ => Err(NotAnId(text.chars().take(64).collect())),
        }
    }
}

impl serde::Serialize for PictureId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The sha-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    /// Lower-case hexadecimal, 64 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file of the owner's, with what tells whether it changed since it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Absolute, byte for byte as the system has it.
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// The path as the database keeps it.
fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The path from the database.
fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// This moment as RFC 3339, in UTC, to the second.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_id_has_one_spelling() {
        assert_eq!("17".parse::<PictureId>().unwrap().to_string(), "17");
        for odd in ["", "0", "-1", "+7", "007", "1.0", "99999999999999999999", "x", " 1"] {
            assert!(odd.parse::<PictureId>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn now_is_rfc_3339_to_the_second() {
        let now = now();
        assert_eq!(now.len(), "2026-01-02T03:04:05Z".len(), "{now}");
        assert!(now.parse::<jiff::Timestamp>().is_ok());
    }
}
