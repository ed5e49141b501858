//! AVIF and HEIC by libheif, which turns and mirrors as the file says.

use std::sync::LazyLock;

use image::RgbImage;
use libheif_rs::{
    ColorSpace, DecodingOptions, HeifContext, HeifError, Image, LibHeif, RgbChroma, SecurityLimits,
};

use super::decode::{DecodeError, DecodeLimits, over_white};
use super::format::Format;

/// Held for the life of the process: threads come and go with a library that must not.
static LIBRARY: LazyLock<LibHeif> = LazyLock::new(LibHeif::new);

/// Most bytes that libheif holds for one pixel: planes of four 16-bit channels, the same interleaved,
/// and one copy between the two.
const WIDEST_PIXEL: u64 = 24;

/// Side of the largest block of AV1 in pixels; HEVC's are half as large.
const BLOCK: u64 = 128;

/// Room for boxes and tables.
const TABLES: u64 = 64 << 20;

/// Decodes the primary picture of a HEIF file: upright, on white, 10 and 12 bits scaled to eight.
///
/// # Errors
/// [`DecodeError::TooLarge`] by what the file says of itself, before any pixel is decoded;
/// [`DecodeError::Broken`] in libheif's words, which also refuses a file that said too little.
pub(super) fn decode(
    bytes: &[u8],
    format: Format,
    limits: &DecodeLimits,
) -> Result<RgbImage, DecodeError> {
    let broken = |source: HeifError| DecodeError::Broken { format, source: Box::new(source) };
    let library = &*LIBRARY;
    let mut context = HeifContext::read_from_bytes(bytes).map_err(broken)?;
    // Whoever calls has threads of its own.
    context.set_max_decoding_threads(0);
    let handle = context.primary_image_handle().map_err(broken)?;
    limits.check(handle.width(), handle.height())?;
    let (alpha, deep) = (handle.has_alpha_channel(), handle.luma_bits_per_pixel() > 8);
    let bounds = bounds(limits, handle.width(), handle.height());
    context.set_security_limits(&bounds).map_err(broken)?;
    let chroma = match (alpha, deep) {
        (false, false) => RgbChroma::Rgb,
        (true, false) => RgbChroma::Rgba,
        (false, true) => RgbChroma::HdrRgbLe,
        (true, true) => RgbChroma::HdrRgbaLe,
    };
    let image = library.decode(&handle, ColorSpace::Rgb(chroma), options()).map_err(broken)?;
    let alpha = match (alpha, handle.is_premultiplied_alpha()) {
        (false, _) => Alpha::None,
        (true, false) => Alpha::Straight,
        (true, true) => Alpha::Multiplied,
    };
    let lost = || DecodeError::Broken { format, source: "libheif gave no whole image".into() };
    let pixels = upright(&image, deep, alpha).ok_or_else(lost)?;
    limits.check(pixels.width(), pixels.height())?;
    Ok(pixels)
}

/// Strict, and on the caller's thread.
fn options() -> Option<DecodingOptions> {
    let mut options = DecodingOptions::new()?;
    // What is not as the standard wants it is damaged; a guess at it would be indexed as a picture.
    options.set_strict_decoding(true);
    options.set_num_codec_threads(1);
    Some(options)
}

/// What libheif may spend on a picture of this size, whatever else the file holds.
fn bounds(limits: &DecodeLimits, width: u32, height: u32) -> SecurityLimits {
    // Codecs store whole blocks and cut off what is too much.
    let blocks = |side: u32| u64::from(side).next_multiple_of(BLOCK);
    let most = limits.max_pixels.max(blocks(width).saturating_mul(blocks(height)));
    let memory = most.saturating_mul(WIDEST_PIXEL).saturating_add(TABLES);
    let mut bounds = SecurityLimits::new();
    bounds.set_max_image_size_pixels(most);
    bounds.set_max_memory_block_size(memory);
    bounds.set_max_total_memory(memory);
    bounds
}

/// How the fourth channel is meant.
#[derive(Clone, Copy, PartialEq)]
enum Alpha {
    None,
    Straight,
    /// The colors have been multiplied by it already.
    Multiplied,
}

/// Interleaved samples as RGB on white; none where there are fewer than the size wants.
fn upright(image: &Image, deep: bool, alpha: Alpha) -> Option<RgbImage> {
    let plane = image.planes().interleaved?;
    let (width, height) = (plane.width as usize, plane.height as usize);
    let channels = if alpha == Alpha::None { 3 } else { 4 };
    let length = width * channels * if deep { 2 } else { 1 };
    let most = (1u32 << plane.bits_per_pixel.clamp(8, 16)) - 1;
    let mut pixels = Vec::with_capacity(width * height * 3);
    let mut rows = 0;
    for row in plane.data.chunks(plane.stride.max(1)).take(height) {
        let row = row.get(..length)?;
        let sample = |at: usize| match deep {
            false => row[at],
            true => scaled(u16::from_le_bytes([row[2 * at], row[2 * at + 1]]), most),
        };
        for at in (0..width * channels).step_by(channels) {
            let color = [sample(at), sample(at + 1), sample(at + 2)];
            pixels.extend(match alpha {
                Alpha::None => color,
                Alpha::Straight => color.map(|channel| over_white(channel, sample(at + 3))),
                Alpha::Multiplied => color.map(|c| c.saturating_add(255 - sample(at + 3))),
            });
        }
        rows += 1;
    }
    if rows < height {
        return None;
    }
    RgbImage::from_raw(plane.width, plane.height, pixels)
}

/// A sample of which `most` is the largest, in eight bits, rounded.
fn scaled(sample: u16, most: u32) -> u8 {
    ((u32::from(sample).min(most) * 255 + most / 2) / most) as u8
}
