//! A dual encoder with all that turns pictures and words into its inputs.
//!
//! [`Encoder`] is made from a recipe; [`pooled`] runs its towers over whole sets and caches what
//! locked towers answer.
//! This room knows nothing of losses, optimizers or metrics.
//! Invariant: a picture and a text become the same numbers here in training, evaluation and export.

pub mod classes;
pub mod pooled;
mod processor;
mod rates;
mod start;

use std::path::PathBuf;

use clip::image::{ImageProcessor, PixelValues, ProcessorError};
use clip::tokenize::{TokenizeError, Tokenizer};
use clip::{Embedding, TokenIds};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::checkpoint::CheckpointError;
use crate::data::BadSample;
use crate::device;
use crate::model::{
    Between, ClassMixture, DualEncoder, LOGIT_SCALE, ModelError, Ops, Parameter, Side, Torch,
    Weights, pixel_batch, token_batch,
};
use crate::recipe::{Recipe, RecipeError, Start};
use crate::run::RunError;
use crate::tensor_file::TensorFileError;

pub use processor::processor_config;
pub use rates::Rates;
use start::Origin;

/// A model ready to compute.
#[derive(Debug)]
pub struct Encoder {
    /// The forward code and its configuration.
    pub model: DualEncoder,
    /// All weights, f32, on [`Encoder::device`].
    pub weights: Weights,
    /// How fast each of them learns.
    pub rates: Rates,
    /// Whether the projections begin anew, and have not been learned before.
    pub projections_begin: bool,
    /// Names of the classes whose mixture goes into an image's embedding, in the order of the
    /// classifier's rows; none of a model without them.
    pub classes: Vec<Vec<String>>,
    /// Whether its recipe's method joins pictures with words.
    pub knows_words: bool,
    /// Blocks of the image tower whose answers are kept (`image.cache`), where any are.
    pub kept_blocks: Option<usize>,
    /// Words to ids.
    pub tokenizer: Tokenizer,
    /// Pictures to pixel values.
    pub processor: ImageProcessor,
    /// `tokenizer.json`, as it goes into a bundle.
    pub tokenizer_file: PathBuf,
    /// sha-256 (hex) over the files that the weights start from.
    pub digest: String,
    /// Where it computes; the CPU unless [`Encoder::place`] said otherwise.
    pub device: Device,
    /// Kind of matrix products; f32 unless [`Encoder::place`] said otherwise.
    pub kind: Kind,
}

/// Why a model cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The weights or the forward code.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file that a checkpoint's folder has to hold.
    #[error(
        "there is no {name} in {}; put the one of the checkpoint's own release beside its weights",
        folder.display()
    )]
    Absent {
        /// The file.
        name: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A tokenizer of another model.
    #[error("{} is not of this model: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A configuration of another family.
    #[error("{} is no CLIP's (its model_type is not \"clip\")", path.display())]
    NotClip {
        /// The file.
        path: PathBuf,
    },
    /// Pictures of a size that the image tower does not take.
    #[error("{key} makes pictures of {found} pixels a side, but the image tower takes {edge}")]
    Edge {
        /// The recipe's key or the file.
        key: String,
        /// As it says.
        found: u32,
        /// What the tower takes.
        edge: u32,
    },
    /// A rate for weights that are not there.
    #[error("model.learning_rates has \"{prefix}\", but no weight's name begins so{}",
        if there.is_empty() { String::new() } else { format!("; there are {there}") })]
    Rate {
        /// As the recipe says.
        prefix: String,
        /// Names that are near it.
        there: String,
    },
    /// A run to begin from.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A run to begin from is over other towers.
    #[error(
        "the run {} is over other towers than model.image.weights and model.text.weights; name the \
         same ones, as in its recipe.toml",
        run.display()
    )]
    OtherTowers {
        /// Its folder.
        run: PathBuf,
    },
    /// A run to begin from is no CLIP's.
    #[error(
        "the run {} is over two towers that never met (model_type = \"dual-encoder\"); begin from it \
         with a recipe of the same model_type and towers",
        run.display()
    )]
    OtherFamily {
        /// Its folder.
        run: PathBuf,
    },
    /// The towers of a run to begin from have changed.
    #[error(
        "the towers' files, or the run that it began from, have changed since the checkpoint of the run \
         {}; put the old ones back",
        run.display()
    )]
    Changed {
        /// Its folder.
        run: PathBuf,
    },
    /// Nothing to keep.
    #[error(
        "image.cache keeps what the locked blocks of the image tower answer, but {found}; {cure}, or \
         leave the key out"
    )]
    NothingToKeep {
        /// Which blocks are locked.
        found: &'static str,
        /// What would help.
        cure: &'static str,
    },
    /// All rates are 0.
    #[error("every learning rate of the recipe's [model] is 0: nothing would be learned")]
    NothingLearns,
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
    /// A file of classes that is none.
    #[error("line {line} of {} names no class; a line is a class, its names with \", \" between them",
        path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// More or fewer classes than the image tower's file has a classifier for.
    #[error("{} names {named} classes, but {} has a classifier for {known}; a line is a class",
        path.display(), tower.display())]
    ClassCount {
        /// The file of classes.
        path: PathBuf,
        /// Its lines.
        named: usize,
        /// The image tower's file.
        tower: PathBuf,
        /// As it has them.
        known: usize,
    },
    /// A run to begin from knows other classes.
    #[error(
        "the run {} knows other classes than model.image.classes; name the same file as its recipe.toml",
        run.display()
    )]
    OtherClasses {
        /// Its folder.
        run: PathBuf,
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
    /// The `[image]` section, or the `preprocessor_config.json` that it leaves things to.
    #[error("the pictures cannot be prepared for the image tower")]
    Processor(#[from] ProcessorError),
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

/// Texts in a forward pass.
const PART: usize = 128;

impl Encoder {
    /// The encoder that a recipe starts from, on the CPU and in f32.
    ///
    /// # Errors
    /// [`EncoderError`], naming the file, the weight or the key that is missing or does not fit.
    pub fn from_recipe(recipe: &Recipe) -> Result<Self, EncoderError> {
        let origin = Origin::of(recipe)?;
        let mut rates = Rates::new(&origin.model, &recipe.model)?;
        if !recipe.train.objective.scales() {
            rates.lock(LOGIT_SCALE);
        }
        if !recipe.train.method.knows_words() {
            // What joins pictures with words begins when a training joins them.
            origin.model.head_parameters().iter().for_each(|weight| rates.lock(&weight.name));
        }
        let tokenizer = origin.tokenizer(recipe.model.text.context_length)?;
        let tokenizer_file = origin.beside("tokenizer.json")?;
        let shared = origin.model.classes().map_or(usize::MAX, ClassMixture::shared_blocks);
        let kept = recipe.image.cache.then(|| kept_blocks(&rates)).transpose()?;
        let kept_blocks = kept.map(|blocks| blocks.min(shared));
        let towers = matches!(recipe.model.start()?, Start::Towers(_));
        let projections_begin = origin.begins;
        let file = match origin.beside("preprocessor_config.json") {
            Ok(file) if !towers => Some(file),
            Err(absent) if !towers => {
                recipe.image.whole(&absent.to_string())?;
                None
            }
            _ => None,
        };
        let edge = origin.model.config.vision_config.image_size();
        let edge = u32::try_from(edge).unwrap_or(u32::MAX);
        let processor = processor::processor(&recipe.image, file.as_deref(), edge)?;
        let Origin { model, weights, classes, digest, .. } = origin;
        let (device, kind) = (Device::Cpu, Kind::Float);
        Ok(Self {
            model,
            weights,
            rates,
            projections_begin,
            classes,
            knows_words: recipe.train.method.knows_words(),
            kept_blocks,
            tokenizer,
            processor,
            tokenizer_file,
            digest,
            device,
            kind,
        })
    }

    /// Moves the weights to `device` and computes matrix products in `kind` from now on.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where the device has no room.
    pub fn place(&mut self, device: Device, kind: Kind) -> Result<(), EncoderError> {
        self.weights.move_to(device)?;
        (self.device, self.kind) = (device, kind);
        Ok(())
    }

    fn torch(&self) -> Torch<'_> {
        Torch::in_kind(&self.weights, self.kind)
    }

    /// The image tower's answers: `[B, hidden]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for pictures of several sizes or none.
    pub fn pooled_pixels(&self, images: &[PixelValues]) -> Result<Tensor, EncoderError> {
        let pixels = self.moved(&pixel_batch(images)?)?; // [B, 3, H, W]
        Ok(self.model.image_pooled(&mut self.torch(), &pixels)?)
    }

    /// What the first `blocks` blocks of the image tower make of pictures, in f16 on the CPU, and the
    /// same of the mirrored ones where `mirrored`: `[B, …]` each.
    ///
    /// # Errors
    /// As [`Encoder::pooled_pixels`].
    pub fn beginnings(
        &self,
        images: &[PixelValues],
        blocks: usize,
        mirrored: bool,
    ) -> Result<Vec<Tensor>, EncoderError> {
        let pixels = self.moved(&pixel_batch(images)?)?; // [B, 3, H, W]
        let mut views = vec![pixels.shallow_clone()];
        if mirrored {
            views.push(pixels.flip([3i64]));
        }
        let beginning = |pixels: &Tensor| {
            let x = self.model.image_beginning(&mut self.torch(), pixels, blocks)?;
            // As a file gives them back, with the strides of their shape: kernels round by the order in
            // which numbers seem to lie, and one pixel can lie in either.
            let x = x.to_kind(Kind::Half).to_device(Device::Cpu);
            Ok(x.contiguous().view([-1]).view(x.size().as_slice()))
        };
        views.iter().map(beginning).collect()
    }

    /// The image tower's answers from there: `[B, hidden]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for what [`Encoder::beginnings`] did not give.
    pub fn rest(&self, beginnings: &Tensor, blocks: usize) -> Result<Tensor, EncoderError> {
        let x = self.moved(beginnings)?.to_kind(Kind::Float);
        Ok(self.model.image_rest(&mut self.torch(), x, blocks)?)
    }

    /// The text tower's answers: `[B, hidden]`. On the CPU many texts go through in parts of like
    /// lengths, so that short ones are not filled up to the longest.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for no text at all.
    pub fn pooled_tokens(&self, texts: &[&TokenIds]) -> Result<Tensor, EncoderError> {
        if texts.len() <= PART || self.device.is_cuda() {
            return self.pooled_part(texts);
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| texts[text].ids.len());
        let part = |part: &[usize]| {
            let texts: Vec<&TokenIds> = part.iter().map(|&text| texts[text]).collect();
            self.pooled_part(&texts)
        };
        let parts = order.chunks(PART).map(part).collect::<Result<Vec<_>, _>>()?;
        let mut place = vec![0i64; order.len()];
        for (row, &text) in order.iter().enumerate() {
            place[text] = row as i64;
        }
        let place = self.moved(&Tensor::from_slice(&place))?;
        let sorted = || Tensor::f_cat(&parts, 0)?.f_index_select(0, &place);
        let failed = |source| ModelError::Torch { operation: "cat", name: String::new(), source };
        Ok(sorted().map_err(failed)?)
    }

    fn pooled_part(&self, texts: &[&TokenIds]) -> Result<Tensor, EncoderError> {
        let (ids, mask) = token_batch(&self.tokenizer.pad_batch(texts))?;
        let (ids, mask) = (self.moved(&ids)?, self.moved(&mask)?); // [B, L]
        Ok(self.model.text_pooled(&mut self.torch(), &ids, &mask)?)
    }

    /// What of a side's pooled outputs `[B, …]` its projection standardizes: all but a mixture of classes,
    /// `[B, hidden]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for what the tower did not answer.
    pub fn own_part(&self, side: Side, pooled: &Tensor) -> Result<Tensor, EncoderError> {
        let parts = match side {
            Side::Image => self.model.image_parts(&mut self.torch(), pooled)?,
            Side::Text => None,
        };
        Ok(parts.map_or_else(|| pooled.shallow_clone(), |[own, _]| own))
    }

    /// sha-256 (hex) over the configuration of a side's tower and over its weights that are not learned,
    /// whatever file they are from: what its locked parts answer depends on nothing else of a model
    /// with the same tokenizer.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where a weight is missing.
    fn locked_digest(&self, side: Side) -> Result<String, EncoderError> {
        let mut parameters = self.model.tower_parameters(side);
        if side == Side::Image {
            parameters.extend(self.model.class_parameters());
            parameters.extend(self.model.classes().map(ClassMixture::names_parameter));
        }
        let mut hasher = Sha256::new();
        hasher.update(match side {
            Side::Image => format!("{:?}", self.model.config.vision_config),
            Side::Text => {
                let length = self.tokenizer.context_length();
                format!("{:?}, {length} tokens", self.model.config.text_config)
            }
        });
        for Parameter { name, .. } in parameters {
            if self.rates.of(&name) == 0.0 {
                hasher.update(name.as_bytes());
                let (_, data) = self.weights.data(&name)?;
                let bytes: Vec<u8> = data.into_iter().flat_map(f32::to_le_bytes).collect();
                hasher.update(bytes);
            }
        }
        Ok(hex(&hasher.finalize()))
    }

    /// On the device where this encoder computes.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where the device has no room.
    pub fn moved(&self, tensor: &Tensor) -> Result<Tensor, EncoderError> {
        let failed = |source| ModelError::Torch { operation: "copy", name: String::new(), source };
        Ok(device::moved(tensor, self.device).map_err(failed)?)
    }

    /// Pooled `[B, hidden]` of one side → normalized `[B, D]`, with gradients.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where the shapes do not fit.
    pub fn embed(&self, side: Side, pooled: &Tensor) -> Result<Tensor, EncoderError> {
        Ok(self.model.embeddings(&mut self.torch(), side, pooled)?)
    }

    /// As [`Encoder::embed`], where `between` is what becomes of a residual projection's hidden numbers
    /// `[B, H]`.
    ///
    /// # Errors
    /// [`EncoderError::Model`] where the shapes do not fit, and those of `between`.
    pub fn embed_between(
        &self,
        side: Side,
        pooled: &Tensor,
        between: Between<'_, Tensor>,
    ) -> Result<Tensor, EncoderError> {
        let mut ops = self.torch();
        let features = self.model.features_between(&mut ops, side, pooled, between)?;
        Ok(ops.l2_normalize(&features)?)
    }

    /// As [`Encoder::embed`], without gradients, as embeddings.
    ///
    /// # Errors
    /// [`EncoderError::NotAnEmbedding`] where the model answers NaN or zero.
    pub fn embeddings(&self, side: Side, pooled: &Tensor) -> Result<Vec<Embedding>, EncoderError> {
        let rows = tch::no_grad(|| self.embed(side, pooled))?;
        Self::as_embeddings(side, &rows)
    }

    /// What the image tower answered, pooled `[B, hidden]`, at length one and without the projection.
    ///
    /// # Errors
    /// [`EncoderError::NotAnEmbedding`] where it is NaN or zero.
    pub fn tower_embeddings(&self, pooled: &Tensor) -> Result<Vec<Embedding>, EncoderError> {
        let rows = tch::no_grad(|| self.torch().l2_normalize(pooled))?;
        Self::as_embeddings(Side::Image, &rows)
    }

    fn as_embeddings(side: Side, rows: &Tensor) -> Result<Vec<Embedding>, EncoderError> {
        let width = rows.size()[1] as usize;
        let rows = rows.to_device(Device::Cpu).contiguous(); // [B, D]
        let flat = Vec::<f32>::try_from(rows.view([-1])).map_err(|source| ModelError::Torch {
            operation: "copy",
            name: String::new(),
            source,
        })?;
        let embedding = |(i, row): (usize, &[f32])| {
            let of = format!("{side:?} {i}").to_lowercase();
            Embedding::new(row.to_vec()).map_err(|_| EncoderError::NotAnEmbedding { of })
        };
        flat.chunks_exact(width).enumerate().map(embedding).collect()
    }
}

/// How many blocks of the image tower answer the same in every epoch.
fn kept_blocks(rates: &Rates) -> Result<usize, EncoderError> {
    let (found, cure) = match (rates.is_locked(Side::Image), rates.locked_image_blocks()) {
        (true, _) => (
            "all of it is locked, and its outputs are cached as it is",
            "let its last blocks learn",
        ),
        (false, 0) => ("its first one learns", "lock the first ones in model.learning_rates"),
        (false, blocks) => return Ok(blocks),
    };
    Err(EncoderError::NothingToKeep { found, cure })
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
