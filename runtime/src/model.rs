//! Both towers of a bundle, in one precision, on one device.

use clip::zero_shot::Logits;
use clip::{GraphFiles, ModelBundle};

use crate::graph::{Graph, Running};
use crate::layout::{fast_int8, may_overflow, precisions, preference};
use crate::profile::Placement;
use crate::side::{locked, shared};
use crate::{ImageTower, RuntimeError, TextTower, library, measured};

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
    /// Scale and bias of its scores, by its files or by its joint graph; `None` where neither tells.
    pub logits: Option<Logits>,
    /// The graphs that run, relative to the bundle's folder.
    pub files: GraphFiles,
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

    /// What to say of the answers of a bundle that cannot check itself, where this processor may spoil
    /// them.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        let bytes = self.provider == "CPU" && self.arithmetic.contains("int8");
        (bytes && may_overflow(&self.precision, fast_int8())).then_some(MAY_OVERFLOW)
    }
}

/// Seen on such a processor: cosines of 0.8 to 0.9 between such a folder's answers and its own in f32.
const MAY_OVERFLOW: &str = "sums of its int8 products can overflow on this processor, which has no VNNI, \
    and its answers are then wrong; its fp32 form answers rightly here";

/// Opens both graphs, and runs each once for the record.
fn attempt(
    bundle: &ModelBundle,
    options: &ModelOptions,
    cuda: bool,
) -> Result<Model, RuntimeError> {
    let (precision, files) = choose(bundle, options.precision.as_deref(), cuda)?;
    // Of a graph that others made we do not know before it is open whether it computes in 16 bits.
    let half = precision.contains("16") || bundle.manifest.is_none();
    let running = Running { threads: options.threads, cuda, half };
    let open = |file: &str| Graph::open_recording(&bundle.dir.join(file), running).map(shared);
    let vision = open(&files.vision)?;
    let text = if files.joint() { vision.clone() } else { open(&files.text)? };
    let image = ImageTower::open(vision.clone(), bundle)?;
    let text = TextTower::open(text, bundle)?;
    if image.half().dim() != text.half().dim() {
        return Err(RuntimeError::Signature {
            path: text.half().path(),
            reason: format!(
                "its embeddings have {} dimensions, those of {} have {}",
                text.half().dim(),
                files.vision,
                image.half().dim()
            ),
        });
    }
    let seen = locked(&vision).placement()?;
    let read = if files.joint() { seen.clone() } else { locked(&text.half().graph).placement()? };
    // We ask for no other.
    let provider = match seen.provider() {
        Some("CUDA") => "CUDA",
        Some("CPU") => "CPU",
        _ => "unknown",
    };
    Ok(Model {
        precision,
        provider,
        arithmetic: both(&seen, &read),
        not_cuda: None,
        dim: image.half().dim(),
        logits: bundle.rules.logits.or_else(|| measured::logits(&image, &text, bundle)),
        files,
        image,
        text,
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
    let mut there = precisions(bundle);
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
        None if there.is_empty() => Err(RuntimeError::NoGraphs {
            dir: bundle.dir.clone(),
            found: found_instead(&bundle.dir),
            way_out: match &bundle.layout.weights {
                Some(_) => WEIGHTS_ONLY,
                None => KNOWN_LAYOUTS,
            },
        }),
        None => Err(RuntimeError::Precision {
            dir: bundle.dir.clone(),
            precision: name,
            available: there.into_keys().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// What to do with weights that have no graphs.
const WEIGHTS_ONLY: &str = "make graphs of its weights: clipsight-trainer train RECIPE.toml --init \
    FOLDER, and clipsight-trainer export RUN --out BUNDLE";

/// The arrangements that load.
const KNOWN_LAYOUTS: &str = "it wants onnx/vision_model*.onnx with onnx/text_model*.onnx, \
    visual/model.onnx with textual/model.onnx, visual.onnx with text.onnx or textual.onnx, or one \
    onnx/model*.onnx for both";

/// How many files an error names.
const SHOWN: usize = 8;

/// Some of the files in a folder and right below it.
fn found_instead(dir: &std::path::Path) -> String {
    let names = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let all = names(dir).into_iter();
    let all = all.flat_map(|path| if path.is_dir() { names(&path) } else { vec![path] });
    let mut all: Vec<String> = all
        .map(|path| path.strip_prefix(dir).unwrap_or(&path).display().to_string())
        .take(SHOWN + 1)
        .collect();
    if all.len() > SHOWN {
        all[SHOWN] = "…".to_owned();
    }
    all.join(", ")
}
