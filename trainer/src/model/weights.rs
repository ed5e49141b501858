//! Named weights.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::{Differences, Init, ModelError, OtherShape, Parameter};

/// Tensors by name, in the order of their names; floats are f32 whatever the file held.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// No weights.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a safetensors file; f16, bf16 and f64 become f32, integers (position ids) are left out.
    ///
    /// # Errors
    /// [`ModelError::File`] where it cannot be read, [`ModelError::NotFinite`] where it is broken.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let file_error = |source| ModelError::File { path: path.to_owned(), source };
        let mut weights = Self::new();
        for (name, tensor) in Tensor::read_safetensors(path).map_err(file_error)? {
            let floats = [Kind::Float, Kind::Half, Kind::BFloat16, Kind::Double];
            if !floats.contains(&tensor.kind()) {
                continue;
            }
            let tensor = tensor.f_to_kind(Kind::Float).map_err(file_error)?;
            let finite = tensor.f_isfinite().and_then(|each| each.f_all()).map_err(file_error)?;
            if finite.int64_value(&[]) == 0 {
                return Err(ModelError::NotFinite { name });
            }
            weights.insert(name, tensor);
        }
        Ok(weights)
    }

    /// Writes a safetensors file.
    ///
    /// # Errors
    /// [`ModelError::File`].
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let tensors: Vec<(&str, Tensor)> = self
            .0
            .iter()
            .map(|(name, tensor)| {
                (name.as_str(), tensor.detach().to_device(Device::Cpu).contiguous())
            })
            .collect();
        Tensor::write_safetensors(&tensors, path)
            .map_err(|source| ModelError::File { path: path.to_owned(), source })
    }

    /// Makes every weight of `parameters` by its [`Init`], the same for the same seed everywhere.
    #[must_use]
    pub fn random(parameters: &[Parameter], seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = Self::new();
        for Parameter { name, shape, init } in parameters {
            let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
            let mut number = || match init {
                Init::Normal(deviation) => (normal(&mut random) * deviation) as f32,
                Init::Uniform(bound) => ((2.0 * random.random::<f64>() - 1.0) * bound) as f32,
                Init::Constant(value) => *value as f32,
            };
            let numbers: Vec<f32> = (0..count).map(|_| number()).collect();
            weights.insert(name.clone(), Tensor::from_slice(&numbers).view(shape.as_slice()));
        }
        weights
    }

    /// The weight `name`.
    ///
    /// # Errors
    /// [`ModelError::Missing`].
    pub fn get(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.0.get(name).ok_or_else(|| ModelError::Missing { name: name.to_owned() })
    }

    /// Whether there is a weight `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets the weight `name`.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// Takes the weight `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// Takes over all of `other`, each name with `prefix` before it.
    pub fn extend(&mut self, prefix: &str, other: Self) {
        for (name, tensor) in other.0 {
            self.insert(format!("{prefix}{name}"), tensor);
        }
    }

    /// Moves every weight to `device`; nothing happens to what is there already.
    ///
    /// # Errors
    /// [`ModelError::Torch`] for the first that finds no room.
    pub fn move_to(&mut self, device: Device) -> Result<(), ModelError> {
        for (name, tensor) in &mut self.0 {
            *tensor = tensor.f_to_device(device).map_err(|source| ModelError::Torch {
                operation: "move",
                name: name.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Names and tensors in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Takes all apart, in the order of the names.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (String, Tensor)> {
        self.0.into_iter()
    }

    /// Shape and elements of the weight `name`, row-major.
    ///
    /// # Errors
    /// [`ModelError::Missing`]; [`ModelError::Torch`] where it cannot be copied.
    pub fn data(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelError> {
        let tensor = self.get(name)?;
        let shape = tensor.size().iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
        let flat = tensor
            .detach()
            .f_to_device(Device::Cpu)
            .and_then(|tensor| tensor.f_contiguous())
            .and_then(|tensor| tensor.f_view([-1]));
        let data = flat.and_then(|flat| Vec::<f32>::try_from(&flat)).map_err(|source| {
            ModelError::Torch { operation: "copy", name: name.to_owned(), source }
        })?;
        Ok((shape, data))
    }

    /// Keeps what `parameters` name, checked against their shapes; anything else (classification
    /// heads, counters) is dropped.
    ///
    /// # Errors
    /// [`ModelError::Differs`] with all that does not fit.
    pub fn select(mut self, parameters: &[Parameter]) -> Result<Self, ModelError> {
        let differences = self.differences(parameters);
        if !differences.is_empty() {
            return Err(ModelError::Differs(differences));
        }
        let mut kept = Self::new();
        for Parameter { name, .. } in parameters {
            if let Some(tensor) = self.remove(name) {
                kept.insert(name.clone(), tensor);
            }
        }
        Ok(kept)
    }

    /// Which of `parameters` are missing or of another shape.
    pub(super) fn differences(&self, parameters: &[Parameter]) -> Differences {
        let mut differences = Differences::default();
        for Parameter { name, shape, .. } in parameters {
            match self.0.get(name) {
                None => differences.missing.push(name.clone()),
                Some(tensor) if tensor.size() != *shape => differences.shapes.push(OtherShape {
                    name: name.clone(),
                    expected: shape.clone(),
                    found: tensor.size(),
                }),
                Some(_) => {}
            }
        }
        differences
    }
}

impl Clone for Weights {
    /// Copies the numbers: training the copy leaves this one alone.
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect())
    }
}

/// A number from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<Parameter> {
        vec![
            Parameter::normal("a.weight".to_owned(), &[3, 2], 0.5),
            Parameter::constant("a.bias".to_owned(), &[3], 1.0),
        ]
    }

    #[test]
    fn a_file_reads_back_as_it_was_and_half_precision_becomes_f32() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let mut weights = Weights::random(&parameters(), 7);
        weights.insert("ids", Tensor::from_slice(&[1i64, 2]));
        let half = weights.get("a.weight").unwrap().to_kind(Kind::Half);
        weights.insert("h", half.shallow_clone());
        weights.save(&path).unwrap();
        let again = Weights::load(&path).unwrap();
        assert_eq!(again.data("a.weight").unwrap(), weights.data("a.weight").unwrap());
        assert_eq!(again.get("h").unwrap(), &half.to_kind(Kind::Float));
        assert!(!again.has("ids"));
    }

    #[test]
    fn the_same_seed_makes_the_same_weights() {
        let [a, b, c] = [1, 1, 2].map(|seed| Weights::random(&parameters(), seed));
        assert_eq!(a.data("a.weight").unwrap(), b.data("a.weight").unwrap());
        assert_ne!(a.data("a.weight").unwrap(), c.data("a.weight").unwrap());
        assert_eq!(a.data("a.bias").unwrap(), (vec![3], vec![1.0; 3]));
    }

    #[test]
    fn normal_numbers_have_the_deviation_asked_for() {
        let wide = Parameter::normal("w".to_owned(), &[100, 100], 0.5);
        let weights = Weights::random(&[wide], 1);
        let tensor = weights.get("w").unwrap();
        assert!(tensor.mean(Kind::Float).double_value(&[]).abs() < 0.02);
        assert!((tensor.std(true).double_value(&[]) - 0.5).abs() < 0.02);
    }

    #[test]
    fn a_missing_or_misshapen_weight_is_named() {
        let mut weights = Weights::random(&parameters(), 0);
        weights.insert("a.bias", Tensor::zeros([4], (Kind::Float, Device::Cpu)));
        let error = weights.clone().select(&parameters()).unwrap_err().to_string();
        assert_eq!(error, "weight `a.bias` has shape [4], the configuration asks for [3]");
        let error = Weights::new().select(&parameters()).unwrap_err().to_string();
        assert_eq!(error, "there is no weight `a.weight`, `a.bias`");
        weights.remove("a.bias");
        let error = weights.select(&parameters()).unwrap_err().to_string();
        assert_eq!(error, "there is no weight `a.bias`");
    }

    #[test]
    fn nan_and_a_missing_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        assert!(matches!(Weights::load(&path), Err(ModelError::File { .. })));
        let mut weights = Weights::new();
        weights.insert("x", Tensor::from_slice(&[0f32, f32::NAN]));
        weights.save(&path).unwrap();
        assert!(matches!(Weights::load(&path), Err(ModelError::NotFinite { name }) if name == "x"));
    }
}
