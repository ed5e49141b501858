//! EfficientNet-Lite: inverted residual blocks, `relu6`, no squeeze-and-excitation.
//!
//! Tan and Le 2019 for the blocks and their scaling, the Lite release of 2020 for what was left out
//! (squeeze-and-excitation, swish, the scaling of stem and head). Weight names as in the
//! published checkpoints `efficientnet-liteN-*.pth`. Batch normalization uses the stored statistics also in
//! training: a tower that is fine-tuned keeps those of ImageNet.

use std::ops::Range;

use clip::config::EfficientNetLiteConfig;

use super::{BatchNorm, Conv, ModelError, Ops, Parameter};

/// One row of the architecture: `repeats` blocks of which the first has the stride.
struct Stage {
    repeats: usize,
    kernel: usize,
    stride: i64,
    expansion: usize,
    outputs: usize,
}

/// EfficientNet-B0 (Tan and Le 2019, table 1), before scaling.
const STAGES: [Stage; 7] = [
    Stage { repeats: 1, kernel: 3, stride: 1, expansion: 1, outputs: 16 },
    Stage { repeats: 2, kernel: 3, stride: 2, expansion: 6, outputs: 24 },
    Stage { repeats: 2, kernel: 5, stride: 2, expansion: 6, outputs: 40 },
    Stage { repeats: 3, kernel: 3, stride: 2, expansion: 6, outputs: 80 },
    Stage { repeats: 3, kernel: 5, stride: 1, expansion: 6, outputs: 112 },
    Stage { repeats: 4, kernel: 5, stride: 2, expansion: 6, outputs: 192 },
    Stage { repeats: 1, kernel: 3, stride: 1, expansion: 6, outputs: 320 },
];

/// Channels after the stem, never scaled.
const STEM: usize = 32;

/// The image tower.
#[derive(Debug, Clone)]
pub struct EfficientNetLite {
    prefix: String,
    eps: f64,
    hidden_size: usize,
    blocks: Vec<Block>,
}

/// An inverted residual: widen, filter each channel, narrow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    name: String,
    kernel: usize,
    stride: i64,
    inputs: usize,
    expansion: usize,
    outputs: usize,
}

impl EfficientNetLite {
    /// The tower of `config` whose weights' names begin with `prefix`.
    #[must_use]
    pub fn new(config: &EfficientNetLiteConfig, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            eps: config.batch_norm_eps,
            hidden_size: config.hidden_size,
            blocks: blocks(config.variant.multipliers(), prefix),
        }
    }

    /// `pixels` `[B, 3, H, W]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn pooled<O: Ops>(&self, ops: &mut O, pixels: &O::Value) -> Result<O::Value, ModelError> {
        let x = self.beginning(ops, pixels, 0)?;
        self.rest(ops, &x, 0)
    }

    /// How many blocks it has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The stem and the first `blocks` blocks: `pixels` `[B, 3, H, W]` → `[B, C, h, w]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn beginning<O: Ops>(
        &self,
        ops: &mut O,
        pixels: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        let prefix = &self.prefix;
        let stem = Conv { stride: 2, depthwise: false };
        let mut x = self.conv(
            ops,
            pixels,
            [&format!("{prefix}_conv_stem"), &format!("{prefix}_bn0")],
            stem,
        )?;
        x = ops.relu6(x)?; // [B, 32, H/2, W/2]
        for block in &self.blocks[..blocks.min(self.blocks.len())] {
            x = self.block(ops, &x, block)?; // [B, block.outputs, …]
        }
        Ok(x)
    }

    /// Blocks `blocks`, of which there is at least one: `[B, C, h, w]` → `[B, C', h', w']`.
    ///
    /// # Errors
    /// As [`Ops`] says; [`ModelError::Config`] for no block.
    pub fn through<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        blocks: Range<usize>,
    ) -> Result<O::Value, ModelError> {
        let rule = "have as many blocks as are asked for";
        let none = ModelError::Config { key: "vision_config.variant", rule };
        let blocks = self.blocks.get(blocks).unwrap_or_default();
        let (first, others) = blocks.split_first().ok_or(none)?;
        let mut x = self.block(ops, x, first)?; // [B, block.outputs, …]
        for block in others {
            x = self.block(ops, &x, block)?;
        }
        Ok(x)
    }

    /// What comes after the first `blocks` blocks: `[B, C, h, w]` → pooled `[B, hidden_size]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn rest<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        if blocks >= self.blocks.len() {
            return self.head(ops, x);
        }
        let x = self.through(ops, x, blocks..self.blocks.len())?;
        self.head(ops, &x)
    }

    fn head<O: Ops>(&self, ops: &mut O, x: &O::Value) -> Result<O::Value, ModelError> {
        let prefix = &self.prefix;
        let head = Conv { stride: 1, depthwise: false };
        let x =
            self.conv(ops, x, [&format!("{prefix}_conv_head"), &format!("{prefix}_bn1")], head)?;
        let x = ops.relu6(x)?; // [B, hidden_size, H/32, W/32]
        ops.global_average(&x) // [B, hidden_size]
    }

    fn block<O: Ops>(
        &self,
        ops: &mut O,
        input: &O::Value,
        block: &Block,
    ) -> Result<O::Value, ModelError> {
        let part = |part: &str| format!("{}.{part}", block.name);
        let pointwise = Conv { stride: 1, depthwise: false };
        let depthwise = Conv { stride: block.stride, depthwise: true };
        let widened = if block.expansion == 1 {
            None
        } else {
            let x = self.conv(ops, input, [&part("_expand_conv"), &part("_bn0")], pointwise)?;
            Some(ops.relu6(x)?)
        };
        let x = widened.as_ref().unwrap_or(input);
        let x = self.conv(ops, x, [&part("_depthwise_conv"), &part("_bn1")], depthwise)?;
        let x = ops.relu6(x)?;
        let x = self.conv(ops, &x, [&part("_project_conv"), &part("_bn2")], pointwise)?;
        if block.stride == 1 && block.inputs == block.outputs { ops.add(x, input) } else { Ok(x) }
    }

    /// One convolution with its normalization: `names` are those two.
    fn conv<O: Ops>(
        &self,
        ops: &mut O,
        x: &O::Value,
        names: [&str; 2],
        conv: Conv,
    ) -> Result<O::Value, ModelError> {
        ops.conv_batch_norm(x, names[0], conv, BatchNorm { name: names[1], eps: self.eps })
    }

    /// What weights the tower wants.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let prefix = &self.prefix;
        let mut all = Vec::new();
        conv_parameters(
            &mut all,
            [&format!("{prefix}_conv_stem"), &format!("{prefix}_bn0")],
            [STEM, 3, 3, 3],
        );
        all.extend(self.parameters_from(0));
        all
    }

    /// What weights its blocks want but for the first `blocks`, and what comes after them.
    #[must_use]
    pub fn parameters_from(&self, blocks: usize) -> Vec<Parameter> {
        let prefix = &self.prefix;
        let mut all = Vec::new();
        for block in self.blocks.iter().skip(blocks) {
            let part = |part: &str| format!("{}.{part}", block.name);
            let (middle, kernel) = (block.inputs * block.expansion, block.kernel);
            if block.expansion != 1 {
                conv_parameters(
                    &mut all,
                    [&part("_expand_conv"), &part("_bn0")],
                    [middle, block.inputs, 1, 1],
                );
            }
            conv_parameters(
                &mut all,
                [&part("_depthwise_conv"), &part("_bn1")],
                [middle, 1, kernel, kernel],
            );
            conv_parameters(
                &mut all,
                [&part("_project_conv"), &part("_bn2")],
                [block.outputs, middle, 1, 1],
            );
        }
        let last = self.blocks.last().map_or(STEM, |block| block.outputs);
        conv_parameters(
            &mut all,
            [&format!("{prefix}_conv_head"), &format!("{prefix}_bn1")],
            [self.hidden_size, last, 1, 1],
        );
        all
    }
}

/// Kernel by fan-out (He et al. 2015, as EfficientNet starts), normalization as the identity.
fn conv_parameters(all: &mut Vec<Parameter>, names: [&str; 2], shape: [usize; 4]) {
    let fan_out = shape[0] * shape[2] * shape[3] / if shape[1] == 1 { shape[0] } else { 1 };
    let deviation = (2.0 / fan_out as f64).sqrt();
    all.push(Parameter::normal(format!("{}.weight", names[0]), &shape, deviation));
    for (part, value) in
        [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
    {
        all.push(Parameter::constant(format!("{}.{part}", names[1]), &shape[..1], value));
    }
}

/// The stages scaled to `(width, depth)`; the first and last stage keep their repeats.
fn blocks((width, depth): (f64, f64), prefix: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut inputs = STEM;
    for (index, stage) in STAGES.iter().enumerate() {
        let outputs = round_channels(stage.outputs, width);
        let fixed = index == 0 || index == STAGES.len() - 1;
        let repeats =
            if fixed { stage.repeats } else { (stage.repeats as f64 * depth).ceil() as usize };
        for repeat in 0..repeats {
            blocks.push(Block {
                name: format!("{prefix}_blocks.{}", blocks.len()),
                kernel: stage.kernel,
                stride: if repeat == 0 { stage.stride } else { 1 },
                inputs,
                expansion: stage.expansion,
                outputs,
            });
            inputs = outputs;
        }
    }
    blocks
}

/// Nearest multiple of eight that is not below nine tenths of the scaled count (the reference's
/// `round_filters`).
fn round_channels(channels: usize, width: f64) -> usize {
    let scaled = channels as f64 * width;
    let rounded = (((scaled + 4.0) / 8.0).floor() * 8.0).max(8.0);
    let rounded = if rounded < 0.9 * scaled { rounded + 8.0 } else { rounded };
    rounded as usize
}

#[cfg(test)]
mod tests {
    use clip::config::LiteVariant;

    use super::*;

    fn outputs(variant: LiteVariant) -> Vec<usize> {
        blocks(variant.multipliers(), "").iter().map(|block| block.outputs).collect()
    }

    #[test]
    fn lite0_is_b0() {
        let expected = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320];
        assert_eq!(outputs(LiteVariant::Lite0), expected);
    }

    #[test]
    fn lite2_is_wider_and_deeper_but_for_both_ends() {
        let counts = outputs(LiteVariant::Lite2);
        assert_eq!(counts.len(), 1 + 3 + 3 + 4 + 4 + 5 + 1);
        assert_eq!((counts[0], counts[1], counts[4], counts[22 - 2]), (16, 24, 48, 352));
    }

    #[test]
    fn strides_shrink_thirty_two_times() {
        let product: i64 = blocks((1.0, 1.1), "").iter().map(|block| block.stride).product();
        assert_eq!(product * 2, 32);
    }
}
