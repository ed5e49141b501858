//! What is wrong with sets of pictures before a model is trained or measured on them.
//!
//! [`examine`] reads every picture once and keeps what it looks like in a few hundred bytes; each
//! kind of trouble is one file over these looks, over the captions or over the classes.
//! This room knows nothing of training, and changes nothing.
//! Invariant: a finding names what it is about, says why it hurts and what would cure it.

mod alike;
mod captions;
mod classes;
mod context;
mod look;
mod pictures;
mod twins;

use std::sync::Arc;

use serde::Serialize;

use crate::data::{BadSample, Dataset};
use crate::watch::{Stop, Watch};

pub use context::{Context, ContextError};
use look::Look;

/// Who looks on, who may ask to stop, how many threads decode, and what captions have to fit into.
pub struct Examination<'a> {
    /// The text tower that captions are meant for, where one is known.
    pub context: Option<&'a Context>,
    /// Threads that decode pictures.
    pub threads: usize,
    /// Who looks on.
    pub watch: &'a mut dyn Watch,
    /// Who may ask to stop.
    pub stop: &'a Stop,
}

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the sets hold.
    pub sets: Vec<Summary>,
    /// The longest text in tokens that captions were held against; none where no model was named.
    pub context_length: Option<usize>,
    /// What hurts before what is only worth knowing.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether something will hurt.
    #[must_use]
    pub fn hurts(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Harm)
    }
}

/// What a set holds.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Its name.
    pub set: String,
    /// Samples with a picture and something said of it, broken pictures included.
    pub pictures: usize,
    /// Captions; none for a labelled set, whose templates make them.
    pub captions: Option<usize>,
    /// Classes, of a labelled set.
    pub classes: Option<usize>,
    /// Width and height in pixels of the picture with the smallest shorter side.
    pub smallest: Option<[u32; 2]>,
    /// The same of the one with the largest.
    pub largest: Option<[u32; 2]>,
    /// Words in the middle caption by length.
    pub median_words: Option<usize>,
}

/// One kind of trouble.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which kind.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// What was found where, in a sentence.
    pub what: String,
    /// What would help.
    pub cure: &'static str,
    /// Everything that it is about, by name.
    pub things: Vec<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It loses samples, teaches what is wrong, or makes figures that do not hold.
    Harm,
    /// It may be meant so.
    Note,
}

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A sample without picture, caption or class, or with one that cannot be read.
    LeftOut,
    /// A picture that does not decode.
    BrokenPicture,
    /// A picture of one color.
    BlankPicture,
    /// A picture too small to see much on.
    TinyPicture,
    /// A picture much longer than wide, or the other way round.
    ExtremeShape,
    /// Pictures far larger than any tower looks at.
    LargePictures,
    /// Pictures of two sets that look alike.
    TwinsAcross,
    /// Pictures of a set that look alike.
    TwinsWithin,
    /// Pictures that look alike and are of different classes.
    ContradictingClasses,
    /// A caption that the text tower does not see to its end.
    LongCaption,
    /// Captions of different pictures that differ in case or punctuation alone.
    SameWords,
    /// The same caption of different pictures.
    SameCaption,
    /// A caption that a large part of all pictures have.
    CommonCaption,
    /// File names, addresses, markup or broken characters in place of words.
    OddCaption,
    /// A caption of a single word.
    ShortCaption,
    /// A class that no picture shows.
    EmptyClass,
    /// A class that a single picture shows.
    LoneClass,
    /// Classes of very different size.
    Imbalance,
    /// A class that only one of several labelled sets has.
    OtherClasses,
}

/// Why sets cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The library refused a text.
    #[error("a caption of {key} of {set} cannot be counted in tokens")]
    Caption {
        /// The sample.
        key: String,
        /// Its set.
        set: String,
        /// Why.
        source: clip::tokenize::TokenizeError,
    },
    /// The size that pictures are looked at in.
    #[error("the pictures cannot be looked at")]
    Processor(#[from] clip::image::ProcessorError),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// A set with what its pictures look like, a broken one with its reason.
struct Seen<'a> {
    set: &'a Arc<Dataset>,
    looks: Vec<Result<Look, BadSample>>,
}

impl Seen<'_> {
    /// The pictures that decode, with the keys of their samples.
    fn whole(&self) -> impl Iterator<Item = (&str, &Look)> {
        let keys = self.set.pairs.iter().map(|pair| pair.key.as_str());
        keys.zip(&self.looks).filter_map(|(key, look)| Some((key, look.as_ref().ok()?)))
    }

    fn is_labelled(&self) -> bool {
        !self.set.classes.is_empty()
    }
}

/// Examines `sets`, each by itself and then all of them together.
///
/// # Errors
/// [`DoctorError`]; what is wrong with a set is no error but a finding.
pub fn examine(
    sets: &[Arc<Dataset>],
    examination: &mut Examination<'_>,
) -> Result<Report, DoctorError> {
    let mut seen = Vec::with_capacity(sets.len());
    for set in sets {
        seen.push(Seen { set, looks: look::all(set, examination)? });
    }
    let mut findings = Vec::new();
    for seen in &seen {
        findings.extend(pictures::findings(seen));
        findings.extend(captions::findings(seen.set, examination.context)?);
        findings.extend(classes::within(seen.set));
    }
    findings.extend(twins::findings(&seen));
    findings.extend(classes::across(sets));
    findings.sort_by_key(|finding| finding.severity);
    Ok(Report {
        sets: seen.iter().map(summary).collect(),
        context_length: examination.context.map(Context::length),
        findings,
    })
}

fn summary(seen: &Seen<'_>) -> Summary {
    let set = seen.set;
    let labelled = seen.is_labelled();
    let size = |look: &Look| [look.width, look.height];
    let shorter = |[width, height]: &[u32; 2]| *width.min(height);
    Summary {
        set: set.name(),
        pictures: set.pairs.len(),
        captions: (!labelled).then(|| set.pairs.iter().map(|pair| pair.captions.len()).sum()),
        classes: labelled.then_some(set.classes.len()),
        smallest: seen.whole().map(|(_, look)| size(look)).min_by_key(shorter),
        largest: seen.whole().map(|(_, look)| size(look)).max_by_key(shorter),
        median_words: (!labelled).then(|| captions::median_words(set)).flatten(),
    }
}

/// `one` of 1, `many` of all others, with their number: `3 classes`.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
