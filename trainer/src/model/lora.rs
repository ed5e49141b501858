//! Low-rank adapters (`LoRA`, Hu et al. 2021): beside a weight that stays as it is, two narrow matrices
//! whose product is added to it.
//!
//! The adapter of a weight `X.weight` are three tensors among the [`Weights`], under the names of `peft`:
//! `X.lora_A.weight` `[rank, in]`, `X.lora_B.weight` `[out, rank]` and `X.lora_scaling` `[]`, which is
//! alpha / rank. What a model computes, and what becomes of an adapter where it is measured, blended or
//! exported, is [`Weights::merged`].

use tch::{TchError, Tensor};

use super::{Init, ModelError, Parameter, Weights};

const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";
const SCALING: &str = ".lora_scaling";
const WEIGHT: &str = ".weight";

/// The two matrices beside `weight`, which [`sides`] finds to be one. `A` starts as `peft` has it, uniform
/// within `in^-½` (He et al. 2015 with a negative slope of √5); `B` starts at zero, so that the model is
/// at first the one without them (Hu et al. 2021, section 4.1).
#[must_use]
pub fn adapter_parameters(weight: &Parameter, rank: i64) -> Option<[Parameter; 2]> {
    let [outputs, inputs] = sides(&weight.shape)?;
    let [a, b] = learned_names(&weight.name)?;
    let bound = (inputs as f64).powf(-0.5);
    Some([
        Parameter { name: a, shape: vec![rank, inputs], init: Init::Uniform(bound) },
        Parameter { name: b, shape: vec![outputs, rank], init: Init::Constant(0.0) },
    ])
}

/// Rows and columns of a weight of this shape where it is a matrix, or a 1×1 convolution, which is one
/// as well: `[out, in]`.
#[must_use]
pub fn sides(shape: &[i64]) -> Option<[i64; 2]> {
    match *shape {
        [outputs, inputs] | [outputs, inputs, 1, 1] => Some([outputs, inputs]),
        _ => None,
    }
}

/// What is learned beside the weight `name`.
#[must_use]
pub fn learned_names(name: &str) -> Option<[String; 2]> {
    let stem = name.strip_suffix(WEIGHT)?;
    Some([format!("{stem}{A}"), format!("{stem}{B}")])
}

/// The tensors of an adapter of the weight `name`: what is learned, and its factor.
#[must_use]
pub fn names(name: &str) -> Option<[String; 3]> {
    let stem = name.strip_suffix(WEIGHT)?;
    Some([A, B, SCALING].map(|part| format!("{stem}{part}")))
}

/// Whether `name` is of a part of an adapter.
#[must_use]
pub fn is_of_adapter(name: &str) -> bool {
    [A, B, SCALING].iter().any(|ending| name.ends_with(ending))
}

/// Whether `name` is of an adapter's factor, which is not learned.
#[must_use]
pub fn is_scaling(name: &str) -> bool {
    name.ends_with(SCALING)
}

/// What the names of `learned` are when adapters are merged: those of the weights that have them in the
/// place of theirs.
#[must_use]
pub fn merged_names<'a>(learned: impl Iterator<Item = &'a String>) -> Vec<String> {
    let merged = |name: &String| match name.strip_suffix(A) {
        Some(stem) => Some(format!("{stem}{WEIGHT}")),
        None => (!is_of_adapter(name)).then(|| name.clone()),
    };
    learned.filter_map(merged).collect()
}

impl Weights {
    /// Puts a factor beside the weight `name`, for the two matrices that are there as well.
    pub fn insert_scaling(&mut self, name: &str, scaling: f64) {
        if let Some(stem) = name.strip_suffix(WEIGHT) {
            self.insert(format!("{stem}{SCALING}"), Tensor::from(scaling as f32));
        }
    }

    /// The weight `name` as the model computes with it: `W + alpha / rank · B · A` where it has an adapter
    /// (Hu et al. 2021, equation 3), with gradients for `A` and `B`.
    ///
    /// # Errors
    /// [`ModelError::Missing`]; [`ModelError::Torch`] where the adapter does not fit its weight.
    pub fn merged(&self, name: &str) -> Result<Tensor, ModelError> {
        let weight = self.get(name)?;
        let Some(stem) = name.strip_suffix(WEIGHT) else { return Ok(weight.shallow_clone()) };
        let Ok(a) = self.get(&format!("{stem}{A}")) else { return Ok(weight.shallow_clone()) };
        let b = self.get(&format!("{stem}{B}"))?;
        let scaling = self.get(&format!("{stem}{SCALING}"))?;
        let sum = || -> Result<Tensor, TchError> {
            let added = b.f_matmul(a)?.f_mul(scaling)?; // [out, in]
            weight.f_add(&added.f_view(weight.size().as_slice())?)
        };
        sum().map_err(|source| {
            let name = name.to_owned();
            ModelError::Torch { operation: "merged", name, source }
        })
    }

    /// Puts every weight that has an adapter as [`Weights::merged`] in its place, and takes the adapters
    /// out.
    ///
    /// # Errors
    /// As [`Weights::merged`]; all is then as it was.
    pub fn merge_adapters(&mut self) -> Result<(), ModelError> {
        let adapted: Vec<String> = self
            .iter()
            .filter_map(|(name, _)| Some(format!("{}{WEIGHT}", name.strip_suffix(A)?)))
            .collect();
        let merged = |name: String| {
            let weight = tch::no_grad(|| self.merged(&name))?;
            Ok((name, weight))
        };
        let merged = adapted.into_iter().map(merged).collect::<Result<Vec<_>, ModelError>>()?;
        for (name, weight) in merged {
            self.insert(name, weight);
        }
        self.drop_adapters();
        Ok(())
    }

    /// Takes all adapters out: the weights beside them are as they were.
    pub fn drop_adapters(&mut self) {
        let adapters: Vec<String> = self
            .iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| is_of_adapter(name))
            .collect();
        for name in adapters {
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn adapted(shape: &[i64]) -> Weights {
        let mut weights = Weights::new();
        weights.insert("x.weight", Tensor::ones(shape, (Kind::Float, Device::Cpu)));
        weights.insert("x.bias", Tensor::from_slice(&[7f32, 8.0]));
        weights.insert("x.lora_A.weight", Tensor::from_slice(&[1f32, 2.0, 3.0]).view([1, 3]));
        weights.insert("x.lora_B.weight", Tensor::from_slice(&[10f32, -1.0]).view([2, 1]));
        weights.insert_scaling("x.weight", 0.5);
        weights
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn half_the_product_is_added_to_a_matrix_and_to_a_convolution() {
        for shape in [&[2i64, 3][..], &[2, 3, 1, 1]] {
            let weights = adapted(shape);
            let merged = weights.merged("x.weight").unwrap();
            assert_eq!(merged.size(), shape);
            assert_eq!(numbers(&merged), [6.0, 11.0, 16.0, 0.5, 0.0, -0.5]);
            assert_eq!(numbers(&weights.merged("x.bias").unwrap()), [7.0, 8.0]);
        }
    }

    #[test]
    fn what_is_merged_has_no_adapter_and_what_drops_them_is_as_before() {
        let mut weights = adapted(&[2, 3]);
        weights.merge_adapters().unwrap();
        let names: Vec<&str> = weights.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x.bias", "x.weight"]);
        assert_eq!(numbers(weights.get("x.weight").unwrap())[0], 6.0);
        let mut weights = adapted(&[2, 3]);
        weights.drop_adapters();
        assert_eq!(weights.iter().count(), 2);
        assert_eq!(numbers(weights.get("x.weight").unwrap()), [1.0; 6]);
    }

    #[test]
    fn an_adapter_that_does_not_fit_is_named_and_nothing_is_merged() {
        let mut weights = adapted(&[2, 4]);
        let error = weights.merge_adapters().unwrap_err().to_string();
        assert!(error.contains("x.weight"), "{error}");
        assert!(weights.has("x.lora_A.weight"));
    }

    #[test]
    fn a_starts_within_its_bound_and_b_at_zero() {
        let weight = Parameter::normal("x.weight".to_owned(), &[40, 25], 1.0);
        let parameters = adapter_parameters(&weight, 6).unwrap();
        let weights = Weights::random(&parameters, 1);
        let (a, b) =
            (weights.get("x.lora_A.weight").unwrap(), weights.get("x.lora_B.weight").unwrap());
        assert_eq!((a.size(), b.size()), (vec![6, 25], vec![40, 6]));
        let largest = a.abs().max().double_value(&[]);
        assert!((0.18..=0.2).contains(&largest), "{largest}");
        // Of a uniform distribution: the bound by √3.
        let deviation = a.std(true).double_value(&[]);
        assert!((deviation - 0.2 / 3f64.sqrt()).abs() < 0.01, "{deviation}");
        assert_eq!(b.abs().max().double_value(&[]), 0.0);
        let kernel = Parameter::normal("x.weight".to_owned(), &[4, 4, 3, 3], 1.0);
        assert!(adapter_parameters(&kernel, 2).is_none());
    }

    #[test]
    fn merged_names_have_the_weight_in_the_place_of_its_adapter() {
        let names = ["a.lora_A.weight", "a.lora_B.weight", "a.lora_scaling", "p.weight"];
        let names = names.map(str::to_owned);
        assert_eq!(merged_names(names.iter()), ["a.weight", "p.weight"]);
    }
}
