//! Answers of an image tower's locked first blocks, kept while the others learn (`image.cache`).

use clip::image::{DecodeLimits, PixelValues, decode};
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;
use tch::Tensor;

use super::{go, resumes_exactly, series};
use crate::tiny::{COLORS, World, png};

/// The last block and the head learn.
const LAST: &str = r#"model.learning_rates={ "vision_model._blocks.15" = 1e-3, "vision_model._conv_head" = 1e-3, "vision_model._bn1" = 1e-3 }"#;

fn pictures(encoder: &Encoder) -> Vec<PixelValues> {
    let picture = |(at, (_, color)): (usize, &(&str, [u8; 3]))| {
        let picture = decode(&png(*color, at as u32), &DecodeLimits::default()).unwrap();
        encoder.processor.process(&picture.pixels)
    };
    COLORS.iter().enumerate().map(picture).collect()
}

#[test]
fn the_rest_goes_on_where_the_kept_blocks_ended() {
    let world = World::new();
    let encoder = Encoder::from_recipe(&world.recipe(&["image.cache=true", LAST])).unwrap();
    assert_eq!(encoder.kept_blocks, Some(15));
    let pictures = pictures(&encoder);
    let views = encoder.beginnings(&pictures, 15, true).unwrap();
    let relative = |found: &Tensor, expected: &Tensor| {
        ((found - expected).norm() / expected.norm()).double_value(&[])
    };
    let whole = encoder.pooled_pixels(&pictures).unwrap();
    // They are kept in 16 bits.
    let off = relative(&encoder.rest(&views[0], 15).unwrap(), &whole);
    assert!(off < 2e-3, "{off}");
    let off = relative(&encoder.rest(&views[1], 15).unwrap(), &whole);
    assert!(off > 1e-2, "a mirrored bar is no other picture: {off}");
}

#[test]
fn what_comes_after_the_kept_blocks_learns_and_a_resumed_run_sees_the_same() {
    let world = World::new();
    let recipe = world.recipe(&["image.cache=true", LAST, "image.flip=0.5"]);
    resumes_exactly(&world, &recipe);
    let cached = std::fs::read_dir(world.at("whole/cache")).unwrap();
    let names = cached.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("beginning-")).count(), 4);
}

#[test]
fn the_loss_falls_and_the_sentence_says_what_is_kept() {
    let world = World::new();
    let recipe = world.recipe(&["image.cache=true", LAST, "train.epochs=20"]);
    let run = Run::create(&world.at("run"), recipe).unwrap();
    let (outcome, said) = go(&run, None);
    let figures = outcome.unwrap().figures;
    assert!(figures.labels.unwrap().classification.top_1 > 0.8);
    let losses = series(&run.folder, "loss");
    assert!(losses[losses.len() - 1].1 < 0.7 * losses[0].1, "{losses:?}");
    let sentence =
        "the first 15 blocks of the image tower are locked: their outputs are computed once";
    assert!(said.iter().any(|s| s.starts_with(sentence)), "{said:?}");
}

#[test]
fn where_nothing_can_be_kept_or_pictures_would_vary_it_is_refused() {
    let world = World::new();
    let refused =
        |sets: &[&str]| Encoder::from_recipe(&world.recipe(sets)).unwrap_err().to_string();
    let locked = refused(&["image.cache=true"]);
    assert!(locked.contains("all of it is locked") && locked.contains("let its last blocks learn"));
    let free = refused(&["image.cache=true", "model.image.learning_rate=1e-4"]);
    assert!(free.contains("its first one learns") && free.contains("model.learning_rates"));
    for key in ["image.crop_scale=[0.9, 1.0]", "image.crop_ratio=[0.9, 1.1]", "image.grayscale=0.2"]
    {
        let sets = ["image.cache=true".to_owned(), key.to_owned()];
        let error = load(&world.at("recipe.toml"), &sets).unwrap_err().to_string();
        let name = key.split('=').next().unwrap();
        assert!(error.contains(name) && error.contains("does not go with image.cache"), "{error}");
    }
}
