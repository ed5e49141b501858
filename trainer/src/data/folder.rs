//! Folders of pictures: `a.jpg` beside `a.txt`, a folder for each class, or pictures alone.
//!
//! Which of the two is seen by the names alone, before a file is read; a folder that could be either,
//! or neither, is refused with what was found. Names that begin with a dot are passed over.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::gathering::{Gathering, Said};
use super::stems::{Part, Stems, text_of};
use super::{BadSample, DataError, Place};

/// A file of the folder.
struct Listed {
    path: PathBuf,
    /// Below the folder.
    relative: PathBuf,
    part: Part,
    metadata: Metadata,
}

impl Listed {
    /// Its name below the folder, as people read it.
    fn name(&self) -> String {
        self.relative.to_string_lossy().into_owned()
    }

    /// The same without its ending.
    fn stem(&self) -> PathBuf {
        self.relative.with_extension("")
    }

    fn place(&self) -> Place {
        Place { file: self.path.as_path().into(), offset: 0, len: self.metadata.len() }
    }

    /// Folders between the set's folder and the file.
    fn depth(&self) -> usize {
        self.relative.components().count() - 1
    }
}

/// Reads a folder in the layout that its names show.
pub(super) fn read(folder: &Path, to: &mut Gathering<'_>) -> Result<(), DataError> {
    let (files, unreadable) = list(folder)?;
    for BadSample { key, reason } in unreadable {
        to.bad(key, reason);
    }
    for file in &files {
        to.note(&file.path, &file.metadata);
    }
    let layout =
        if to.reads_words { layout(&files) } else { pictures(&files).map(|_| Layout::Pictures) };
    match layout {
        Ok(Layout::Pictures) => alone(&files, to),
        Ok(Layout::Captions) => captions(&files, to),
        Ok(Layout::Classes) => classes(&files, to),
        Err(found) => Err(DataError::Folder { path: folder.to_owned(), found }),
    }
}

enum Layout {
    /// Whatever lies beside them.
    Pictures,
    Captions,
    Classes,
}

/// How many pictures there are, at least one, or what speaks against a folder of them.
fn pictures(files: &[Listed]) -> Result<usize, String> {
    let with = |part| files.iter().filter(move |file| file.part == part);
    if let Some(table) = with(Part::Table).find(|table| table.depth() == 0) {
        return Err(format!("holds the table {0}; name {0} itself, or take it out", table.name()));
    }
    let pictures = with(Part::Picture).count();
    if pictures == 0 {
        let tars = with(Part::Tar).map(Listed::name).next();
        return Err(match tars {
            Some(tar) => format!("holds {tar} and no pictures; name the tar itself"),
            None => "holds no pictures".to_owned(),
        });
    }
    Ok(pictures)
}

/// What the names show, or what speaks against every layout.
fn layout(files: &[Listed]) -> Result<Layout, String> {
    let pictures = pictures(files)?;
    let with = |part| files.iter().filter(move |file| file.part == part);
    let texts: HashSet<PathBuf> = with(Part::Captions).map(Listed::stem).collect();
    let captioned = with(Part::Picture).filter(|picture| texts.contains(&picture.stem())).count();
    if 2 * captioned >= pictures {
        return Ok(Layout::Captions);
    }
    if captioned > 0 {
        return Err(format!(
            "holds {pictures} pictures of which {captioned} have captions: too few for a set with \
             captions, too many for folders of classes"
        ));
    }
    if let Some(deep) = with(Part::Picture).find(|picture| picture.depth() > 1) {
        return Err(format!("holds {}, deeper than a folder of a class lies", deep.name()));
    }
    if with(Part::Picture).all(|picture| picture.depth() == 0) {
        return Err(format!("holds {pictures} pictures, none of which has captions or a class"));
    }
    Ok(Layout::Classes)
}

/// Everything below a folder that may be a part of a set, by name, and what cannot be looked at.
fn list(folder: &Path) -> Result<(Vec<Listed>, Vec<BadSample>), DataError> {
    let (mut files, mut bad) = (Vec::new(), Vec::new());
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(visible) {
        let found = entry.and_then(|entry| Ok((entry.metadata()?, entry)));
        let (metadata, entry) = match found {
            Ok(found) => found,
            Err(error) if error.depth() == 0 => {
                return Err(DataError::Read { path: folder.to_owned(), source: error.into() });
            }
            Err(error) => {
                let path = error.path().unwrap_or(folder);
                let key = path.strip_prefix(folder).unwrap_or(path).display().to_string();
                bad.push(BadSample { key, reason: format!("cannot be read: {}", cause(&error)) });
                continue;
            }
        };
        let path = entry.into_path();
        let Some(part) = path.extension().and_then(|ending| Part::of(ending.to_str()?)) else {
            continue;
        };
        if metadata.is_file() {
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            files.push(Listed { path, relative, part, metadata });
        }
    }
    Ok((files, bad))
}

/// The system's reason, without the path that the key tells already.
fn cause(error: &walkdir::Error) -> String {
    if error.loop_ancestor().is_some() {
        return "it links to a folder above it".to_owned();
    }
    error.io_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Every picture by itself, at whatever depth.
fn alone(files: &[Listed], to: &mut Gathering<'_>) -> Result<(), DataError> {
    for file in files.iter().filter(|file| file.part == Part::Picture) {
        to.add(file.name(), Ok((file.place(), Said::Nothing)))?;
    }
    Ok(())
}

fn captions(files: &[Listed], to: &mut Gathering<'_>) -> Result<(), DataError> {
    let mut samples = Stems::default();
    for file in files {
        let stem = file.stem().to_string_lossy().into_owned();
        match file.part {
            Part::Picture => samples.picture(stem, file.place()),
            Part::Captions => {
                let read = || std::fs::read(&file.path);
                samples.captions(stem, text_of("txt", file.metadata.len(), read));
            }
            Part::Class | Part::Table | Part::Tar => {}
        }
    }
    Ok(samples.hand_on("", &[], to)?)
}

fn classes(files: &[Listed], to: &mut Gathering<'_>) -> Result<(), DataError> {
    for file in files.iter().filter(|file| file.part == Part::Picture) {
        let class = class_name(&file.relative);
        to.add(file.name(), class.map(|name| (file.place(), Said::Class(name))))?;
    }
    Ok(())
}

/// The name of a picture's folder in words: an underscore is a space, a hyphen stays one.
fn class_name(relative: &Path) -> Result<String, String> {
    let folder = relative.parent().and_then(Path::file_name);
    let folder = folder.ok_or("lies in no folder of a class")?;
    let name = folder.to_str().ok_or("the name of its class is not UTF-8")?.replace('_', " ");
    Ok(name.split_whitespace().collect::<Vec<_>>().join(" "))
}
