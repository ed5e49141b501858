//! From a folder to a running, self-checked model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip::image::DecodeLimits;
use clip::{ModelBundle, ModelId, TokenIds, Tokenizer};
use runtime::{Model, ModelOptions, Provider, SelfCheck, TextTower};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::embedder::{Embedder, Inner, TextEmbedding, cache};
use super::lane::{Lane, LaneSize};
use super::{EmbedError, TowerError};

/// How to run a bundle.
#[derive(Debug, Clone)]
pub struct EmbedOptions {
    /// The bundle's folder.
    pub model: PathBuf,
    /// Which of its precisions; `None` takes the best for this machine.
    pub precision: Option<String>,
    /// What is to compute.
    pub provider: Provider,
    /// Threads of each tower, and pictures decoded at once.
    pub threads: usize,
    /// The ONNX Runtime library, should it not be looked for.
    pub onnxruntime: Option<PathBuf>,
    /// Most inputs in one run.
    pub batch: NonZeroUsize,
    /// Most requests that wait for a tower.
    pub queue: NonZeroUsize,
    /// Text embeddings kept.
    pub text_cache: NonZeroUsize,
    /// Which pictures may be decoded.
    pub limits: DecodeLimits,
}

/// What is known of the running model, for people and for the other rooms.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ModelFacts {
    /// Names the model: vectors of one id can be compared.
    pub id: ModelId,
    /// The name of the bundle's folder.
    pub name: String,
    /// Which of the bundle's precisions runs.
    pub precision: String,
    /// Which execution provider of ONNX Runtime runs it, by its own record of a run.
    pub provider: &'static str,
    /// What its matrix products multiplied in that run: weights may be stored more narrowly.
    #[serde(skip)]
    pub arithmetic: String,
    /// Numbers in an embedding.
    pub dim: usize,
    /// Longest text in tokens.
    pub context_length: usize,
    /// Width and height in pixels of what the image tower sees.
    pub image_size: [usize; 2],
    /// Templates that classes are put into where a request names none.
    pub templates: Vec<String>,
    /// Scale from cosine to logit, as a logarithm.
    pub logit_scale: f32,
    /// Bias of a model whose labels stand for themselves; none where they compete.
    #[serde(skip)]
    pub logit_bias: Option<f32>,
    /// Standard deviation of the cosines of texts with pictures that they do not fit, where the
    /// bundle says.
    #[serde(skip)]
    pub score_deviation: Option<f32>,
    /// Whether the bundle had reference answers and reproduced them; one without is served
    /// unchecked.
    pub self_checked: bool,
}

impl Embedder {
    /// Opens the bundle, runs its self-check, and starts a thread for each tower.
    ///
    /// # Errors
    /// [`EmbedError::Bundle`] for a folder that is no bundle, [`EmbedError::Run`] without ONNX Runtime
    /// and for a bundle that does not run or fails its self-check.
    pub fn start(options: &EmbedOptions) -> Result<Self, EmbedError> {
        let (bundle, model) = open(options)?;
        let facts = facts_of(&bundle, &model)?;
        let size = LaneSize { queue: options.queue.get(), batch: options.batch.get() };
        let decoders = u32::try_from(options.threads).unwrap_or(u32::MAX).clamp(1, 1024);
        let Model { mut image, text, .. } = model;
        let images = Lane::start("embed-images", size, move |inputs: &[_]| {
            image.embed(inputs).map_err(TowerError::from)
        })?;
        let texts = Lane::start("embed-texts", size, text_runner(bundle.tokenizer, text))?;
        Ok(Self {
            inner: Arc::new(Inner {
                facts,
                processor: bundle.processor,
                limits: options.limits,
                images,
                texts,
                cache: cache(options.text_cache),
                decoding: Semaphore::new(decoders as usize),
                decoders,
            }),
        })
    }
}

/// Opens a bundle and refuses one that does not reproduce its reference answers.
fn open(options: &EmbedOptions) -> Result<(ModelBundle, Model), EmbedError> {
    let run = |source| EmbedError::Run(Box::new(source));
    runtime::library::load(options.onnxruntime.as_deref()).map_err(run)?;
    let bundle =
        ModelBundle::open(&options.model).map_err(|source| EmbedError::Bundle(Box::new(source)))?;
    let wanted = ModelOptions { threads: options.threads, precision: options.precision.clone() };
    let mut model = Model::open_on(&bundle, &wanted, options.provider).map_err(run)?;
    if let Some(reason) = &model.not_cuda {
        tracing::warn!(reason, "the model runs on the CPU and not on CUDA");
    }
    match runtime::self_check(&mut model, &bundle).map_err(run)? {
        Some(SelfCheck { compared, lowest_cosine }) => {
            tracing::debug!(compared, lowest_cosine, "the model reproduces its own answers");
        }
        None => {
            let folder = options.model.display();
            tracing::warn!(
                model = %folder,
                "the model has no manifest.json: it is served without a self-check"
            );
            if let Some(caution) = model.caution() {
                tracing::warn!(model = %folder, precision = model.precision, "{caution}");
            }
        }
    }
    if bundle.rules.sigmoid && model.logits.is_none() {
        tracing::warn!(
            model = %options.model.display(),
            "nothing tells the model's learned scale and bias, so labels compete by a softmax; \
             model_config.json beside it can say logit_scale, logit_bias and activation_function"
        );
    }
    Ok((bundle, model))
}

fn facts_of(bundle: &ModelBundle, model: &Model) -> Result<ModelFacts, EmbedError> {
    let id = match &bundle.manifest {
        Some(manifest) => manifest.id.clone(),
        None => content_id(bundle)?,
    };
    let logits = model.logits.unwrap_or_default();
    let name = std::path::absolute(&bundle.dir).ok();
    let name = name.as_deref().and_then(Path::file_name).unwrap_or_default();
    Ok(ModelFacts {
        id,
        name: name.to_string_lossy().into_owned(),
        precision: model.precision.clone(),
        provider: model.provider,
        arithmetic: model.arithmetic.clone(),
        dim: model.dim,
        context_length: bundle.tokenizer.context_length(),
        image_size: [bundle.processor.width(), bundle.processor.height()],
        templates: bundle.templates(),
        logit_scale: logits.logit_scale,
        logit_bias: logits.logit_bias,
        score_deviation: bundle.manifest.as_ref().and_then(|manifest| manifest.score_deviation),
        self_checked: bundle.manifest.is_some(),
    })
}

/// Tokenizes on the tower's own thread, then embeds.
fn text_runner(
    tokenizer: Tokenizer,
    mut tower: TextTower,
) -> impl FnMut(&[String]) -> Result<Vec<TextEmbedding>, TowerError> {
    move |texts| {
        let ids = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
        let embeddings = tower.embed(&ids)?;
        let whole = |(embedding, ids): (_, &TokenIds)| TextEmbedding {
            embedding: Arc::new(embedding),
            truncated: ids.truncated,
            tokens: ids.ids.len(),
        };
        Ok(embeddings.into_iter().zip(&ids).map(whole).collect())
    }
}

/// An id for a bundle that does not name itself: the sha-256 over its settings and the graphs of
/// its widest precision, so that vectors made in one precision can be compared with those of
/// another.
fn content_id(bundle: &ModelBundle) -> Result<ModelId, EmbedError> {
    let there = runtime::precisions(bundle);
    let widest = ["fp32", "fp16"].into_iter().find_map(|name| there.get(name));
    let layout = &bundle.layout;
    let mut names: Vec<&str> = [&layout.config, &layout.tokenizer, &layout.processor]
        .into_iter()
        .filter_map(Option::as_deref)
        .collect();
    if let Some(graphs) = widest.or_else(|| there.values().next()) {
        names.push(&graphs.vision);
        if !graphs.joint() {
            names.push(&graphs.text);
        }
    }
    let mut hash = Sha256::new();
    for name in names {
        // Large graphs keep their weights in a file beside them.
        let path = bundle.dir.join(name);
        let weights = ["_data", ".data"].map(|end| bundle.dir.join(format!("{name}{end}")));
        let weights = weights.into_iter().filter(|path| path.is_file());
        for path in std::iter::once(path).chain(weights) {
            let copied = std::fs::File::open(&path)
                .and_then(|mut file| std::io::copy(&mut file, &mut HashWriter(&mut hash)));
            copied.map_err(|source| EmbedError::Read { path, source })?;
        }
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ModelId(hex))
}

/// Lets a file be copied into a hash, piece by piece.
struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
