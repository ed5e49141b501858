//! `eval` by its real binary, and its figures against reference implementations.

mod calibration;
mod probe;

use serde_json::Value;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;

/// A world with a trained run, called `run`.
fn trained() -> World {
    let world = World::new();
    ok(&trainer(&world.at(""), &["train", "recipe.toml", "--out", "run"]));
    world
}

fn measured(world: &World, args: &[&str]) -> Value {
    let output = trainer(&world.at(""), &[&["eval", "run"], args, &["--json"]].concat());
    ok(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command says that ends with 2.
fn refused(world: &World, args: &[&str]) -> String {
    let output = trainer(&world.at(""), &[&["eval", "run"], args].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    said
}

/// Whether `value` has the ends of an interval around `figure`.
fn holds(value: &Value, figure: f64) -> bool {
    let [low, high] = [0, 1].map(|end| value[end].as_f64().unwrap());
    low <= figure + 1e-6 && figure <= high + 1e-6 && low >= 0.0
}

#[test]
fn one_class_is_nothing_to_tell_apart() {
    let world = trained();
    std::fs::create_dir_all(world.at("one/red")).unwrap();
    std::fs::write(world.at("one/red/a.png"), crate::tiny::png([220, 30, 30], 0)).unwrap();
    let said = refused(&world, &["--labels", "one"]);
    assert!(said.contains("has one class, \"red\""), "{said}");
}

#[test]
fn recall_has_intervals_and_embeddings_a_geometry() {
    let world = trained();
    let found = measured(&world, &["--captions", "captions.tar"]);
    let captions = &found["captions"];
    for way in ["text_to_image", "image_to_text"] {
        for figure in ["recall_at_1", "recall_at_5", "recall_at_10", "median_rank"] {
            let value = captions[way][figure].as_f64().unwrap();
            assert!(
                holds(&captions["intervals"][way][figure], value),
                "{way}, {figure}: {captions}"
            );
        }
    }
    let alignment = captions["alignment"].as_f64().unwrap();
    assert!(
        (0.0..=4.0).contains(&alignment) && holds(&captions["intervals"]["alignment"], alignment)
    );
    for figure in ["image_uniformity", "text_uniformity"] {
        let value = captions[figure].as_f64().unwrap();
        assert!((-8.0..=0.0).contains(&value), "{figure}: {value}");
        let [low, high] = [0, 1].map(|end| captions["intervals"][figure][end].as_f64().unwrap());
        assert!(low <= high && high <= 0.0, "{figure}: {low} {high}");
    }
    let output = trainer(&world.at(""), &["eval", "run", "--captions", "captions.tar"]);
    ok(&output);
    let table = text(&output.stdout);
    for words in ["95 % of draws", "text → image", "image uniformity -"] {
        assert!(table.contains(words), "{words}: {table}");
    }
}
