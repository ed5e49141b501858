//! What the image tower's own classifier sees, in words.
//!
//! A picture of something that no caption names lies where the words lie that are between the names of
//! the classes it resembles (`ConSE`: Norouzi et al. 2014, equation 3, over all classes): with the
//! classifier's pooled output `f`, its weights `W` and `b`, and `E` what the text tower answered for the
//! classes' names before any training,
//!
//! `m = softmax(W f + b) · E`
//!
//! and the text projection's linear map brings `m` into the shared space.

use clip::config::EfficientNetLiteConfig;

use super::efficientnet_lite::EfficientNetLite;
use super::{ModelError, Ops, Parameter};

/// Prefix of its weights' names.
pub const CLASSES: &str = "class_model.";

/// Names of the classes' answers, `[text hidden, labels]`, under [`CLASSES`]: data, not learned.
const NAMES: &str = "class_model.names";

/// The classifier with a last block and a head convolution of its own, as they were trained with it: those
/// of the tower may learn. What lies before them is the tower's.
#[derive(Debug, Clone)]
pub struct ClassMixture {
    tower: EfficientNetLite,
    labels: usize,
    inputs: usize,
    outputs: usize,
}

impl ClassMixture {
    /// The classifier of `config` with `labels` classes, whose names have `outputs` numbers each.
    #[must_use]
    pub fn new(config: &EfficientNetLiteConfig, labels: usize, outputs: usize) -> Self {
        let tower = EfficientNetLite::new(config, CLASSES);
        Self { tower, labels, inputs: config.hidden_size, outputs }
    }

    /// Blocks of the tower that it shares.
    #[must_use]
    pub fn shared_blocks(&self) -> usize {
        self.tower.block_count() - 1
    }

    /// From what the shared blocks answer, `[B, C, h, w]`, to the mixture `[B, text hidden]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn of_shared<O: Ops>(&self, ops: &mut O, x: &O::Value) -> Result<O::Value, ModelError> {
        let pooled = self.tower.rest(ops, x, self.shared_blocks())?; // [B, hidden]
        let logits = ops.linear(&pooled, &format!("{CLASSES}_fc"))?; // [B, labels]
        let shares = ops.softmax(&logits)?;
        ops.linear(&shares, NAMES)
    }

    /// What weights it wants beside [`ClassMixture::names_parameter`], as the tower's file names them,
    /// under [`CLASSES`].
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.tower.parameters_from(self.shared_blocks());
        let fc = |part: &str| format!("{CLASSES}_fc.{part}");
        all.push(Parameter::normal(fc("weight"), &[self.labels, self.inputs], 0.01));
        all.push(Parameter::constant(fc("bias"), &[self.labels], 0.0));
        all
    }

    /// The weight that holds the text tower's answers for the classes' names.
    #[must_use]
    pub fn names_parameter(&self) -> Parameter {
        Parameter::normal(format!("{NAMES}.weight"), &[self.outputs, self.labels], 1.0)
    }
}
