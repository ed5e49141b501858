//! Which files below a folder are pictures to look at.
//! Hidden files and folders are left alone, as is the data folder; symbolic links are followed.
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clip::image::Format;
use walkdir::{DirEntry, WalkDir};

use super::{Failure, IngestError, reason};
use crate::catalog::Place;

/// Endings by which a file is a picture, or should be one: what does not decode is reported.
const ENDINGS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "heic",
    "heif", "avif", "apng", "svg",
];

/// What lies below the paths that were given.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The paths that were given, made absolute, none inside another.
    pub(super) roots: Vec<PathBuf>,
    /// Files to look at.
    pub(super) files: Vec<Place>,
    /// Folders that cannot be read, links that lead nowhere or in a circle.
    pub(super) failed: Vec<Failure>,
}

/// Walks all of `given` but what is the collection's own. Reads no picture.
///
/// # Errors
/// A path that is missing, unreadable or without any picture; then none of them counts.
pub(super) fn walk(given: &[PathBuf], own: &Path) -> Result<Walked, IngestError> {
    let mut walked = Walked { roots: roots(given)?, ..Walked::default() };
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    for root in walked.roots.clone() {
        let before = walked.files.len();
        let entries = WalkDir::new(&root).follow_links(true).sort_by_file_name().into_iter();
        for entry in entries.filter_entry(|e| e.depth() == 0 || (!is_hidden(e) && e.path() != own))
        {
            match entry {
                Ok(entry) => walked.files.extend(candidate(&entry, &mut walked.failed)),
                Err(error) if error.depth() == 0 => {
                    return Err(IngestError::Root { path: root, source: error.into() });
                }
                Err(error) => walked.failed.push(failure(&root, &error)),
            }
        }
        if walked.files.len() == before {
            return Err(IngestError::EmptyRoot { path: root });
        }
    }
    Ok(walked)
}

/// Absolute, without links, sorted, and without those inside another: each file is seen once.
fn roots(given: &[PathBuf]) -> Result<Vec<PathBuf>, IngestError> {
    let absolute = |path: &PathBuf| {
        path.canonicalize().map_err(|source| IngestError::Root { path: path.clone(), source })
    };
    let mut all: Vec<PathBuf> = given.iter().map(absolute).collect::<Result<_, _>>()?;
    all.sort();
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in all {
        // Sorted by components, a folder comes right before all that lies in it.
        if !roots.last().is_some_and(|last| root.starts_with(last)) {
            roots.push(root);
        }
    }
    Ok(roots)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// The entry as a place, if it is a file that looks like a picture or was given by name.
fn candidate(entry: &DirEntry, failed: &mut Vec<Failure>) -> Option<Place> {
    // Pipes and devices must not be opened, whatever their names.
    if !entry.file_type().is_file() || !(entry.depth() == 0 || looks_like_picture(entry.path())) {
        return None;
    }
    match entry.metadata() {
        Ok(metadata) => Some(place(entry.path(), &metadata)),
        Err(error) => {
            failed.push(failure(entry.path(), &error));
            None
        }
    }
}

/// A file as it is now.
pub(super) fn place(path: &Path, metadata: &Metadata) -> Place {
    let modified_ns = metadata.mtime().saturating_mul(1_000_000_000) + metadata.mtime_nsec();
    Place { path: path.to_owned(), size_bytes: metadata.len(), modified_ns }
}

/// By its ending; a name without one is judged by the file's first bytes.
fn looks_like_picture(path: &Path) -> bool {
    match path.extension() {
        Some(ending) => ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)),
        None => first_bytes(path).is_some_and(|bytes| Format::of(&bytes).is_some()),
    }
}

/// Bytes that tell what a file is: a few for most formats; a drawing may begin with remarks.
const HEAD: u64 = 1024;

/// Nothing for a file that cannot be read: without an ending, nothing says that it is a picture.
fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn failure(near: &Path, error: &walkdir::Error) -> Failure {
    let path = error.path().unwrap_or(near).display().to_string();
    let reason = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => format!("the link leads back to {}", ancestor.display()),
        (None, Some(io)) if error.path().is_some_and(Path::is_symlink) => {
            format!("the link cannot be followed: {io}")
        }
        (None, Some(io)) => reason(io),
        (None, None) => reason(error),
    };
    Failure { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walked: &Walked) -> Vec<String> {
        let name = |file: &Place| file.path.file_name().unwrap().to_string_lossy().into_owned();
        walked.files.iter().map(name).collect()
    }

    #[test]
    fn pictures_are_found_by_ending_or_content_and_hidden_ones_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        for folder in [".hidden", "inner", "data"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        for name in ["a.JPG", "b.txt", "inner/c.tiff", ".d.jpg", ".hidden/e.jpg", "data/f.jpg"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::write(at("gif"), b"GIF89a______________").unwrap();
        std::fs::write(at("words"), b"words").unwrap();
        let walked = walk(&[temp.path().to_owned()], &at("data")).unwrap();
        assert_eq!(names(&walked), ["a.JPG", "gif", "c.tiff"]);
        assert_eq!(walked.failed, []);
    }

    #[test]
    fn folder_inside_another_is_walked_once_and_a_file_by_name_always() {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a.jpg"), "x").unwrap();
        let odd = temp.path().join("odd.txt");
        std::fs::write(&odd, "x").unwrap();
        let own = temp.path().join("none");
        let given = [inner.clone(), temp.path().to_owned(), inner.clone()];
        assert_eq!(names(&walk(&given, &own).unwrap()), ["a.jpg"]);
        assert_eq!(names(&walk(&[odd], &own).unwrap()), ["odd.txt"]);
    }

    #[test]
    fn missing_and_empty_folders_are_errors() {
        let temp = tempfile::tempdir().unwrap();
        let own = temp.path().join("data");
        let missing = walk(&[temp.path().join("none")], &own);
        assert!(matches!(missing, Err(IngestError::Root { .. })));
        std::fs::write(temp.path().join("notes.txt"), "x").unwrap();
        let empty = walk(&[temp.path().to_owned()], &own);
        assert!(matches!(empty, Err(IngestError::EmptyRoot { .. })));
    }

    #[test]
    fn loops_and_broken_links_are_told_and_survived() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("a.jpg"), "x").unwrap();
        std::os::unix::fs::symlink(temp.path(), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nothing.jpg"), at("broken.jpg")).unwrap();
        let walked = walk(&[temp.path().to_owned()], &at("data")).unwrap();
        assert_eq!(names(&walked), ["a.jpg"]);
        let mut told: Vec<(String, String)> = walked
            .failed
            .iter()
            .map(|f| (f.path.rsplit('/').next().unwrap().to_owned(), f.reason.clone()))
            .collect();
        told.sort();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].0, "broken.jpg");
        assert!(told[0].1.starts_with("the link cannot be followed"), "{told:?}");
        assert_eq!(told[1].0, "loop");
        assert!(told[1].1.starts_with("the link leads back to"), "{told:?}");
    }
}
