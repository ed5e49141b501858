//! Tables of pictures and captions: CSV, TSV and JSON lines.
//!
//! Rows that name the same file are one picture with several captions, and with all of their negatives.
//! A relative path is relative to the table's folder and stays within it; an absolute one is taken as
//! it is.

mod delimited;
mod json_lines;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::gathering::{Gathering, LONGEST_TEXT, Said};
use super::{DataError, Place};

/// Names of the column with the picture's path; case does not matter.
const PICTURE: [&str; 7] =
    ["filepath", "path", "image", "file_name", "filename", "image_path", "file"];

/// Names of the column with what is said of the picture.
const CAPTION: [&str; 4] = ["caption", "captions", "title", "text"];

/// Names of the column with what could be said of the picture and is wrong; a table need not have it.
const NEGATIVE: [&str; 4] = ["negative", "negatives", "hard_negative", "hard_negatives"];

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Commas, quotes where needed (RFC 4180).
    Csv,
    /// The same with tabs.
    Tsv,
    /// A JSON object a line.
    JsonLines,
}

impl Format {
    /// None for an ending that is no table's.
    pub(super) fn of(ending: &str) -> Option<Self> {
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// One row of a table.
#[derive(Debug)]
struct Row {
    /// Where it begins, from 1.
    line: u64,
    /// What it says, or why it cannot be read.
    content: Result<Entry, String>,
}

/// What a row says.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The picture's path as written.
    picture: String,
    captions: Vec<String>,
    negatives: Vec<String>,
}

/// What all rows of a picture say.
struct Picture {
    /// Its path as the first of them writes it.
    written: String,
    file: PathBuf,
    captions: Vec<String>,
    negatives: Vec<String>,
}

/// Reads a table; the keys of its samples begin with `prefix`.
pub(super) fn read(
    table: &Path,
    format: Format,
    prefix: &str,
    to: &mut Gathering<'_>,
) -> Result<(), DataError> {
    let unreadable = |source| DataError::Read { path: table.to_owned(), source };
    let text = std::fs::read(table).map_err(unreadable)?;
    to.note(table, &table.metadata().map_err(unreadable)?);
    let words = to.reads_words;
    let rows = match format {
        Format::Csv => delimited::rows(&text, b',', words),
        Format::Tsv => delimited::rows(&text, b'\t', words),
        Format::JsonLines => Ok(json_lines::rows(&text, words)),
    };
    let rows = rows.map_err(|found| DataError::Columns { path: table.to_owned(), found })?;
    let folder = table.parent().unwrap_or(Path::new(""));
    for picture in by_picture(folder, rows, to) {
        let Picture { written, file, captions, negatives } = picture;
        let said =
            if to.reads_words { Said::Captions { captions, negatives } } else { Said::Nothing };
        let found = place(&file, to).map(|place| (place, said));
        to.add(format!("{prefix}{written}"), found)?;
    }
    Ok(())
}

/// Every picture, with what all of its rows say; bad rows are named.
fn by_picture(folder: &Path, rows: Vec<Row>, to: &mut Gathering<'_>) -> Vec<Picture> {
    let mut pictures: Vec<Picture> = Vec::new();
    let mut of_file: HashMap<PathBuf, usize> = HashMap::new();
    for Row { line, content } in rows {
        match content.and_then(|entry| picture(folder, entry, to.reads_words)) {
            Err(reason) => to.bad(format!("line {line}"), reason),
            Ok(more) => match of_file.get(&more.file) {
                Some(&at) => {
                    pictures[at].captions.extend(more.captions);
                    pictures[at].negatives.extend(more.negatives);
                }
                None => {
                    of_file.insert(more.file.clone(), pictures.len());
                    pictures.push(more);
                }
            },
        }
    }
    pictures
}

/// What one row says of its picture; without `words` it need not say anything.
fn picture(folder: &Path, entry: Entry, words: bool) -> Result<Picture, String> {
    let Entry { picture: written, captions, negatives } = entry;
    let file = within(folder, &written)?;
    let of_it = |why: String| format!("{written}: {why}");
    let captions = texts(&captions, "caption").map_err(of_it)?;
    if words && captions.is_empty() {
        return Err(of_it("its caption is empty".to_owned()));
    }
    let negatives = texts(&negatives, "negative").map_err(of_it)?;
    Ok(Picture { written, file, captions, negatives })
}

/// Without what is blank.
fn texts(all: &[String], name: &str) -> Result<Vec<String>, String> {
    if let Some(long) = all.iter().find(|text| text.len() as u64 > LONGEST_TEXT) {
        let (len, most) = (long.len(), LONGEST_TEXT);
        return Err(format!("its {name} has {len} bytes, more than the limit of {most}"));
    }
    Ok(all.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
}

/// The file that a path in a table means, without asking the file system.
fn within(folder: &Path, written: &str) -> Result<PathBuf, String> {
    if written.trim().is_empty() {
        return Err("its path is empty".to_owned());
    }
    let path = Path::new(written);
    if path.is_absolute() {
        return Ok(path.components().collect());
    }
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !below.pop() => {
                return Err(format!(
                    "{written} leads out of the table's folder; write it absolute, or move the table"
                ));
            }
            Component::Normal(name) => below.push(name),
            _ => {}
        }
    }
    Ok(folder.join(below))
}

fn place(path: &Path, to: &mut Gathering<'_>) -> Result<Place, String> {
    let metadata = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    to.note(path, &metadata);
    Ok(Place { file: path.into(), offset: 0, len: metadata.len() })
}

/// The one of `names` that is among `wanted`; none and several are told.
fn column<'a>(names: impl Iterator<Item = &'a str>, wanted: &[&str]) -> Result<usize, String> {
    optional_column(names, wanted)?.ok_or_else(|| format!("has none of {}", wanted.join(", ")))
}

/// As [`column`], where there may be none.
fn optional_column<'a>(
    names: impl Iterator<Item = &'a str>,
    wanted: &[&str],
) -> Result<Option<usize>, String> {
    let is_wanted = |name: &str| wanted.iter().any(|w| w.eq_ignore_ascii_case(name.trim()));
    let found: Vec<(usize, &str)> = names.enumerate().filter(|(_, n)| is_wanted(n)).collect();
    match found[..] {
        [] => Ok(None),
        [(at, _)] => Ok(Some(at)),
        [(_, first), (_, second), ..] => {
            Err(format!("has both {} and {}; leave one", first.trim(), second.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_tables_folder_unless_absolute() {
        let at = |written: &str| within(Path::new("t"), written);
        assert_eq!(at("a/./b.jpg").unwrap(), Path::new("t/a/b.jpg"));
        assert_eq!(at("a/../b.jpg").unwrap(), Path::new("t/b.jpg"));
        assert_eq!(at("/x//b.jpg").unwrap(), Path::new("/x/b.jpg"));
        assert!(at("a/../../b.jpg").unwrap_err().contains("leads out"));
        assert!(at(" ").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_column_is_found_by_any_of_its_names_but_not_by_two() {
        let find = |header: &str| column(header.split(','), &PICTURE);
        assert_eq!(find("id, FilePath ,caption").unwrap(), 1);
        assert!(find("id,caption").unwrap_err().contains("none of filepath, path"));
        assert!(find("path,image").unwrap_err().contains("both path and image"));
    }
}
