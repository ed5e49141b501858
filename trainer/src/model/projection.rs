//! The linear map from a tower's pooled output to the shared space.

use tch::{Kind, TchError};

use super::{ModelError, Ops, Parameter, Weights};

/// `weight` `[D, hidden]`, `bias` `[D]` where the model has one, and optionally `input_mean` and
/// `input_std` `[hidden]`: the pooled output is standardized by them first. They are data, not
/// learned, and [`Projection::fold`] makes them disappear into weight and bias.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Prefix of its weights' names.
    pub name: String,
    inputs: usize,
    outputs: usize,
    bias: bool,
}

impl Projection {
    /// From `inputs` to `outputs` numbers.
    #[must_use]
    pub fn new(name: &str, inputs: usize, outputs: usize, bias: bool) -> Self {
        Self { name: name.to_owned(), inputs, outputs, bias }
    }

    /// Pooled `[B, hidden]` → features `[B, D]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn features<O: Ops>(&self, ops: &mut O, pooled: &O::Value) -> Result<O::Value, ModelError> {
        if ops.has(&format!("{}.input_mean", self.name)) {
            let standard = ops.standardize(pooled, &self.name)?;
            return ops.linear(&standard, &self.name);
        }
        ops.linear(pooled, &self.name)
    }

    /// Names of what is measured for it, of a projection that standardizes.
    #[must_use]
    pub fn measured(&self) -> [String; 2] {
        ["input_mean", "input_std"].map(|part| format!("{}.{part}", self.name))
    }

    /// What weights it wants. They start as CLIP's: normal with deviation `hidden^-½`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let deviation = (self.inputs as f64).powf(-0.5);
        let weight = format!("{}.weight", self.name);
        let mut all = vec![Parameter::normal(weight, &[self.outputs, self.inputs], deviation)];
        if self.bias {
            all.push(Parameter::constant(format!("{}.bias", self.name), &[self.outputs], 0.0));
        }
        all
    }

    /// Turns the standardization into weight and bias: `W' = W / σ`, `b' = b - W' · μ` (computed in
    /// f64). Nothing to do where there is none.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the model has no bias to take up the mean;
    /// [`ModelError::Missing`] or [`ModelError::Torch`] where the weights do not fit.
    pub fn fold(&self, weights: &mut Weights) -> Result<(), ModelError> {
        let part = |part: &str| format!("{}.{part}", self.name);
        let Some(mean) = weights.remove(&part("input_mean")) else { return Ok(()) };
        let std_name = part("input_std");
        let std = weights
            .remove(&std_name)
            .ok_or_else(|| ModelError::Missing { name: std_name.clone() })?;
        if !self.bias {
            let rule = "be true for a projection with standardized inputs";
            return Err(ModelError::Config { key: "projection_bias", rule });
        }
        let (weight, bias) = (weights.get(&part("weight"))?, weights.get(&part("bias"))?);
        let folded = || -> Result<_, TchError> {
            let wide = weight.f_detach()?.f_to_kind(Kind::Double)?.f_div(&std)?; // [D, hidden]
            let shift = wide.f_mv(&mean.f_to_kind(Kind::Double)?)?; // [D]
            let bias = bias.f_detach()?.f_to_kind(Kind::Double)?.f_sub(&shift)?;
            Ok((wide.f_to_kind(Kind::Float)?, bias.f_to_kind(Kind::Float)?))
        };
        let (weight, bias) = folded().map_err(|source| ModelError::Torch {
            operation: "fold",
            name: self.name.clone(),
            source,
        })?;
        weights.insert(part("weight"), weight);
        weights.insert(part("bias"), bias);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::model::Torch;

    #[test]
    fn a_folded_projection_answers_as_the_standardizing_one() {
        let projection = Projection::new("p", 5, 3, true);
        let mut weights = Weights::random(&projection.parameters(), 3);
        weights.insert("p.input_mean", Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0, 0.0]));
        weights.insert("p.input_std", Tensor::from_slice(&[2f32, 0.5, 1.0, 4.0, 0.1]));
        let pooled = Tensor::from_slice(&[0.3f32, 1.0, -1.0, 2.0, 0.7]).view([1, 5]);
        let before = projection.features(&mut Torch::new(&weights), &pooled).unwrap();
        projection.fold(&mut weights).unwrap();
        assert!(!weights.has("p.input_mean") && !weights.has("p.input_std"));
        let after = projection.features(&mut Torch::new(&weights), &pooled).unwrap();
        assert!((before - after).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn a_projection_without_bias_cannot_take_up_a_mean() {
        let projection = Projection::new("p", 2, 2, false);
        let mut weights = Weights::random(&projection.parameters(), 0);
        weights.insert("p.input_mean", Tensor::from_slice(&[1f32, 2.0]));
        weights.insert("p.input_std", Tensor::from_slice(&[1f32, 2.0]));
        let error = projection.fold(&mut weights).unwrap_err().to_string();
        assert!(error.starts_with("projection_bias"), "{error}");
    }
}
