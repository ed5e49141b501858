//! Two towers that begin from what a run has learned (`model.init`).

use std::path::Path;

use clipsight_trainer::encoder::{Encoder, EncoderError};
use clipsight_trainer::model::Weights;
use clipsight_trainer::processes::Processes;
use clipsight_trainer::run::Run;
use clipsight_trainer::train::{HeldOut, Surroundings, measure};
use clipsight_trainer::watch::{Silent, Stop};

use super::{go, series};
use crate::tiny::World;

const FIRST: [&str; 2] = ["train.epochs=12", "train.ema=0.5"];

/// A run that learned projections, and the recipe's key that begins from it.
fn joined(world: &World) -> (Run, String) {
    let run = Run::create(&world.at("joined"), world.recipe(&FIRST)).unwrap();
    assert!(go(&run, None).0.unwrap().finished);
    let key = format!("model.init={:?}", run.folder);
    (run, key)
}

fn top_1(run: &Run, encoder: &Encoder) -> f32 {
    let held_out = HeldOut::open(&run.recipe).unwrap();
    let (mut watch, stop) = (Silent, Stop::new());
    let mut around =
        Surroundings { watch: &mut watch, stop: &stop, threads: 2, processes: Processes::ALONE };
    let figures = measure(run, encoder, &held_out, &mut around).unwrap();
    figures.labels.unwrap().classification.top_1
}

#[test]
fn it_begins_with_the_figures_that_the_run_ended_with_and_goes_on() {
    let world = World::new();
    let (first, init) = joined(&world);
    let last = *series(&first.folder, "top_1").last().unwrap();
    let sets = [&init, "model.image.learning_rate=1e-4", "train.epochs=2"];
    let second = Run::create(&world.at("second"), world.recipe(&sets)).unwrap();
    let encoder = Encoder::from_recipe(&second.recipe).unwrap();
    assert_eq!(f64::from(top_1(&second, &encoder)), last.1);
    let losses = |run: &Run| series(&run.folder, "loss");
    let begun_anew = losses(&first)[0].1;
    assert!(go(&second, None).0.unwrap().finished);
    assert!(losses(&second)[0].1 < 0.8 * begun_anew, "{:?}", losses(&second));

    // A third run begins where the second ended, which began where the first did.
    let third = world.recipe(&[&format!("model.init={:?}", second.folder)]);
    let encoder = Encoder::from_recipe(&third).unwrap();
    let last = *series(&second.folder, "top_1").last().unwrap();
    assert_eq!(f64::from(top_1(&second, &encoder)), last.1);
}

#[test]
fn a_projection_that_learned_raw_inputs_is_not_given_standardized_ones() {
    let world = World::new();
    let learning = ["model.image.learning_rate=1e-4", "model.text.learning_rate=1e-4"];
    let sets = [&FIRST[..1], &learning].concat();
    let first = Run::create(&world.at("learned"), world.recipe(&sets)).unwrap();
    assert!(go(&first, None).0.unwrap().finished);
    let last = series(&first.folder, "loss").pop().unwrap().1;
    let sets = [&format!("model.init={:?}", first.folder), "train.epochs=1"];
    let second = Run::create(&world.at("locked"), world.recipe(&sets)).unwrap();
    assert!(go(&second, None).0.unwrap().finished);
    let began = series(&second.folder, "loss")[0].1;
    assert!(began < 1.3 * last, "from {last} to {began}");
}

#[test]
fn a_run_that_cannot_be_begun_from_is_told() {
    let world = World::new();
    let refused = |sets: &[&str]| Encoder::from_recipe(&world.recipe(sets)).unwrap_err();
    let init = format!("model.init={:?}", world.at("absent"));
    assert!(refused(&[&init]).to_string().ends_with("is no run: it holds no recipe.toml"));

    let untrained = Run::create(&world.at("untrained"), world.recipe(&[])).unwrap();
    let init = format!("model.init={:?}", untrained.folder);
    assert!(refused(&[&init]).to_string().ends_with("no checkpoint yet; train it first"));

    let (_, init) = joined(&world);
    let narrow = refused(&[&init, "model.projection.dim=4"]).to_string();
    assert!(narrow.contains("weight `text_projection.bias` has shape [8]"), "{narrow}");

    // The same weights in another place are the same towers; what lies there later may be others.
    let elsewhere = world.at("other/model.safetensors");
    std::fs::create_dir(world.at("other")).unwrap();
    std::fs::copy(world.at("image/model.safetensors"), &elsewhere).unwrap();
    let other = [init.as_str(), r#"model.image.weights="other""#];
    Encoder::from_recipe(&world.recipe(&other)).unwrap();
    change(&elsewhere);
    let other = refused(&other);
    assert!(matches!(other, EncoderError::OtherTowers { .. }), "{other}");

    change(&world.at("text/model.safetensors"));
    let changed = refused(&[&init]);
    assert!(matches!(changed, EncoderError::Changed { .. }), "{changed}");
}

/// Makes every weight of `file` a little larger.
fn change(file: &Path) {
    let mut changed = Weights::new();
    for (name, tensor) in Weights::load(file).unwrap().iter() {
        changed.insert(name, tensor * 1.01);
    }
    changed.save(file).unwrap();
}
