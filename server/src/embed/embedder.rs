//! The handle to a running model: texts and pictures in, embeddings out.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use clip::Embedding;
use clip::image::{DecodeError, DecodeLimits, ImageProcessor, PixelValues};
use lru::LruCache;
use tokio::sync::Semaphore;

use super::lane::Lane;
use super::{EmbedError, ModelFacts, TowerLoad};

/// Texts longer than this are not cached: nobody repeats them, and the keys stay small.
const LONGEST_CACHED_BYTES: usize = 512;

/// Above so many pixels (120 MB of RGB) pictures are decoded one at a time.
const LARGE_PIXELS: u64 = 40_000_000;

/// A running model. Cheap to clone; the last clone stops its threads.
#[derive(Clone)]
pub struct Embedder {
    pub(super) inner: Arc<Inner>,
}

/// An embedding of a text, and whether the model saw all of it.
#[derive(Debug, Clone)]
pub struct TextEmbedding {
    /// Where the text lies.
    pub embedding: Arc<Embedding>,
    /// Whether the model's context cut off the end of the text.
    pub truncated: bool,
    /// Tokens that the model read, its own around the text included.
    pub tokens: usize,
}

/// An embedding of a picture, and how large the picture is as it is seen.
#[derive(Debug, Clone)]
pub struct PictureEmbedding {
    /// Where the picture lies.
    pub embedding: Embedding,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A picture on its way to the model.
struct Decoded {
    values: PixelValues,
    width: u32,
    height: u32,
}

pub(super) struct Inner {
    pub(super) facts: ModelFacts,
    pub(super) processor: ImageProcessor,
    pub(super) limits: DecodeLimits,
    pub(super) images: Lane<PixelValues, Embedding>,
    pub(super) texts: Lane<String, TextEmbedding>,
    pub(super) cache: Mutex<LruCache<String, TextEmbedding>>,
    /// Pictures that are decoded at once: each takes three bytes a pixel.
    pub(super) decoding: Semaphore,
    /// All the permits of `decoding`.
    pub(super) decoders: u32,
}

impl Embedder {
    /// What is running.
    #[must_use]
    pub fn facts(&self) -> &ModelFacts {
        &self.inner.facts
    }

    /// Turns a decoded picture into what the image tower takes.
    #[must_use]
    pub fn processor(&self) -> &ImageProcessor {
        &self.inner.processor
    }

    /// Which pictures may be decoded.
    #[must_use]
    pub fn limits(&self) -> &DecodeLimits {
        &self.inner.limits
    }

    /// Whether both towers still take work.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.inner.images.is_alive() && self.inner.texts.is_alive()
    }

    /// How busy each tower is, under its name.
    #[must_use]
    pub fn load(&self) -> [(&'static str, TowerLoad); 2] {
        [("image", self.inner.images.load()), ("text", self.inner.texts.load())]
    }

    /// Embeds one text, from the cache if it was asked for before.
    ///
    /// # Errors
    /// [`EmbedError::Overloaded`] when the queue is full, and what the model says.
    pub async fn text(&self, text: &str) -> Result<TextEmbedding, EmbedError> {
        if let Some(known) = self.cached(text) {
            return Ok(known);
        }
        let mut answers = self.texts(vec![text.to_owned()]).await?;
        let answer = answers.pop().ok_or(EmbedError::Stopped)?;
        if text.len() <= LONGEST_CACHED_BYTES {
            let mut cache = self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.put(text.to_owned(), answer.clone());
        }
        Ok(answer)
    }

    /// Embeds many texts in their order, past the cache.
    ///
    /// # Errors
    /// As [`Embedder::text`].
    pub async fn texts(&self, texts: Vec<String>) -> Result<Vec<TextEmbedding>, EmbedError> {
        self.inner.texts.run(texts).await
    }

    /// Decodes and embeds the bytes of one picture; the place in the queue is taken before the
    /// decoding, so that a refusal costs nothing.
    ///
    /// # Errors
    /// [`EmbedError::Overloaded`] when the queue is full, [`EmbedError::Picture`] when the bytes are
    /// no picture, and what the model says.
    pub async fn picture(&self, bytes: Arc<Vec<u8>>) -> Result<PictureEmbedding, EmbedError> {
        let place = self.inner.images.reserve()?;
        let Decoded { values, width, height } = self.decode(bytes).await?;
        let embedding = place.run(vec![values]).await?.pop().ok_or(EmbedError::Stopped)?;
        Ok(PictureEmbedding { embedding, width, height })
    }

    /// Decodes and resizes a picture on a thread of its own; a large one while no other is decoded.
    async fn decode(&self, bytes: Arc<Vec<u8>>) -> Result<Decoded, EmbedError> {
        let limits = self.inner.limits;
        let most = DecodeLimits {
            max_pixels: limits.max_pixels.min(LARGE_PIXELS),
            ..DecodeLimits::default()
        };
        let turns = [(1, most), (self.inner.decoders, limits)];
        for (turns, limits) in turns {
            let held = self.inner.decoding.acquire_many(turns).await;
            let _held = held.map_err(|_| EmbedError::Stopped)?;
            let (inner, bytes) = (Arc::clone(&self.inner), Arc::clone(&bytes));
            let decoding = tokio::task::spawn_blocking(move || {
                let pixels = clip::image::decode(&bytes, &limits)?.pixels;
                let (width, height) = pixels.dimensions();
                Ok(Decoded { values: inner.processor.process(&pixels), width, height })
            });
            match decoding.await.map_err(|_| EmbedError::Decoder)? {
                // Nothing was decoded yet: the size stands at the beginning of the file.
                Err(DecodeError::TooLarge { .. })
                    if limits.max_pixels < self.inner.limits.max_pixels => {}
                done => return done.map_err(EmbedError::Picture),
            }
        }
        Err(EmbedError::Decoder)
    }

    /// Embeds prepared pictures in their order. For threads of their own: waits for room in the
    /// queue, and panics inside an async task.
    ///
    /// # Errors
    /// What the model says.
    pub fn images_blocking(&self, images: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedError> {
        self.inner.images.run_blocking(images)
    }

    fn cached(&self, text: &str) -> Option<TextEmbedding> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned()
    }
}

/// An empty cache for so many texts.
pub(super) fn cache(size: NonZeroUsize) -> Mutex<LruCache<String, TextEmbedding>> {
    Mutex::new(LruCache::new(size))
}
