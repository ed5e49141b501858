//! AVIF and HEIC, where they are built in: pixels as Pillow shows them (`fixtures/make_heif.py` says
//! how they were made), and damage that is told.
#![cfg(any(feature = "avif", feature = "heic"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use clip::image::{DecodeError, DecodeLimits, Format, RgbImage, decode};

/// The pictures whose format is built in, without the references beside them.
fn pictures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/heif");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|extension| {
            (extension == "avif" && cfg!(feature = "avif"))
                || (extension == "heic" && cfg!(feature = "heic"))
        })
    });
    files.sort();
    assert!(files.len() >= 12, "only {} pictures found", files.len());
    files
}

/// Largest and mean absolute difference in 255ths.
fn difference(found: &RgbImage, expected: &RgbImage) -> (u8, f64) {
    assert_eq!(found.dimensions(), expected.dimensions());
    let pairs = found.as_raw().iter().zip(expected.as_raw());
    let differences: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: u64 = differences.iter().copied().map(u64::from).sum();
    (differences.iter().copied().max().unwrap(), sum as f64 / differences.len() as f64)
}

#[test]
fn pixels_are_those_that_pillow_shows() {
    for path in pictures() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = decode(&fs::read(&path).unwrap(), &DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let extension = path.extension().unwrap().to_str();
        assert_eq!(
            found.format,
            if extension == Some("avif") { Format::Avif } else { Format::Heic }
        );
        let reference = fs::read(path.with_file_name(format!("{name}.png"))).unwrap();
        let expected = decode(&reference, &DecodeLimits::default()).unwrap();
        let (most, mean) = difference(&found.pixels, &expected.pixels);
        // A photo stores every other color. libheif repeats them, and Pillow's AVIF blends them, which
        // shows at hard edges; libheif's own blending has a wrong top row (1.23.1).
        let (most_allowed, mean_allowed) =
            if name.starts_with("photo") { (100, 1.5) } else { (4, 1.0) };
        assert!(most <= most_allowed && mean <= mean_allowed, "{name}: {most}, {mean}");
    }
}

#[test]
fn too_many_pixels_are_refused_by_what_the_file_says() {
    for path in pictures() {
        let bytes = fs::read(&path).unwrap();
        let area =
            |max_pixels| decode(&bytes, &DecodeLimits { max_pixels, ..DecodeLimits::default() });
        let refused = area(90 * 62 - 1).unwrap_err();
        assert!(matches!(refused, DecodeError::TooLarge { .. }), "{path:?}: {refused:?}");
        assert!(area(90 * 62).is_ok(), "{path:?}");
    }
}

/// The file says it is small in the box that is read first, and large in what is decoded.
#[test]
fn file_that_understates_its_size_is_refused_within_its_limit() {
    for path in pictures() {
        let mut bytes = fs::read(&path).unwrap();
        // Name, version and flags, width, height (ISO/IEC 23008-12, 6.5.3).
        let named = |at: &usize| bytes[*at..].starts_with(b"ispe");
        let boxes: Vec<usize> = (0..bytes.len()).filter(named).collect();
        assert!(!boxes.is_empty(), "{path:?} has no box of its size");
        for at in boxes {
            bytes[at + 8..at + 16].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 6]);
        }
        let found = decode(&bytes, &DecodeLimits { max_pixels: 9 * 6, ..DecodeLimits::default() });
        assert!(found.is_err(), "{path:?}");
    }
}

#[test]
fn cut_files_are_told() {
    for path in pictures() {
        let bytes = fs::read(&path).unwrap();
        for length in [bytes.len() - 1, bytes.len() * 3 / 4, bytes.len() / 2, bytes.len() / 4] {
            let error = decode(&bytes[..length], &DecodeLimits::default()).unwrap_err();
            assert!(matches!(error, DecodeError::Broken { .. }), "{path:?} at {length}: {error:?}");
        }
    }
}
