//! Trainings that begin from a bundle, of which nothing else is left (`model.init`).

use std::path::Path;

use clip::Embedding;
use clip::image::RgbImage;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::export::{Precision, Request};
use clipsight_trainer::model::Side;
use clipsight_trainer::recipe::Recipe;
use clipsight_trainer::run::Run;

use super::{go, resumes_exactly, series};
use crate::tiny::{COLORS, World};
use crate::{exporting, tuning};

/// All that such a model can have: classes, residuals, towers that learned.
const ALL: [&str; 7] = [
    "model.image.classes=classes.txt",
    "model.projection.kind=residual",
    "model.projection.hidden=16",
    "model.image.learning_rate=1e-3",
    "model.text.learning_rate=1e-3",
    "train.class_pictures=4",
    "train.epochs=4",
];

/// A run to its end.
fn trained(world: &World, recipe: Recipe) -> Run {
    let run = Run::create(&world.at("first"), recipe).unwrap();
    assert!(go(&run, None).0.unwrap().finished);
    run
}

/// The bundle of a run, in one precision.
fn export(world: &World, run: &Run, precision: Precision) {
    let request = Request { precisions: vec![precision], ..Request::default() };
    exporting::write(run, world, &request).unwrap();
}

fn from(folder: &Path) -> String {
    format!("model.init={folder:?}")
}

/// What an encoder makes of some pictures and words.
fn answers(encoder: &Encoder) -> Vec<Embedding> {
    let picture = |color| {
        let side = 20;
        let pixels = (0..side * side).flat_map(|_| color).collect();
        encoder.processor.process(&RgbImage::from_raw(side, side, pixels).unwrap())
    };
    let pictures: Vec<_> = COLORS.iter().map(|(_, color)| picture(*color)).collect();
    let words = ["a photo of a red", "blue", "this is green"];
    let ids: Vec<_> = words.iter().map(|text| encoder.tokenizer.encode(text).unwrap()).collect();
    let pooled = encoder.pooled_pixels(&pictures).unwrap();
    let mut all = encoder.embeddings(Side::Image, &pooled).unwrap();
    let pooled = encoder.pooled_tokens(&ids.iter().collect::<Vec<_>>()).unwrap();
    all.extend(encoder.embeddings(Side::Text, &pooled).unwrap());
    all
}

/// The lowest cosine between what both make of the same.
fn lowest_cosine(one: &Encoder, other: &Encoder) -> f32 {
    let (one, other) = (answers(one), answers(other));
    one.iter().zip(&other).map(|(a, b)| a.cosine(b)).fold(1.0, f32::min)
}

#[test]
fn it_is_the_model_that_the_run_was() {
    let world = World::new();
    let run = trained(&world, world.recipe(&ALL));
    let begun = |folder: &Path| {
        let init = from(folder);
        let sets = [&ALL[..5], &[init.as_str()]].concat();
        Encoder::from_recipe(&world.recipe(&sets)).unwrap()
    };
    let whole = begun(&run.folder);
    let untrained = Encoder::from_recipe(&world.recipe(&ALL)).unwrap();
    assert!(lowest_cosine(&whole, &untrained) < 0.9);
    let scale = |encoder: &Encoder| encoder.weights.get("logit_scale").unwrap().double_value(&[]);
    for (precision, lowest) in
        [(Precision::Fp32, 0.999_99), (Precision::Fp16, 0.9999), (Precision::Int8, 0.99)]
    {
        export(&world, &run, precision);
        let bundled = begun(&world.at("bundle"));
        std::fs::remove_dir_all(world.at("bundle")).unwrap();
        let found = lowest_cosine(&whole, &bundled);
        assert!(found > lowest, "{precision:?}: {found}");
        assert!((scale(&whole) - scale(&bundled)).abs() < 1e-6);
        assert!(bundled.untaught.is_empty(), "{:?}", bundled.untaught);
    }
}

#[test]
fn a_training_from_it_begins_near_where_the_run_ended_and_can_be_resumed() {
    let world = World::new();
    let first = trained(&world, world.recipe(&ALL));
    export(&world, &first, Precision::Int8);
    let recipe = world.recipe(&[&ALL[..], &[from(&world.at("bundle")).as_str()]].concat());
    resumes_exactly(&world, &recipe);
    let losses = |run: &Path| series(run, "loss");
    let (before, begun) = (losses(&first.folder), losses(&world.at("whole")));
    assert!(begun[0].1 < 0.8 * before[0].1, "{before:?} {begun:?}");
}

#[test]
fn a_clip_comes_back_weight_by_weight() {
    let world = tuning::world();
    let recipe = |init: &Path| tuning::recipe(&world, Some(init), &[]);
    let run = trained(&world, recipe(&tuning::folder()));
    export(&world, &run, Precision::Fp32);
    let whole = Encoder::from_recipe(&recipe(&run.folder)).unwrap();
    let bundled = Encoder::from_recipe(&recipe(&world.at("bundle"))).unwrap();
    for (name, tensor) in whole.weights.iter() {
        let found = bundled.weights.get(name).unwrap();
        assert!((tensor - found).abs().max().double_value(&[]) < 1e-6, "{name}");
    }
    assert_eq!(whole.weights.iter().count(), bundled.weights.iter().count());
}

#[test]
fn a_bundle_that_tells_no_weights_of_this_model_is_refused_in_words() {
    let world = World::new();
    let run = trained(&world, world.recipe(&ALL));
    export(&world, &run, Precision::Int8);
    let init = from(&world.at("bundle"));
    let refused = |sets: &[&str]| {
        let sets = [&[init.as_str()], sets].concat();
        let error = Encoder::from_recipe(&world.recipe(&sets)).unwrap_err();
        error.to_string()
    };
    let silent = refused(&ALL[1..5]);
    assert!(silent.contains("name its classes in model.image.classes"), "{silent}");
    let narrow = refused(&[&ALL[..], &["model.projection.dim=4"]].concat());
    assert!(narrow.contains("has shape [8]"), "{narrow}");

    let graph = world.at("bundle/onnx/vision_model_int8.onnx");
    std::fs::write(&graph, b"torn").unwrap();
    let torn = refused(&ALL);
    assert!(torn.starts_with("cannot begin from the bundle "), "{torn}");
    assert!(torn.contains("vision_model_int8.onnx"), "{torn}");
    std::fs::remove_file(&graph).unwrap();
    let gone = refused(&ALL);
    assert!(gone.starts_with("cannot begin from the bundle "), "{gone}");

    let clips = tuning::world();
    let other = tuning::recipe(&clips, Some(&world.at("bundle")), &[]);
    let other = Encoder::from_recipe(&other).unwrap_err().to_string();
    assert!(other.contains("cannot begin from the bundle"), "{other}");
}
