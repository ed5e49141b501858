//! WebDataset tars: members that share a stem are one sample.
//!
//! The headers are read once; pictures stay where they are and are read by offset, so that an epoch
//! can draw them in any order.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gathering::Gathering;
use super::stems::{Part, Stems, text_of};
use super::{DataError, Place};

/// Reads a tar; the keys of its samples begin with `prefix`.
pub(super) fn read(tar: &Path, prefix: &str, to: &mut Gathering<'_>) -> Result<(), DataError> {
    let unreadable = |source| DataError::Read { path: tar.to_owned(), source };
    let file = File::open(tar).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    to.note(tar, &metadata);
    let samples = scan(&file, tar, metadata.len()).map_err(unreadable)?;
    let classes =
        if to.reads_words && samples.are_labelled() { read_classes(tar)? } else { Vec::new() };
    for class in classes.iter().filter(|class| !class.is_empty()) {
        to.class(class)?;
    }
    Ok(samples.hand_on(prefix, &classes, to)?)
}

/// All members by stem. Texts are read at once, pictures only located.
fn scan(file: &File, tar: &Path, size: u64) -> std::io::Result<Stems> {
    let tar: Arc<Path> = tar.into();
    let mut samples = Stems::default();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = PathBuf::from(entry.path()?.to_string_lossy().into_owned());
        let Some((stem, ending)) = split(&path) else { continue };
        let (offset, len) = (entry.raw_file_position(), entry.size());
        if offset.saturating_add(len) > size {
            return Err(std::io::Error::other(format!("the tar ends within {}", path.display())));
        }
        let mut text = || {
            text_of(ending, len, || {
                let mut bytes = Vec::with_capacity(len as usize);
                entry.read_to_end(&mut bytes)?;
                Ok(bytes)
            })
        };
        match Part::of(ending) {
            Some(Part::Picture) => {
                samples.picture(stem, Place { file: Arc::clone(&tar), offset, len });
            }
            Some(Part::Captions) => samples.captions(stem, text()),
            Some(Part::Class) => samples.class(stem, text()),
            Some(Part::Table | Part::Tar) | None => {}
        }
    }
    Ok(samples)
}

/// A member's name up to the first dot of its file name, and what comes after the last.
fn split(path: &Path) -> Option<(String, &str)> {
    let name = path.file_name()?.to_str()?;
    let (stem, endings) = name.split_once('.')?;
    if stem.is_empty() {
        return None;
    }
    let ending = endings.rsplit('.').next()?;
    Some((path.with_file_name(stem).to_string_lossy().into_owned(), ending))
}

/// Line N of `classes.txt` beside the tar, counted from 0, is the name of class N.
fn read_classes(tar: &Path) -> Result<Vec<String>, DataError> {
    let path = tar.with_file_name("classes.txt");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| DataError::Read { path: path.clone(), source })?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn write_tar(path: &Path, members: &[(&str, &[u8])]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.finish().unwrap();
    }

    fn templates() -> Vec<String> {
        vec!["a {}".to_owned(), "the {}".to_owned()]
    }

    #[test]
    fn captions_come_one_a_line_and_pictures_are_read_by_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        write_tar(
            &path,
            &[
                ("b.jpg", b"picture b"),
                ("b.txt", b"one\n\n  two \n"),
                ("d/a.b.png", b"picture a"),
                ("d/a.txt", b"three"),
                ("d/a.json", b"{}"),
            ],
        );
        let set = Dataset::open(&path, &templates()).unwrap();
        assert_eq!(set.bad, []);
        let texts: Vec<Vec<&str>> =
            set.pairs.iter().map(|p| p.captions.iter().map(|c| &*c.text).collect()).collect();
        assert_eq!(texts, [vec!["one", "two"], vec!["three"]]);
        assert_eq!(set.pairs[1].key, "d/a");
        assert_eq!(set.pairs[0].picture.read().unwrap(), b"picture b");
        assert_eq!(set.pairs[1].picture.read().unwrap(), b"picture a");
    }

    #[test]
    fn a_class_becomes_one_caption_a_template_and_keeps_its_meaning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        std::fs::write(dir.path().join("classes.txt"), "cat\ndog\n").unwrap();
        write_tar(&path, &[("a.jpg", b"x"), ("a.cls", b"1\n")]);
        let set = Dataset::open(&path, &templates()).unwrap();
        let pair = &set.pairs[0];
        assert_eq!(pair.class, Some(1));
        let texts: Vec<(&str, &str)> =
            pair.captions.iter().map(|c| (&*c.text, &*c.meaning)).collect();
        assert_eq!(texts, [("a dog", "dog"), ("the dog", "dog")]);
    }

    #[test]
    fn bad_samples_are_named_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        std::fs::write(dir.path().join("classes.txt"), "cat\n").unwrap();
        write_tar(
            &path,
            &[
                ("good.jpg", b"x"),
                ("good.cls", b"0"),
                ("far.jpg", b"x"),
                ("far.cls", b"7"),
                ("odd.jpg", b"x"),
                ("odd.cls", b"cat"),
                ("mute.jpg", b"x"),
                ("blind.txt", b"words"),
                ("blank.jpg", b"x"),
                ("blank.txt", b"\n"),
                ("latin.jpg", b"x"),
                ("latin.txt", b"caf\xe9"),
                ("hollow.jpg", b""),
                ("hollow.cls", b"0"),
                ("twice.jpg", b"x"),
                ("twice.png", b"x"),
                ("twice.cls", b"0"),
            ],
        );
        let set = Dataset::open(&path, &templates()).unwrap();
        assert_eq!(set.pairs.len(), 1);
        let said: Vec<String> = set.bad.iter().map(|b| format!("{} {}", b.key, b.reason)).collect();
        assert_eq!(
            said,
            [
                "far is of class 7, but classes.txt names 1",
                "odd its .cls holds \"cat\", which is no class index",
                "mute has no .txt and no .cls",
                "blind has no picture",
                "blank its .txt is empty",
                "latin its .txt is not UTF-8",
                "hollow its picture is empty",
                "twice has more than one picture",
            ]
        );
    }

    #[test]
    fn a_set_without_a_usable_pair_is_fatal_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        write_tar(&path, &[("a.jpg", b"x")]);
        let error = Dataset::open(&path, &templates()).unwrap_err().to_string();
        assert!(error.contains("no usable pair; a: has no .txt"), "{error}");
        write_tar(&path, &[("a.jpg", b"x"), ("a.cls", b"0")]);
        let error = Dataset::open(&path, &templates()).unwrap_err().to_string();
        assert!(error.contains("classes.txt"), "{error}");
    }

    #[test]
    fn a_truncated_tar_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        write_tar(&path, &[("a.txt", b"words"), ("a.jpg", &[7; 4000])]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..3000]).unwrap();
        assert!(matches!(Dataset::open(&path, &templates()), Err(DataError::Read { .. })));
    }
}
