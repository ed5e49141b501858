//! Pictures change as torchvision changes them, and a training with everything on repeats itself.
//!
//! What torchvision made stands in `fixtures/augment.safetensors`, with the script that recorded it.

mod recipes;

use std::collections::BTreeMap;
use std::path::Path;

use clip::image::{Cut, ImageProcessor, ImageProcessorConfig, Resample, RgbImage, Size, View};
use clipsight_trainer::data::augment::picture::{
    Change, Jitter, PictureView, blur, brightness, contrast, grayscale, hue, saturation, solarize,
};
use safetensors::SafeTensors;

/// How much a channel of 0 to 255 may differ: sums in f32 round differently in another order.
const TOLERANCE: u8 = 1;

fn recorded() -> BTreeMap<String, RgbImage> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augment.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let image = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        let &[height, width, 3] = tensor.shape() else { panic!("{name}: {:?}", tensor.shape()) };
        let pixels = tensor.data().to_vec();
        (name, RgbImage::from_raw(width as u32, height as u32, pixels).unwrap())
    };
    file.tensors().into_iter().map(image).collect()
}

/// The pictures as we change them, beside what was recorded, by name.
fn compared(operation: &str, change: impl Fn(&RgbImage, &[f32]) -> RgbImage) -> Vec<Comparison> {
    let recorded = recorded();
    let mut all = Vec::new();
    for (name, expected) in &recorded {
        let mut words = name.split(' ');
        let picture = &recorded[words.next().unwrap()];
        if words.next() != Some(operation) {
            continue;
        }
        let parameters: Vec<f32> = words.map_while(|word| word.parse().ok()).collect();
        let found = change(picture, &parameters);
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        all.push(Comparison::of(name, &found, expected));
    }
    assert!(!all.is_empty(), "nothing was recorded of {operation}");
    all
}

#[derive(Debug)]
struct Comparison {
    name: String,
    /// Largest difference of a channel.
    largest: u8,
    /// Share of channels that differ at all.
    share: f64,
}

impl Comparison {
    fn of(name: &str, found: &RgbImage, expected: &RgbImage) -> Self {
        let pairs = found.as_raw().iter().zip(expected.as_raw());
        let differences: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
        let differing = differences.iter().filter(|&&difference| difference > 0).count();
        Self {
            name: name.to_owned(),
            largest: differences.iter().copied().max().unwrap_or(0),
            share: differing as f64 / differences.len() as f64,
        }
    }
}

/// At most [`TOLERANCE`] anywhere, and nothing at all but in `share` of the channels.
fn holds(operation: &str, share: f64, change: impl Fn(&mut RgbImage, &[f32])) {
    let changed = |picture: &RgbImage, parameters: &[f32]| {
        let mut pixels = picture.clone();
        change(&mut pixels, parameters);
        pixels
    };
    for comparison in compared(operation, changed) {
        let fine = comparison.largest <= TOLERANCE && comparison.share <= share;
        assert!(fine, "{comparison:?}");
    }
}

#[test]
fn colors_change_as_those_of_torchvision() {
    holds("brightness", 0.0, |pixels, p| brightness(pixels, p[0]));
    holds("contrast", 0.01, |pixels, p| contrast(pixels, p[0]));
    // Of colors at the ends of their range many fall on whole numbers, where rounding decides.
    holds("saturation", 0.06, |pixels, p| saturation(pixels, p[0]));
    holds("hue", 0.01, |pixels, p| hue(pixels, p[0]));
    holds("grayscale", 0.01, |pixels, _| grayscale(pixels));
    holds("solarize", 0.0, |pixels, p| solarize(pixels, p[0] as u8));
}

#[test]
fn a_blur_equals_that_of_torchvision() {
    holds("blur", 0.01, |pixels, p| blur(pixels, p[0], p[1] as usize));
}

/// The recipe of the script, blurred over as many pixels as its.
#[test]
fn a_whole_recipe_of_changes_equals_that_of_torchvision() {
    let changes = [
        Change::Contrast(1.3),
        Change::Hue(-0.08),
        Change::Brightness(0.75),
        Change::Saturation(1.25),
    ];
    let view =
        PictureView { jitter: Some(Jitter(changes)), blur: Some(1.1), ..PictureView::default() };
    holds("jittered", 0.02, |pixels, _| view.recolor(pixels));
}

fn processor(height: u32, width: u32, resample: Resample) -> ImageProcessor {
    let size = Size::Rectangle { height, width };
    let config =
        ImageProcessorConfig { size, resample, do_center_crop: false, ..Default::default() };
    ImageProcessor::new(config).unwrap()
}

#[test]
fn a_mirrored_view_equals_that_of_torchvision() {
    let view = View { cut: None, mirrored: true };
    let mirrored = |picture: &RgbImage, _: &[f32]| {
        let (width, height) = picture.dimensions();
        processor(height, width, Resample::Bicubic).view_pixels(picture, &view)
    };
    assert!(compared("mirrored", mirrored).iter().all(|comparison| comparison.largest == 0));
}

#[test]
fn a_cut_is_resized_as_by_torchvision() {
    for resample in [Resample::Bicubic, Resample::Bilinear] {
        let name = format!("{resample:?}").to_lowercase();
        let cut = |picture: &RgbImage, p: &[f32]| {
            let [x, y, width, height, side] = [p[0], p[1], p[2], p[3], p[4]].map(|p| p as u32);
            let view = View { cut: Some(Cut { x, y, width, height }), mirrored: false };
            processor(side, side, resample).view_pixels(picture, &view)
        };
        let by_this: Vec<Comparison> =
            compared("cut", cut).into_iter().filter(|c| c.name.ends_with(&name)).collect();
        assert!(!by_this.is_empty(), "{name}");
        // `torchvision` begins with the rows whatever the shape, as Pillow did before its release 13.
        assert!(by_this.iter().all(|comparison| comparison.largest <= 2), "{by_this:?}");
    }
}

#[test]
fn what_a_view_changes_stands_in_the_values_that_a_tower_sees() {
    let picture = &recorded()["photograph"];
    let plain = processor(24, 24, Resample::Bicubic);
    let cut = Cut { x: 3, y: 2, width: 30, height: 31 };
    let mut view =
        PictureView { view: View { cut: Some(cut), mirrored: true }, ..PictureView::default() };
    assert_eq!(view.of(picture, &plain), plain.process_view(picture, &view.view));
    view.gray = true;
    view.solarize = Some(128);
    let mut pixels = plain.view_pixels(picture, &view.view);
    grayscale(&mut pixels);
    solarize(&mut pixels, 128);
    assert_eq!(view.of(picture, &plain), plain.normalized(&pixels));
    assert_eq!(
        plain.normalized(&plain.view_pixels(picture, &View::default())),
        plain.process(picture)
    );
}
