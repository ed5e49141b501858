//! Checkpoint folders that others made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clip::config::ModelConfig;
use serde::Deserialize;

use super::{Differences, DualEncoder, ModelError, Weights, open_clip};

/// Names under which the weights of a whole model are published.
const FILES: [&str; 3] =
    ["model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"];

/// Lists the parts of weights that are too large for one file.
const INDEX: &str = "model.safetensors.index.json";

/// Parts of a projection that a model may have or lack (see [`super::Projection`]).
const OPTIONAL: [&str; 2] = ["input_mean", "input_std"];

/// Counters that older releases of `transformers` saved, as integers or, after a careless
/// conversion, as floats.
const COUNTERS: &str = ".position_ids";

/// `model.safetensors.index.json`
#[derive(Deserialize)]
struct Index {
    /// Weight → file beside the index.
    weight_map: std::collections::BTreeMap<String, PathBuf>,
}

impl DualEncoder {
    /// The model of a checkpoint folder: `config.json` and `model.safetensors` (or its parts, by
    /// their index) as `transformers` saves them, or weights under the names of `open_clip` beside
    /// such a `config.json`. Weights of 16 bits are widened to f32. The bias of a sigmoid model
    /// starts anew where there is none.
    ///
    /// # Errors
    /// [`ModelError::Configuration`] where the configuration does not serve,
    /// [`ModelError::NoWeights`] where there are none that can be read, [`ModelError::Differs`]
    /// where they are not those of the configuration, [`ModelError::NotFinite`] where one is broken.
    pub fn from_checkpoint(folder: &Path) -> Result<(Self, Weights), ModelError> {
        let model = Self::new(ModelConfig::from_file(&folder.join("config.json"))?)?;
        let weights = model.checkpoint_weights(folder)?;
        Ok((model, weights))
    }

    /// The weights of a checkpoint folder, for this model.
    ///
    /// # Errors
    /// As [`DualEncoder::from_checkpoint`].
    pub fn checkpoint_weights(&self, folder: &Path) -> Result<Weights, ModelError> {
        let mut loaded = Weights::new();
        for file in Self::checkpoint_files(folder)? {
            loaded.extend("", Weights::load(&file)?);
        }
        let loaded = open_clip::renamed(loaded)?;
        let mut weights = Weights::new();
        let wanted = self.parameters();
        let names: BTreeSet<&str> = wanted.iter().map(|weight| weight.name.as_str()).collect();
        let (mut unexpected, mut known) = (Vec::new(), Weights::new());
        for (name, tensor) in loaded.into_parts() {
            if self.is_standardization(&name) {
                weights.insert(name, tensor);
            } else if names.contains(name.as_str()) {
                known.insert(name, tensor);
            } else if !name.ends_with(COUNTERS) {
                unexpected.push(name);
            }
        }
        // A CLIP that is to become a sigmoid model has no bias yet.
        let anew: Vec<_> =
            self.bias_parameter().filter(|bias| !known.has(&bias.name)).into_iter().collect();
        known.extend("", Weights::random(&anew, 0));
        let differences = Differences { unexpected, ..known.differences(&wanted) };
        if !differences.is_empty() {
            return Err(ModelError::Differs(differences));
        }
        weights.extend("", known.select(&wanted)?);
        Ok(weights)
    }

    /// The files that hold the weights of a checkpoint folder.
    ///
    /// # Errors
    /// [`ModelError::NoWeights`] where there is none, [`ModelError::Index`] where the list of parts
    /// cannot be read.
    pub fn checkpoint_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
        if let Some(file) = FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file()) {
            return Ok(vec![file]);
        }
        let path = folder.join(INDEX);
        let Ok(text) = std::fs::read(&path) else {
            return Err(ModelError::NoWeights { folder: folder.to_owned() });
        };
        let index: Index =
            serde_json::from_slice(&text).map_err(|source| ModelError::Index { path, source })?;
        let parts: BTreeSet<PathBuf> = index.weight_map.into_values().collect();
        Ok(parts.into_iter().map(|part| folder.join(part)).collect())
    }

    fn is_standardization(&self, name: &str) -> bool {
        [&self.image_projection, &self.text_projection].iter().any(|projection| {
            OPTIONAL.iter().any(|part| *name == format!("{}.{part}", projection.name))
        })
    }
}
