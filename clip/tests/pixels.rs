//! Pixels equal what Pillow's processor makes (`fixtures/make_pixels.py` says how they were made).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use clip::image::{DecodeLimits, ImageProcessor, ImageProcessorConfig, RgbImage, decode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels")
}

/// The pictures, without the references beside them.
fn pictures() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            ![".crop.png", ".squash.png", ".seen.png"].iter().any(|end| name.ends_with(end))
        })
        .collect();
    files.sort();
    files
}

fn open(path: &Path) -> RgbImage {
    let bytes = fs::read(path).unwrap();
    decode(&bytes, &DecodeLimits::default()).unwrap_or_else(|e| panic!("{path:?}: {e:?}")).pixels
}

fn processor(json: &str) -> ImageProcessor {
    let config: ImageProcessorConfig = serde_json::from_str(json).unwrap();
    ImageProcessor::new(config).unwrap()
}

/// (largest, mean) absolute difference in 255ths.
fn difference(processor: &ImageProcessor, picture: &Path, reference: &Path) -> (f32, f32) {
    let found = processor.process(&open(picture));
    let expected = open(reference);
    assert_eq!((found.width as u32, found.height as u32), expected.dimensions());
    let area = found.width * found.height;
    let (mut largest, mut sum) = (0f32, 0f32);
    for (at, pixel) in expected.pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            let difference = (found.data[channel * area + at] * 255.0 - f32::from(value)).abs();
            largest = largest.max(difference);
            sum += difference;
        }
    }
    (largest, sum / (3 * area) as f32)
}

#[test]
fn every_kind_of_picture_gives_the_reference_pixels() {
    let plain = r#""image_mean": [0, 0, 0], "image_std": [1, 1, 1]"#;
    let crop = processor(&format!(
        r#"{{"size": {{"shortest_edge": 48}}, "crop_size": {{"height": 48, "width": 48}}, {plain}}}"#
    ));
    let squash = processor(&format!(
        r#"{{"size": {{"height": 56, "width": 40}}, "do_center_crop": false, {plain}}}"#
    ));
    let pictures = pictures();
    assert!(pictures.len() >= 25, "only {} pictures found", pictures.len());
    for picture in pictures {
        // PNG and its like are exact but for the filter; JPEG decoders differ among themselves.
        let is_jpeg = picture.extension().is_some_and(|extension| extension == "jpg");
        let (most, mean) = if is_jpeg { (6.0, 0.5) } else { (1.0, 0.02) };
        for (processor, suffix) in [(&crop, "crop.png"), (&squash, "squash.png")] {
            let found = difference(processor, &picture, &picture.with_extension(suffix));
            let name = picture.file_name().unwrap();
            assert!(found.0 <= most + 1e-3 && found.1 <= mean, "{name:?} {suffix}: {found:?}");
        }
    }
}
