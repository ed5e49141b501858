//! Both towers of a bundle, in one precision, on one device.

use clip::ModelBundle;

use crate::graph::Running;
use crate::layout::{GraphFiles, fast_int8, precisions, preference};
use crate::profile::Placement;
use crate::{ImageTower, RuntimeError, TextTower, library};

/// How a model is run.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Threads of each tower; 0 counts as 1.
    pub threads: usize,
    /// `fp32`, `fp16`, `int8`, or a suffix of a public folder; the best for this machine where
    /// absent.
    pub precision: Option<String>,
}

/// What is to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Provider {
    /// CUDA where it works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA or an error.
    Cuda,
}

/// A bundle ready to embed.
pub struct Model {
    /// Pictures to embeddings.
    pub image: ImageTower,
    /// Texts to embeddings.
    pub text: TextTower,
    /// The precision that runs.
    pub precision: String,
    /// What ran the image tower's matrix products when it was tried: `CPU`, `CUDA`.
    pub provider: &'static str,
    /// What both towers' matrix products multiplied when they were tried: `int8`, `fp16`, `fp32`,
    /// or the two of them as `int8 and fp32`.
    pub arithmetic: String,
    /// Why [`Provider::Auto`] did not take CUDA, though this ONNX Runtime is built with it.
    pub not_cuda: Option<String>,
    /// Dimension of the embeddings.
    pub dim: usize,
}

impl Model {
    /// Opens the graphs of a bundle on the CPU; [`crate::library::load`] comes first.
    ///
    /// # Errors
    /// [`RuntimeError`] for a precision that is not there and graphs that do not load, do not run
    /// or do not fit the bundle's configuration.
    pub fn open(bundle: &ModelBundle, options: &ModelOptions) -> Result<Self, RuntimeError> {
        attempt(bundle, options, false)
    }

    /// Opens the graphs of a bundle on what `provider` says. A graph is run once before it counts
    /// as open, and what ran it is read from ONNX Runtime's own record, so that it cannot fall back
    /// to the CPU unnoticed.
    ///
    /// # Errors
    /// As [`Model::open`], and [`RuntimeError::Provider`] when CUDA is demanded and does not work.
    pub fn open_on(
        bundle: &ModelBundle,
        options: &ModelOptions,
        provider: Provider,
    ) -> Result<Self, RuntimeError> {
        if provider == Provider::Cpu {
            return attempt(bundle, options, false);
        }
        if let Err(reason) = library::has_cuda() {
            if provider == Provider::Cuda {
                return Err(RuntimeError::Provider { reason });
            }
            return attempt(bundle, options, false);
        }
        let reason = match attempt(bundle, options, true) {
            Ok(model) if model.provider == "CUDA" => return Ok(model),
            Ok(model) => format!("its matrix products ran on {}", model.provider),
            Err(error @ RuntimeError::Precision { .. }) => return Err(error),
            Err(error) => error.to_string(),
        };
        if provider == Provider::Cuda {
            return Err(RuntimeError::Provider { reason });
        }
        let model = attempt(bundle, options, false)?;
        Ok(Self { not_cuda: Some(reason), ..model })
    }
}

/// Opens both graphs, and runs each once for the record.
fn attempt(
    bundle: &ModelBundle,
    options: &ModelOptions,
    cuda: bool,
) -> Result<Model, RuntimeError> {
    let (precision, files) = choose(bundle, options.precision.as_deref(), cuda)?;
    let half = precision.contains("16");
    let running = Running { threads: options.threads, cuda, half };
    let (image, seen) = ImageTower::open(&bundle.dir.join(files.vision), bundle, running)?;
    let (text, read) = TextTower::open(&bundle.dir.join(files.text), bundle, running)?;
    // We ask for no other.
    let provider = match seen.provider() {
        Some("CUDA") => "CUDA",
        Some("CPU") => "CPU",
        _ => "unknown",
    };
    Ok(Model {
        image,
        text,
        precision,
        provider,
        arithmetic: both(&seen, &read),
        not_cuda: None,
        dim: bundle.config.projection_dim,
    })
}

fn both(image: &Placement, text: &Placement) -> String {
    let name = |placement: &Placement| placement.arithmetic().unwrap_or("nothing");
    match (name(image), name(text)) {
        (image, text) if image == text => image.to_owned(),
        (image, text) => format!("{image} and {text}"),
    }
}

/// The name of a precision and the files of its two graphs.
fn choose(
    bundle: &ModelBundle,
    asked: Option<&str>,
    cuda: bool,
) -> Result<(String, GraphFiles), RuntimeError> {
    let mut there = precisions(bundle)?;
    let preferred = || {
        let known = preference(cuda, fast_int8()).iter().copied();
        known.into_iter().find(|name| there.contains_key(*name)).map(str::to_owned)
    };
    let name = match asked {
        Some(name) => name.to_owned(),
        // Precisions of other names are taken when there is nothing else.
        None => preferred().or_else(|| there.keys().next().cloned()).unwrap_or_default(),
    };
    match there.remove(&name) {
        Some(files) => Ok((name, files)),
        None => Err(RuntimeError::Precision {
            dir: bundle.dir.clone(),
            precision: name,
            available: match there.into_keys().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => {
                    "no onnx/vision_model*.onnx with its onnx/text_model*.onnx".to_owned()
                }
                some => some,
            },
        }),
    }
}
