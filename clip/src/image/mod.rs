//! Picture bytes to pixel values, as the reference processors of Hugging Face do it.
//!
//! Two steps: [`decode`] makes upright RGB out of whatever a person owns, [`ImageProcessor`] makes
//! the tensor that a model was trained on.
//! This room knows nothing of models beyond a `preprocessor_config.json`; it reads no files itself
//! except that one, so whoever calls decides what may be opened.

mod decode;
mod format;
#[cfg(any(feature = "avif", feature = "heic"))]
mod heif;
mod jpeg;
mod processor;
mod settings;
mod svg;
mod view;

pub use decode::{DecodeError, DecodeLimits, DecodedImage, decode};
pub use format::Format;
pub use image::{ImageFormat, RgbImage};
pub use processor::{
    ImageProcessor, ImageProcessorConfig, PixelValues, ProcessorError, Resample, Size,
};
pub use view::{Cut, View};
