//! A dual encoder with all that turns pictures and words into its inputs.
//!
//! [`Encoder`] is made from a recipe; [`pooled`] runs its towers over whole sets and caches what
//! locked towers answer.
//! This room knows nothing of losses, optimizers or metrics.
//! Invariant: a picture and a text become the same numbers here in training, evaluation and export.

mod adapters;
mod bundle;
pub mod classes;
mod error;
pub mod pooled;
mod processor;
mod rates;
mod start;

use std::path::PathBuf;

use clip::image::{ImageProcessor, PixelValues};
use clip::tokenize::Tokenizer;
use clip::{Embedding, TokenIds};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::device;
use crate::model::{
    Between, ClassMixture, DualEncoder, LOGIT_SCALE, ModelError, Ops, Parameter, Side, Torch,
    Weights, pixel_batch, token_batch,
};
use crate::recipe::{Recipe, Start};

pub use error::EncoderError;
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
    /// Weights that the run which it begins from does not have: they are random, or what their own file
    /// holds, and nobody has taught them anything.
    pub untaught: Vec<String>,
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

/// Texts in a forward pass.
const PART: usize = 128;

impl Encoder {
    /// The encoder that a recipe starts from, on the CPU and in f32.
    ///
    /// # Errors
    /// [`EncoderError`], naming the file, the weight or the key that is missing or does not fit.
    pub fn from_recipe(recipe: &Recipe) -> Result<Self, EncoderError> {
        let mut origin = Origin::of(recipe)?;
        let adapted = adapters::add(&origin.model, &mut origin.weights, recipe)?;
        let mut rates = Rates::new(&origin.model, &recipe.model, adapted)?;
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
        let (projections_begin, untaught) = (origin.begins, origin.untaught.clone());
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
            untaught,
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
        let [ids, mask] = self.tokens(texts)?; // [B, L]
        Ok(self.model.text_pooled(&mut self.torch(), &ids, &mask)?)
    }

    /// Ids and mask i64 `[B, L]`, filled up to the longest text.
    ///
    /// # Errors
    /// [`EncoderError::Model`] for no text at all.
    pub fn tokens(&self, texts: &[&TokenIds]) -> Result<[Tensor; 2], EncoderError> {
        let (ids, mask) = token_batch(&self.tokenizer.pad_batch(texts))?;
        Ok([self.moved(&ids)?, self.moved(&mask)?])
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
            if !self.rates.changes(&name) {
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
