//! A model as a folder: configuration, tokenizer, processor, graphs, and what they must answer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::ConfigError;
use crate::image::{ImageProcessor, ProcessorError};
use crate::layout::Layout;
use crate::rules::Rules;
use crate::tokenize::{TokenizeError, Tokenizer};
use crate::zero_shot::Logits;

/// What tells a bundle of our own from a public model.
pub const MANIFEST: &str = "manifest.json";

/// Which model made an embedding: the sha-256 (hex) over f32 weights, config, tokenizer and
/// processor, written at export. Precision is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub String);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bundle opened for reading; its graphs are opened by the crate `runtime`.
#[derive(Debug, Clone)]
pub struct ModelBundle {
    /// The folder.
    pub dir: PathBuf,
    /// Which of its files are which.
    pub layout: Layout,
    /// What its configuration and the files beside it say.
    pub rules: Rules,
    /// `tokenizer.json`, cut to the manifest's context length, under the family's rules.
    pub tokenizer: Tokenizer,
    /// `preprocessor_config.json` or `open_clip`'s `preprocess_cfg`.
    pub processor: ImageProcessor,
    /// `manifest.json`; absent in a folder that others made, which then cannot be self-checked.
    pub manifest: Option<Manifest>,
}

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Names the model.
    pub id: ModelId,
    /// The learned scale of the logits, as a logarithm.
    pub logit_scale: f32,
    /// The learned bias of a sigmoid model.
    #[serde(default)]
    pub logit_bias: Option<f32>,
    /// How far the cosines of captions with pictures that are not theirs scatter, as a standard
    /// deviation over a held-out set: the unit in which one model's scores compare with another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_deviation: Option<f32>,
    /// Templates that classes are best put into.
    #[serde(default)]
    pub templates: Vec<String>,
    /// The longest text in tokens, special ones included.
    pub context_length: usize,
    /// The graphs that are there, by the name of their precision (`fp32`, `fp16`, `int8`).
    pub precisions: BTreeMap<String, Precision>,
    /// Inputs and the answers that the graphs must give to them.
    pub reference: Reference,
    /// Figures as measured at export or after it.
    #[serde(default)]
    pub figures: serde_json::Value,
    /// What the model was made from.
    #[serde(default)]
    pub licences: Vec<Licence>,
    /// The program and version that wrote the bundle.
    pub made_by: String,
}

/// The graphs of one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Precision {
    /// The image tower's graph, relative to the folder.
    pub vision: String,
    /// The text tower's graph, relative to the folder.
    pub text: String,
    /// How weights are stored and what arithmetic runs, in words.
    pub weights: String,
    /// The lowest cosine to a reference embedding that counts as reproducing it.
    pub tolerance: f32,
    /// The largest batch that `tolerance` was measured with; over 1 where an answer depends on its
    /// batch mates, since the graph rounds by the range of the whole batch.
    #[serde(default = "one")]
    pub batch: usize,
}

fn one() -> usize {
    1
}

/// Inputs of the self-check and their answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Texts.
    pub texts: Vec<String>,
    /// Pictures, relative to the folder.
    pub pictures: Vec<String>,
    /// The answers, by precision.
    pub embeddings: BTreeMap<String, ReferenceEmbeddings>,
}

/// The answers of one precision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceEmbeddings {
    /// `[texts, D]`
    pub texts: Vec<Vec<f32>>,
    /// `[pictures, D]`
    pub pictures: Vec<Vec<f32>>,
}

/// What a part of the model was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// Weights or data.
    pub what: String,
    /// Its terms.
    pub license: String,
    /// Where it came from.
    pub source: String,
}

/// A folder that is no bundle.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The folder is not there.
    #[error("there is no model folder at {}; name one with --model", dir.display())]
    Missing {
        /// As asked for.
        dir: PathBuf,
    },
    /// Its configuration does not serve.
    #[error("the model in {} does not open", dir.display())]
    Config {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// Its tokenizer does not serve.
    #[error("the model in {} does not open", dir.display())]
    Tokenizer {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: TokenizeError,
    },
    /// Its processor does not serve.
    #[error("the model in {} does not open", dir.display())]
    Processor {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: ProcessorError,
    },
    /// Its manifest cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its manifest is none.
    #[error("{} is not a bundle's manifest", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl ModelBundle {
    /// Reads everything but the graphs.
    ///
    /// # Errors
    /// [`BundleError`], naming the folder and the file.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        if !dir.is_dir() {
            return Err(BundleError::Missing { dir: dir.to_owned() });
        }
        let owned = || dir.to_owned();
        let layout =
            Layout::of_folder(dir).map_err(|source| BundleError::Read { path: owned(), source })?;
        let at = |found: &Option<String>, usual: &str| dir.join(found.as_deref().unwrap_or(usual));
        let tokenizer = at(&layout.tokenizer, "tokenizer.json");
        if layout.config.is_some() && !tokenizer.is_file() {
            // Said first, since the rules of some families are read from it.
            let source = TokenizeError::Missing { path: tokenizer };
            return Err(BundleError::Tokenizer { dir: owned(), source });
        }
        let mut rules = Rules::read(dir, &layout)
            .map_err(|source| BundleError::Config { dir: owned(), source })?;
        let manifest = Manifest::read(&dir.join(MANIFEST))?;
        if let Some(manifest) = &manifest {
            let text = &mut rules.text;
            text.context_length = text.context_length.min(manifest.context_length);
            rules.logits =
                Some(Logits { logit_scale: manifest.logit_scale, logit_bias: manifest.logit_bias });
        }
        let tokenizer = Tokenizer::with_rules(&tokenizer, rules.text.clone())
            .map_err(|source| BundleError::Tokenizer { dir: owned(), source })?;
        let path = at(&layout.processor, "preprocessor_config.json");
        let processor = ImageProcessor::from_file(&path)
            .map_err(|source| BundleError::Processor { dir: owned(), source })?;
        Ok(Self { dir: owned(), layout, rules, tokenizer, processor, manifest })
    }

    /// The templates that the model wants classes put into, or the usual one.
    #[must_use]
    pub fn templates(&self) -> Vec<String> {
        match &self.manifest {
            Some(manifest) if !manifest.templates.is_empty() => manifest.templates.clone(),
            _ => vec![crate::zero_shot::DEFAULT_TEMPLATE.to_owned()],
        }
    }
}

impl Manifest {
    /// Reads a manifest; `None` where there is no such file.
    ///
    /// # Errors
    /// [`BundleError::Read`] and [`BundleError::Manifest`].
    pub fn read(path: &Path) -> Result<Option<Self>, BundleError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BundleError::Read { path: path.to_owned(), source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| BundleError::Manifest { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_names_the_flag() {
        let error = ModelBundle::open(Path::new("nowhere")).unwrap_err();
        assert_eq!(error.to_string(), "there is no model folder at nowhere; name one with --model");
    }

    #[test]
    fn a_folder_without_a_configuration_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = ModelBundle::open(dir.path()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("config.json"), "{source}");
    }

    #[test]
    fn a_manifest_is_optional_but_never_half_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        assert!(Manifest::read(&path).unwrap().is_none());
        std::fs::write(&path, "{\"id\": \"ab\"").unwrap();
        assert!(matches!(Manifest::read(&path), Err(BundleError::Manifest { .. })));
    }
}
