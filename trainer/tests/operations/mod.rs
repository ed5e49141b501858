//! Each operation of `Ops`: libtorch and the recorded graph in ONNX Runtime give the same numbers.

mod harness;

use clipsight_trainer::model::{BatchNorm, Bias, Conv, EndToken, Heads, ModelError, Ops};
use clipsight_trainer::onnx::WeightStorage;

use harness::{Case, Feed, agree, multiplied_exactly, weights};

/// Names a case and the operation that it runs.
macro_rules! case {
    ($name:ident, |$ops:ident, $inputs:ident| $body:expr) => {
        struct $name;
        impl Case for $name {
            fn run<O: Ops>(
                &self,
                $ops: &mut O,
                $inputs: Vec<O::Value>,
            ) -> Result<O::Value, ModelError> {
                $body
            }
        }
    };
}

fn first<V>(inputs: Vec<V>) -> V {
    inputs.into_iter().next().expect("the case has an input")
}

fn pair<V>(inputs: Vec<V>) -> [V; 2] {
    inputs.try_into().ok().expect("the case has two inputs")
}

const F32: WeightStorage = WeightStorage::F32;
const EXACT: f64 = 1e-5;

/// A sum of products with weights rounded to 1/127 of the largest is off by up to four deviations of
/// its rounding: 1 to 1.1 % of the largest sum, on unlucky draws of the random inputs.
const ROUNDED: f64 = 2e-2;

case!(Linear, |ops, inputs| ops.linear(&inputs[0], "layer"));

#[test]
fn linear_agrees_with_and_without_bias() {
    let feeds = [vec![Feed::Floats(&[1, 7])], vec![Feed::Floats(&[3, 7])]];
    let with = weights(&[("layer.weight", &[5, 7]), ("layer.bias", &[5])]);
    agree(&Linear, &with, F32, &feeds, EXACT);
    let without = weights(&[("layer.weight", &[5, 7])]);
    agree(&Linear, &without, F32, &feeds, EXACT);
    let tokens = [vec![Feed::Floats(&[1, 1, 7])], vec![Feed::Floats(&[3, 11, 7])]];
    agree(&Linear, &with, F32, &tokens, EXACT);
}

#[test]
fn linear_stored_compactly_stays_close() {
    let wide = weights(&[("layer.weight", &[96, 130]), ("layer.bias", &[96])]);
    let feeds = [vec![Feed::Floats(&[1, 130])], vec![Feed::Floats(&[3, 130])]];
    agree(&Linear, &wide, WeightStorage::F16, &feeds, 1e-3);
    agree(&Linear, &wide, WeightStorage::Int8, &feeds, ROUNDED);
    let even = multiplied_exactly(wide, "layer.weight");
    agree(&Linear, &even, WeightStorage::Int8Dynamic, &feeds, 4.0 * ROUNDED);
    let small = weights(&[("layer.weight", &[5, 7]), ("layer.bias", &[5])]);
    agree(&Linear, &small, WeightStorage::Int8Dynamic, &[vec![Feed::Floats(&[3, 7])]], EXACT);
}

/// A convolution with its normalization.
struct Convolution(Conv);

impl Case for Convolution {
    fn run<O: Ops>(&self, ops: &mut O, inputs: Vec<O::Value>) -> Result<O::Value, ModelError> {
        ops.conv_batch_norm(&inputs[0], "conv", self.0, BatchNorm { name: "bn", eps: 1e-3 })
    }
}

fn convolution(kernel: &[i64]) -> clipsight_trainer::model::Weights {
    let mut all = weights(&[
        ("conv.weight", kernel),
        ("bn.weight", &kernel[..1]),
        ("bn.bias", &kernel[..1]),
        ("bn.running_mean", &kernel[..1]),
        ("bn.running_var", &kernel[..1]),
    ]);
    let variance = all.get("bn.running_var").unwrap().square();
    all.insert("bn.running_var", variance);
    all
}

#[test]
fn conv_batch_norm_agrees_for_every_parity_of_size_and_stride() {
    let feeds = [
        vec![Feed::Floats(&[1, 4, 9, 14])],
        vec![Feed::Floats(&[3, 4, 8, 7])],
        vec![Feed::Floats(&[1, 4, 1, 2])],
    ];
    for stride in [1, 2] {
        for kernel in [1, 3, 5] {
            let plain = Convolution(Conv { stride, depthwise: false });
            agree(&plain, &convolution(&[6, 4, kernel, kernel]), F32, &feeds, EXACT);
            let depthwise = Convolution(Conv { stride, depthwise: true });
            agree(&depthwise, &convolution(&[4, 1, kernel, kernel]), F32, &feeds, EXACT);
        }
    }
}

#[test]
fn conv_batch_norm_stored_compactly_stays_close() {
    let pointwise = Convolution(Conv { stride: 1, depthwise: false });
    let feeds = [vec![Feed::Floats(&[3, 70, 5, 6])]];
    agree(&pointwise, &convolution(&[64, 70, 1, 1]), WeightStorage::F16, &feeds, 1e-3);
    agree(&pointwise, &convolution(&[64, 70, 1, 1]), WeightStorage::Int8, &feeds, ROUNDED);
    let depthwise = Convolution(Conv { stride: 2, depthwise: true });
    let feeds = [vec![Feed::Floats(&[3, 600, 5, 6])]];
    agree(&depthwise, &convolution(&[600, 1, 3, 3]), WeightStorage::Int8, &feeds, 1e-3);
}

case!(LinearThree, |ops, inputs| {
    let [a, b, c] = ops.linear_three(&inputs[0], ["layer", "wider", "plain"])?;
    let sum = ops.add(a, &c)?;
    ops.attention([&sum, &b, &b], Heads { count: 1, width: 5 }, Bias::None)
});

#[test]
fn three_linear_maps_of_one_input_agree_with_and_without_biases() {
    let with = weights(&[
        ("layer.weight", &[5, 7]),
        ("layer.bias", &[5]),
        ("wider.weight", &[5, 7]),
        ("wider.bias", &[5]),
        ("plain.weight", &[5, 7]),
        ("plain.bias", &[5]),
    ]);
    let some = weights(&[
        ("layer.weight", &[5, 7]),
        ("wider.weight", &[5, 7]),
        ("wider.bias", &[5]),
        ("plain.weight", &[5, 7]),
    ]);
    let feeds = [vec![Feed::Floats(&[1, 9, 7])], vec![Feed::Floats(&[3, 4, 7])]];
    agree(&LinearThree, &with, F32, &feeds, EXACT);
    agree(&LinearThree, &some, F32, &feeds, EXACT);
}

case!(Patches, |ops, inputs| ops.patches(&inputs[0], "patch"));

#[test]
fn patches_agree_with_and_without_bias_and_drop_what_fills_none() {
    let feeds = [
        vec![Feed::Floats(&[1, 3, 8, 12])],
        vec![Feed::Floats(&[3, 3, 11, 9])],
        vec![Feed::Floats(&[2, 3, 4, 4])],
    ];
    let without = weights(&[("patch.weight", &[6, 3, 4, 4])]);
    agree(&Patches, &without, F32, &feeds, EXACT);
    let with = weights(&[("patch.weight", &[6, 3, 4, 4]), ("patch.bias", &[6])]);
    agree(&Patches, &with, F32, &feeds, EXACT);
    let wide = weights(&[("patch.weight", &[48, 3, 8, 8])]);
    let feeds = [vec![Feed::Floats(&[2, 3, 16, 24])]];
    agree(&Patches, &wide, WeightStorage::F16, &feeds, 1e-3);
    agree(&Patches, &wide, WeightStorage::Int8, &feeds, ROUNDED);
    let even = multiplied_exactly(wide, "patch.weight");
    agree(&Patches, &even, WeightStorage::Int8Dynamic, &feeds, 4.0 * ROUNDED);
    let with = weights(&[("patch.weight", &[48, 3, 8, 8]), ("patch.bias", &[48])]);
    let even = multiplied_exactly(with, "patch.weight");
    agree(&Patches, &even, WeightStorage::Int8Dynamic, &feeds, 4.0 * ROUNDED);
}

case!(Relu6, |ops, inputs| ops.relu6(first(inputs)));

#[test]
fn relu6_agrees_on_both_sides_of_both_bounds() {
    let feeds = [vec![Feed::Floats(&[1, 3, 5, 7])], vec![Feed::Wide(&[3, 2, 9, 9])]];
    agree(&Relu6, &weights(&[]), F32, &feeds, 0.0);
}

case!(Gelu, |ops, inputs| ops.gelu(&inputs[0]));

#[test]
fn gelu_agrees_far_from_zero_too() {
    let feeds = [vec![Feed::Floats(&[1, 5, 7])], vec![Feed::Wide(&[3, 9, 9])]];
    agree(&Gelu, &weights(&[]), F32, &feeds, 1e-6);
}

case!(QuickGelu, |ops, inputs| ops.quick_gelu(&inputs[0]));

#[test]
fn quick_gelu_agrees_far_from_zero_too() {
    let feeds = [vec![Feed::Floats(&[1, 5, 7])], vec![Feed::Wide(&[3, 9, 9])]];
    agree(&QuickGelu, &weights(&[]), F32, &feeds, 1e-6);
}

case!(FeedForward, |ops, inputs| ops.linear_quick_gelu_linear(&inputs[0], ["layer", "last"]));

#[test]
fn quick_gelu_between_two_linear_maps_agrees_for_few_and_for_many_values() {
    let with = weights(&[
        ("layer.weight", &[9, 4]),
        ("layer.bias", &[9]),
        ("last.weight", &[4, 9]),
        ("last.bias", &[4]),
    ]);
    let without = weights(&[("layer.weight", &[9, 4]), ("last.weight", &[4, 9])]);
    let feeds = [vec![Feed::Floats(&[1, 2, 4])], vec![Feed::Floats(&[8, 9, 4])]];
    agree(&FeedForward, &with, F32, &feeds, EXACT);
    agree(&FeedForward, &without, F32, &feeds, EXACT);
}

case!(Add, |ops, inputs| {
    let [a, b] = pair(inputs);
    ops.add(a, &b)
});

#[test]
fn add_agrees_and_broadcasts() {
    let feeds = [
        vec![Feed::Floats(&[1, 5, 7]), Feed::Floats(&[1, 5, 7])],
        vec![Feed::Floats(&[3, 4, 6]), Feed::Floats(&[1, 4, 6])],
    ];
    agree(&Add, &weights(&[]), F32, &feeds, 0.0);
}

case!(LayerNorm, |ops, inputs| ops.layer_norm(&inputs[0], "norm", 1e-12));

#[test]
fn layer_norm_agrees() {
    let all = weights(&[("norm.weight", &[7]), ("norm.bias", &[7])]);
    let feeds = [vec![Feed::Floats(&[1, 5, 7])], vec![Feed::Wide(&[3, 9, 7])]];
    agree(&LayerNorm, &all, F32, &feeds, EXACT);
}

case!(Embedding, |ops, inputs| ops.embedding(&inputs[0], "table"));

#[test]
fn embedding_agrees_in_every_form() {
    let all = weights(&[("table.weight", &[300, 33])]);
    let feeds = [vec![Feed::Ids(&[1, 9], 300)], vec![Feed::Ids(&[3, 5], 300)]];
    agree(&Embedding, &all, F32, &feeds, 0.0);
    agree(&Embedding, &all, WeightStorage::F16, &feeds, 1e-3);
    agree(&Embedding, &all, WeightStorage::Int8, &feeds, 1e-2);
    agree(&Embedding, &all, WeightStorage::Int8Dynamic, &feeds, 1e-2);
}

case!(LeadingRows, |ops, inputs| ops.leading_rows(&inputs[0], "table"));

#[test]
fn leading_rows_agree_up_to_the_whole_table() {
    let all = weights(&[("table.weight", &[12, 5])]);
    let feeds =
        [vec![Feed::Ids(&[1, 1], 3)], vec![Feed::Ids(&[3, 7], 3)], vec![Feed::Ids(&[2, 12], 3)]];
    agree(&LeadingRows, &all, F32, &feeds, 0.0);
}

case!(Row, |ops, inputs| {
    let row = ops.row("table", 1)?;
    ops.add(first(inputs), &row)
});

#[test]
fn row_agrees() {
    let all = weights(&[("table.weight", &[2, 5])]);
    agree(&Row, &all, F32, &[vec![Feed::Floats(&[1, 5])], vec![Feed::Floats(&[3, 5])]], 0.0);
}

case!(AllRows, |ops, inputs| {
    let rows = ops.all_rows("table")?;
    ops.add(first(inputs), &rows)
});

#[test]
fn all_rows_agree() {
    let all = weights(&[("table.weight", &[4, 5])]);
    let feeds = [vec![Feed::Floats(&[1, 4, 5])], vec![Feed::Floats(&[3, 4, 5])]];
    agree(&AllRows, &all, F32, &feeds, 0.0);
}

case!(Prepend, |ops, inputs| ops.prepend(&inputs[0], "token"));

#[test]
fn prepend_agrees_for_every_batch() {
    let all = weights(&[("token", &[5])]);
    let feeds = [vec![Feed::Floats(&[1, 1, 5])], vec![Feed::Floats(&[3, 4, 5])]];
    agree(&Prepend, &all, F32, &feeds, 0.0);
}

/// One token and back to a sequence.
struct Token(usize);

impl Case for Token {
    fn run<O: Ops>(&self, ops: &mut O, inputs: Vec<O::Value>) -> Result<O::Value, ModelError> {
        let token = ops.token(&inputs[0], self.0)?;
        ops.one_token(&token)
    }
}

#[test]
fn token_and_one_token_agree() {
    let feeds = [vec![Feed::Floats(&[1, 2, 5])], vec![Feed::Floats(&[3, 4, 5])]];
    for index in [0, 1] {
        agree(&Token(index), &weights(&[]), F32, &feeds, 0.0);
    }
}

/// The token where a text ends.
struct End(EndToken);

impl Case for End {
    fn run<O: Ops>(&self, ops: &mut O, inputs: Vec<O::Value>) -> Result<O::Value, ModelError> {
        ops.end_token(&inputs[0], &inputs[1], self.0)
    }
}

#[test]
fn end_token_agrees_with_one_with_many_and_with_none() {
    let feeds = [
        vec![Feed::Floats(&[1, 1, 5]), Feed::Ids(&[1, 1], 3)],
        vec![Feed::Floats(&[9, 7, 5]), Feed::Ids(&[9, 7], 3)],
        vec![Feed::Floats(&[9, 4, 2]), Feed::Ids(&[9, 4], 100)],
    ];
    agree(&End(EndToken::Id(2)), &weights(&[]), F32, &feeds, 0.0);
    agree(&End(EndToken::Highest), &weights(&[]), F32, &feeds, 0.0);
}

case!(CausalBias, |ops, inputs| ops.causal_bias(&inputs[0]));

#[test]
fn causal_bias_agrees_for_every_length() {
    let feeds = [vec![Feed::Ids(&[1, 1], 3)], vec![Feed::Ids(&[3, 5], 3)]];
    agree(&CausalBias, &weights(&[]), F32, &feeds, 0.0);
}

case!(PaddingBias, |ops, inputs| ops.padding_bias(&inputs[0]));

#[test]
fn padding_bias_agrees() {
    let feeds = [vec![Feed::Mask(&[1, 9])], vec![Feed::Mask(&[3, 5])]];
    agree(&PaddingBias, &weights(&[]), F32, &feeds, 0.0);
}

const HEADS: Heads = Heads { count: 3, width: 5 };

case!(Attention, |ops, inputs| {
    ops.attention([&inputs[0], &inputs[1], &inputs[2]], HEADS, Bias::None)
});
case!(MaskedAttention, |ops, inputs| {
    let bias = ops.padding_bias(&inputs[3])?;
    ops.attention([&inputs[0], &inputs[1], &inputs[2]], HEADS, Bias::Padding(&bias))
});

case!(CausalAttention, |ops, inputs| {
    let bias = ops.causal_bias(&inputs[3])?;
    ops.attention([&inputs[0], &inputs[1], &inputs[2]], HEADS, Bias::Causal(&bias))
});

#[test]
fn attention_of_one_token_to_many_agrees() {
    let feeds = [[1, 1, 15], [1, 9, 15], [3, 7, 15]].map(|shape| {
        let shape: &'static [i64] = Vec::from(shape).leak();
        let one: &'static [i64] = vec![shape[0], 1, 15].leak();
        vec![Feed::Floats(one), Feed::Floats(shape), Feed::Floats(shape)]
    });
    agree(&Attention, &weights(&[]), F32, &feeds, EXACT);
}

#[test]
fn attention_agrees_with_and_without_padding() {
    let feeds = |mask: bool| {
        [[1, 1, 15], [1, 9, 15], [3, 7, 15]].map(|shape| {
            let shape: &'static [i64] = Vec::from(shape).leak();
            let mut feed = vec![Feed::Floats(shape); 3];
            feed.extend(mask.then_some(Feed::Mask(&shape[..2])));
            feed
        })
    };
    agree(&Attention, &weights(&[]), F32, &feeds(false), EXACT);
    agree(&MaskedAttention, &weights(&[]), F32, &feeds(true), EXACT);
    agree(&CausalAttention, &weights(&[]), F32, &feeds(true), EXACT);
}

case!(MaskedMean, |ops, inputs| ops.masked_mean(&inputs[0], &inputs[1]));

#[test]
fn masked_mean_agrees() {
    let feeds = [
        vec![Feed::Floats(&[1, 1, 5]), Feed::Mask(&[1, 1])],
        vec![Feed::Floats(&[3, 7, 5]), Feed::Mask(&[3, 7])],
        vec![Feed::Floats(&[2, 3, 5]), Feed::Ids(&[2, 3], 1)],
    ];
    agree(&MaskedMean, &weights(&[]), F32, &feeds, EXACT);
}

case!(GlobalAverage, |ops, inputs| ops.global_average(&inputs[0]));

#[test]
fn global_average_agrees() {
    let feeds = [vec![Feed::Floats(&[1, 3, 1, 1])], vec![Feed::Floats(&[3, 5, 9, 8])]];
    agree(&GlobalAverage, &weights(&[]), F32, &feeds, EXACT);
}

case!(Standardize, |ops, inputs| ops.standardize(&inputs[0], "p"));

#[test]
fn standardize_agrees() {
    let mut all = weights(&[("p.input_mean", &[7]), ("p.input_std", &[7])]);
    let std = all.get("p.input_std").unwrap().abs() + 0.1;
    all.insert("p.input_std", std);
    let feeds = [vec![Feed::Floats(&[1, 7])], vec![Feed::Floats(&[3, 7])]];
    agree(&Standardize, &all, F32, &feeds, EXACT);
}

case!(Normalize, |ops, inputs| ops.l2_normalize(&inputs[0]));

#[test]
fn l2_normalize_agrees_and_keeps_zero() {
    let feeds = [
        vec![Feed::Floats(&[1, 7])],
        vec![Feed::Wide(&[3, 9])],
        vec![Feed::Small(&[3, 9])],
        vec![Feed::Zeros(&[2, 4])],
    ];
    agree(&Normalize, &weights(&[]), F32, &feeds, 1e-6);
}

#[test]
fn a_missing_weight_is_named_by_both() {
    for error in harness::errors(&Linear, &weights(&[]), &[Feed::Floats(&[1, 7])]) {
        assert_eq!(error.to_string(), "there is no weight `layer.weight`");
    }
}

/// Sixteen bits keep three digits; sums of many keep fewer.
fn halved(case: &impl Case, named: &[(&str, &[i64])], feed: Vec<Feed>) {
    agree(case, &weights(named), WeightStorage::Half, &[feed], 1e-2);
}

#[test]
fn operations_on_pictures_stay_close_in_sixteen_bits() {
    let images = || vec![Feed::Floats(&[2, 4, 9, 8])];
    for (stride, depthwise, kernel) in [(2, false, [6, 4, 3, 3]), (1, true, [4, 1, 3, 3])] {
        let case = Convolution(Conv { stride, depthwise });
        agree(&case, &convolution(&kernel), WeightStorage::Half, &[images()], 1e-2);
    }
    halved(&Patches, &[("patch.weight", &[6, 4, 4, 4]), ("patch.bias", &[6])], images());
    halved(&Relu6, &[], images());
    halved(&GlobalAverage, &[], images());
    halved(&Prepend, &[("token", &[5])], vec![Feed::Floats(&[3, 4, 5])]);
    halved(&AllRows, &[("table.weight", &[4, 5])], vec![Feed::Floats(&[3, 4, 5])]);
}

#[test]
fn operations_on_tokens_stay_close_in_sixteen_bits() {
    let tokens = || Feed::Floats(&[2, 6, 15]);
    let ids = || Feed::Ids(&[2, 6], 9);
    halved(&Linear, &[("layer.weight", &[5, 15]), ("layer.bias", &[5])], vec![tokens()]);
    halved(&Embedding, &[("table.weight", &[300, 33])], vec![ids()]);
    halved(&LeadingRows, &[("table.weight", &[12, 5])], vec![ids()]);
    halved(&Row, &[("table.weight", &[2, 15])], vec![tokens()]);
    halved(&Gelu, &[], vec![tokens()]);
    halved(&QuickGelu, &[], vec![tokens()]);
    halved(&Add, &[], vec![tokens(), tokens()]);
    halved(&LayerNorm, &[("norm.weight", &[15]), ("norm.bias", &[15])], vec![tokens()]);
    halved(&End(EndToken::Id(2)), &[], vec![tokens(), ids()]);
    halved(&End(EndToken::Highest), &[], vec![tokens(), ids()]);
    halved(&MaskedAttention, &[], vec![tokens(), tokens(), tokens(), Feed::Mask(&[2, 6])]);
    halved(&CausalAttention, &[], vec![tokens(), tokens(), tokens(), ids()]);
    halved(&MaskedMean, &[], vec![tokens(), Feed::Mask(&[2, 6])]);
    for numbers in [Feed::Wide(&[2, 7]), Feed::Zeros(&[2, 7])] {
        halved(&Normalize, &[], vec![numbers]);
    }
}
