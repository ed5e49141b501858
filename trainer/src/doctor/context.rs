//! The text tower that captions are meant for: its tokenizer, and how many tokens it sees.

use std::path::Path;

use clip::ModelBundle;
use clip::bundle::BundleError;
use clip::tokenize::{TextRules, TokenizeError, Tokenizer};

use crate::encoder::{Encoder, EncoderError};
use crate::recipe::Recipe;

/// Tokens that no caption reaches, so that its true length shows.
const ENDLESS: usize = 1 << 24;

/// Counts captions in a model's own tokens.
#[derive(Debug)]
pub struct Context {
    /// Cuts nothing.
    tokenizer: Tokenizer,
    length: usize,
}

/// Why it is not known what captions have to fit into.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The recipe's towers.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
}

impl Context {
    /// That of the model which `recipe` trains.
    ///
    /// # Errors
    /// [`ContextError::Encoder`] where its towers cannot be made.
    pub fn of_recipe(recipe: &Recipe) -> Result<Self, ContextError> {
        let encoder = Encoder::from_recipe(recipe)?;
        Self::new(&encoder.tokenizer_file, encoder.tokenizer.rules())
    }

    /// That of a bundle.
    ///
    /// # Errors
    /// [`ContextError::Tokenize`] where its tokenizer cannot be read again.
    pub fn of_bundle(bundle: &ModelBundle) -> Result<Self, ContextError> {
        let file = bundle.layout.tokenizer.as_deref().unwrap_or("tokenizer.json");
        Self::new(&bundle.dir.join(file), bundle.tokenizer.rules())
    }

    fn new(file: &Path, rules: &TextRules) -> Result<Self, ContextError> {
        let endless = TextRules { context_length: ENDLESS, ..rules.clone() };
        let tokenizer = Tokenizer::with_rules(file, endless)?;
        Ok(Self { tokenizer, length: rules.context_length })
    }

    /// Tokens that the tower sees of a text, special ones included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens of a text, special ones included.
    ///
    /// # Errors
    /// [`TokenizeError::Encode`].
    pub fn tokens(&self, text: &str) -> Result<usize, TokenizeError> {
        Ok(self.tokenizer.encode(text)?.ids.len())
    }
}
