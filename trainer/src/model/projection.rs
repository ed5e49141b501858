//! The map from a tower's pooled output to the shared space.

use tch::{Kind, TchError};

use super::{ModelError, Ops, Parameter, Weights};

/// `weight` `[D, hidden]`, `bias` `[D]` where the model has one, and optionally `input_mean` and
/// `input_std` `[hidden]`: the pooled output is standardized by them first. They are data, not
/// learned, and [`Projection::fold`] makes them disappear into weight and bias.
///
/// A residual projection adds a perceptron of one hidden layer to the linear map: `fc1` `[H, hidden]`,
/// GELU, `fc2` `[D, H]`.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Prefix of its weights' names.
    pub name: String,
    inputs: usize,
    outputs: usize,
    bias: bool,
    hidden: Option<usize>,
}

/// Where the second map of a residual begins, as a share of what would keep the deviation: near
/// nothing, so that training begins at the linear map.
const RESIDUAL_START: f64 = 0.1;

impl Projection {
    /// From `inputs` to `outputs` numbers.
    #[must_use]
    pub fn new(name: &str, inputs: usize, outputs: usize, bias: bool) -> Self {
        Self { name: name.to_owned(), inputs, outputs, bias, hidden: None }
    }

    /// The same with a residual of `hidden` numbers between its two maps, where there are to be any.
    #[must_use]
    pub fn with_hidden(self, hidden: Option<usize>) -> Self {
        Self { hidden, ..self }
    }

    /// Pooled `[B, hidden]` → features `[B, D]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn features<O: Ops>(&self, ops: &mut O, pooled: &O::Value) -> Result<O::Value, ModelError> {
        self.features_between(ops, pooled, &mut Ok)
    }

    /// As [`Projection::features`]; `between` is what becomes of a residual's hidden numbers
    /// `[B, H]` before its second map, as dropout while it learns.
    ///
    /// # Errors
    /// As [`Ops`] says, and those of `between`.
    pub fn features_between<O: Ops>(
        &self,
        ops: &mut O,
        pooled: &O::Value,
        between: Between<'_, O::Value>,
    ) -> Result<O::Value, ModelError> {
        if ops.has(&self.part("input_mean")) {
            let standard = ops.standardize(pooled, &self.name)?;
            return self.of_standard(ops, &standard, between);
        }
        self.of_standard(ops, pooled, between)
    }

    /// The linear map alone, of numbers `[B, hidden]` that are like the pooled output → `[B, D]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn linear<O: Ops>(&self, ops: &mut O, pooled: &O::Value) -> Result<O::Value, ModelError> {
        if ops.has(&self.part("input_mean")) {
            let standard = ops.standardize(pooled, &self.name)?;
            return ops.linear(&standard, &self.name);
        }
        ops.linear(pooled, &self.name)
    }

    fn of_standard<O: Ops>(
        &self,
        ops: &mut O,
        standard: &O::Value,
        between: Between<'_, O::Value>,
    ) -> Result<O::Value, ModelError> {
        let features = ops.linear(standard, &self.name)?; // [B, D]
        if self.hidden.is_none() {
            return Ok(features);
        }
        let hidden = ops.linear(standard, &self.part("fc1"))?; // [B, H]
        let hidden = ops.gelu(&hidden)?;
        let residual = ops.linear(&between(hidden)?, &self.part("fc2"))?;
        ops.add(features, &residual)
    }

    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// Names of what is measured for it, of a projection that standardizes.
    #[must_use]
    pub fn measured(&self) -> [String; 2] {
        ["input_mean", "input_std"].map(|part| self.part(part))
    }

    /// What weights it wants. They start as CLIP's: normal with deviation `inputs^-½`; a residual's
    /// second map starts at a tenth of that.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let deviation = |inputs: usize| (inputs as f64).powf(-0.5);
        let weight = |part: &str, outputs: usize, inputs: usize, deviation: f64| {
            Parameter::normal(self.part(part), &[outputs, inputs], deviation)
        };
        let bias = |part: &str, outputs| Parameter::constant(self.part(part), &[outputs], 0.0);
        let mut all = vec![weight("weight", self.outputs, self.inputs, deviation(self.inputs))];
        if self.bias {
            all.push(bias("bias", self.outputs));
        }
        if let Some(hidden) = self.hidden {
            all.push(weight("fc1.weight", hidden, self.inputs, deviation(self.inputs)));
            all.push(bias("fc1.bias", hidden));
            let small = RESIDUAL_START * deviation(hidden);
            all.push(weight("fc2.weight", self.outputs, hidden, small));
        }
        all
    }

    /// Turns the standardization into weights and biases: `W' = W / σ`, `b' = b - W' · μ` (computed in
    /// f64), of the linear map and of a residual's first. Nothing to do where there is none.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the model has no bias to take up the mean;
    /// [`ModelError::Missing`] or [`ModelError::Torch`] where the weights do not fit.
    pub fn fold(&self, weights: &mut Weights) -> Result<(), ModelError> {
        let [mean_name, std_name] = self.measured();
        let Some(mean) = weights.remove(&mean_name) else { return Ok(()) };
        let std = weights
            .remove(&std_name)
            .ok_or_else(|| ModelError::Missing { name: std_name.clone() })?;
        if !self.bias {
            let rule = "be true for a projection with standardized inputs";
            return Err(ModelError::Config { key: "projection_bias", rule });
        }
        let mut maps = vec![["weight", "bias"]];
        if self.hidden.is_some() {
            maps.push(["fc1.weight", "fc1.bias"]);
        }
        for [weight_name, bias_name] in maps.into_iter().map(|map| map.map(|part| self.part(part)))
        {
            let (weight, bias) = (weights.get(&weight_name)?, weights.get(&bias_name)?);
            let folded = || -> Result<_, TchError> {
                let wide = weight.f_detach()?.f_to_kind(Kind::Double)?.f_div(&std)?; // [O, hidden]
                let shift = wide.f_mv(&mean.f_to_kind(Kind::Double)?)?; // [O]
                let bias = bias.f_detach()?.f_to_kind(Kind::Double)?.f_sub(&shift)?;
                Ok((wide.f_to_kind(Kind::Float)?, bias.f_to_kind(Kind::Float)?))
            };
            let (weight, bias) = folded().map_err(|source| ModelError::Torch {
                operation: "fold",
                name: weight_name.clone(),
                source,
            })?;
            weights.insert(weight_name, weight);
            weights.insert(bias_name, bias);
        }
        Ok(())
    }
}

/// What becomes of hidden numbers between the two maps of a residual.
pub type Between<'a, V> = &'a mut dyn FnMut(V) -> Result<V, ModelError>;

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::model::Torch;

    fn folds(projection: &Projection) {
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
    fn a_folded_projection_answers_as_the_standardizing_one() {
        folds(&Projection::new("p", 5, 3, true));
        folds(&Projection::new("p", 5, 3, true).with_hidden(Some(7)));
    }

    #[test]
    fn a_residual_is_added_to_the_linear_map() {
        let projection = Projection::new("p", 2, 1, true).with_hidden(Some(2));
        let mut weights = Weights::new();
        let matrix = |data: &[f32], shape: [i64; 2]| Tensor::from_slice(data).view(shape);
        weights.insert("p.weight", matrix(&[1.0, 2.0], [1, 2]));
        weights.insert("p.bias", Tensor::from_slice(&[0.5f32]));
        weights.insert("p.fc1.weight", matrix(&[1.0, 0.0, 0.0, 1.0], [2, 2]));
        weights.insert("p.fc1.bias", Tensor::from_slice(&[0f32, 1.0]));
        weights.insert("p.fc2.weight", matrix(&[10.0, 100.0], [1, 2]));
        let pooled = matrix(&[1.0, -1.0], [1, 2]);
        let features = projection.features(&mut Torch::new(&weights), &pooled).unwrap();
        // 1 − 2 + 0.5, and 10 · gelu(1) + 100 · gelu(0), where gelu(1) = Φ(1) = 0.841345
        assert!((features.double_value(&[0, 0]) - (-0.5 + 8.41345)).abs() < 1e-4);
        let alone = projection.linear(&mut Torch::new(&weights), &pooled).unwrap();
        assert!((alone.double_value(&[0, 0]) + 0.5).abs() < 1e-6);
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
