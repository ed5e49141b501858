//! The operations that every encoder is made of.

use clip::config::HiddenAct;

use super::ModelError;

/// Operations over an opaque value. Forward code is generic over it, so that the same lines train
/// in libtorch and write the ONNX graph.
///
/// A `name` is the prefix of a weight as the original checkpoint has it: `linear(x, "a.b")` reads
/// `a.b.weight` `[out, in]` and, where it exists, `a.b.bias` `[out]`.
/// All arithmetic is f32 unless an interpretation says otherwise. An operation that takes its input by value may compute in its place.
///
/// Every method returns [`ModelError`] where a weight is missing or does not fit its input.
pub trait Ops {
    /// A tensor, or the promise of one.
    type Value;

    /// Whether the weight `name` exists, for parts that a model may lack.
    fn has(&self, name: &str) -> bool;

    /// `x · weightᵀ + bias` over the last dimension: `[…, in]` → `[…, out]`.
    ///
    /// # Errors
    /// As the trait says.
    fn linear(&mut self, x: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// Three [`Ops::linear`] of one input, as attention wants them.
    ///
    /// # Errors
    /// As the trait says.
    fn linear_three(
        &mut self,
        x: &Self::Value,
        names: [&str; 3],
    ) -> Result<[Self::Value; 3], ModelError> {
        let [a, b, c] = names;
        Ok([self.linear(x, a)?, self.linear(x, b)?, self.linear(x, c)?])
    }

    /// Convolution without bias, then batch normalization by the stored statistics (never those of
    /// the batch): `[B, C, H, W]` → `[B, O, ⌈H/stride⌉, ⌈W/stride⌉]`. `name.weight` is
    /// `[O, C, k, k]`, or `[C, 1, k, k]` where `conv.depthwise`.
    ///
    /// Padding is TensorFlow's "same": where the total is odd, the extra row and column are below
    /// and to the right.
    ///
    /// # Errors
    /// As the trait says.
    fn conv_batch_norm(
        &mut self,
        x: &Self::Value,
        name: &str,
        conv: Conv,
        norm: BatchNorm<'_>,
    ) -> Result<Self::Value, ModelError>;

    /// Square patches that do not overlap, each mapped to one token: `[B, C, H, W]` → `[B, N, O]`,
    /// row by row, where `name.weight` is `[O, C, P, P]` and `name.bias` `[O]` may exist. Pixels
    /// right and below that fill no patch are left out.
    ///
    /// # Errors
    /// As the trait says.
    fn patches(&mut self, x: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// `min(max(x, 0), 6)`.
    ///
    /// # Errors
    /// As the trait says.
    fn relu6(&mut self, x: Self::Value) -> Result<Self::Value, ModelError>;

    /// `x · Φ(x)`, exact by the error function (Hendrycks and Gimpel 2016).
    ///
    /// # Errors
    /// As the trait says.
    fn gelu(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;

    /// `x · σ(1.702 x)` (Hendrycks and Gimpel 2016, section 2), as `OpenAI` trained CLIP.
    ///
    /// # Errors
    /// As the trait says.
    fn quick_gelu(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;

    /// Two [`Ops::linear`] with [`Ops::quick_gelu`] between them: `[…, in]` → `[…, out]`.
    ///
    /// # Errors
    /// As the trait says.
    fn linear_quick_gelu_linear(
        &mut self,
        x: &Self::Value,
        [wide, narrow]: [&str; 2],
    ) -> Result<Self::Value, ModelError> {
        let x = self.linear(x, wide)?;
        let x = self.quick_gelu(&x)?;
        self.linear(&x, narrow)
    }

    /// `a + b`, where `b` broadcasts to the shape of `a`.
    ///
    /// # Errors
    /// As the trait says.
    fn add(&mut self, a: Self::Value, b: &Self::Value) -> Result<Self::Value, ModelError>;

    /// Normalization over the last dimension with `name.weight` and `name.bias` (Ba et al. 2016).
    ///
    /// # Errors
    /// As the trait says.
    fn layer_norm(
        &mut self,
        x: &Self::Value,
        name: &str,
        eps: f64,
    ) -> Result<Self::Value, ModelError>;

    /// Rows of `name.weight` `[V, W]` for `ids` i64 `[B, L]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As the trait says.
    fn embedding(&mut self, ids: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// The first `L` rows of `name.weight` for `ids` `[B, L]` → `[L, W]`: position embeddings.
    ///
    /// # Errors
    /// As the trait says.
    fn leading_rows(&mut self, ids: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// Row `index` of `name.weight` → `[W]`: the segment embedding of a text that has one segment.
    ///
    /// # Errors
    /// As the trait says.
    fn row(&mut self, name: &str, index: usize) -> Result<Self::Value, ModelError>;

    /// All of `name.weight` `[rows, W]`: the position embeddings of pictures, which have one size.
    ///
    /// # Errors
    /// As the trait says.
    fn all_rows(&mut self, name: &str) -> Result<Self::Value, ModelError>;

    /// The weight `name` `[W]` as a token before those of `x`: `[B, L, W]` → `[B, 1 + L, W]`.
    ///
    /// # Errors
    /// As the trait says.
    fn prepend(&mut self, x: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// One token of each: `[B, L, W]` → `[B, W]`.
    ///
    /// # Errors
    /// As the trait says.
    fn token(&mut self, x: &Self::Value, index: usize) -> Result<Self::Value, ModelError>;

    /// Each as a sequence of one token: `[B, W]` → `[B, 1, W]`.
    ///
    /// # Errors
    /// As the trait says.
    fn one_token(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;

    /// The token of `x` `[B, L, W]` where `ids` i64 `[B, L]` first hold `end` → `[B, W]`; the first
    /// token where they never do.
    ///
    /// # Errors
    /// As the trait says.
    fn end_token(
        &mut self,
        x: &Self::Value,
        ids: &Self::Value,
        end: EndToken,
    ) -> Result<Self::Value, ModelError>;

    /// What attention adds to its scores so that no token looks behind itself: for `ids` `[B, L]`
    /// → `[1, 1, L, L]`, 0 up to the diagonal, -10,000 above it.
    ///
    /// # Errors
    /// As the trait says.
    fn causal_bias(&mut self, ids: &Self::Value) -> Result<Self::Value, ModelError>;

    /// What attention adds to its scores so that padding is not looked at: `mask` i64 `[B, L]`
    /// (1 real, 0 padding) → `[B, 1, 1, L]`, 0 or -10,000 (as the first BERT; e⁻¹⁰⁰⁰⁰ is 0 in f32,
    /// and a row of padding alone stays finite).
    ///
    /// # Errors
    /// As the trait says.
    fn padding_bias(&mut self, mask: &Self::Value) -> Result<Self::Value, ModelError>;

    /// `softmax(q · kᵀ / √d + bias) · v` by heads (Vaswani et al. 2017, equation 1): `q` is
    /// `[B, Q, W]`, `k` and `v` are `[B, L, W]` → `[B, Q, W]`, where `d = W / heads`. A causal bias
    /// wants as many queries as keys.
    ///
    /// # Errors
    /// As the trait says.
    fn attention(
        &mut self,
        qkv: [&Self::Value; 3],
        heads: Heads,
        bias: Bias<'_, Self::Value>,
    ) -> Result<Self::Value, ModelError>;

    /// Mean over real tokens: `[B, L, W]`, `mask` i64 `[B, L]` → `[B, W]`; zeros where all is
    /// padding.
    ///
    /// # Errors
    /// As the trait says.
    fn masked_mean(
        &mut self,
        x: &Self::Value,
        mask: &Self::Value,
    ) -> Result<Self::Value, ModelError>;

    /// Mean over height and width: `[B, C, H, W]` → `[B, C]`.
    ///
    /// # Errors
    /// As the trait says.
    fn global_average(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;

    /// `(x - name.input_mean) / name.input_std` over the last dimension.
    ///
    /// # Errors
    /// As the trait says.
    fn standardize(&mut self, x: &Self::Value, name: &str) -> Result<Self::Value, ModelError>;

    /// `exp(x) / Σ exp(x)` over the last dimension, in f32.
    ///
    /// # Errors
    /// As the trait says.
    fn softmax(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;

    /// `a` `[B, M]` and `b` `[B, N]` side by side: `[B, M + N]`.
    ///
    /// # Errors
    /// As the trait says.
    fn beside(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, ModelError>;

    /// The first `at` numbers of each row and the others: `[B, M + N]` → `[B, M]` and `[B, N]`.
    ///
    /// # Errors
    /// As the trait says.
    fn parted(&mut self, x: &Self::Value, at: usize) -> Result<[Self::Value; 2], ModelError>;

    /// Length one over the last dimension; a length under 1e-12 counts as 1e-12.
    ///
    /// # Errors
    /// As the trait says.
    fn l2_normalize(&mut self, x: &Self::Value) -> Result<Self::Value, ModelError>;
}

/// The feed-forward half of a transformer's block: two linear maps with an activation between them,
/// `[…, W]` → `[…, W]`.
///
/// # Errors
/// As [`Ops`] says.
pub(super) fn feed_forward<O: Ops>(
    ops: &mut O,
    x: &O::Value,
    [wide, narrow]: [&str; 2],
    act: HiddenAct,
) -> Result<O::Value, ModelError> {
    match act {
        HiddenAct::Gelu => {
            let x = ops.linear(x, wide)?; // […, intermediate]
            let x = ops.gelu(&x)?;
            ops.linear(&x, narrow)
        }
        HiddenAct::QuickGelu => ops.linear_quick_gelu_linear(x, [wide, narrow]),
    }
}

/// What attention adds to its scores.
#[derive(Debug)]
pub enum Bias<'a, V> {
    /// Nothing: every token looks at all.
    None,
    /// Of [`Ops::padding_bias`].
    Padding(&'a V),
    /// Of [`Ops::causal_bias`]. Told apart because kernels that know it skip what is not looked at.
    Causal(&'a V),
}

impl<V> Clone for Bias<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Bias<'_, V> {}

/// Settings of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Step in pixels, both ways.
    pub stride: i64,
    /// Whether each channel has its own kernel (groups = channels).
    pub depthwise: bool,
}

/// Batch normalization (Ioffe and Szegedy 2015) by `name.{weight,bias,running_mean,running_var}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm<'a> {
    /// Prefix of its weights.
    pub name: &'a str,
    /// Added to the variance.
    pub eps: f64,
}

/// How attention splits the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads.
    pub count: usize,
    /// Numbers to a head.
    pub width: usize,
}

impl Heads {
    /// `count` heads of one width.
    pub(super) fn dividing(hidden_size: usize, count: usize) -> Result<Self, ModelError> {
        if count == 0 || !hidden_size.is_multiple_of(count) {
            let rule = "divide hidden_size";
            return Err(ModelError::Config { key: "num_attention_heads", rule });
        }
        Ok(Self { count, width: hidden_size / count })
    }
}

/// Which token ends a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndToken {
    /// The one with this id.
    Id(i64),
    /// The one with the highest id in its text.
    Highest,
}

/// A weight that a model wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Full name.
    pub name: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// Where training from nothing starts it.
    pub init: Init,
}

/// The start of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal around zero with this deviation.
    Normal(f64),
    /// Uniform between minus this and this.
    Uniform(f64),
    /// One number everywhere.
    Constant(f64),
}

impl Parameter {
    /// A weight that starts normal around zero.
    pub(crate) fn normal(name: String, shape: &[usize], deviation: f64) -> Self {
        Self { name, shape: sizes(shape), init: Init::Normal(deviation) }
    }

    /// A weight that starts as one number.
    pub(crate) fn constant(name: String, shape: &[usize], value: f64) -> Self {
        Self { name, shape: sizes(shape), init: Init::Constant(value) }
    }

    /// Weight and bias of a layer normalization, which start as the identity.
    pub(super) fn layer_norm(name: &str, width: usize) -> [Self; 2] {
        [("weight", 1.0), ("bias", 0.0)]
            .map(|(part, value)| Self::constant(format!("{name}.{part}"), &[width], value))
    }
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect()
}
