//! Where a picture's bytes are: a place of the owner's that still holds them, or the upload's original.
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clip::image::Format;

use super::prepare::hash_file;
use super::thumbnail::{THUMBNAIL_SIDES, thumbnail_path};
use super::walk::place;
use crate::catalog::{ContentHash, DataFolder, Picture, PictureId};

/// Why there is no file to give.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No place holds the picture's bytes any more: moved, changed, or on a disk that is away.
    #[error("no file holds picture {id} any more; index its folder again")]
    Gone {
        /// The picture.
        id: PictureId,
    },
    /// Its file cannot be read or decoded.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data folder does not take a file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The first file that holds exactly the bytes of `picture`. Blocks; hashes a file that has been
/// touched since it was indexed.
///
/// # Errors
/// [`FileError::Gone`].
pub fn file_of(folder: &DataFolder, picture: &Picture) -> Result<PathBuf, FileError> {
    let original = original_path(folder, picture.hash, &picture.format);
    if picture.upload.is_some() && original.is_file() {
        return Ok(original);
    }
    let untouched = picture.places.iter().find(|known| {
        std::fs::metadata(&known.path).is_ok_and(|now| place(&known.path, &now) == **known)
    });
    let same = || picture.places.iter().find(|known| holds(&known.path, picture));
    match untouched.or_else(same) {
        Some(found) => Ok(found.path.clone()),
        None => Err(FileError::Gone { id: picture.summary.id }),
    }
}

/// Whether the file's bytes are the picture's.
fn holds(path: &Path, picture: &Picture) -> bool {
    // The length first: it costs nothing, and tells a pipe from a file before it is opened.
    let fits = |m: std::fs::Metadata| m.is_file() && m.len() == picture.size_bytes;
    std::fs::metadata(path).is_ok_and(fits)
        && File::open(path)
            .and_then(|mut file| hash_file(&mut file))
            .is_ok_and(|hash| hash == picture.hash)
}

/// Whether nothing lies at `path`; not being allowed to look is no answer.
pub(super) fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Where the original of an upload lies.
pub(super) fn original_path(folder: &DataFolder, hash: ContentHash, format: &str) -> PathBuf {
    let name = hash.to_string();
    folder.originals().join(&name[..2]).join(format!("{name}.{format}"))
}

/// Puts bytes at `path`, whole or not at all, on disk when it returns.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || {
        let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The name, too, must survive a power cut.
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Removes the original of a deleted upload.
pub(super) fn remove_originals(folder: &DataFolder, hash: ContentHash) {
    for format in Format::ALL {
        remove(&original_path(folder, hash, format.subtype()));
    }
}

/// Removes the thumbnails of a picture that is gone.
pub(super) fn remove_thumbnails(folder: &DataFolder, hash: ContentHash) {
    for side in THUMBNAIL_SIDES {
        remove(&thumbnail_path(folder, hash, side));
    }
}

/// A file that stays behind is a nuisance and no reason to fail.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "a file could not be removed"),
    }
}
