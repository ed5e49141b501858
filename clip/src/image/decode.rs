//! Bytes of a picture file to upright RGB pixels.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use thiserror::Error;

use super::format::Format;
use super::{jpeg, svg};

/// What a decoder may spend on one picture.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Width times height above which a picture is refused before it is decoded.
    pub max_pixels: u64,
    /// Longer side in pixels at which a drawing (SVG) is painted, whatever size it says it has.
    pub drawing_side: u32,
}

impl Default for DecodeLimits {
    /// 200 megapixels: more than any camera's single shot, 600 MB decoded. Drawings at 1,024 pixels: more than
    /// models look at, and enough for the page.
    fn default() -> Self {
        Self { max_pixels: 200_000_000, drawing_side: 1024 }
    }
}

impl DecodeLimits {
    /// Refuses a picture of so many pixels, should they be too many.
    pub(super) fn check(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        let max_pixels = self.max_pixels;
        if u64::from(width) * u64::from(height) > max_pixels {
            return Err(DecodeError::TooLarge { width, height, max_pixels });
        }
        Ok(())
    }
}

/// A picture as pixels: turned upright, transparency on white, eight bits a channel.
#[derive(Debug, Clone)]
pub struct DecodedImage {
    /// The pixels.
    pub pixels: RgbImage,
    /// What the bytes were, whatever the file was called.
    pub format: Format,
}

/// Why bytes are not a picture.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The first bytes belong to no format that we read.
    #[error(
        "not a picture in a format that Clipsight reads (JPEG, PNG, WebP, GIF, BMP, TIFF, SVG; AVIF and HEIC where they are built in)"
    )]
    UnknownFormat,
    /// A format that this build was made without.
    #[error("{} is not built in; build with --features {feature}", format.name())]
    NotBuiltIn {
        /// What the first bytes say.
        format: Format,
        /// The feature of the build that reads it.
        feature: &'static str,
    },
    /// More pixels than the limit allows.
    #[error(
        "{width}×{height} pixels are more than the limit of {max_pixels}; raise it with --max-pixels"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// The file ends before its picture does.
    #[error("the {} is cut off: its end marker is missing", format.name())]
    Truncated {
        /// What the first bytes say.
        format: Format,
    },
    /// The decoder gave up.
    #[error("the {} cannot be decoded", format.name())]
    Broken {
        /// What the first bytes say.
        format: Format,
        /// The decoder's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Decodes a picture by its content: the name of the file plays no part.
///
/// The orientation that the file notes is applied, transparency is composited on white, wider channels are scaled to
/// eight bits; of an animation the first frame is taken; a drawing (SVG) is painted without its text, its
/// longer side [`DecodeLimits::drawing_side`] pixels long; color profiles are ignored, as the reference
/// processors do.
///
/// # Errors
/// [`DecodeError`], worded for the person who owns the picture.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<DecodedImage, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let format = Format::of(bytes).ok_or(DecodeError::UnknownFormat)?;
    if format == Format::Jpeg && !jpeg::is_whole(bytes) {
        return Err(DecodeError::Truncated { format });
    }
    if let Some(feature) = format.missing_feature() {
        return Err(DecodeError::NotBuiltIn { format, feature });
    }
    if format == Format::Svg {
        return Ok(DecodedImage { pixels: svg::decode(bytes, limits)?, format });
    }
    let Some(known) = format.in_rust() else {
        return Ok(DecodedImage { pixels: by_library(bytes, format, limits)?, format });
    };
    let broken = |source| DecodeError::Broken { format, source: Box::new(source) };

    let mut reader = ImageReader::with_format(Cursor::new(bytes), known);
    reader.limits(allocation_limits(limits));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(DecodedImage { pixels: on_white(image), format })
}

#[cfg(any(feature = "avif", feature = "heic"))]
use super::heif::decode as by_library;

/// Without a feature there is no format that would come here.
#[cfg(not(any(feature = "avif", feature = "heic")))]
fn by_library(_: &[u8], _: Format, _: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    Err(DecodeError::UnknownFormat)
}

/// Room for the largest allowed picture in the widest pixels (four 16-bit channels), and for the
/// decoder's own tables.
fn allocation_limits(limits: &DecodeLimits) -> Limits {
    const WIDEST_PIXEL: u64 = 8;
    const TABLES: u64 = 64 << 20;
    let mut allocation = Limits::no_limits();
    allocation.max_alloc = Some(limits.max_pixels.saturating_mul(WIDEST_PIXEL) + TABLES);
    allocation
}

fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|channel| over_white(channel, a)))
    })
}

/// Source-over on white: c·a + 255·(1 − a), rounded.
pub(super) fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, ImageFormat, Luma, Rgba};

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> DynamicImage {
        DynamicImage::ImageRgb8(RgbImage::from_fn(40, 20, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 12) as u8, 90])
        }))
    }

    #[test]
    fn every_format_is_known_by_its_content() {
        for (format, known) in Format::all_in_rust() {
            let decoded = decode(&encode(&gradient(), known), &DecodeLimits::default()).unwrap();
            assert_eq!(decoded.format, format);
            assert_eq!(decoded.pixels.dimensions(), (40, 20));
        }
    }

    #[test]
    fn a_cut_off_file_of_every_format_is_an_error() {
        for (format, known) in Format::all_in_rust() {
            let bytes = encode(&gradient(), known);
            let error = decode(&bytes[..bytes.len() / 2], &DecodeLimits::default()).unwrap_err();
            assert!(
                matches!(error, DecodeError::Truncated { .. } | DecodeError::Broken { .. }),
                "{format:?}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_picture_is_said_plainly() {
        let limits = DecodeLimits::default();
        assert!(matches!(decode(b"", &limits), Err(DecodeError::Empty)));
        assert!(matches!(decode(b"hello, world", &limits), Err(DecodeError::UnknownFormat)));
    }

    #[test]
    fn what_was_not_built_in_names_its_feature() {
        for (brand, feature, built_in) in
            [("avif", "avif", cfg!(feature = "avif")), ("heic", "heic", cfg!(feature = "heic"))]
        {
            let bytes = format!("\0\0\0\x10ftyp{brand}\0\0\0\0");
            let error = decode(bytes.as_bytes(), &DecodeLimits::default()).unwrap_err();
            let name = brand.to_uppercase();
            let missing = format!("{name} is not built in; build with --features {feature}");
            let broken = format!("the {name} cannot be decoded");
            assert_eq!(error.to_string(), if built_in { broken } else { missing });
        }
    }

    #[test]
    fn too_many_pixels_are_refused_before_decoding() {
        let bytes = encode(&gradient(), ImageFormat::Png);
        let error = decode(&bytes, &DecodeLimits { max_pixels: 799, ..DecodeLimits::default() })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "40×20 pixels are more than the limit of 799; raise it with --max-pixels"
        );
        assert!(
            decode(&bytes, &DecodeLimits { max_pixels: 800, ..DecodeLimits::default() }).is_ok()
        );
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let pixels = ImageBuffer::from_pixel(2, 2, Rgba([255u8, 0, 0, 128]));
        let bytes = encode(&DynamicImage::ImageRgba8(pixels), ImageFormat::Png);
        let decoded = decode(&bytes, &DecodeLimits::default()).unwrap();
        assert_eq!(decoded.pixels.get_pixel(0, 0).0, [255, 127, 127]);
    }

    #[test]
    fn sixteen_bits_are_scaled_not_clipped() {
        let pixels = ImageBuffer::from_pixel(2, 2, Luma([32_896u16]));
        let bytes = encode(&DynamicImage::ImageLuma16(pixels), ImageFormat::Png);
        let decoded = decode(&bytes, &DecodeLimits::default()).unwrap();
        assert_eq!(decoded.pixels.get_pixel(0, 0).0, [128; 3]);
    }

    /// Orientation 6 says: turn by 90° clockwise to see it upright.
    #[test]
    fn exif_orientation_is_applied() {
        let plain = encode(&gradient(), ImageFormat::Jpeg);
        // big-endian TIFF header, one entry: tag 0x0112 (orientation), SHORT, count 1, value 6
        let exif: [u8; 32] = [
            b'E', b'x', b'i', b'f', 0, 0, b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0,
            0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0,
        ];
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xFF, 0xE1, 0, 34]);
        bytes.extend(exif);
        bytes.extend(&plain[2..]);
        let decoded = decode(&bytes, &DecodeLimits::default()).unwrap();
        assert_eq!(decoded.pixels.dimensions(), (20, 40));
        // what was the bottom left corner (low red, high green) is now top left
        let [r, g, _] = decoded.pixels.get_pixel(1, 1).0;
        assert!(r < 40 && g > 180, "{r} {g}");
    }
}
