//! Inputs whose answers a bundle carries, so that whoever serves it can tell that it still answers
//! as it did here: pictures of our own drawing and a few texts.

use std::io::Cursor;

use clip::ModelBundle;
use clip::image::{DecodeLimits, ImageFormat, RgbImage, decode};

use super::ExportError;
use super::samples::Inputs;
use crate::encoder::EncoderError;

/// A picture cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the PNG encoder refused {name}: {reason}")]
pub struct DrawError {
    name: &'static str,
    reason: String,
}

/// Short, long, and one with what a tokenizer may stumble over.
pub(super) const TEXTS: [&str; 4] = [
    "a dog runs through the snow",
    "two people sit at a table outside a café and read the same newspaper",
    "sunset",
    "A red bicycle, locked to a fence; nobody's around — 7 o'clock!",
];

/// Name and PNG of each picture. All are oblong, so that a crop cannot pass for a squash, and their
/// parts differ, so that a flip or a swap of channels shows.
///
/// # Errors
/// [`DrawError`] when the encoder refuses.
pub(super) fn pictures() -> Result<Vec<(&'static str, Vec<u8>)>, DrawError> {
    [
        ("reference/landscape.png", RgbImage::from_fn(320, 180, |x, y| landscape(x, y).into())),
        ("reference/tower.png", RgbImage::from_fn(140, 300, |x, y| tower(x, y).into())),
        ("reference/stripes.png", RgbImage::from_fn(360, 120, |x, y| stripes(x, y).into())),
    ]
    .into_iter()
    .map(|(name, picture)| {
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|e| DrawError { name, reason: e.to_string() })?;
        Ok((name, png.into_inner()))
    })
    .collect()
}

/// The inputs as the readers of `bundle` get them, from its files.
///
/// # Errors
/// [`ExportError::Read`] for a picture that was damaged meanwhile, [`ExportError::Encoder`] for a
/// tokenizer that cannot read a text.
pub(super) fn inputs(bundle: &ModelBundle, pictures: &[String]) -> Result<Inputs, ExportError> {
    let tokens = TEXTS.iter().map(|text| bundle.tokenizer.encode(text));
    let tokens = tokens.collect::<Result<Vec<_>, _>>().map_err(EncoderError::from)?;
    let mut pixels = Vec::with_capacity(pictures.len());
    for name in pictures {
        let path = bundle.dir.join(name);
        let read = |source| ExportError::Read { path: path.clone(), source };
        let bytes = std::fs::read(&path).map_err(read)?;
        let picture = decode(&bytes, &DecodeLimits::default());
        let picture = picture.map_err(|error| read(std::io::Error::other(error)))?;
        pixels.push(bundle.processor.process(&picture.pixels));
    }
    Ok(Inputs { pixels, tokens })
}

/// A sky that darkens upward, a sun on the right, hills and a field.
fn landscape(x: u32, y: u32) -> [u8; 3] {
    let (fx, fy) = (f64::from(x), f64::from(y));
    let hill = 110.0 + 18.0 * (fx / 37.0).sin() + 8.0 * (fx / 13.0).cos();
    if (fx - 250.0).hypot(fy - 45.0) < 22.0 {
        [250, 214, 90]
    } else if fy > hill + 30.0 {
        [96, 150, (40 + x % 40) as u8]
    } else if fy > hill {
        [70, 110, 80]
    } else {
        [(120 + y / 2) as u8, (170 + y / 3) as u8, 235]
    }
}

/// A brick tower with lit windows before a night sky.
fn tower(x: u32, y: u32) -> [u8; 3] {
    let inside = (40..100).contains(&x) && y > 40;
    let window = (x / 12).is_multiple_of(2) && (y / 20) % 2 == 1;
    let mortar = y.is_multiple_of(10) || (x + 5 * (y / 10 % 2)).is_multiple_of(10);
    match (inside, window, mortar) {
        (true, true, _) => [245, 225, 130],
        (true, false, true) => [150, 140, 135],
        (true, false, false) => [150, 70, 55],
        (false, _, _) if (x * 31 + y * 17).is_multiple_of(211) => [255, 255, 255],
        (false, ..) => [20, 24, (40 + y / 8) as u8],
    }
}

/// Slanted stripes whose color changes from left to right.
fn stripes(x: u32, y: u32) -> [u8; 3] {
    let red = (x * 255 / 359) as u8;
    if ((x + 2 * y) / 15).is_multiple_of(3) { [red, 40, 255 - red] } else { [230, red, 60] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_oblong_and_reads_back() {
        for (name, png) in pictures().unwrap() {
            let picture = decode(&png, &DecodeLimits::default()).unwrap().pixels;
            assert_ne!(picture.width(), picture.height(), "{name}");
            assert!(png.len() < 40_000, "{name} has {} bytes", png.len());
        }
    }
}
