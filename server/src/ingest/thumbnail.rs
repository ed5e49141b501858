//! Small copies of pictures, made when somebody looks and kept until the picture goes.
use std::path::PathBuf;

use clip::image::{DecodeLimits, RgbImage};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;

use super::files::{FileError, file_of, write_whole};
use super::prepare::{PrepareError, read, with_pixels};
use crate::catalog::{ContentHash, DataFolder, Picture};

/// The longer sides that are made, in pixels; a size that is asked for is rounded up to one of them,
/// so that nobody fills the disk by asking for every size.
pub const THUMBNAIL_SIDES: [u32; 4] = [160, 320, 640, 1280];

/// Where a photograph shows no trace of the compression at this size.
const JPEG_QUALITY: u8 = 82;

/// The file of a JPEG whose longer side is `side` rounded up to one of [`THUMBNAIL_SIDES`], or the
/// picture's own where that is smaller. Blocks while it decodes.
///
/// # Errors
/// [`FileError`] when no file holds the picture any more, or the data folder takes none.
pub fn thumbnail(
    folder: &DataFolder,
    picture: &Picture,
    side: u32,
    limits: &DecodeLimits,
) -> Result<PathBuf, FileError> {
    let [.., largest] = THUMBNAIL_SIDES;
    let side = THUMBNAIL_SIDES.into_iter().find(|&made| made >= side).unwrap_or(largest);
    let path = thumbnail_path(folder, picture.hash, side);
    if path.is_file() {
        return Ok(path);
    }
    let source = file_of(folder, picture)?;
    let jpeg = make(&source, side, limits)
        .map_err(|error| FileError::Read { path: source, source: Box::new(error) })?;
    write_whole(&path, &jpeg)?;
    Ok(path)
}

/// Where a thumbnail is kept.
pub(super) fn thumbnail_path(folder: &DataFolder, hash: ContentHash, side: u32) -> PathBuf {
    let name = hash.to_string();
    folder.thumbnails().join(&name[..2]).join(format!("{name}-{side}.jpg"))
}

fn make(
    source: &std::path::Path,
    side: u32,
    limits: &DecodeLimits,
) -> Result<Vec<u8>, PrepareError> {
    let (_, bytes) = read(source)?;
    with_pixels(&bytes, limits, |picture| {
        let picture = &picture.pixels;
        let (width, height) = fit(picture.width(), picture.height(), side);
        let small = resize(picture, width, height)?;
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode(&small, width, height, image::ExtendedColorType::Rgb8)
            .ok()?;
        Some(jpeg)
    })?
    .ok_or(PrepareError::Thumbnail)
}

/// The largest size of the same shape whose longer side is at most `side`; never larger than it is.
fn fit(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    let scale = |length: u32| {
        let scaled =
            (u64::from(length) * u64::from(side) + u64::from(longer) / 2) / u64::from(longer);
        (scaled as u32).max(1)
    };
    (scale(width), scale(height))
}

/// RGB bytes at the new size; none for sizes that no resizer takes.
fn resize(picture: &RgbImage, width: u32, height: u32) -> Option<Vec<u8>> {
    if picture.dimensions() == (width, height) {
        return Some(picture.as_raw().clone());
    }
    let (from_width, from_height) = picture.dimensions();
    let from = ImageRef::new(from_width, from_height, picture.as_raw(), PixelType::U8x3).ok()?;
    let mut to = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&from, &mut to, &options).ok()?;
    Some(to.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_is_kept_and_nothing_is_enlarged() {
        assert_eq!(fit(4000, 3000, 320), (320, 240));
        assert_eq!(fit(3000, 4000, 320), (240, 320));
        assert_eq!(fit(100, 50, 320), (100, 50));
        assert_eq!(fit(10_000, 1, 160), (160, 1));
    }
}
