//! Files that share a stem are one sample: a picture with its captions or its class.
//!
//! So do WebDataset tars and plain folders of `a.jpg` and `a.txt` say what belongs together.

use std::collections::BTreeMap;

use clip::zero_shot::TemplateError;

use super::Place;
use super::gathering::{Gathering, LONGEST_TEXT, Said, lines};

/// Endings that we take for pictures; what they are is decided by their content.
const PICTURES: [&str; 12] =
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "img", "avif", "heic", "heif"];

/// What an ending makes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A picture.
    Picture,
    /// Captions, one a line.
    Captions,
    /// The index of a class.
    Class,
    /// Many samples in rows.
    Table,
    /// Many samples in an archive.
    Tar,
}

impl Part {
    /// None for what is no part of a sample.
    pub(super) fn of(ending: &str) -> Option<Self> {
        let ending = ending.to_ascii_lowercase();
        match ending.as_str() {
            "txt" => Some(Self::Captions),
            "cls" => Some(Self::Class),
            "csv" | "tsv" | "jsonl" => Some(Self::Table),
            "tar" => Some(Self::Tar),
            other => PICTURES.contains(&other).then_some(Self::Picture),
        }
    }
}

/// Samples by stem, in the order in which they came.
#[derive(Default)]
pub(super) struct Stems(BTreeMap<String, Sample>);

#[derive(Default)]
struct Sample {
    order: usize,
    picture: Option<Place>,
    twice: bool,
    captions: Option<Result<Vec<String>, String>>,
    class: Option<Result<usize, String>>,
}

impl Stems {
    fn sample(&mut self, stem: String) -> &mut Sample {
        let order = self.0.len();
        self.0.entry(stem).or_insert_with(|| Sample { order, ..Sample::default() })
    }

    /// The sample has this picture.
    pub(super) fn picture(&mut self, stem: String, place: Place) {
        let sample = self.sample(stem);
        sample.twice |= sample.picture.replace(place).is_some();
    }

    /// The sample has these captions, or none for a reason.
    pub(super) fn captions(&mut self, stem: String, text: Result<String, String>) {
        self.sample(stem).captions = Some(text.map(|text| lines(&text)));
    }

    /// The sample is of the class with the index that stands in a text.
    pub(super) fn class(&mut self, stem: String, text: Result<String, String>) {
        self.sample(stem).class = Some(text.and_then(|text| class_index(&text)));
    }

    /// Whether a sample has the index of a class.
    pub(super) fn are_labelled(&self) -> bool {
        self.0.values().any(|sample| sample.class.is_some())
    }

    /// Hands all samples on under `prefix` and their stems; `classes` are the names by index.
    pub(super) fn hand_on(
        self,
        prefix: &str,
        classes: &[String],
        to: &mut Gathering<'_>,
    ) -> Result<(), TemplateError> {
        let mut samples: Vec<(String, Sample)> = self.0.into_iter().collect();
        samples.sort_by_key(|(_, sample)| sample.order);
        for (stem, sample) in samples {
            let found = if to.reads_words { judged(sample, classes) } else { its_picture(&sample) };
            to.add(format!("{prefix}{stem}"), found)?;
        }
        Ok(())
    }
}

/// The picture alone, whatever is said of it.
fn its_picture(sample: &Sample) -> Result<(Place, Said), String> {
    let picture = sample.picture.clone().ok_or("has no picture")?;
    if sample.twice {
        return Err("has more than one picture".to_owned());
    }
    Ok((picture, Said::Nothing))
}

fn judged(sample: Sample, classes: &[String]) -> Result<(Place, Said), String> {
    let (picture, _) = its_picture(&sample)?;
    let said = match (sample.captions, sample.class) {
        (Some(_), Some(_)) => return Err("has both a .txt and a .cls".to_owned()),
        (None, None) => return Err("has no .txt and no .cls".to_owned()),
        (Some(captions), None) => {
            let captions = captions?;
            if captions.is_empty() {
                return Err("its .txt is empty".to_owned());
            }
            Said::Captions { captions, negatives: Vec::new() }
        }
        (None, Some(class)) => {
            let class = class?;
            let count = classes.len();
            let name = classes
                .get(class)
                .ok_or_else(|| format!("is of class {class}, but classes.txt names {count}"))?;
            Said::Class(name.clone())
        }
    };
    Ok((picture, said))
}

fn class_index(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let shown: String = text.chars().take(40).collect();
    text.parse().map_err(|_| format!("its .cls holds \"{shown}\", which is no class index"))
}

/// Bytes as text, unless they are too many or not UTF-8.
pub(super) fn text_of(
    ending: &str,
    len: u64,
    read: impl FnOnce() -> std::io::Result<Vec<u8>>,
) -> Result<String, String> {
    if len > LONGEST_TEXT {
        return Err(format!(
            "its .{ending} has {len} bytes, more than the limit of {LONGEST_TEXT}"
        ));
    }
    let bytes = read().map_err(|e| format!("its .{ending} cannot be read: {e}"))?;
    String::from_utf8(bytes).map_err(|_| format!("its .{ending} is not UTF-8"))
}
