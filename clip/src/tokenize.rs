//! Text to token ids, and texts of several lengths to one batch.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// A tokenizer with truncation and padding set by us, whatever its file says: files bake in the
/// settings of whoever saved them (all-MiniLM-L6-v2's pads every text to 128 tokens).
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    rules: TextRules,
}

/// How texts become the input of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRules {
    /// The longest text in tokens, special ones included.
    pub context_length: usize,
    /// Id that short texts are filled up with.
    pub pad_id: i64,
    /// How far they are filled up.
    pub padding: Padding,
    /// Whether the model was trained without a mask, so that a graph which demands one is to see the
    /// filling as well.
    pub unmasked: bool,
    /// What is done to the words beforehand.
    pub cleaning: Cleaning,
    /// What stands before every text, unless the tokenizer's own file puts it there.
    pub prefix: Option<String>,
}

/// How far short texts are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// To the longest of the batch, on the right.
    Longest,
    /// To the context length, for models that were trained so and have no mask.
    Full(PaddingSide),
}

/// Where the filling stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingSide {
    /// Behind the text.
    Right,
    /// Before the text.
    Left,
}

impl PaddingSide {
    /// `right` or `left`
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for Cleaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "as they are",
            Self::Lower => "in lower case",
            Self::Whitespace => "with single spaces",
            Self::LowerWhitespace => "in lower case with single spaces",
            Self::Siglip | Self::OpenClip => "in lower case without punctuation",
        })
    }
}

/// What the reference does to a text before its tokenizer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning {
    /// Nothing; what `tokenizer.json` does itself is not meant here.
    None,
    /// Lower case.
    Lower,
    /// Each run of white space becomes a space, none at the ends (`open_clip`'s `whitespace`; the
    /// repair of broken encodings and HTML entities that it does as well is left out).
    Whitespace,
    /// Both of these.
    LowerWhitespace,
    /// Both, without ASCII punctuation (`transformers`, `SiglipTokenizer.canonicalize_text`).
    Siglip,
    /// The same, but an underscore becomes a space (`open_clip`'s `canonicalize`).
    OpenClip,
}

impl Cleaning {
    /// The same in lower case.
    #[must_use]
    pub fn and_lower(self) -> Self {
        match self {
            Self::None => Self::Lower,
            Self::Whitespace => Self::LowerWhitespace,
            lower => lower,
        }
    }

    fn apply(self, text: &str) -> Cow<'_, str> {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let spoken = |text: &str| words(&text.to_lowercase().replace(is_punctuation, ""));
        match self {
            Self::None => Cow::Borrowed(text),
            Self::Lower => Cow::Owned(text.to_lowercase()),
            Self::Whitespace => Cow::Owned(words(text)),
            Self::LowerWhitespace => Cow::Owned(words(&text.to_lowercase())),
            Self::Siglip => Cow::Owned(spoken(text)),
            Self::OpenClip => Cow::Owned(spoken(&text.replace('_', " "))),
        }
    }
}

/// Python's `string.punctuation`.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
}

/// One text as token ids, special tokens included, not padded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenIds {
    /// The ids, `[L]` with `L` at most the context length.
    pub ids: Vec<i64>,
    /// Whether the text went on behind the context.
    pub truncated: bool,
}

/// Texts of one batch, padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// `[B, L]`, row by row.
    pub input_ids: Vec<i64>,
    /// `[B, L]`: 1 for what the model is to see, 0 for padding.
    pub attention_mask: Vec<i64>,
    /// `B`
    pub batch: usize,
    /// `L`
    pub length: usize,
}

/// A text or a file that gives no token ids.
#[derive(Debug, Error)]
pub enum TokenizeError {
    /// The file cannot be read or is no tokenizer.
    #[error("cannot load the tokenizer {}: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// The library's words (its error is not `Send` by type).
        reason: String,
    },
    /// The file is not there.
    #[error(
        "there is no {}; where the model has other tokenizer files, transformers makes it of them: \
         AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The context is too short to hold even the special tokens.
    #[error("a context of {context_length} tokens leaves no room for text")]
    Context {
        /// As asked for.
        context_length: usize,
    },
    /// The library refused the text.
    #[error("the text cannot be tokenized: {reason}")]
    Encode {
        /// The library's words.
        reason: String,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; texts are cut to `context_length` tokens, the special ones at
    /// both ends kept, and a batch is padded to its longest.
    ///
    /// # Errors
    /// [`TokenizeError::Load`], [`TokenizeError::Missing`] and [`TokenizeError::Context`].
    pub fn from_file(
        path: &Path,
        context_length: usize,
        pad_id: i64,
    ) -> Result<Self, TokenizeError> {
        let rules = TextRules {
            context_length,
            pad_id,
            padding: Padding::Longest,
            unmasked: false,
            cleaning: Cleaning::None,
            prefix: None,
        };
        Self::with_rules(path, rules)
    }

    /// As [`from_file`](Self::from_file), for models that want more than that.
    ///
    /// # Errors
    /// As there.
    pub fn with_rules(path: &Path, mut rules: TextRules) -> Result<Self, TokenizeError> {
        let context_length = rules.context_length;
        let load = |reason: String| TokenizeError::Load { path: path.to_owned(), reason };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TokenizeError::Missing { path: path.to_owned() });
            }
            Err(error) => return Err(load(error.to_string())),
        };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| load(error.to_string()))?;
        inner.with_padding(None);
        let special = inner.encode("", true).map_err(|error| load(error.to_string()))?;
        if context_length <= special.len() {
            return Err(TokenizeError::Context { context_length });
        }
        // Not twice, where the file itself puts it there.
        rules.prefix.take_if(|prefix| special.get_tokens().contains(prefix));
        inner
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length: context_length,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))
            .map_err(|error| load(error.to_string()))?;
        Ok(Self { inner, rules })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`].
    pub fn encode(&self, text: &str) -> Result<TokenIds, TokenizeError> {
        let mut text = self.rules.cleaning.apply(text);
        if let Some(prefix) = &self.rules.prefix {
            text = Cow::Owned(format!("{prefix}{text}"));
        }
        let encoding = self
            .inner
            .encode(text.as_ref(), true)
            .map_err(|error| TokenizeError::Encode { reason: error.to_string() })?;
        Ok(TokenIds {
            ids: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(),
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }

    /// Tokens that it knows, special ones included.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The longest text in tokens, special ones included.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.rules.context_length
    }

    /// How texts are prepared.
    #[must_use]
    pub fn rules(&self) -> &TextRules {
        &self.rules
    }

    /// The same tokenizer with every batch padded to the context length, for a graph that takes no
    /// other.
    #[must_use]
    pub fn padded_in_full(mut self) -> Self {
        if self.rules.padding == Padding::Longest {
            self.rules.padding = Padding::Full(PaddingSide::Right);
        }
        self
    }

    /// Id that fills short texts of a batch.
    #[must_use]
    pub fn pad_id(&self) -> i64 {
        self.rules.pad_id
    }

    /// Pads texts to the longest of them, or to the context length where the rules say so:
    /// `[B, L]`.
    #[must_use]
    pub fn pad_batch(&self, texts: &[&TokenIds]) -> TokenBatch {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let (length, side) = match self.rules.padding {
            Padding::Longest => (longest, PaddingSide::Right),
            Padding::Full(side) => (self.rules.context_length.max(longest), side),
        };
        let masked = i64::from(self.rules.unmasked);
        let mut input_ids = Vec::with_capacity(texts.len() * length);
        let mut attention_mask = Vec::with_capacity(texts.len() * length);
        for text in texts {
            let padding = length - text.ids.len();
            let (before, behind) = match side {
                PaddingSide::Left => (padding, 0),
                PaddingSide::Right => (0, padding),
            };
            for (padding, ids) in [(before, text.ids.as_slice()), (behind, &[])] {
                input_ids.extend(std::iter::repeat_n(self.rules.pad_id, padding));
                attention_mask.extend(std::iter::repeat_n(masked, padding));
                input_ids.extend(ids);
                attention_mask.extend(std::iter::repeat_n(1, ids.len()));
            }
        }
        TokenBatch { input_ids, attention_mask, batch: texts.len(), length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word-piece tokenizer of a few words, with padding and truncation baked in as in real
    /// files.
    const TINY: &str = r###"{
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [
            {"id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 1, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "dog": 4, "##s": 5, "run": 6}}
    }"###;

    fn tiny(context_length: usize) -> Result<Tokenizer, TokenizeError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, TINY).unwrap();
        Tokenizer::from_file(&path, context_length, 0)
    }

    #[test]
    fn padding_in_the_file_is_overridden() {
        let ids = tiny(8).unwrap().encode("Dogs run").unwrap();
        assert_eq!(ids, TokenIds { ids: vec![2, 4, 5, 6, 3], truncated: false });
    }

    #[test]
    fn a_long_text_keeps_its_end_token_and_says_so() {
        let ids = tiny(4).unwrap().encode("dog dog dog dog dog").unwrap();
        assert_eq!(ids, TokenIds { ids: vec![2, 4, 4, 3], truncated: true });
    }

    #[test]
    fn odd_texts_have_ids() {
        let tokenizer = tiny(6).unwrap();
        assert_eq!(tokenizer.encode("").unwrap().ids, [2, 3]);
        assert_eq!(tokenizer.encode("狗 🐶 \u{7}").unwrap().ids, [2, 1, 1, 3]);
    }

    #[test]
    fn a_batch_is_padded_to_its_longest() {
        let tokenizer = tiny(8).unwrap();
        let (long, short) = (tokenizer.encode("dogs").unwrap(), tokenizer.encode("").unwrap());
        let batch = tokenizer.pad_batch(&[&long, &short]);
        assert_eq!((batch.batch, batch.length), (2, 4));
        assert_eq!(batch.input_ids, [2, 4, 5, 3, 2, 3, 0, 0]);
        assert_eq!(batch.attention_mask, [1, 1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_model_without_a_mask_has_every_text_filled_up() {
        let full = tiny(6).unwrap().padded_in_full();
        let (long, short) = (full.encode("dogs").unwrap(), full.encode("").unwrap());
        let batch = full.pad_batch(&[&long, &short]);
        assert_eq!((batch.batch, batch.length), (2, 6));
        assert_eq!(batch.input_ids, [2, 4, 5, 3, 0, 0, 2, 3, 0, 0, 0, 0]);
        let mut left = full;
        left.rules.padding = Padding::Full(PaddingSide::Left);
        let batch = left.pad_batch(&[&short]);
        assert_eq!(batch.input_ids, [0, 0, 0, 0, 2, 3]);
        assert_eq!(batch.attention_mask, [0, 0, 0, 0, 1, 1]);
        left.rules.unmasked = true;
        assert_eq!(left.pad_batch(&[&short]).attention_mask, [1; 6]);
    }

    #[test]
    fn texts_are_cleaned_as_the_reference_does() {
        let text = " Two  DOGS, snake_case;\tÉtÉ!";
        for (cleaning, expected) in [
            (Cleaning::None, text),
            (Cleaning::Lower, " two  dogs, snake_case;\tété!"),
            (Cleaning::Whitespace, "Two DOGS, snake_case; ÉtÉ!"),
            (Cleaning::LowerWhitespace, "two dogs, snake_case; été!"),
            (Cleaning::Siglip, "two dogs snakecase été"),
            (Cleaning::OpenClip, "two dogs snake case été"),
        ] {
            assert_eq!(cleaning.apply(text), expected, "{cleaning:?}");
        }
    }

    #[test]
    fn a_prefix_stands_before_every_text_and_never_twice() {
        let prefixed = |prefix: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("tokenizer.json");
            std::fs::write(&path, TINY).unwrap();
            let rules = tiny(8).unwrap().rules;
            Tokenizer::with_rules(&path, TextRules { prefix: Some(prefix.to_owned()), ..rules })
        };
        assert_eq!(prefixed("run ").unwrap().encode("dog").unwrap().ids, [2, 6, 4, 3]);
        assert_eq!(prefixed("[CLS]").unwrap().encode("dog").unwrap().ids, [2, 4, 3]);
    }

    #[test]
    fn a_context_without_room_and_a_file_that_is_none_are_errors() {
        assert!(matches!(tiny(2), Err(TokenizeError::Context { context_length: 2 })));
        let missing = Tokenizer::from_file(Path::new("missing.json"), 8, 0).unwrap_err();
        assert!(missing.to_string().contains("missing.json"), "{missing}");
    }
}
