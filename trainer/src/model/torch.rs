//! [`Ops`] computed by libtorch, with gradients where the weights ask for them.

use tch::{Device, Kind, TchError, Tensor};

use super::{BatchNorm, Bias, Conv, EndToken, Heads, ModelError, Ops, Weights};

/// Computes at once, over borrowed weights. Values are tensors on the device of the weights.
#[derive(Debug)]
pub struct Torch<'w> {
    weights: &'w Weights,
    kind: Kind,
}

type Computed = Result<Tensor, ModelError>;

/// The factor of [`Ops::quick_gelu`].
const QUICK: f64 = 1.702;

impl<'w> Torch<'w> {
    /// Computes with `weights`.
    #[must_use]
    pub fn new(weights: &'w Weights) -> Self {
        Self::in_kind(weights, Kind::Float)
    }

    /// Computes with `weights`, which stay f32, so that gradients arrive in f32 as well: matrix
    /// products, convolutions and attention in `kind` (bf16 where the device is fast at it),
    /// residual sums, normalizations, means and lengths in f32. Embeddings come out in f32.
    #[must_use]
    pub fn in_kind(weights: &'w Weights, kind: Kind) -> Self {
        Self { weights, kind }
    }

    fn weight(&self, name: &str, part: &str) -> Result<&'w Tensor, ModelError> {
        self.weights.get(&format!("{name}.{part}"))
    }

    /// `name.weight` as it is computed with: with what an adapter adds to it.
    fn merged(&self, name: &str) -> Result<Tensor, ModelError> {
        self.weights.merged(&format!("{name}.weight"))
    }

    fn optional(&self, name: &str, part: &str) -> Option<&'w Tensor> {
        self.weight(name, part).ok()
    }

    fn product_of_three(
        &self,
        x: &Tensor,
        weights: [&Tensor; 3],
        biases: &[Option<&Tensor>; 3],
    ) -> Result<[Tensor; 3], TchError> {
        let narrow = |x: &Tensor| self.narrow(x);
        let all = weights.map(narrow).into_iter().collect::<Result<Vec<_>, _>>()?;
        let biases = biases.iter().flatten().map(|b| narrow(b)).collect::<Result<Vec<_>, _>>()?;
        let bias = if biases.is_empty() { None } else { Some(Tensor::f_cat(&biases, 0)?) };
        let y = narrow(x)?.f_linear(&Tensor::f_cat(&all, 0)?, bias.as_ref())?;
        let rows = weights.map(|weight| weight.size()[0]);
        let parts = y.f_split_with_sizes(rows.as_slice(), -1)?;
        <[Tensor; 3]>::try_from(parts).map_err(|_| TchError::Shape("not three parts".to_owned()))
    }

    /// In the kind of products; nothing happens to what is of that kind already.
    fn narrow(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if x.kind() == self.kind { Ok(x.shallow_clone()) } else { x.f_to_kind(self.kind) }
    }

    /// A product's input, weight and bias.
    fn narrow_all(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Option<Tensor>), TchError> {
        let bias = bias.map(|bias| self.narrow(bias)).transpose()?;
        Ok((self.narrow(x)?, self.narrow(weight)?, bias))
    }
}

impl Ops for Torch<'_> {
    type Value = Tensor;

    fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    fn linear(&mut self, x: &Tensor, name: &str) -> Computed {
        let (weight, bias) = (self.merged(name)?, self.optional(name, "bias"));
        let y = self.narrow_all(x, &weight, bias);
        done("linear", name, y.and_then(|(x, weight, bias)| x.f_linear(&weight, bias.as_ref())))
    }

    /// One product with the weights one below the other: its input is narrowed and read once, and
    /// so is its gradient.
    fn linear_three(&mut self, x: &Tensor, names: [&str; 3]) -> Result<[Tensor; 3], ModelError> {
        let biases = names.map(|name| self.optional(name, "bias"));
        let some = biases.iter().flatten().count();
        if some != 0 && some != names.len() {
            let [a, b, c] = names;
            return Ok([self.linear(x, a)?, self.linear(x, b)?, self.linear(x, c)?]);
        }
        let [a, b, c] = names.map(|name| self.merged(name));
        let y = self.product_of_three(x, [&a?, &b?, &c?], &biases);
        y.map_err(|source| failed("linear_three", names[0], source))
    }

    fn conv_batch_norm(
        &mut self,
        x: &Tensor,
        name: &str,
        conv: Conv,
        norm: BatchNorm<'_>,
    ) -> Computed {
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.weight(norm.name, part));
        let norm = Statistics {
            gamma: gamma?,
            beta: beta?,
            mean: mean?,
            variance: variance?,
            eps: norm.eps,
        };
        let kernel = self.merged(name)?;
        let y = folded(&kernel, &norm).and_then(|(kernel, shift)| {
            if is_slow_in_bf16(x, &kernel, conv) {
                let y = same_convolution(&widened(x)?, &kernel, Some(&shift), conv)?;
                return self.narrow(&y);
            }
            let (x, kernel, shift) = self.narrow_all(x, &kernel, Some(&shift))?;
            same_convolution(&x, &kernel, shift.as_ref(), conv)
        });
        done("conv_batch_norm", name, y)
    }

    fn patches(&mut self, x: &Tensor, name: &str) -> Computed {
        let (kernel, bias) = (self.weight(name, "weight")?, self.optional(name, "bias"));
        let y = self.narrow_all(x, kernel, bias);
        done("patches", name, y.and_then(|(x, kernel, bias)| patches(&x, &kernel, bias.as_ref())))
    }

    /// Not by `clamp`, whose way back is four passes over memory and this one's is one.
    fn relu6(&mut self, mut x: Tensor) -> Computed {
        done("relu6", "", x.f_relu6_())
    }

    fn gelu(&mut self, x: &Tensor) -> Computed {
        done("gelu", "", x.f_gelu("none"))
    }

    /// By `SiLU(1.702 x) / 1.702`, whose gradient is one operation.
    fn quick_gelu(&mut self, x: &Tensor) -> Computed {
        let y = x.f_mul_scalar(QUICK).and_then(|scaled| scaled.f_silu()?.f_div_scalar_(QUICK));
        done("quick_gelu", "", y)
    }

    /// As [`Ops::quick_gelu`] it is `SiLU(1.702 x) / 1.702`, and where the weights are fewer numbers
    /// than the values between them, the two factors are multiplied into the weights: two passes over
    /// the widest values of a block fewer, and two more backwards.
    fn linear_quick_gelu_linear(&mut self, x: &Tensor, [wide, narrow]: [&str; 2]) -> Computed {
        let (above, below) = (self.merged(wide)?, self.merged(narrow)?);
        if x.numel() < 2 * above.numel() {
            let x = self.linear(x, wide)?;
            let x = self.quick_gelu(&x)?;
            return self.linear(&x, narrow);
        }
        let (bias, last_bias) = (self.optional(wide, "bias"), self.optional(narrow, "bias"));
        let y = || {
            let scaled = above.f_mul_scalar(QUICK)?;
            let bias = bias.map(|bias| bias.f_mul_scalar(QUICK)).transpose()?;
            let (x, weight, bias) = self.narrow_all(x, &scaled, bias.as_ref())?;
            let x = x.f_linear(&weight, bias.as_ref())?.f_silu()?;
            let scaled = below.f_div_scalar(QUICK)?;
            let (x, weight, bias) = self.narrow_all(&x, &scaled, last_bias)?;
            x.f_linear(&weight, bias.as_ref())
        };
        done("linear_quick_gelu_linear", wide, y())
    }

    /// In place, unless the sum is of a wider kind.
    fn add(&mut self, mut a: Tensor, b: &Tensor) -> Computed {
        done("add", "", if a.kind() == b.kind() { a.f_add_(b) } else { a.f_add(b) })
    }

    fn layer_norm(&mut self, x: &Tensor, name: &str, eps: f64) -> Computed {
        let (weight, bias) = (self.weight(name, "weight")?, self.weight(name, "bias")?);
        let y = widened(x)
            .and_then(|x| x.f_layer_norm(weight.size(), Some(weight), Some(bias), eps, false));
        done("layer_norm", name, y)
    }

    fn embedding(&mut self, ids: &Tensor, name: &str) -> Computed {
        let table = self.weight(name, "weight")?;
        done("embedding", name, Tensor::f_embedding(table, ids, -1, false, false))
    }

    fn leading_rows(&mut self, ids: &Tensor, name: &str) -> Computed {
        let table = self.weight(name, "weight")?;
        let rows = ids.size2().and_then(|(_, length)| table.f_narrow(0, 0, length));
        done("leading_rows", name, rows)
    }

    fn row(&mut self, name: &str, index: usize) -> Computed {
        let table = self.weight(name, "weight")?;
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        done("row", name, table.f_select(0, index))
    }

    fn all_rows(&mut self, name: &str) -> Computed {
        Ok(self.weight(name, "weight")?.shallow_clone())
    }

    fn prepend(&mut self, x: &Tensor, name: &str) -> Computed {
        let token = self.weights.get(name)?;
        let longer = x.size3().and_then(|(batch, _, width)| {
            Tensor::f_cat(&[&token.f_expand([batch, 1, width], false)?, &widened(x)?], 1)
        });
        done("prepend", name, longer)
    }

    fn token(&mut self, x: &Tensor, index: usize) -> Computed {
        done("token", "", x.f_select(1, i64::try_from(index).unwrap_or(i64::MAX)))
    }

    fn one_token(&mut self, x: &Tensor) -> Computed {
        done("one_token", "", x.f_unsqueeze(1))
    }

    fn end_token(&mut self, x: &Tensor, ids: &Tensor, end: EndToken) -> Computed {
        done("end_token", "", end_token(x, ids, end))
    }

    fn causal_bias(&mut self, ids: &Tensor) -> Computed {
        let bias = ids.size2().and_then(|(_, length)| {
            let all =
                Tensor::f_full([1, 1, length, length], -10_000.0, (Kind::Float, ids.device()))?;
            all.f_triu(1)
        });
        done("causal_bias", "", bias)
    }

    fn padding_bias(&mut self, mask: &Tensor) -> Computed {
        let bias = mask
            .f_to_kind(Kind::Float)
            .and_then(|real| real.f_sub_scalar(1.0))
            .and_then(|minus_padding| minus_padding.f_mul_scalar(10_000.0))
            .and_then(|bias| bias.f_unsqueeze(1)?.f_unsqueeze(1));
        done("padding_bias", "", bias)
    }

    fn attention(&mut self, qkv: [&Tensor; 3], heads: Heads, bias: Bias<'_, Tensor>) -> Computed {
        let y = || {
            let [q, k, v] = qkv.map(|x| self.narrow(x));
            let added = match bias {
                Bias::Padding(bias) => Some(self.narrow(bias)?),
                Bias::None | Bias::Causal(_) => None,
            };
            let causal = matches!(bias, Bias::Causal(_));
            attention([&q?, &k?, &v?], heads, added.as_ref(), causal)
        };
        done("attention", "", y())
    }

    fn masked_mean(&mut self, x: &Tensor, mask: &Tensor) -> Computed {
        done("masked_mean", "", widened(x).and_then(|x| masked_mean(&x, mask)))
    }

    fn global_average(&mut self, x: &Tensor) -> Computed {
        done("global_average", "", x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float))
    }

    fn standardize(&mut self, x: &Tensor, name: &str) -> Computed {
        let (mean, std) = (self.weight(name, "input_mean")?, self.weight(name, "input_std")?);
        let y = widened(x).and_then(|x| x.f_sub(mean)?.f_div(std));
        done("standardize", name, y)
    }

    fn softmax(&mut self, x: &Tensor) -> Computed {
        done("softmax", "", x.f_softmax(-1, Kind::Float))
    }

    fn beside(&mut self, a: &Tensor, b: &Tensor) -> Computed {
        let both = widened(a).and_then(|a| Tensor::f_cat(&[&a, &widened(b)?], 1));
        done("beside", "", both)
    }

    fn parted(&mut self, x: &Tensor, at: usize) -> Result<[Tensor; 2], ModelError> {
        let parts = || {
            let (_, width) = x.size2()?;
            let at = i64::try_from(at).unwrap_or(i64::MAX);
            Ok([x.f_narrow(1, 0, at)?, x.f_narrow(1, at, width - at)?])
        };
        parts().map_err(|source| failed("parted", "", source))
    }

    fn l2_normalize(&mut self, x: &Tensor) -> Computed {
        done("l2_normalize", "", widened(x).and_then(|x| l2_normalize(&x)))
    }
}

fn done(operation: &'static str, name: &str, result: Result<Tensor, TchError>) -> Computed {
    result.map_err(|source| failed(operation, name, source))
}

fn failed(operation: &'static str, name: &str, source: TchError) -> ModelError {
    ModelError::Torch { operation, name: name.to_owned(), source }
}

/// Weights of one batch normalization.
struct Statistics<'a> {
    gamma: &'a Tensor,
    beta: &'a Tensor,
    mean: &'a Tensor,
    variance: &'a Tensor,
    eps: f64,
}

/// In f32.
fn widened(x: &Tensor) -> Result<Tensor, TchError> {
    if x.kind() == Kind::Float { Ok(x.shallow_clone()) } else { x.f_to_kind(Kind::Float) }
}

/// The normalization is folded into the kernel, `w · γ/√(σ² + ε)` and `β - μ · γ/√(σ² + ε)`: one
/// pass over the pixels in place of two, and gradients flow to all of them.
fn folded(kernel: &Tensor, norm: &Statistics<'_>) -> Result<(Tensor, Tensor), TchError> {
    let scale = norm.variance.f_add_scalar(norm.eps)?.f_rsqrt()?.f_mul(norm.gamma)?; // [O]
    let shift = norm.beta.f_sub(&norm.mean.f_mul(&scale)?)?; // [O]
    Ok((kernel.f_mul(&scale.f_view([-1, 1, 1, 1])?)?, shift)) // [O, C/groups, k, k]
}

/// Whether oneDNN's way back through the convolution is slower in bf16 than in f32 with the conversions to
/// and from it, on a CPU: by two to seven times for kernels over a channel each that are larger than 3 or
/// step by 2 (Zen 4, two threads), while all others win.
fn is_slow_in_bf16(x: &Tensor, kernel: &Tensor, conv: Conv) -> bool {
    let edge = kernel.size().last().copied().unwrap_or_default();
    x.device() == Device::Cpu && conv.depthwise && (edge > 3 || conv.stride > 1)
}

/// A convolution padded as TensorFlow's "same".
fn same_convolution(
    x: &Tensor,
    kernel: &Tensor,
    shift: Option<&Tensor>,
    conv: Conv,
) -> Result<Tensor, TchError> {
    let (_, _, height, width) = x.size4()?;
    let (_, _, kernel_height, kernel_width) = kernel.size4()?;
    let (top, bottom) = same_padding(height, kernel_height, conv.stride);
    let (left, right) = same_padding(width, kernel_width, conv.stride);
    let groups = if conv.depthwise { kernel.size()[0] } else { 1 };
    let strides = [conv.stride; 2];
    if (top, left) == (bottom, right) {
        return x.f_conv2d(kernel, shift, strides, [top, left], [1, 1], groups);
    }
    let padded = x.f_constant_pad_nd([left, right, top, bottom])?;
    padded.f_conv2d(kernel, shift, strides, [0, 0], [1, 1], groups)
}

/// A convolution whose kernel is as large as its step.
fn patches(x: &Tensor, kernel: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
    let (_, _, height, width) = kernel.size4()?;
    let grid = x.f_conv2d(kernel, bias, [height, width], [0, 0], [1, 1], 1)?; // [B, O, rows, columns]
    grid.f_flatten(2, 3)?.f_transpose(1, 2) // [B, N, O]
}

/// Of equal ids `argmax` takes the first.
fn end_token(x: &Tensor, ids: &Tensor, end: EndToken) -> Result<Tensor, TchError> {
    let (batch, _, width) = x.size3()?;
    let at = match end {
        EndToken::Id(id) => ids.f_eq(id)?.f_to_kind(Kind::Int)?.f_argmax(1, true)?,
        EndToken::Highest => ids.f_argmax(1, true)?,
    }; // [B, 1]
    let at = at.f_unsqueeze(2)?.f_expand([batch, 1, width], false)?; // [B, 1, W]
    x.f_gather(1, &at, false)?.f_squeeze_dim(1)
}

/// TensorFlow's "same": before and after, the odd one after.
fn same_padding(size: i64, kernel: i64, stride: i64) -> (i64, i64) {
    let steps = (size + stride - 1) / stride;
    let total = ((steps - 1) * stride + kernel - size).max(0);
    (total / 2, total - total / 2)
}

fn attention(
    qkv: [&Tensor; 3],
    heads: Heads,
    bias: Option<&Tensor>,
    causal: bool,
) -> Result<Tensor, TchError> {
    let (batch, queries, width) = qkv[0].size3()?;
    let count = i64::try_from(heads.count).unwrap_or(i64::MAX);
    let split = |x: &Tensor| x.f_view([batch, -1, count, width / count])?.f_transpose(1, 2);
    let [q, k, v] = [split(qkv[0])?, split(qkv[1])?, split(qkv[2])?]; // [B, heads, Q or L, d]
    let y = Tensor::f_scaled_dot_product_attention(&q, &k, &v, bias, 0.0, causal, None, false)?;
    y.f_transpose(1, 2)?.f_reshape([batch, queries, width]) // [B, Q, W]
}

fn masked_mean(x: &Tensor, mask: &Tensor) -> Result<Tensor, TchError> {
    let mask = mask.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?; // [B, L, 1]
    let sum = x.f_mul(&mask)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?; // [B, W]
    let count = mask.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?; // [B, 1]
    sum.f_div(&count.f_clamp_min(1.0)?)
}

fn l2_normalize(x: &Tensor) -> Result<Tensor, TchError> {
    let squares = x.f_mul(x)?.f_sum_dim_intlist([-1i64].as_slice(), true, Kind::Float)?;
    x.f_div(&squares.f_sqrt()?.f_clamp_min(1e-12)?)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::{EndToken, Ops, Torch, Weights, end_token, same_padding};

    #[test]
    fn a_text_ends_at_the_first_of_its_end_tokens() {
        let x = Tensor::arange(16, (Kind::Float, tch::Device::Cpu)).view([4, 4, 1]);
        let ids = [[1i64, 9, 9, 2], [9, 1, 9, 1], [7, 8, 8, 1], [12, 3, 9, 12]];
        let ids = Tensor::from_slice2(&ids);
        let at = |end| Vec::<f32>::try_from(end_token(&x, &ids, end).unwrap().view([-1])).unwrap();
        assert_eq!(at(EndToken::Id(9)), [1.0, 4.0, 8.0, 14.0]);
        assert_eq!(at(EndToken::Highest), [1.0, 4.0, 9.0, 12.0]);
    }

    #[test]
    fn a_token_sees_itself_and_those_before_it() {
        let ids = Tensor::zeros([2, 3], (Kind::Int64, tch::Device::Cpu));
        let bias = Torch::new(&Weights::new()).causal_bias(&ids).unwrap();
        let seen: Vec<bool> =
            Vec::<f32>::try_from(bias.view([-1])).unwrap().iter().map(|&b| b == 0.0).collect();
        assert_eq!(bias.size(), [1, 1, 3, 3]);
        assert_eq!(seen, [true, false, false, true, true, false, true, true, true]);
    }

    #[test]
    fn same_padding_puts_the_odd_pixel_after() {
        assert_eq!(same_padding(260, 3, 2), (0, 1));
        assert_eq!(same_padding(65, 3, 2), (1, 1));
        assert_eq!(same_padding(130, 5, 2), (1, 2));
        assert_eq!(same_padding(7, 1, 1), (0, 0));
        assert_eq!(same_padding(7, 5, 1), (2, 2));
        assert_eq!(same_padding(4, 1, 2), (0, 0));
    }
}
