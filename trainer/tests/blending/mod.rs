//! `blend` by its real binary: both ends of the line are the models that they are said to be, what is
//! between them is their mean, and what is written is a run.

use std::path::Path;

use clipsight_trainer::checkpoint::Checkpoint;
use serde_json::Value;
use tch::Tensor;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;

/// A world with `joined`, a run over two towers, and `tuned`, which began there.
fn tuned() -> World {
    let world = World::new();
    train(&world, "joined", &["--set", "train.epochs=8"]);
    train(&world, "tuned", &["--init", "joined", "--set", "train.epochs=2"]);
    world
}

fn train(world: &World, out: &str, args: &[&str]) {
    let begin = ["train", "recipe.toml", "--out", out];
    ok(&trainer(&world.at(""), &[&begin, args].concat()));
}

fn blended(world: &World, args: &[&str]) -> Value {
    let output = trainer(&world.at(""), &[&["blend"], args, &["--json"]].concat());
    ok(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Accuracy and both recalls of a run, as `eval` says them.
fn measured(world: &World, run: &str) -> [f64; 3] {
    let args = ["eval", run, "--captions", "captions.tar", "--labels", "labels.tar", "--json"];
    let output = trainer(&world.at(""), &args);
    ok(&output);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let recall = |way: &str| all["captions"][way]["recall_at_10"].as_f64().unwrap();
    [all["labels"]["top_1"].as_f64().unwrap(), recall("text_to_image"), recall("image_to_text")]
}

/// The same of a point of a sweep.
fn figures(point: &Value) -> [f64; 3] {
    ["top_1", "recall_at_10", "image_to_text_recall_at_10"].map(|key| point[key].as_f64().unwrap())
}

fn weights(folder: &Path) -> Checkpoint {
    Checkpoint::newest(&folder.join("checkpoints")).unwrap()
}

/// The largest difference between `(1 − share) · one + share · other` and `blend`.
fn off(blend: &Checkpoint, one: &Checkpoint, other: &Checkpoint, share: f64) -> f64 {
    assert!(blend.weights.keys().eq(one.weights.keys()));
    let apart = |(name, tensor): (&String, &Tensor)| {
        let expected = &one.weights[name] * (1.0 - share) + &other.weights[name] * share;
        (tensor - expected).abs().max().double_value(&[])
    };
    blend.weights.iter().map(apart).fold(0.0, f64::max)
}

#[test]
fn the_ends_of_the_line_are_the_start_and_the_end_and_the_best_is_written() {
    let world = tuned();
    let swept = blended(&world, &["tuned", "--at", "1,0,0.5", "--out", "chosen"]);
    let points = swept["points"].as_array().unwrap();
    let shares: Vec<f64> = points.iter().map(|point| point["share"].as_f64().unwrap()).collect();
    assert_eq!(shares, [0.0, 0.5, 1.0]);
    let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(figures(&points[0]), measured(&world, "joined")), "{swept}");
    assert!(near(figures(&points[2]), measured(&world, "tuned")), "{swept}");

    let best = swept["recommended"].as_f64().unwrap();
    let of_best = points.iter().find(|point| point["share"] == best).unwrap();
    assert!(near(figures(of_best), measured(&world, "chosen")), "{swept}");
    let [start, end, chosen] = ["joined", "tuned", "chosen"].map(|run| weights(&world.at(run)));
    assert!(off(&start, &start, &end, 1.0) > 1e-3, "the training changed nothing");
    assert!(off(&chosen, &start, &end, best) < 1e-6);
    let picture = std::fs::read(world.at("blend.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
}

#[test]
fn a_blend_of_ones_choice_is_exported_and_the_run_stays_as_it_was() {
    let world = tuned();
    let before =
        std::fs::read(Checkpoint::newest_file(&world.at("tuned/checkpoints")).unwrap().unwrap());
    let args = ["blend", "tuned", "--at", "0.25", "--out", "quarter", "--share", "0.25"];
    let output = trainer(&world.at(""), &args);
    ok(&output);
    let said = text(&output.stdout);
    assert!(
        said.contains("  recommended") && said.contains("quarter is the blend at 0.25"),
        "{said}"
    );
    let [start, end, quarter] = ["joined", "tuned", "quarter"].map(|run| weights(&world.at(run)));
    assert!(off(&quarter, &start, &end, 0.25) < 1e-6);
    ok(&trainer(&world.at(""), &["export", "quarter", "--out", "bundle", "--precision", "fp32"]));
    let after =
        std::fs::read(Checkpoint::newest_file(&world.at("tuned/checkpoints")).unwrap().unwrap());
    assert_eq!(before.unwrap(), after.unwrap());
}

#[test]
fn runs_from_the_same_start_are_averaged() {
    let world = tuned();
    train(
        &world,
        "other",
        &["--init", "joined", "--set", "train.epochs=2", "--set", "train.seed=9"],
    );
    blended(&world, &["tuned", "other", "--at", "1", "--out", "mean"]);
    let [one, other, mean] = ["tuned", "other", "mean"].map(|run| weights(&world.at(run)));
    assert!(off(&one, &one, &other, 1.0) > 1e-4, "both seeds learned the same");
    assert!(off(&mean, &one, &other, 0.5) < 1e-6);
}

#[test]
fn what_cannot_be_blended_is_refused_with_the_way_out() {
    let world = tuned();
    train(&world, "again", &["--set", "train.epochs=1", "--set", "train.seed=5"]);
    train(&world, "elsewhere", &["--init", "again", "--set", "train.epochs=1"]);
    let recipe = std::fs::read_to_string(world.at("tuned/recipe.toml")).unwrap();
    let blind: String = recipe
        .lines()
        .filter(|line| !line.starts_with("captions"))
        .map(|l| format!("{l}\n"))
        .collect();
    std::fs::create_dir(world.at("blind")).unwrap();
    std::fs::write(world.at("blind/recipe.toml"), blind).unwrap();
    let newest = Checkpoint::newest_file(&world.at("tuned/checkpoints")).unwrap().unwrap();
    std::fs::create_dir(world.at("blind/checkpoints")).unwrap();
    std::fs::copy(&newest, world.at("blind/checkpoints").join(newest.file_name().unwrap()))
        .unwrap();
    for (args, words) in [
        (&["joined"][..], "joined began with projections or weights that were random"),
        (&["tuned", "elsewhere"], "tuned and elsewhere did not begin from the same model"),
        (&["nowhere"], "nowhere is no run"),
        (&["blind"], "name it by --captions"),
        (&["tuned", "--at", "2"], "a share is a number between 0"),
        (&["tuned", "--at", "0", "--out", "joined"], "joined is not empty"),
    ] {
        let output = trainer(&world.at(""), &[&["blend"], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
