//! CLIP's text transformer (Radford et al. 2021, section 2.4): causal, pooled at the end token.
//!
//! Weight names as `transformers` has them for `CLIPTextModel`. A token sees only those before it,
//! so whatever fills a text up behind its end token changes nothing and no mask is needed.

use std::ops::Range;

use clip::config::ClipTextConfig;

use super::transformer::{Shape, Transformer};
use super::{Bias, EndToken, ModelError, Ops, Parameter};

/// The `eos_token_id` in files from before `transformers` 4.30, when the text was pooled at its
/// highest id whatever the file said.
const MEANINGLESS_END: i64 = 2;

/// The text tower.
#[derive(Debug, Clone)]
pub struct ClipText {
    config: ClipTextConfig,
    prefix: String,
    blocks: Transformer,
}

impl ClipText {
    /// The tower of `config` whose weights' names begin with `prefix`.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the configuration contradicts itself.
    pub fn new(config: &ClipTextConfig, prefix: &str) -> Result<Self, ModelError> {
        let known = 0..i64::try_from(config.vocab_size).unwrap_or(i64::MAX);
        if !known.contains(&config.eos_token_id) {
            let rule = "be an id below vocab_size";
            return Err(ModelError::Config { key: "eos_token_id", rule });
        }
        let shape = Shape {
            width: config.hidden_size,
            intermediate: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            act: config.hidden_act,
            eps: config.layer_norm_eps,
        };
        let blocks = Transformer::new(shape, format!("{prefix}encoder.layers"))?;
        Ok(Self { config: config.clone(), prefix: prefix.to_owned(), blocks })
    }

    /// `ids` i64 `[B, L]` → pooled `[B, hidden_size]`: the end token after the blocks, normalized.
    /// A text without an end token is pooled at its first, as the reference does.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn pooled<O: Ops>(&self, ops: &mut O, ids: &O::Value) -> Result<O::Value, ModelError> {
        let x = self.beginning(ops, ids)?; // [B, L, W]
        self.rest(ops, x, ids, 0)
    }

    /// How many blocks it has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// What the first block is fed: `ids` i64 `[B, L]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn beginning<O: Ops>(&self, ops: &mut O, ids: &O::Value) -> Result<O::Value, ModelError> {
        let words = ops.embedding(ids, &self.name("embeddings.token_embedding"))?; // [B, L, W]
        let positions = ops.leading_rows(ids, &self.name("embeddings.position_embedding"))?; // [L, W]
        ops.add(words, &positions)
    }

    /// Some blocks over the tokens of `ids`: `[B, L, W]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn through<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        ids: &O::Value,
        blocks: Range<usize>,
    ) -> Result<O::Value, ModelError> {
        let bias = ops.causal_bias(ids)?; // [1, 1, L, L]
        self.blocks.through(ops, x, Bias::Causal(&bias), blocks)
    }

    /// What comes after the first `blocks` blocks: `[B, L, W]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn rest<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        ids: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        let x = self.through(ops, x, ids, blocks..self.block_count())?; // [B, L, W]
        let end = ops.end_token(&x, ids, self.end())?; // [B, W]
        ops.layer_norm(&end, &self.name("final_layer_norm"), self.config.layer_norm_eps)
    }

    fn end(&self) -> EndToken {
        match self.config.eos_token_id {
            MEANINGLESS_END => EndToken::Highest,
            id => EndToken::Id(id),
        }
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// What weights the tower wants. Training from nothing starts them as
    /// `transformers` does.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let width = self.config.hidden_size;
        let table = |part: &str, rows: usize, deviation: f64| {
            Parameter::normal(self.name(part), &[rows, width], deviation)
        };
        let positions = self.config.max_position_embeddings;
        let mut all = vec![
            table("embeddings.token_embedding.weight", self.config.vocab_size, 0.02),
            table("embeddings.position_embedding.weight", positions, 0.02),
        ];
        all.extend(self.blocks.parameters());
        all.extend(Parameter::layer_norm(&self.name("final_layer_norm"), width));
        all
    }
}
