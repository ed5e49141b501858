//! Upright RGB pixels to the tensor a model was trained on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::settings::{Corner, understand};
use super::{Cut, View};

/// What a `preprocessor_config.json` says, in Hugging Face's keys; unknown keys are passed over.
///
/// Absent keys mean what they mean in `transformers`' `CLIPImageProcessor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageProcessorConfig {
    /// How large the picture is made: the shorter side, or a rectangle that it is squashed into.
    pub size: Size,
    /// The filter, by Pillow's numbers.
    pub resample: Resample,
    /// Whether the middle is cut out after resizing.
    pub do_center_crop: bool,
    /// The size of that cut.
    pub crop_size: Option<Size>,
    /// What 8-bit values are multiplied by.
    pub rescale_factor: f64,
    /// Subtracted after rescaling, per channel.
    pub image_mean: [f32; 3],
    /// Divided by after that, per channel.
    pub image_std: [f32; 3],
}

/// Sizes as processors of several ages write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// A rectangle: aspect is not kept.
    Rectangle {
        /// Pixels.
        height: u32,
        /// Pixels.
        width: u32,
    },
    /// The shorter side; the longer follows.
    Shortest {
        /// Pixels.
        shortest_edge: u32,
    },
    /// Old files: one number, the shorter side or the crop's side.
    Side(u32),
}

/// Filters by Pillow's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Resample {
    /// 0
    Nearest,
    /// 1
    Lanczos,
    /// 2
    Bilinear,
    /// 3
    Bicubic,
}

impl TryFrom<u8> for Resample {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Nearest),
            1 => Ok(Self::Lanczos),
            2 => Ok(Self::Bilinear),
            3 => Ok(Self::Bicubic),
            _ => Err(format!("resample {number} is none of 0 (nearest) to 3 (bicubic)")),
        }
    }
}

impl From<Resample> for u8 {
    fn from(resample: Resample) -> Self {
        match resample {
            Resample::Nearest => 0,
            Resample::Lanczos => 1,
            Resample::Bilinear => 2,
            Resample::Bicubic => 3,
        }
    }
}

impl Default for ImageProcessorConfig {
    /// CLIP's own values (`transformers`, `CLIPImageProcessor`).
    fn default() -> Self {
        Self {
            size: Size::Shortest { shortest_edge: 224 },
            resample: Resample::Bicubic,
            do_center_crop: true,
            crop_size: None,
            rescale_factor: 1.0 / 255.0,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_72],
            image_std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
        }
    }
}

/// A processor that cannot be made.
#[derive(Debug, Error)]
pub enum ProcessorError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no such configuration.
    #[error("{} is not an image processor's configuration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file says what we cannot do.
    #[error("pictures cannot be prepared as {} says: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The numbers make no tensor.
    #[error("an image processor cannot work with {what}")]
    Unusable {
        /// Which numbers.
        what: String,
    },
}

/// The pixels of one image as a model takes them: f32, `[3, H, W]`, rescaled and normalized.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelValues {
    /// Channel by channel, row by row.
    pub data: Vec<f32>,
    /// `H`
    pub height: usize,
    /// `W`
    pub width: usize,
}

/// Resize, crop, rescale, normalize, in the order of the reference processors.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    config: ImageProcessorConfig,
    corner: Corner,
    height: u32,
    width: u32,
}

impl ImageProcessor {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`ProcessorError::Unusable`] for a size of zero, a crop larger than the resized picture can
    /// be relied on to be, or a deviation of zero.
    pub fn new(config: ImageProcessorConfig) -> Result<Self, ProcessorError> {
        let unusable = |what: String| Err(ProcessorError::Unusable { what });
        let (height, width) = output_size(&config);
        if height == 0 || width == 0 || shorter(config.size) == 0 {
            return unusable(format!("a size of {width}×{height} pixels"));
        }
        let (resized_height, resized_width) = match config.size {
            Size::Rectangle { height, width } => (height, width),
            Size::Shortest { shortest_edge: side } | Size::Side(side) => (side, side),
        };
        if height > resized_height || width > resized_width {
            return unusable(format!(
                "a crop of {width}×{height} out of pictures resized to {resized_width}×{resized_height}"
            ));
        }
        if config.image_std.iter().any(|std| !std.is_normal()) {
            return unusable(format!("image_std {:?}", config.image_std));
        }
        Ok(Self { config, corner: Corner::Floored, height, width })
    }

    /// Reads a `preprocessor_config.json` of Hugging Face, or `open_clip`'s `preprocess_cfg` in a file
    /// of its own or within `open_clip_config.json`.
    ///
    /// # Errors
    /// [`ProcessorError`], naming the file or the numbers.
    pub fn from_file(path: &Path) -> Result<Self, ProcessorError> {
        let text = std::fs::read(path)
            .map_err(|source| ProcessorError::Read { path: path.to_owned(), source })?;
        let file = serde_json::from_slice(&text)
            .map_err(|source| ProcessorError::Parse { path: path.to_owned(), source })?;
        let (config, corner) = understand(file)
            .map_err(|reason| ProcessorError::Settings { path: path.to_owned(), reason })?;
        Ok(Self { corner, ..Self::new(config)? })
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &ImageProcessorConfig {
        &self.config
    }

    /// Rows `H` of its output.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height as usize
    }

    /// Columns `W` of its output.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// Makes the model's input of an upright picture.
    #[must_use]
    pub fn process(&self, picture: &RgbImage) -> PixelValues {
        self.process_view(picture, &View::default())
    }

    /// Makes the model's input of an upright picture, looked at in another way than [`process`] does.
    ///
    /// A cut is resized to `[H, W]` by the same filter, whatever its shape; a mirrored view is the
    /// plain one with its columns in reverse. The part of a cut outside of the picture is left out.
    ///
    /// [`process`]: Self::process
    #[must_use]
    pub fn process_view(&self, picture: &RgbImage, view: &View) -> PixelValues {
        let (resized, shown) = self.resized(picture, view);
        let mut values = self.normalize(&resized, shown);
        if view.mirrored {
            values.data.chunks_exact_mut(values.width).for_each(<[f32]>::reverse);
        }
        values
    }

    /// The pixels, `[H, W]` with eight bits a channel, that [`process_view`](Self::process_view)
    /// normalizes: for whoever changes them before.
    #[must_use]
    pub fn view_pixels(&self, picture: &RgbImage, view: &View) -> RgbImage {
        let (resized, shown) = self.resized(picture, view);
        let whole = resized.dimensions() == (shown.width, shown.height);
        let mut pixels = if whole { resized } else { shown.of(&resized) };
        if view.mirrored {
            image::imageops::flip_horizontal_in_place(&mut pixels);
        }
        pixels
    }

    /// Rescales and normalizes pixels that have been cut and resized, whatever their sides.
    #[must_use]
    pub fn normalized(&self, pixels: &RgbImage) -> PixelValues {
        let (width, height) = pixels.dimensions();
        self.normalize(pixels, Cut { x: 0, y: 0, width, height })
    }

    /// The picture resized, and which part of that a view shows.
    fn resized(&self, picture: &RgbImage, view: &View) -> (RgbImage, Cut) {
        let (width, height) = (self.width, self.height);
        let resized = match view.cut {
            None => self.resize(picture),
            Some(cut) => resize(&cut.of(picture), width, height, self.config.resample),
        };
        let x = self.corner.before(resized.width() - width);
        let y = self.corner.before(resized.height() - height);
        (resized, Cut { x, y, width, height })
    }

    /// Width and height of the part of a picture that [`process`](Self::process) shows, in pixels of
    /// a picture of `width` by `height`.
    #[must_use]
    pub fn shown(&self, width: u32, height: u32) -> (f64, f64) {
        let (width, height) = (f64::from(width), f64::from(height));
        let (across, down) = match self.config.size {
            Size::Rectangle { height: to_height, width: to_width } => {
                (width / f64::from(to_width), height / f64::from(to_height))
            }
            Size::Shortest { shortest_edge: side } | Size::Side(side) => {
                let scale = width.min(height) / f64::from(side);
                (scale, scale)
            }
        };
        (across * f64::from(self.width), down * f64::from(self.height))
    }

    /// The picture at the size that the crop is cut from; at least as large as the crop.
    #[must_use]
    pub fn resize(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = match self.config.size {
            Size::Rectangle { height, width } => (width, height),
            Size::Shortest { shortest_edge: side } | Size::Side(side) => {
                shortest_side_to(side, picture.dimensions())
            }
        };
        resize(picture, width, height, self.config.resample)
    }

    /// Lays a part, which lies within the pixels, out channel by channel.
    fn normalize(&self, resized: &RgbImage, part: Cut) -> PixelValues {
        let (height, width) = (part.height as usize, part.width as usize);
        let (factor, mean, std) =
            (self.config.rescale_factor as f32, self.config.image_mean, self.config.image_std);
        // one multiplication and one addition a value: (v·factor − mean) / std
        let scale = std.map(|std| factor / std);
        let shift = [0, 1, 2].map(|c: usize| -mean[c] / std[c]);
        let mut data = vec![0f32; 3 * height * width];
        let (red, rest) = data.split_at_mut(height * width);
        let (green, blue) = rest.split_at_mut(height * width);
        let stride = resized.width() as usize * 3;
        for y in 0..height {
            let start = (part.y as usize + y) * stride + part.x as usize * 3;
            let (pixels, _) = resized.as_raw()[start..start + width * 3].as_chunks::<3>();
            for (x, pixel) in pixels.iter().enumerate() {
                let at = y * width + x;
                red[at] = f32::from(pixel[0]) * scale[0] + shift[0];
                green[at] = f32::from(pixel[1]) * scale[1] + shift[1];
                blue[at] = f32::from(pixel[2]) * scale[2] + shift[2];
            }
        }
        PixelValues { data, height, width }
    }
}

fn shorter(size: Size) -> u32 {
    match size {
        Size::Rectangle { height, width } => height.min(width),
        Size::Shortest { shortest_edge: side } | Size::Side(side) => side,
    }
}

/// (height, width) of the tensor.
fn output_size(config: &ImageProcessorConfig) -> (u32, u32) {
    let cut = if config.do_center_crop { config.crop_size } else { None };
    match cut.unwrap_or(config.size) {
        Size::Rectangle { height, width } => (height, width),
        Size::Shortest { shortest_edge: side } | Size::Side(side) => (side, side),
    }
}

/// The shorter side becomes `side`, the longer one is truncated (`transformers`,
/// `get_resize_output_image_size`).
fn shortest_side_to(side: u32, (width, height): (u32, u32)) -> (u32, u32) {
    let longer = |long: u32, short: u32| {
        (u64::from(side) * u64::from(long) / u64::from(short.max(1))).min(u64::from(u16::MAX))
            as u32
    };
    if width <= height { (side, longer(height, width)) } else { (longer(width, height), side) }
}

/// Resizes as Pillow does: one axis after the other, with eight bits in between. The order matters,
/// because a filter overshoots at edges and what overshoots is clipped after each pass.
fn resize(picture: &RgbImage, width: u32, height: u32, resample: Resample) -> RgbImage {
    let (first_width, first_height) = if columns_first(picture.dimensions(), (width, height)) {
        (picture.width(), height)
    } else {
        (width, picture.height())
    };
    let halfway = resize_once(picture, first_width, first_height, resample);
    resize_once(&halfway, width, height, resample).into_owned()
}

/// Pillow 13 shrinks columns first where the height loses more than twice what the width loses
/// (found by comparing its answers with both orders); older releases always begin with the rows.
fn columns_first(from: (u32, u32), to: (u32, u32)) -> bool {
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    lost(from.1, to.1) > 2 * lost(from.0, to.0).max(0)
}

/// Pillow's BICUBIC is Catmull-Rom with antialiasing (worst difference 2/255), its LANCZOS has three
/// lobes.
fn resize_once(
    picture: &RgbImage,
    width: u32,
    height: u32,
    resample: Resample,
) -> Cow<'_, RgbImage> {
    if picture.dimensions() == (width, height) {
        return Cow::Borrowed(picture);
    }
    let algorithm = match resample {
        Resample::Nearest => ResizeAlg::Nearest,
        Resample::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        Resample::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Resample::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
    };
    let options = ResizeOptions::new().resize_alg(algorithm);
    let source =
        ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3)
            .expect("an RgbImage holds width × height × 3 bytes");
    let mut resized = Image::new(width, height, PixelType::U8x3);
    Resizer::new()
        .resize(&source, &mut resized, &options)
        .expect("source and target have the same pixel type");
    Cow::Owned(
        RgbImage::from_raw(width, height, resized.into_vec())
            .expect("the target was made for width × height"),
    )
}

#[cfg(test)]
mod tests;
