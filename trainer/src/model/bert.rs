//! BERT (Devlin et al. 2018), its tokens pooled by their mean.
//!
//! Weight names as `transformers` has them for `BertModel`. Dropout is left out: towers are locked
//! or fine-tuned gently. A text has one segment, so the segment embedding is its first row.

use std::ops::Range;

use clip::config::{BertConfig, Pooling};

use super::ops::feed_forward;
use super::{Bias, Heads, ModelError, Ops, Parameter};

/// The text tower.
#[derive(Debug, Clone)]
pub struct Bert {
    config: BertConfig,
    heads: Heads,
    prefix: String,
}

impl Bert {
    /// The tower of `config` whose weights' names begin with `prefix`.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the heads do not divide the width.
    pub fn new(config: &BertConfig, prefix: &str) -> Result<Self, ModelError> {
        let heads = Heads::dividing(config.hidden_size, config.num_attention_heads)?;
        Ok(Self { config: config.clone(), heads, prefix: prefix.to_owned() })
    }

    /// `ids` and `mask` i64 `[B, L]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn pooled<O: Ops>(
        &self,
        ops: &mut O,
        ids: &O::Value,
        mask: &O::Value,
    ) -> Result<O::Value, ModelError> {
        let x = self.beginning(ops, ids)?; // [B, L, W]
        self.rest(ops, x, mask, 0)
    }

    /// How many blocks it has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// Some blocks over the tokens of `mask`: `[B, L, W]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn through<O: Ops>(
        &self,
        ops: &mut O,
        mut x: O::Value,
        mask: &O::Value,
        blocks: Range<usize>,
    ) -> Result<O::Value, ModelError> {
        let bias = ops.padding_bias(mask)?; // [B, 1, 1, L]
        for layer in blocks {
            x = self.layer(ops, &x, &bias, layer)?; // [B, L, W]
        }
        Ok(x)
    }

    /// What comes after the first `blocks` blocks: `[B, L, W]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn rest<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        mask: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        let x = self.through(ops, x, mask, blocks..self.block_count())?; // [B, L, W]
        match self.config.pooling {
            Pooling::Mean => ops.masked_mean(&x, mask), // [B, W]
        }
    }

    /// What the first block is fed: `ids` i64 `[B, L]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn beginning<O: Ops>(&self, ops: &mut O, ids: &O::Value) -> Result<O::Value, ModelError> {
        let name = |part: &str| format!("{}embeddings.{part}", self.prefix);
        let words = ops.embedding(ids, &name("word_embeddings"))?; // [B, L, W]
        let segment = ops.row(&name("token_type_embeddings"), 0)?; // [W]
        let positions = ops.leading_rows(ids, &name("position_embeddings"))?; // [L, W]
        let x = ops.add(words, &segment)?;
        let x = ops.add(x, &positions)?;
        ops.layer_norm(&x, &name("LayerNorm"), self.config.layer_norm_eps)
    }

    /// One transformer block, normalized after each half.
    fn layer<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        bias: &O::Value,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        let eps = self.config.layer_norm_eps;
        let name = |part: &str| format!("{}encoder.layer.{layer}.{part}", self.prefix);
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let [q, k, v] = ops.linear_three(x, parts.each_ref().map(String::as_str))?;
        let mixed = ops.attention([&q, &k, &v], self.heads, Bias::Padding(bias))?;
        let mixed = ops.linear(&mixed, &name("attention.output.dense"))?;
        let mixed = ops.add(mixed, x)?;
        let x = ops.layer_norm(&mixed, &name("attention.output.LayerNorm"), eps)?; // [B, L, W]
        let [wide, narrow] = ["intermediate.dense", "output.dense"].map(name);
        let y = feed_forward(ops, &x, [&wide, &narrow], self.config.hidden_act)?; // [B, L, W]
        let y = ops.add(y, &x)?;
        ops.layer_norm(&y, &name("output.LayerNorm"), eps)
    }

    /// What weights the tower wants. Training from nothing starts them as BERT does: normal with
    /// deviation 0.02.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let (config, width, prefix) = (&self.config, self.config.hidden_size, &self.prefix);
        let mut all = Vec::new();
        for (part, rows) in [
            ("word_embeddings", config.vocab_size),
            ("position_embeddings", config.max_position_embeddings),
            ("token_type_embeddings", config.type_vocab_size),
        ] {
            let name = format!("{prefix}embeddings.{part}.weight");
            all.push(Parameter::normal(name, &[rows, width], 0.02));
        }
        all.extend(Parameter::layer_norm(&format!("{prefix}embeddings.LayerNorm"), width));
        for layer in 0..config.num_hidden_layers {
            let name = |part: &str| format!("{prefix}encoder.layer.{layer}.{part}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                dense(&mut all, &name(&format!("attention.{part}")), [width, width]);
            }
            dense(&mut all, &name("intermediate.dense"), [config.intermediate_size, width]);
            dense(&mut all, &name("output.dense"), [width, config.intermediate_size]);
            all.extend(Parameter::layer_norm(&name("attention.output.LayerNorm"), width));
            all.extend(Parameter::layer_norm(&name("output.LayerNorm"), width));
        }
        all
    }
}

fn dense(all: &mut Vec<Parameter>, name: &str, shape: [usize; 2]) {
    all.push(Parameter::normal(format!("{name}.weight"), &shape, 0.02));
    all.push(Parameter::constant(format!("{name}.bias"), &shape[..1], 0.0));
}
