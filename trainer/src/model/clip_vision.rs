//! CLIP's vision transformer (Dosovitskiy et al. 2021, with the changes of Radford et al. 2021,
//! section 2.4: one more layer normalization before the blocks).
//!
//! Weight names as `transformers` has them for `CLIPVisionModel`, `pre_layrnorm` included.

use std::ops::Range;

use clip::config::ClipVisionConfig;

use super::transformer::{Shape, Transformer};
use super::{Bias, ModelError, Ops, Parameter};

/// The image tower.
#[derive(Debug, Clone)]
pub struct ClipVision {
    config: ClipVisionConfig,
    prefix: String,
    blocks: Transformer,
}

impl ClipVision {
    /// The tower of `config` whose weights' names begin with `prefix`.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the configuration contradicts itself.
    pub fn new(config: &ClipVisionConfig, prefix: &str) -> Result<Self, ModelError> {
        if config.patch_size == 0 || config.patch_size > config.image_size {
            let rule = "be at least 1 and at most image_size";
            return Err(ModelError::Config { key: "patch_size", rule });
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

    /// `pixels` `[B, 3, S, S]`, where `S` is `image_size` → pooled `[B, hidden_size]`: the class
    /// token after the blocks, normalized.
    ///
    /// # Errors
    /// As [`Ops`] says; pictures of another size do not fit the position embeddings.
    pub fn pooled<O: Ops>(&self, ops: &mut O, pixels: &O::Value) -> Result<O::Value, ModelError> {
        let x = self.beginning(ops, pixels, 0)?;
        self.rest(ops, x, 0)
    }

    /// The tokens after the first `blocks` blocks, the last one never among them: `pixels`
    /// `[B, 3, S, S]` → `[B, 1 + N, W]`.
    ///
    /// # Errors
    /// As [`ClipVision::pooled`].
    pub fn beginning<O: Ops>(
        &self,
        ops: &mut O,
        pixels: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        let eps = self.config.layer_norm_eps;
        let patches = ops.patches(pixels, &self.name("embeddings.patch_embedding"))?; // [B, N, W]
        let x = ops.prepend(&patches, &self.name("embeddings.class_embedding"))?; // [B, 1+N, W]
        let positions = ops.all_rows(&self.name("embeddings.position_embedding"))?; // [1+N, W]
        let x = ops.add(x, &positions)?;
        let x = ops.layer_norm(&x, &self.name("pre_layrnorm"), eps)?;
        self.blocks.through(ops, x, Bias::None, 0..blocks.min(self.blocks.last()))
    }

    /// How many blocks it has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// Some blocks, the last one never among them: `[B, 1 + N, W]` → `[B, 1 + N, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn through<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        blocks: Range<usize>,
    ) -> Result<O::Value, ModelError> {
        let end = blocks.end.min(self.blocks.last());
        self.blocks.through(ops, x, Bias::None, blocks.start..end)
    }

    /// What comes after [`ClipVision::beginning`]: `[B, 1 + N, W]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn rest<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        let eps = self.config.layer_norm_eps;
        let class = self.blocks.first_state(ops, x, blocks.min(self.blocks.last()))?; // [B, W]
        ops.layer_norm(&class, &self.name("post_layernorm"), eps)
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// What weights the tower wants. Training from nothing starts them as `transformers` does.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let (width, patch) = (self.config.hidden_size, self.config.patch_size);
        let side = self.config.image_size / patch;
        let deviation = (width as f64).powf(-0.5);
        let normal = |part: &str, shape: &[usize], deviation| {
            Parameter::normal(self.name(part), shape, deviation)
        };
        let mut all = vec![
            normal("embeddings.class_embedding", &[width], deviation),
            normal("embeddings.patch_embedding.weight", &[width, 3, patch, patch], 0.02),
            normal("embeddings.position_embedding.weight", &[1 + side * side, width], 0.02),
        ];
        all.extend(Parameter::layer_norm(&self.name("pre_layrnorm"), width));
        all.extend(self.blocks.parameters());
        all.extend(Parameter::layer_norm(&self.name("post_layernorm"), width));
        all
    }
}
