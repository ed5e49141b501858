//! A dual encoder with all that turns pictures and words into its inputs.
//!
//! [`Encoder`] is made from a recipe; [`pooled`] runs its towers over whole sets and caches what
//! locked towers answer.
//! This room knows nothing of losses, optimizers or metrics.
//! Invariant: a picture and a text become the same numbers here in training, evaluation and export.

pub mod pooled;

use std::path::{Path, PathBuf};

use clip::config::{
    BertConfig, EfficientNetLiteConfig, LiteVariant, ModelConfig, ModelType, TextConfig,
    VisionConfig,
};
use clip::image::{ImageProcessor, PixelValues, ProcessorError};
use clip::tokenize::{TokenizeError, Tokenizer};
use clip::{Embedding, TokenIds};
use serde_json::json;
use sha2::{Digest, Sha256};
use tch::Tensor;

use crate::data::BadSample;
use crate::model::{
    DualEncoder, ModelError, Side, Torch, TowerFiles, Weights, pixel_batch, token_batch,
};
use crate::recipe::{ImageEncoder, ImageSection, Recipe, ResizeMode};
use crate::tensor_file::TensorFileError;

/// Channels that every EfficientNet-Lite pools (Tan and Le 2019, table 1; the head is not scaled in
/// the Lite release).
const LITE_HIDDEN_SIZE: usize = 1280;

/// A model ready to compute.
#[derive(Debug)]
pub struct Encoder {
    /// The forward code and its configuration.
    pub model: DualEncoder,
    /// All weights, f32.
    pub weights: Weights,
    /// Words to ids.
    pub tokenizer: Tokenizer,
    /// Pictures to pixel values.
    pub processor: ImageProcessor,
    /// `tokenizer.json`, as it goes into a bundle.
    pub tokenizer_file: PathBuf,
    /// sha-256 (hex) over the files of both towers.
    pub digest: String,
}

/// Why a model cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The weights or the forward code.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tower's file.
    #[error("cannot read the tower's file {}; `make towers` fetches the pretrained ones", path.display())]
    Tower {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text tower's `config.json`.
    #[error("{} is not the configuration of a BERT", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A context that the text tower has no positions for.
    #[error("model.text.context_length is {asked}, but the tower takes at most {longest} tokens")]
    Context {
        /// As the recipe says.
        asked: usize,
        /// What the tower can take.
        longest: usize,
    },
    /// The tokenizer, or a text that it cannot read.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The `[image]` section.
    #[error("the recipe's [image] does not work")]
    Processor(#[from] ProcessorError),
    /// The same, as keys.
    #[error("the recipe's [image] does not work")]
    ProcessorKeys {
        /// Which key.
        source: serde_json::Error,
    },
    /// The cache of pooled outputs.
    #[error("the cache of tower outputs failed")]
    Cache(#[from] TensorFileError),
    /// Every picture of a set is broken.
    #[error("no picture of {set} can be used; {}: {}", first.key, first.reason)]
    NoPicture {
        /// The set.
        set: String,
        /// The first of them.
        first: BadSample,
    },
    /// An output that is no direction.
    #[error("the model's embedding of {of} is not finite or zero")]
    NotAnEmbedding {
        /// What it is of.
        of: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
}

impl Encoder {
    /// Pretrained towers with projections that start anew from the recipe's seed.
    ///
    /// # Errors
    /// [`EncoderError`], naming the file that is missing or does not fit.
    pub fn from_recipe(recipe: &Recipe) -> Result<Self, EncoderError> {
        let image = weights_file(&recipe.model.image.weights);
        let text = weights_file(&recipe.model.text.weights);
        let digest = digest(&[&image, &text])?;
        let config_file = text.with_file_name("config.json");
        let config = config(recipe, bert(&config_file)?);
        let tokenizer_file = text.with_file_name("tokenizer.json");
        let longest = config.text_config.max_position_embeddings();
        let context = recipe.model.text.context_length.unwrap_or(longest);
        if context > longest {
            return Err(EncoderError::Context { asked: context, longest });
        }
        let pad = config.text_config.pad_token_id();
        let tokenizer = Tokenizer::from_file(&tokenizer_file, context, pad)?;
        let processor = image_processor(&recipe.image)?;
        let model = DualEncoder::new(config)?;
        let files = TowerFiles { image: &image, text: &text };
        let weights = model.from_towers(files, recipe.train.seed)?;
        Ok(Self { model, weights, tokenizer, processor, tokenizer_file, digest })
    }

    /// The image tower's answers: `[B, hidden]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for pictures of several sizes or none.
    pub fn pooled_pixels(&self, images: &[PixelValues]) -> Result<Tensor, EncoderError> {
        let pixels = pixel_batch(images)?;
        Ok(self.model.image_pooled(&mut Torch::new(&self.weights), &pixels)?)
    }

    /// The text tower's answers: `[B, hidden]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for no text at all.
    pub fn pooled_tokens(&self, texts: &[&TokenIds]) -> Result<Tensor, EncoderError> {
        let (ids, mask) = token_batch(&self.tokenizer.pad_batch(texts))?;
        Ok(self.model.text_pooled(&mut Torch::new(&self.weights), &ids, &mask)?)
    }

    /// Pooled `[B, hidden]` of one side → normalized `[B, D]`, with gradients.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where the shapes do not fit.
    pub fn embed(&self, side: Side, pooled: &Tensor) -> Result<Tensor, EncoderError> {
        Ok(self.model.embeddings(&mut Torch::new(&self.weights), side, pooled)?)
    }

    /// As [`Encoder::embed`], without gradients, as embeddings.
    ///
    /// # Errors
    /// [`EncoderError::NotAnEmbedding`] where the model answers NaN or zero.
    pub fn embeddings(&self, side: Side, pooled: &Tensor) -> Result<Vec<Embedding>, EncoderError> {
        let rows = tch::no_grad(|| self.embed(side, pooled))?;
        let width = self.model.config.projection_dim;
        let flat = Vec::<f32>::try_from(rows.contiguous().view([-1])).map_err(|source| {
            ModelError::Torch { operation: "copy", name: String::new(), source }
        })?;
        let embedding = |(i, row): (usize, &[f32])| {
            let of = format!("{side:?} {i}").to_lowercase();
            Embedding::new(row.to_vec()).map_err(|_| EncoderError::NotAnEmbedding { of })
        };
        flat.chunks_exact(width).enumerate().map(embedding).collect()
    }
}

/// The file that a tower's `weights` means.
fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() }
}

fn digest(files: &[&Path]) -> Result<String, EncoderError> {
    let mut hasher = Sha256::new();
    for path in files {
        let tower = |source| EncoderError::Tower { path: (*path).to_owned(), source };
        hasher.update(std::fs::read(path).map_err(tower)?);
    }
    Ok(hex(&hasher.finalize()))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bert(path: &Path) -> Result<BertConfig, EncoderError> {
    let text = std::fs::read(path)
        .map_err(|source| EncoderError::Tower { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| EncoderError::Config { path: path.to_owned(), source })
}

fn config(recipe: &Recipe, bert: BertConfig) -> ModelConfig {
    let variant = match recipe.model.image.encoder {
        ImageEncoder::EfficientnetLite0 => LiteVariant::Lite0,
        ImageEncoder::EfficientnetLite1 => LiteVariant::Lite1,
        ImageEncoder::EfficientnetLite2 => LiteVariant::Lite2,
    };
    ModelConfig {
        model_type: ModelType::DualEncoder,
        projection_dim: recipe.model.projection.dim,
        projection_bias: true,
        logit_scale_init_value: recipe.train.logit_scale_init as f32,
        vision_config: VisionConfig::EfficientnetLite(EfficientNetLiteConfig {
            variant,
            image_size: recipe.image.size as usize,
            hidden_size: LITE_HIDDEN_SIZE,
            batch_norm_eps: 1e-3,
        }),
        text_config: TextConfig::Bert(bert),
    }
}

fn image_processor(image: &ImageSection) -> Result<ImageProcessor, EncoderError> {
    let config = serde_json::from_value(processor_config(image))
        .map_err(|source| EncoderError::ProcessorKeys { source })?;
    Ok(ImageProcessor::new(config)?)
}

/// The `preprocessor_config.json` of an `[image]` section, in Hugging Face's keys.
#[must_use]
pub fn processor_config(image: &ImageSection) -> serde_json::Value {
    let size = image.size;
    let mut config = json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "resample": 3,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": image.mean,
        "image_std": image.std,
    });
    match image.resize_mode {
        ResizeMode::Squash => {
            config["size"] = json!({ "height": size, "width": size });
            config["do_center_crop"] = json!(false);
        }
        ResizeMode::Shortest => {
            config["size"] = json!({ "shortest_edge": size });
            config["do_center_crop"] = json!(true);
            config["crop_size"] = json!({ "height": size, "width": size });
        }
    }
    config
}
