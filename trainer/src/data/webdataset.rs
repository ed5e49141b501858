//! WebDataset tars: members that share a stem are one sample.
//!
//! The headers are read once; pictures stay where they are and are read by offset, so that an epoch
//! can draw them in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use clip::zero_shot::fill_template;

use super::{BadSample, Caption, DataError, Dataset, Pair};

/// Endings that we take for pictures; what they are is decided by their content.
const PICTURE_ENDINGS: [&str; 9] =
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "img"];

/// Where a member's bytes lie in the tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: usize,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
}

impl Archive {
    pub(super) fn read(&self, span: Span) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; span.len];
        self.file.read_exact_at(&mut bytes, span.offset)?;
        Ok(bytes)
    }

    pub(super) fn identity(&self, path: &Path) -> String {
        let (len, changed_ns) = self.file.metadata().map_or((0, 0), |m| {
            let changed = m.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            (m.len(), changed.map_or(0, |d| d.as_nanos()))
        });
        format!("{}:{len}:{changed_ns}", path.display())
    }
}

#[derive(Default)]
struct Sample {
    picture: Option<Span>,
    captions: Option<Result<Vec<String>, String>>,
    class: Option<Result<usize, String>>,
    order: usize,
    twice: bool,
}

pub(super) fn open(path: &Path, templates: &[String]) -> Result<Dataset, DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let samples = scan(&file).map_err(read)?;
    let labelled = samples.values().any(|s| s.class.is_some());
    let classes = if labelled { read_classes(path)? } else { Vec::new() };
    let prompts = classes
        .iter()
        .map(|class| prompts(class, templates))
        .collect::<Result<Vec<_>, DataError>>()?;
    let mut samples: Vec<(String, Sample)> = samples.into_iter().collect();
    samples.sort_by_key(|(_, sample)| sample.order);
    let (mut pairs, mut bad) = (Vec::new(), Vec::new());
    for (key, sample) in samples {
        match pair(&key, sample, &prompts) {
            Ok(pair) => pairs.push(pair),
            Err(reason) => bad.push(BadSample { key, reason }),
        }
    }
    Ok(Dataset { path: path.to_owned(), pairs, classes, bad, archive: Archive { file } })
}

/// All members by key. Texts are read at once, pictures only located.
fn scan(file: &File) -> std::io::Result<BTreeMap<String, Sample>> {
    let size = file.metadata()?.len();
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = PathBuf::from(entry.path()?.to_string_lossy().into_owned());
        let Some((key, ending)) = split(&path) else { continue };
        let span = Span { offset: entry.raw_file_position(), len: entry.size() as usize };
        if span.offset + span.len as u64 > size {
            return Err(std::io::Error::other(format!("the tar ends within {}", path.display())));
        }
        let order = samples.len();
        let sample = samples.entry(key).or_insert_with(|| Sample { order, ..Sample::default() });
        if PICTURE_ENDINGS.contains(&ending.as_str()) {
            sample.twice |= sample.picture.replace(span).is_some();
        } else if ending == "txt" || ending == "cls" {
            let mut bytes = Vec::with_capacity(span.len);
            entry.read_to_end(&mut bytes)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("its .{ending} is not UTF-8"));
            if ending == "txt" {
                sample.captions = Some(text.map(|t| lines(&t)));
            } else {
                sample.class = Some(text.and_then(|t| class_index(&t)));
            }
        }
    }
    Ok(samples)
}

/// A member's name up to the first dot of its file name, and what comes after the last.
fn split(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let (stem, endings) = name.split_once('.')?;
    if stem.is_empty() {
        return None;
    }
    let ending = endings.rsplit('.').next()?.to_ascii_lowercase();
    Some((path.with_file_name(stem).to_string_lossy().into_owned(), ending))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn class_index(text: &str) -> Result<usize, String> {
    let text = text.trim();
    text.parse().map_err(|_| format!("its .cls holds \"{text}\", which is no class index"))
}

/// Line N of `classes.txt` beside the tar, counted from 0, is the name of class N.
fn read_classes(tar: &Path) -> Result<Vec<String>, DataError> {
    let path = tar.with_file_name("classes.txt");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| DataError::Read { path: path.clone(), source })?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

fn prompts(class: &str, templates: &[String]) -> Result<Vec<Caption>, DataError> {
    let meaning: Arc<str> = class.into();
    templates
        .iter()
        .map(|template| {
            let text = fill_template(template, class)?;
            Ok(Caption { text: text.into(), meaning: Arc::clone(&meaning) })
        })
        .collect()
}

fn pair(key: &str, sample: Sample, prompts: &[Vec<Caption>]) -> Result<Pair, String> {
    let picture = sample.picture.ok_or("has no picture")?;
    if sample.twice {
        return Err("has more than one picture".to_owned());
    }
    let (captions, class) = match (sample.captions, sample.class) {
        (Some(_), Some(_)) => return Err("has both a .txt and a .cls".to_owned()),
        (None, None) => return Err("has neither a .txt nor a .cls".to_owned()),
        (Some(captions), None) => {
            let same = |line: String| {
                let text: Arc<str> = line.into();
                Caption { meaning: Arc::clone(&text), text }
            };
            (captions?.into_iter().map(same).collect::<Vec<_>>(), None)
        }
        (None, Some(class)) => {
            let class = class?;
            let found = prompts.get(class).ok_or_else(|| {
                format!("is of class {class}, but classes.txt names {}", prompts.len())
            })?;
            (found.clone(), Some(class))
        }
    };
    if captions.is_empty() {
        return Err("its .txt is empty".to_owned());
    }
    if picture.len == 0 {
        return Err("its picture is empty".to_owned());
    }
    Ok(Pair { key: key.to_owned(), picture, captions, class })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(set.picture_bytes(set.pairs[0].picture).unwrap(), b"picture b");
        assert_eq!(set.picture_bytes(set.pairs[1].picture).unwrap(), b"picture a");
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
                "mute has neither a .txt nor a .cls",
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
        assert!(error.contains("no usable pair; a: has neither"), "{error}");
        write_tar(&path, &[("a.jpg", b"x"), ("a.cls", b"0")]);
        let error = Dataset::open(&path, &templates()).unwrap_err().to_string();
        assert!(error.contains("classes.txt"), "{error}");
        let error = Dataset::open(&dir.path().join("x.zip"), &templates()).unwrap_err();
        assert!(matches!(error, DataError::Kind { .. }));
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
