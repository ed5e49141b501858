//! What the image tower's own classifier knows (`model.image.classes`), residual projections, and pairs
//! that no picture shows (`train.class_pictures`).

use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;

use super::{go, resumes_exactly, series};
use crate::tiny::World;

/// Everything at once.
const ALL: [&str; 6] = [
    "model.image.classes=classes.txt",
    "model.projection.kind=residual",
    "model.projection.hidden=16",
    "model.projection.dropout=0.3",
    "model.image.dropout=0.3",
    "train.class_pictures=4",
];

/// The last block and the head learn.
const LAST: &str = r#"model.learning_rates={ "vision_model._blocks.15" = 1e-3, "vision_model._conv_head" = 1e-3, "vision_model._bn1" = 1e-3 }"#;

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&ALL, more].concat()
}

#[test]
fn a_resumed_run_sees_the_same_class_pictures() {
    let world = World::new();
    resumes_exactly(&world, &world.recipe(&ALL));
}

#[test]
fn they_go_with_a_last_block_that_learns_and_keeps_the_classifiers_own() {
    let world = World::new();
    let recipe = world.recipe(&with(&["image.cache=true", LAST]));
    resumes_exactly(&world, &recipe);
    let encoder = Encoder::from_recipe(&recipe).unwrap();
    assert_eq!(encoder.kept_blocks, Some(15));
    let name = "_conv_head.weight";
    let of = |model: &str| encoder.weights.get(&format!("{model}.{name}")).unwrap();
    assert!(of("class_model") == of("vision_model"));
    assert!(encoder.rates.of("vision_model._conv_head.weight") > 0.0);
    assert!(encoder.rates.of("class_model._conv_head.weight") == 0.0);
}

#[test]
fn they_go_with_an_image_tower_that_learns_from_its_first_block_on() {
    let world = World::new();
    let recipe = world.recipe(&with(&["model.image.learning_rate=1e-3", "image.flip=0.5"]));
    resumes_exactly(&world, &recipe);
}

#[test]
fn the_loss_falls_with_all_of_it() {
    let world = World::new();
    let run = Run::create(&world.at("run"), world.recipe(&with(&["train.epochs=20"]))).unwrap();
    let figures = go(&run, None).0.unwrap().figures;
    assert!(figures.labels.unwrap().classification.top_1 > 0.8);
    let losses = series(&run.folder, "loss");
    assert!(losses[losses.len() - 1].1 < 0.7 * losses[0].1, "{losses:?}");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let world = World::new();
    let trained = |sets: &[&str]| {
        let run =
            Run::create(&world.at(&format!("run{}", sets.len())), world.recipe(sets)).unwrap();
        go(&run, None).0.unwrap_err().to_string()
    };
    let many = trained(&[ALL[0], "train.class_pictures=7"]);
    assert!(many.contains("asks for 7 a step, but model.image.classes has only 6"), "{many}");

    let loaded =
        |set: &str| load(&world.at("recipe.toml"), &[set.to_owned()]).unwrap_err().to_string();
    let without = loaded(ALL[5]);
    assert!(without.contains("train.class_pictures") && without.contains("model.image.classes"));
    let sets = [
        ALL[0].to_owned(),
        ALL[5].to_owned(),
        r#"train.objective={ name = "triplet", negatives = "given" }"#.to_owned(),
    ];
    let given = load(&world.at("recipe.toml"), &sets).unwrap_err().to_string();
    assert!(given.contains("train.class_pictures does not go with"), "{given}");
    let idle = loaded("model.projection.dropout=0.3");
    assert!(idle.contains("model.projection.dropout goes with kind"), "{idle}");
    let linear = loaded("model.projection.hidden=16");
    assert!(linear.contains("model.projection.hidden") && linear.contains("residual"), "{linear}");
    let width = loaded("model.projection.kind=residual");
    assert!(width.contains("model.projection.hidden must be at least 1"), "{width}");

    std::fs::write(world.at("classes.txt"), "red\n\ngreen\n").unwrap();
    let empty = Encoder::from_recipe(&world.recipe(&ALL[..1])).unwrap_err().to_string();
    assert!(empty.contains("line 2") && empty.contains("classes.txt"), "{empty}");
    std::fs::write(world.at("classes.txt"), "red\ngreen\n").unwrap();
    let few = Encoder::from_recipe(&world.recipe(&ALL[..1])).unwrap_err().to_string();
    assert!(few.contains("names 2 classes") && few.contains("a classifier for 6"), "{few}");
}
