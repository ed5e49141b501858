//! `[text]`: what training does to captions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RecipeError, probability, wrong};

/// `[text]`: how the wording of captions varies while the text tower learns; nothing where absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSection {
    /// How often a word is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_dropout: Option<f64>,
    /// How many places a word may move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<usize>,
    /// Words that mean the same in a word's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synonyms: Option<SynonymsSection>,
    /// Further captions, made of those that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_translation: Option<BackTranslationSection>,
}

/// `text.synonyms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynonymsSection {
    /// The folder with `WordNet`'s `index.noun`, `data.noun` and so on.
    pub wordnet: PathBuf,
    /// How often a word that has synonyms gives way to one of them.
    pub probability: f64,
}

/// `text.back_translation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackTranslationSection {
    /// A program and its arguments, which reads captions, one a line, and writes as many lines.
    pub command: Vec<String>,
}

impl TextSection {
    /// The keys that are given and change a caption each time that it is drawn.
    #[must_use]
    pub fn drawn_keys(&self) -> Vec<&'static str> {
        let keys = [
            ("text.word_dropout", self.word_dropout.is_some()),
            ("text.shuffle", self.shuffle.is_some()),
            ("text.synonyms", self.synonyms.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        // Without words there is no caption.
        if self.word_dropout.is_some_and(|share| !(0.0..1.0).contains(&share)) {
            return wrong("text.word_dropout", "must be at least 0 and below 1");
        }
        if let Some(synonyms) = &self.synonyms {
            probability("text.synonyms.probability", synonyms.probability)?;
        }
        let command = self.back_translation.as_ref().map(|section| &section.command);
        if command.is_some_and(|words| words.first().is_none_or(|program| program.is_empty())) {
            let reason =
                "is empty; name a program and its arguments, as in [\"translate\", \"de\"]";
            return wrong("text.back_translation.command", reason);
        }
        Ok(())
    }
}
