//! Text to token ids, and texts of several lengths to one batch.

use std::path::{Path, PathBuf};

use thiserror::Error;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// A tokenizer with truncation and padding set by us, whatever its file says: files bake in the
/// settings of whoever saved them (all-MiniLM-L6-v2's pads every text to 128 tokens).
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    context_length: usize,
    pad_id: i64,
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
    /// `[B, L]`: 1 for a real token, 0 for padding.
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
    /// both ends kept.
    ///
    /// # Errors
    /// [`TokenizeError::Load`] and [`TokenizeError::Context`].
    pub fn from_file(
        path: &Path,
        context_length: usize,
        pad_id: i64,
    ) -> Result<Self, TokenizeError> {
        let load = |reason: String| TokenizeError::Load { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| load(error.to_string()))?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| load(error.to_string()))?;
        inner.with_padding(None);
        let special = inner.encode("", true).map_err(|error| load(error.to_string()))?.len();
        if context_length <= special {
            return Err(TokenizeError::Context { context_length });
        }
        inner
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length: context_length,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))
            .map_err(|error| load(error.to_string()))?;
        Ok(Self { inner, context_length, pad_id })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`].
    pub fn encode(&self, text: &str) -> Result<TokenIds, TokenizeError> {
        let encoding = self
            .inner
            .encode(text, true)
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
        self.context_length
    }

    /// Id that fills short texts of a batch.
    #[must_use]
    pub fn pad_id(&self) -> i64 {
        self.pad_id
    }

    /// Pads texts to the longest of them: `[B, L]`.
    #[must_use]
    pub fn pad_batch(&self, texts: &[&TokenIds]) -> TokenBatch {
        let length = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let mut input_ids = Vec::with_capacity(texts.len() * length);
        let mut attention_mask = Vec::with_capacity(texts.len() * length);
        for text in texts {
            let padding = length - text.ids.len();
            input_ids.extend(&text.ids);
            input_ids.extend(std::iter::repeat_n(self.pad_id, padding));
            attention_mask.extend(std::iter::repeat_n(1, text.ids.len()));
            attention_mask.extend(std::iter::repeat_n(0, padding));
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
    fn a_context_without_room_and_a_file_that_is_none_are_errors() {
        assert!(matches!(tiny(2), Err(TokenizeError::Context { context_length: 2 })));
        let missing = Tokenizer::from_file(Path::new("missing.json"), 8, 0).unwrap_err();
        assert!(missing.to_string().contains("missing.json"), "{missing}");
    }
}
