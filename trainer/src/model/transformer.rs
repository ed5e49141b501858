//! The stack of blocks that both towers of CLIP are: a transformer that normalizes before each half
//! of a block, not after it.

use std::ops::Range;

use clip::config::HiddenAct;

use super::ops::feed_forward;
use super::{Bias, Heads, ModelError, Ops, Parameter};

/// Blocks named `{prefix}.N.{layer_norm1, self_attn.{q,k,v,out}_proj, layer_norm2, mlp.{fc1,fc2}}`.
#[derive(Debug, Clone)]
pub(super) struct Transformer {
    prefix: String,
    shape: Shape,
    heads: Heads,
}

/// Sizes and settings of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) width: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) act: HiddenAct,
    pub(super) eps: f64,
}

/// Queries, keys and values.
const QKV: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

impl Transformer {
    /// Blocks whose weights' names begin with `prefix`.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the heads do not divide the width, or there is no block.
    pub(super) fn new(shape: Shape, prefix: String) -> Result<Self, ModelError> {
        let heads = Heads::dividing(shape.width, shape.heads)?;
        if shape.layers == 0 {
            let rule = "be at least 1";
            return Err(ModelError::Config { key: "num_hidden_layers", rule });
        }
        Ok(Self { prefix, shape, heads })
    }

    /// Some blocks over `x` `[B, L, W]` → `[B, L, W]`; `bias` goes into every attention.
    pub(super) fn through<O: Ops>(
        &self,
        ops: &mut O,
        mut x: O::Value,
        bias: Bias<'_, O::Value>,
        layers: Range<usize>,
    ) -> Result<O::Value, ModelError> {
        for layer in layers {
            x = self.block(ops, &x, bias, layer)?; // [B, L, W]
        }
        Ok(x)
    }

    /// The number of the last block.
    pub(super) fn last(&self) -> usize {
        self.shape.layers - 1
    }

    /// What the blocks from `layer` on make of the first token of `x` `[B, L, W]` → `[B, W]`. The last
    /// block is computed for that token alone, since nobody looks at what becomes of the others.
    pub(super) fn first_state<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        let last = self.last();
        let x = self.through(ops, x, Bias::None, layer..last)?; // [B, L, W]
        let normal = self.first_norm(ops, &x, last)?;
        let first = ops.token(&normal, 0)?; // [B, W]
        let first = ops.one_token(&first)?; // [B, 1, W]
        let [q, k, v] = QKV.map(|part| self.name(last, part));
        let q = ops.linear(&first, &q)?; // [B, 1, W]
        let (k, v) = (ops.linear(&normal, &k)?, ops.linear(&normal, &v)?); // [B, L, W]
        let mixed = self.mix(ops, [&q, &k, &v], Bias::None, last)?; // [B, 1, W]
        let mixed = ops.token(&mixed, 0)?; // [B, W]
        let residual = ops.token(&x, 0)?; // [B, W]
        let x = ops.add(mixed, &residual)?;
        self.feed_forward(ops, &x, last)
    }

    fn block<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        bias: Bias<'_, O::Value>,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        let normal = self.first_norm(ops, x, layer)?;
        let names = QKV.map(|part| self.name(layer, part));
        let [q, k, v] = ops.linear_three(&normal, names.each_ref().map(String::as_str))?;
        let mixed = self.mix(ops, [&q, &k, &v], bias, layer)?;
        let x = ops.add(mixed, x)?; // [B, L, W]
        self.feed_forward(ops, &x, layer)
    }

    fn first_norm<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        ops.layer_norm(x, &self.name(layer, "layer_norm1"), self.shape.eps)
    }

    /// Attention, projected: `[B, Q, W]`, `[B, L, W]` twice → `[B, Q, W]`.
    fn mix<O: Ops>(
        &self,
        ops: &mut O,
        qkv: [&O::Value; 3],
        bias: Bias<'_, O::Value>,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        let mixed = ops.attention(qkv, self.heads, bias)?;
        ops.linear(&mixed, &self.name(layer, "self_attn.out_proj"))
    }

    /// The second half of a block, over `[…, W]`.
    fn feed_forward<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        layer: usize,
    ) -> Result<O::Value, ModelError> {
        let normal = ops.layer_norm(x, &self.name(layer, "layer_norm2"), self.shape.eps)?;
        let [wide, narrow] = ["mlp.fc1", "mlp.fc2"].map(|part| self.name(layer, part));
        let y = feed_forward(ops, &normal, [&wide, &narrow], self.shape.act)?; // […, W]
        ops.add(y, x)
    }

    fn name(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.prefix)
    }

    /// What weights the blocks want. Training from nothing starts them as `transformers` does
    /// (`CLIPPreTrainedModel._init_weights`), which makes queries, keys and values smaller the deeper
    /// the stack where the first release by `OpenAI` does so with the attention's output.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let Shape { width, intermediate, layers, .. } = self.shape;
        let deviation = (width as f64).powf(-0.5);
        let small = deviation * (2.0 * layers as f64).powf(-0.5);
        let mut all = Vec::new();
        for layer in 0..layers {
            for (part, shape, deviation) in [
                ("self_attn.q_proj", [width, width], small),
                ("self_attn.k_proj", [width, width], small),
                ("self_attn.v_proj", [width, width], small),
                ("self_attn.out_proj", [width, width], deviation),
                ("mlp.fc1", [intermediate, width], (2.0 * width as f64).powf(-0.5)),
                ("mlp.fc2", [width, intermediate], small),
            ] {
                let name = self.name(layer, part);
                all.push(Parameter::normal(format!("{name}.weight"), &shape, deviation));
                all.push(Parameter::constant(format!("{name}.bias"), &shape[..1], 0.0));
            }
            for part in ["layer_norm1", "layer_norm2"] {
                all.extend(Parameter::layer_norm(&self.name(layer, part), width));
            }
        }
        all
    }
}
