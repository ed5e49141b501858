//! Both towers of a bundle, in one precision.

use clip::ModelBundle;

use crate::{ImageTower, RuntimeError, TextTower};

/// How a model is run.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Threads of each tower; 0 counts as 1.
    pub threads: usize,
    /// `fp32`, `fp16` or `int8`; the best for this machine where absent.
    pub precision: Option<String>,
}

/// A bundle ready to embed.
pub struct Model {
    /// Pictures to embeddings.
    pub image: ImageTower,
    /// Texts to embeddings.
    pub text: TextTower,
    /// The precision that runs.
    pub precision: String,
    /// What runs it.
    pub provider: &'static str,
    /// Dimension of the embeddings.
    pub dim: usize,
}

/// Best first on a CPU: smaller weights load and run at least as fast; fp16 gains nothing.
const CPU_PREFERENCE: [&str; 3] = ["int8", "fp32", "fp16"];

/// What a bundle without a manifest holds.
const PLAIN_GRAPHS: (&str, &str) = ("onnx/vision_model.onnx", "onnx/text_model.onnx");

impl Model {
    /// Opens the graphs of a bundle; [`crate::library::load`] comes first.
    ///
    /// # Errors
    /// [`RuntimeError`] for a precision that is not there and graphs that do not load or do not fit
    /// the bundle's configuration.
    pub fn open(bundle: &ModelBundle, options: &ModelOptions) -> Result<Self, RuntimeError> {
        let (precision, vision, text) = choose(bundle, options.precision.as_deref())?;
        let threads = options.threads.max(1);
        Ok(Self {
            image: ImageTower::open(&bundle.dir.join(vision), bundle, threads)?,
            text: TextTower::open(&bundle.dir.join(text), bundle, threads)?,
            precision,
            provider: "CPU",
            dim: bundle.config.projection_dim,
        })
    }
}

/// The name of a precision and the files of its two graphs.
fn choose(
    bundle: &ModelBundle,
    asked: Option<&str>,
) -> Result<(String, String, String), RuntimeError> {
    let none = |precision: &str, available: String| RuntimeError::Precision {
        dir: bundle.dir.clone(),
        precision: precision.to_owned(),
        available,
    };
    let Some(manifest) = &bundle.manifest else {
        return match asked {
            None | Some("fp32") => {
                Ok(("fp32".to_owned(), PLAIN_GRAPHS.0.to_owned(), PLAIN_GRAPHS.1.to_owned()))
            }
            Some(other) => Err(none(other, "fp32 (it has no manifest)".to_owned())),
        };
    };
    let available = || manifest.precisions.keys().cloned().collect::<Vec<_>>().join(", ");
    let name = match asked {
        Some(name) => name,
        None => CPU_PREFERENCE
            .into_iter()
            .find(|name| manifest.precisions.contains_key(*name))
            .ok_or_else(|| none("for this machine", available()))?,
    };
    let files = manifest.precisions.get(name).ok_or_else(|| none(name, available()))?;
    Ok((name.to_owned(), files.vision.clone(), files.text.clone()))
}
