//! The one query type: what the API, the command line and the page all send.

use serde::{Deserialize, Serialize};

use super::Fault;

/// Most terms of one query.
pub const MAX_TERMS: usize = 32;
/// Most characters of one text.
pub const MAX_TEXT_CHARS: usize = 8192;
/// Most hits of one answer.
pub const MAX_LIMIT: usize = 1000;
/// Furthest page: beyond it, paging by offset is the wrong tool.
pub const MAX_OFFSET: usize = 100_000;

/// What is looked for: weighted terms, and which part of the ranking is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// At least one term; the query vector is the normalized weighted sum of their embeddings.
    pub terms: Vec<Term>,
    /// Most hits in the answer.
    #[serde(default = "ten")]
    pub limit: usize,
    /// Hits to leave out before the first.
    #[serde(default)]
    pub offset: usize,
    /// Lowest score that still counts, a cosine.
    #[serde(default)]
    pub min_score: Option<f32>,
}

/// One part of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireTerm", into = "WireTerm")]
pub struct Term {
    /// What it is about.
    pub what: What,
    /// How much it counts; negative to steer away.
    pub weight: f32,
}

/// The four things that a term can be.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Words.
    Text(String),
    /// A picture of the collection, by its id.
    Picture(String),
    /// A picture sent along, by the name of its part.
    Image(String),
    /// A vector of the model's space, of any length but zero.
    Vector(Vec<f32>),
}

impl Query {
    /// A query for these terms with the usual limit.
    #[must_use]
    pub fn of(terms: Vec<Term>) -> Self {
        Self { terms, limit: ten(), offset: 0, min_score: None }
    }

    /// Refuses what can be refused without embedding anything; the first fault with its pointer.
    ///
    /// # Errors
    /// The JSON pointer and the fault.
    pub fn check(&self) -> Result<(), (String, Fault)> {
        let at = |pointer: &str, fault| Err((pointer.to_owned(), fault));
        match self.terms.len() {
            0 => return at("/terms", Fault::NoTerms),
            found if found > MAX_TERMS => {
                return at("/terms", Fault::TooMany { what: "terms", max: MAX_TERMS, found });
            }
            _ => {}
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return at("/limit", Fault::Limit { max: MAX_LIMIT, found: self.limit });
        }
        if self.offset > MAX_OFFSET {
            return at("/offset", Fault::Offset { max: MAX_OFFSET, found: self.offset });
        }
        if self.min_score.is_some_and(|score| !score.is_finite()) {
            return at("/min_score", Fault::NotFinite);
        }
        for (index, term) in self.terms.iter().enumerate() {
            if !term.weight.is_finite() {
                return at(&format!("/terms/{index}/weight"), Fault::NotFinite);
            }
            if let What::Text(text) = &term.what {
                check_text(text).map_err(|fault| (format!("/terms/{index}/text"), fault))?;
            }
        }
        Ok(())
    }
}

/// Refuses a text without a word and one that no model would read to its end.
///
/// # Errors
/// [`Fault::EmptyText`] and [`Fault::LongText`].
pub fn check_text(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::EmptyText);
    }
    // Bytes bound characters from above, so the common case counts nothing.
    if text.len() > MAX_TEXT_CHARS {
        let found = text.chars().count();
        if found > MAX_TEXT_CHARS {
            return Err(Fault::LongText { max: MAX_TEXT_CHARS, found });
        }
    }
    Ok(())
}

impl Term {
    /// Words that count once.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { what: What::Text(text.into()), weight: 1.0 }
    }

    /// A picture sent along under this name, counting once.
    #[must_use]
    pub fn image(name: impl Into<String>) -> Self {
        Self { what: What::Image(name.into()), weight: 1.0 }
    }

    /// The same with another weight.
    #[must_use]
    pub fn weighing(self, weight: f32) -> Self {
        Self { weight, ..self }
    }
}

/// A term as it is written: exactly one of the four keys, and perhaps a weight.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTerm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    #[serde(default = "one")]
    weight: f32,
}

impl TryFrom<WireTerm> for Term {
    type Error = &'static str;

    fn try_from(wire: WireTerm) -> Result<Self, Self::Error> {
        let WireTerm { text, picture, image, vector, weight } = wire;
        let what = match (text, picture, image, vector) {
            (Some(text), None, None, None) => What::Text(text),
            (None, Some(id), None, None) => What::Picture(id),
            (None, None, Some(name), None) => What::Image(name),
            (None, None, None, Some(vector)) => What::Vector(vector),
            _ => return Err("a term has exactly one of `text`, `picture`, `image` and `vector`"),
        };
        Ok(Self { what, weight })
    }
}

impl From<Term> for WireTerm {
    fn from(term: Term) -> Self {
        let mut wire =
            Self { text: None, picture: None, image: None, vector: None, weight: term.weight };
        match term.what {
            What::Text(text) => wire.text = Some(text),
            What::Picture(id) => wire.picture = Some(id),
            What::Image(name) => wire.image = Some(name),
            What::Vector(vector) => wire.vector = Some(vector),
        }
        wire
    }
}

fn ten() -> usize {
    10
}

fn one() -> f32 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_query_is_read_with_its_defaults_and_written_back() {
        let text = r#"{"terms":[{"text":"a beach"},{"picture":"7","weight":-0.5}]}"#;
        let query = parse(text).unwrap();
        assert_eq!((query.limit, query.offset, query.min_score), (10, 0, None));
        assert_eq!(query.terms[0], Term::text("a beach"));
        assert_eq!(query.terms[1].what, What::Picture("7".to_owned()));
        assert_eq!(query.terms[1].weight, -0.5);
        let again = parse(&serde_json::to_string(&query).unwrap()).unwrap();
        assert_eq!(again, query);
    }

    #[test]
    fn there_is_one_way_to_say_it() {
        for text in [
            r#"{"text":"a beach"}"#,
            r#"{"terms":[{}]}"#,
            r#"{"terms":[{"text":"a","picture":"1"}]}"#,
            r#"{"terms":[{"text":"a","wieght":1}]}"#,
            r#"{"terms":[{"text":"a"}],"limit":-1}"#,
            r#"{"terms":[{"text":"a"}],"page":1}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_point_to_their_place() {
        let fault = |text: &str| parse(text).unwrap().check().unwrap_err();
        assert_eq!(fault(r#"{"terms":[]}"#).0, "/terms");
        assert_eq!(
            fault(r#"{"terms":[{"text":" \n"}]}"#),
            ("/terms/0/text".into(), Fault::EmptyText)
        );
        assert_eq!(fault(r#"{"terms":[{"text":"a"}],"limit":0}"#).0, "/limit");
        assert_eq!(fault(r#"{"terms":[{"text":"a"}],"offset":100001}"#).0, "/offset");
        assert_eq!(fault(r#"{"terms":[{"text":"a","weight":1e39}]}"#).0, "/terms/0/weight");
        let many = vec![Term::text("a"); MAX_TERMS + 1];
        assert_eq!(Query::of(many).check().unwrap_err().0, "/terms");
    }

    #[test]
    fn the_longest_text_is_counted_in_characters() {
        assert!(check_text(&"ä".repeat(MAX_TEXT_CHARS)).is_ok());
        let found = MAX_TEXT_CHARS + 1;
        let fault = Fault::LongText { max: MAX_TEXT_CHARS, found };
        assert_eq!(check_text(&"ä".repeat(found)), Err(fault));
    }
}
