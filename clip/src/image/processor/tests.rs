//! Tests of the image processor, on small pictures made here.

use super::*;

fn squash(height: u32, width: u32) -> ImageProcessorConfig {
    ImageProcessorConfig {
        size: Size::Rectangle { height, width },
        do_center_crop: false,
        image_mean: [127.0 / 255.0; 3],
        image_std: [128.0 / 255.0; 3],
        ..ImageProcessorConfig::default()
    }
}

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| {
        image::Rgb(if x < width / 2 { [255, 0, 0] } else { [0, 0, 255] })
    })
}

#[test]
fn values_are_rescaled_and_normalized_per_channel() {
    let processor = ImageProcessor::new(squash(2, 2)).unwrap();
    let values = processor.process(&RgbImage::from_pixel(2, 2, image::Rgb([255, 127, 0])));
    // (v − 127) / 128
    assert_eq!(values.data.len(), 12);
    assert!((values.data[0] - 1.0).abs() < 1e-6);
    assert!(values.data[4].abs() < 1e-6);
    assert!((values.data[8] + 127.0 / 128.0).abs() < 1e-6);
}

#[test]
fn an_oblong_picture_tells_crop_from_squash() {
    let picture = halves(300, 100);
    let squashed = ImageProcessor::new(squash(10, 10)).unwrap().process(&picture);
    let config = ImageProcessorConfig {
        size: Size::Shortest { shortest_edge: 10 },
        ..ImageProcessorConfig::default()
    };
    let cropped = ImageProcessor::new(config).unwrap();
    assert_eq!(cropped.resize(&picture).dimensions(), (30, 10));
    assert_eq!((cropped.height(), cropped.width()), (10, 10));
    assert_eq!(squashed.data.len(), cropped.process(&picture).data.len());
}

#[test]
fn the_longer_side_is_truncated_and_the_crop_floored() {
    assert_eq!(shortest_side_to(224, (640, 427)), (335, 224));
    assert_eq!(shortest_side_to(224, (427, 640)), (224, 335));
    assert_eq!(shortest_side_to(5, (1, 4_000_000)), (5, 65_535));
}

#[test]
fn a_cut_of_all_that_is_shown_equals_the_plain_view() {
    let picture = RgbImage::from_fn(90, 60, |x, y| image::Rgb([x as u8 * 2, y as u8 * 4, 9]));
    let whole = Cut { x: 0, y: 0, width: 90, height: 60 };
    let middle = Cut { x: 15, y: 0, width: 60, height: 60 };
    let shortest = ImageProcessorConfig {
        size: Size::Shortest { shortest_edge: 20 },
        ..ImageProcessorConfig::default()
    };
    for (config, cut, shown) in
        [(squash(20, 30), whole, (90.0, 60.0)), (shortest, middle, (60.0, 60.0))]
    {
        let processor = ImageProcessor::new(config).unwrap();
        assert_eq!(processor.shown(90, 60), shown);
        let plain = processor.process(&picture);
        let cut = processor.process_view(&picture, &View { cut: Some(cut), mirrored: false });
        let worst = plain.data.iter().zip(&cut.data).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        // Two steps of eight bits: the order of the two passes may differ.
        assert!(worst < 2.1 / 255.0 / 0.26, "{worst}");
    }
}

#[test]
fn a_mirrored_view_has_its_columns_in_reverse_and_a_small_cut_shows_only_itself() {
    let processor = ImageProcessor::new(squash(4, 8)).unwrap();
    let plain = processor.process(&halves(16, 8));
    let mirrored = processor.process_view(&halves(16, 8), &View { cut: None, mirrored: true });
    assert_eq!(plain.data[..8], mirrored.data[..8].iter().rev().copied().collect::<Vec<_>>());
    assert_ne!(plain, mirrored);
    let right = Cut { x: 12, y: 2, width: 400, height: 2 };
    let blue = processor.process_view(&halves(16, 8), &View { cut: Some(right), mirrored: false });
    assert!(blue.data[..32].iter().all(|&red| red < -0.9), "{blue:?}");
    assert!(blue.data[64..].iter().all(|&blue| blue > 0.9), "{blue:?}");
}

#[test]
fn the_pixels_of_a_view_are_those_that_it_normalizes() {
    let crop = ImageProcessorConfig {
        size: Size::Shortest { shortest_edge: 6 },
        crop_size: Some(Size::Side(4)),
        ..ImageProcessorConfig::default()
    };
    let picture = RgbImage::from_fn(20, 13, |x, y| [x as u8 * 9, y as u8 * 9, 77].into());
    let cut = Some(Cut { x: 3, y: 1, width: 11, height: 12 });
    for processor in [squash(4, 8), crop].map(|config| ImageProcessor::new(config).unwrap()) {
        for (cut, mirrored) in [(None, false), (None, true), (cut, false), (cut, true)] {
            let view = View { cut, mirrored };
            let pixels = processor.view_pixels(&picture, &view);
            assert_eq!(processor.normalized(&pixels), processor.process_view(&picture, &view));
        }
    }
}

#[test]
fn hugging_face_files_of_several_ages_are_read() {
    let old = r#"{"size": 224, "crop_size": 224, "do_center_crop": true, "resample": 3}"#;
    let new = r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#;
    let squash = r#"{"size": {"height": 260, "width": 240}, "do_center_crop": false,
                     "image_processor_type": "CLIPImageProcessor"}"#;
    for (text, size) in [(old, (224, 224)), (new, (224, 224)), (squash, (260, 240))] {
        let config: ImageProcessorConfig = serde_json::from_str(text).unwrap();
        let processor = ImageProcessor::new(config).unwrap();
        assert_eq!((processor.height(), processor.width()), size);
    }
}

#[test]
fn numbers_that_make_no_tensor_are_refused() {
    let zero = squash(0, 4);
    let flat = ImageProcessorConfig { image_std: [1.0, 0.0, 1.0], ..squash(4, 4) };
    let crop = ImageProcessorConfig {
        do_center_crop: true,
        crop_size: Some(Size::Side(8)),
        ..squash(4, 4)
    };
    for config in [zero, flat, crop] {
        assert!(matches!(ImageProcessor::new(config), Err(ProcessorError::Unusable { .. })));
    }
    assert!(serde_json::from_str::<ImageProcessorConfig>(r#"{"resample": 9}"#).is_err());
}
