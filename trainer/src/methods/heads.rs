//! What stands on the image tower while it learns: projector, predictor, prototypes.

use tch::{TchError, Tensor};

use crate::encoder::Encoder;
use crate::model::{ModelError, Ops, Parameter, Torch, Weights};
use crate::recipe::Recipe;

/// Beginning of the names of all weights of heads.
const PREFIX: &str = "heads.";

/// Added to the recipe's seed, so that heads are not drawn from the numbers that towers are.
const SALT: u64 = 0x6865_6164;

/// As `PyTorch`'s `BatchNorm1d`.
const EPSILON: f64 = 1e-5;

/// A multilayer perceptron. Behind each of its layers but the last stands a batch normalization with
/// the statistics of the batch (Ioffe and Szegedy 2015), and a rectifier.
///
/// No statistics of the past are kept: heads are never asked outside of training.
#[derive(Debug, Clone)]
pub struct Head {
    name: &'static str,
    widths: Vec<usize>,
    ending: Ending,
    still: bool,
}

/// What stands at the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A bias.
    Bias,
    /// A batch normalization that neither scales nor shifts.
    Normalized,
    /// A batch normalization that scales and shifts.
    Scaled,
    /// Nothing, and its rows are taken at length one: of inputs of length one it answers cosines.
    Cosines,
}

impl Head {
    /// A head with as many layers as there are steps in `widths`, from the tower's or another head's to
    /// what it answers.
    #[must_use]
    pub fn new(name: &'static str, widths: &[usize], ending: Ending) -> Self {
        Self { name, widths: widths.to_vec(), ending, still: false }
    }

    /// The same; where `still` is true, the rows of one that ends in cosines learn nothing.
    #[must_use]
    pub fn still(self, still: bool) -> Self {
        Self { still, ..self }
    }

    /// What weights it wants, all of them named `heads.…`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        for (layer, step) in self.widths.windows(2).enumerate() {
            let (inputs, outputs) = (step[0], step[1]);
            let deviation = (inputs as f64).powf(-0.5);
            all.push(Parameter::normal(self.weight(layer), &[outputs, inputs], deviation));
            let constant = |part: &str, value| {
                Parameter::constant(format!("{}.{part}", self.layer(layer)), &[outputs], value)
            };
            if !self.is_last(layer) || self.ending == Ending::Scaled {
                all.extend([constant("norm.weight", 1.0), constant("norm.bias", 0.0)]);
            } else if self.ending == Ending::Bias {
                all.push(constant("bias", 0.0));
            }
        }
        all
    }

    /// `[B, in]` → `[B, out]` by `weights`; products in the kind of `encoder`, all else in f32.
    ///
    /// # Errors
    /// [`ModelError`] where a weight is missing or does not fit.
    pub fn forward(
        &self,
        encoder: &Encoder,
        weights: &Weights,
        x: &Tensor,
    ) -> Result<Tensor, ModelError> {
        let mut ops = Torch::in_kind(weights, encoder.kind);
        let mut x = x.shallow_clone();
        for layer in 0..self.widths.len().saturating_sub(1) {
            let name = self.layer(layer);
            let failed =
                |source| ModelError::Torch { operation: "head", name: name.clone(), source };
            if self.is_last(layer) && self.ending == Ending::Cosines {
                let rows = weights.get(&self.weight(layer))?;
                let rows = if self.still { rows.detach() } else { rows.shallow_clone() };
                let rows = ops.l2_normalize(&rows)?;
                return x.f_linear(&rows, None::<&Tensor>).map_err(failed);
            }
            x = ops.linear(&x, &name)?;
            x = match (self.is_last(layer), self.ending) {
                (false, _) => scaled(&x, &name, weights)?.f_relu(),
                (true, Ending::Scaled) => Ok(scaled(&x, &name, weights)?),
                (true, Ending::Normalized) => normalized(&x, None, None),
                (true, _) => x.f_to_kind(tch::Kind::Float),
            }
            .map_err(failed)?;
        }
        Ok(x)
    }

    fn is_last(&self, layer: usize) -> bool {
        layer + 2 == self.widths.len()
    }

    fn layer(&self, layer: usize) -> String {
        format!("{PREFIX}{}.{layer}", self.name)
    }

    fn weight(&self, layer: usize) -> String {
        format!("{}.weight", self.layer(layer))
    }
}

/// By mean and variance of the batch, scaled and shifted as layer `name` has learned: `[B, W]`.
fn scaled(x: &Tensor, name: &str, weights: &Weights) -> Result<Tensor, ModelError> {
    let [scale, shift] = ["weight", "bias"].map(|part| weights.get(&format!("{name}.norm.{part}")));
    let (name, operation) = (name.to_owned(), "head");
    normalized(x, Some(scale?), Some(shift?)).map_err(|source| ModelError::Torch {
        operation,
        name,
        source,
    })
}

/// By mean and variance of the batch, in f32: `[B, W]`.
fn normalized(
    x: &Tensor,
    scale: Option<&Tensor>,
    shift: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let none = None::<&Tensor>;
    let x = x.f_to_kind(tch::Kind::Float)?;
    x.f_batch_norm(scale, shift, none, none, true, 0.0, EPSILON, false)
}

/// Gives `encoder` the weights of `heads`, drawn by the recipe's seed; they learn at the rate of the
/// projections.
pub fn add_heads(encoder: &mut Encoder, heads: &[Head], recipe: &Recipe) {
    let parameters: Vec<Parameter> = heads.iter().flat_map(Head::parameters).collect();
    let seed = recipe.train.seed.wrapping_add(SALT);
    encoder.weights.extend("", Weights::random(&parameters, seed));
    for parameter in parameters {
        encoder.rates.learn(parameter.name, recipe.model.projection.learning_rate);
    }
}

/// Whether the weight `name` is a head's.
#[must_use]
pub fn is_head(name: &str) -> bool {
    name.starts_with(PREFIX)
}
