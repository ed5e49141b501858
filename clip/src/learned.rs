//! The learned scale and bias of a public model, which its graphs of single towers do not hold.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{ConfigError, read_json};
use crate::zero_shot::Logits;

/// What `open_clip_inference` writes beside its graphs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ModelExtras {
    /// The factor itself, not its logarithm.
    pub(crate) logit_scale: Option<f32>,
    pub(crate) logit_bias: Option<f32>,
    /// `sigmoid` or `softmax`
    pub(crate) activation_function: Option<String>,
    pub(crate) tokenizer_needs_lowercase: bool,
    pub(crate) pad_id: Option<i64>,
}

impl ModelExtras {
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        serde_json::from_value(read_json(path)?)
            .map_err(|source| ConfigError::Settings { path: path.to_owned(), source })
    }

    /// Scale and bias where they are told; a bias counts only where scores go through a sigmoid.
    pub(crate) fn logits(&self) -> Option<Logits> {
        let factor = self.logit_scale.filter(|factor| factor.is_finite() && *factor > 0.0)?;
        let sigmoid = match self.activation_function.as_deref() {
            Some(name) => name == "sigmoid",
            None => self.logit_bias.is_some_and(|bias| bias != 0.0),
        };
        let bias = self.logit_bias.filter(|bias| sigmoid && bias.is_finite());
        Some(Logits { logit_scale: factor.ln(), logit_bias: bias })
    }
}

/// Longest head of a safetensors file that is read, in bytes.
const MOST_HEAD: u64 = 64 << 20;

/// `logit_scale` (a logarithm) and `logit_bias` of a safetensors file, under the names that both
/// `transformers` and `open_clip` give them. `None` where the file does not hold them as plain numbers.
pub(crate) fn logits_of_weights(path: &Path) -> Option<Logits> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEAD {
        return None;
    }
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut head).ok()?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    let logit_scale = number(&mut file, 8 + length, &head["logit_scale"])?;
    let logit_bias = number(&mut file, 8 + length, &head["logit_bias"]);
    Some(Logits { logit_scale, logit_bias })
}

/// A tensor of one f32.
fn number(file: &mut File, data: u64, tensor: &Value) -> Option<f32> {
    let start = tensor["data_offsets"][0].as_u64()?;
    let end = tensor["data_offsets"][1].as_u64()?;
    if tensor["dtype"] != "F32" || end.checked_sub(start) != Some(4) {
        return None;
    }
    file.seek(SeekFrom::Start(data.checked_add(start)?)).ok()?;
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).ok()?;
    Some(f32::from_le_bytes(bytes)).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extras(text: &str) -> ModelExtras {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_factor_becomes_a_logarithm_and_a_bias_belongs_to_a_sigmoid() {
        let sigmoid = extras(
            r#"{"logit_scale": 100.0, "logit_bias": -12.5, "activation_function": "sigmoid"}"#,
        );
        let found = sigmoid.logits().unwrap();
        assert!((found.logit_scale - 100f32.ln()).abs() < 1e-6);
        assert_eq!(found.logit_bias, Some(-12.5));
        let softmax =
            r#"{"logit_scale": 100.0, "logit_bias": 0.0, "activation_function": "softmax"}"#;
        assert_eq!(extras(softmax).logits().unwrap().logit_bias, None);
        assert_eq!(extras(r#"{"pad_id": 1}"#).logits(), None);
        assert_eq!(extras(r#"{"logit_scale": -1.0}"#).logits(), None);
    }

    #[test]
    fn the_numbers_of_a_safetensors_file_are_read_without_its_weights() {
        let head = r#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "logit_scale": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
            "logit_bias": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]}}"#;
        let numbers = [0f32, 0.0, 4.7, -16.5].map(f32::to_le_bytes).concat();
        let whole = [&(head.len() as u64).to_le_bytes(), head.as_bytes(), &numbers].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, &whole).unwrap();
        let found = Logits { logit_scale: 4.7, logit_bias: Some(-16.5) };
        assert_eq!(logits_of_weights(&path), Some(found));
        for broken in [&whole[..20], &whole[..head.len() + 18], b"no weights"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(logits_of_weights(&path), None);
        }
    }
}
