//! From a query to hits, and from a picture to classes: plain functions that every edge calls.
//!
//! Knows nothing of HTTP, of the command line, of files or of how vectors are made or stored.
//! Invariant: every edge gives the same query the same answer, and a picture that is deleted is in
//! none that starts afterwards.

mod calibrate;
mod classify;
mod collection;
mod find;
mod query;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use calibrate::keep_background;
pub use classify::{
    Classified, Classifier, Classify, Label, MAX_LABELS, MAX_PROMPTS, MAX_TEMPLATES, classify,
};
pub use collection::{Collection, Large};
pub use find::{Answer, Hit, find};
pub use query::{MAX_LIMIT, MAX_OFFSET, MAX_TERMS, MAX_TEXT_CHARS, Query, Term, What, check_text};

use crate::catalog::CatalogError;
use crate::embed::EmbedError;

/// Pictures that came with a request: their bytes by the name that the request gives them.
pub type Images = BTreeMap<String, Arc<Vec<u8>>>;

/// From this `calibrated` on, a hit rather shows what was asked for than not.
pub const GOOD: f32 = 0.5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The request itself is at fault.
    #[error("{fault}")]
    Request {
        /// JSON pointer to the part at fault.
        pointer: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A picture sent along cannot be read.
    #[error("the picture {name:?} cannot be read")]
    Picture {
        /// Its name in the request.
        name: String,
        /// JSON pointer to what names it.
        pointer: String,
        /// Why.
        source: clip::image::DecodeError,
    },
    /// The id of no picture of the collection.
    #[error("there is no picture {id:?}; it may have been deleted")]
    NoSuchPicture {
        /// As it was asked for.
        id: String,
        /// JSON pointer to where it was named.
        pointer: String,
    },
    /// More searches wait than may.
    #[error("more searches are waiting than this server takes; try again in a moment")]
    Overloaded,
    /// The model did not embed.
    #[error(transparent)]
    Embed(EmbedError),
    /// The catalog did not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The scan broke off.
    #[error("the search broke off; this is a fault of the program")]
    Broken,
}

/// What can be wrong with a request, in words for its sender.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Nothing to look for.
    #[error("a query needs at least one term")]
    NoTerms,
    /// More of something than is accepted.
    #[error("at most {max} {what} are accepted, found {found}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
        /// The number given.
        found: usize,
    },
    /// A limit that gives nothing or too much.
    #[error("limit must be from 1 to {max}, found {found}")]
    Limit {
        /// The highest.
        max: usize,
        /// As given.
        found: usize,
    },
    /// A page too far.
    #[error("offset must be at most {max}, found {found}")]
    Offset {
        /// The highest.
        max: usize,
        /// As given.
        found: usize,
    },
    /// A number that JSON allows and 32 bits do not.
    #[error("the number is too large for a 32-bit float")]
    NotFinite,
    /// A text without a word.
    #[error("the text is empty")]
    EmptyText,
    /// A text that no model reads.
    #[error("the text has {found} characters, at most {max} are accepted")]
    LongText {
        /// The limit.
        max: usize,
        /// As given.
        found: usize,
    },
    /// A vector that is no embedding of this model.
    #[error("not a vector of this model: {0}")]
    Vector(clip::embedding::EmbeddingError),
    /// Terms that cancel each other out.
    #[error("the terms cancel each other out: their weighted sum is zero and points nowhere")]
    ZeroSum,
    /// A term names a picture that was not sent.
    #[error("no picture named {0:?} came with the request; send it as a part of that name")]
    NoSuchPart(String),
    /// No labels to choose from.
    #[error("at least one label is needed")]
    NoLabels,
    /// No sentence to put the labels into.
    #[error("at least one template is needed; leave them out for the model's own")]
    NoTemplates,
    /// A label given twice would share its probability with itself.
    #[error("the label {0:?} is there twice")]
    SameLabel(String),
    /// A template that does not say where the class goes.
    #[error("{0}")]
    Template(String),
    /// Neither or both of the ways to name the picture to classify.
    #[error(
        "name exactly one picture: an id as `picture`, or a part `image` in multipart/form-data"
    )]
    OnePicture,
}

impl SearchError {
    /// A fault of the request at this pointer.
    pub(crate) fn at(pointer: impl Into<String>, fault: Fault) -> Self {
        Self::Request { pointer: pointer.into(), fault }
    }
}

impl From<EmbedError> for SearchError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Overloaded => Self::Overloaded,
            other => Self::Embed(other),
        }
    }
}
