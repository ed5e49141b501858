//! A bundle as a start: what its graphs hold of the weights that were exported.

use std::path::{Path, PathBuf};

use clip::ModelBundle;
use clip::config::{ModelConfig, ModelType};
use tch::Tensor;

use super::EncoderError;
use super::start::digest;
use crate::model::{DualEncoder, LOGIT_BIAS, LOGIT_SCALE, ModelError, Weights};
use crate::onnx::stored;

/// The precisions of a bundle, the one that keeps most of the weights first.
const EXACTEST: [&str; 3] = ["fp32", "fp16", "int8"];

/// Whether a folder is what an export left: such a one holds graphs, and no other weights.
pub(super) fn is_one(folder: &Path) -> bool {
    folder.join("manifest.json").is_file() && !folder.join("model.safetensors").is_file()
}

/// A bundle by its widest precision.
pub(super) struct Bundle {
    folder: PathBuf,
    pub(super) model: DualEncoder,
    logits: [(&'static str, Option<f32>); 2],
    /// The image graph, the text graph.
    graphs: [PathBuf; 2],
    /// sha-256 (hex) over configuration and graphs.
    pub(super) digest: String,
}

impl Bundle {
    /// The bundle in `folder`, of a model of this family.
    pub(super) fn of(folder: &Path, family: ModelType) -> Result<Self, EncoderError> {
        let refused = |reason: String| EncoderError::Bundle { folder: folder.to_owned(), reason };
        let bundle = ModelBundle::open(folder).map_err(|error| refused(words(&error)))?;
        let config = folder.join("config.json");
        let model = ModelConfig::from_file(&config).map_err(ModelError::from)?;
        if model.model_type != family {
            let found = match model.model_type {
                ModelType::Clip => "clip",
                ModelType::DualEncoder => "dual-encoder",
            };
            let way_out = "begin from it with a recipe of the same model_type";
            return Err(refused(format!("its model_type is \"{found}\"; {way_out}")));
        }
        let there = |name: &&str| {
            let files = bundle.manifest.as_ref()?.precisions.get(*name)?;
            let graphs = [&files.vision, &files.text].map(|graph| folder.join(graph));
            graphs.iter().all(|graph| graph.is_file()).then_some(graphs)
        };
        let graphs = EXACTEST.iter().find_map(there);
        let graphs = graphs.ok_or_else(|| {
            refused("none of its graphs is there; fetch it again, whole".to_owned())
        })?;
        let [image, text] = &graphs;
        let digest = digest(&[&config, image, text])?;
        let manifest = bundle.manifest.as_ref();
        let logits = [
            (LOGIT_SCALE, manifest.map(|manifest| manifest.logit_scale)),
            (LOGIT_BIAS, manifest.and_then(|manifest| manifest.logit_bias)),
        ];
        let (folder, model) = (folder.to_owned(), DualEncoder::new(model)?);
        Ok(Self { folder, model, logits, graphs, digest })
    }

    /// Its weights; `base` are those of its towers before they learned, of towers that know statistics.
    pub(super) fn weights(&self, base: &Weights) -> Result<Weights, EncoderError> {
        let read = |graph: &PathBuf| {
            let bytes = std::fs::read(graph).map_err(|error| error.to_string());
            bytes
                .and_then(|bytes| stored(&bytes))
                .map_err(|reason| self.refused(&format!("{}: {reason}", graph.display())))
        };
        let [image, text] = &self.graphs;
        let weights = self.model.exported_weights([read(image)?, read(text)?], base);
        let mut weights = weights.map_err(|error| self.refused(&words(&error)))?;
        for (name, value) in self.logits {
            if let Some(value) = value {
                weights.insert(name, Tensor::from(value));
            }
        }
        Ok(weights)
    }

    pub(super) fn refused(&self, reason: &str) -> EncoderError {
        EncoderError::Bundle { folder: self.folder.clone(), reason: reason.to_owned() }
    }
}

/// An error with all that caused it.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
