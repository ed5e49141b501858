//! `blend` by its real binary: both ends of the line are the models that they are said to be, what is
//! between them is their mean, and what is written is a run.

use std::path::Path;

use clipsight_trainer::checkpoint::Checkpoint;
use serde_json::{Value, json};
use tch::Tensor;

use crate::commands::{ok, text, trainer};
use crate::tiny::{COLORS, World};

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

/// A recipe that names no held-out set with captions.
fn without_captions(recipe: &str) -> String {
    let others = recipe.lines().filter(|line| !line.starts_with("captions"));
    others.map(|line| format!("{line}\n")).collect()
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
    // A share of ones own choice alone is written, not measured: no set is asked for.
    let recipe = std::fs::read_to_string(world.at("tuned/recipe.toml")).unwrap();
    std::fs::write(world.at("tuned/recipe.toml"), without_captions(&recipe)).unwrap();
    let written = blended(&world, &["tuned", "other", "--share", "1", "--out", "mean"]);
    assert_eq!(written, json!({ "run": "mean", "share": 1.0 }));
    assert!(!world.at("blend.png").exists());
    let [one, other, mean] = ["tuned", "other", "mean"].map(|run| weights(&world.at(run)));
    assert!(off(&one, &one, &other, 1.0) > 1e-4, "both seeds learned the same");
    assert!(off(&mean, &one, &other, 0.5) < 1e-6);
}

#[test]
fn checkpoints_of_a_run_are_averaged_and_measured_beside_the_last() {
    let world = World::new();
    train(&world, "run", &["--set", "train.epochs=4", "--set", "train.keep_checkpoints=3"]);
    let files = Checkpoint::files(&world.at("run/checkpoints")).unwrap();
    assert_eq!(files.len(), 3);
    let swept =
        blended(&world, &["run", "--checkpoints", "--at", "0,1", "--out", "mean", "--share", "1"]);
    let points = swept["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(figures(&points[0]), measured(&world, "run")), "{swept}");
    assert!(near(figures(&points[1]), measured(&world, "mean")), "{swept}");

    let kept: Vec<Checkpoint> = files.iter().map(|file| Checkpoint::read(file).unwrap()).collect();
    let mean = weights(&world.at("mean"));
    assert_eq!(mean.step, kept[2].step);
    let name = "text_projection.weight";
    let sum = &kept[0].weights[name] + &kept[1].weights[name] + &kept[2].weights[name];
    let apart = (&mean.weights[name] - sum / 3.0).abs().max().double_value(&[]);
    assert!(apart < 1e-6, "{apart}");
    assert!(off(&mean, &kept[2], &kept[2], 1.0) > 1e-4, "the last three learned the same");

    train(&world, "one", &["--set", "train.epochs=2", "--set", "train.keep_checkpoints=1"]);
    for (args, words) in [
        (&["one", "--checkpoints"][..], "one keeps one checkpoint alone"),
        (&["run", "one", "--checkpoints"], "name one run"),
    ] {
        let output = trainer(&world.at(""), &[&["blend"], args].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn a_training_that_began_from_a_model_ends_with_what_it_won_and_kept() {
    let world = World::new();
    train(&world, "joined", &["--set", "train.epochs=8"]);
    assert!(!world.at("joined/blend.json").exists(), "it began from nothing");
    let tune = |out: &str, more: &[&str]| {
        let begin = ["train", "recipe.toml", "--out", out, "--init", "joined"];
        let output =
            trainer(&world.at(""), &[&begin[..], &["--set", "train.epochs=2"], more].concat());
        ok(&output);
        (text(&output.stdout), text(&output.stderr))
    };
    let (said, _) = tune("tuned", &[]);
    for words in ["labels.tar · kept: R@10 on ", "  recommended", "the end: "] {
        assert!(said.contains(words), "{said}");
    }
    let file = std::fs::read(world.at("tuned/blend.json")).unwrap();
    let swept: Value = serde_json::from_slice(&file).unwrap();
    let shares: Vec<f64> = swept["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["share"].as_f64().unwrap())
        .collect();
    assert_eq!(shares, [0.0, 0.25, 0.5, 0.75, 1.0]);
    let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(figures(&swept["points"][0]), measured(&world, "joined")), "{swept}");
    assert!(near(figures(&swept["points"][4]), measured(&world, "tuned")), "{swept}");
    assert!(std::fs::read(world.at("tuned/blend.png")).unwrap().starts_with(b"\x89PNG"));

    let (said, told) = tune("quiet", &["--set", "eval.blend=false"]);
    assert!(said.is_empty() && !told.contains("way back"), "{said}{told}");
    assert!(!world.at("quiet/blend.json").exists());

    let (said, told) = tune(
        "grown",
        &["--set", "model.projection.kind=residual", "--set", "model.projection.hidden=6"],
    );
    assert!(said.is_empty() && told.contains("put weights of its own over"), "{said}{told}");

    let recipe = std::fs::read_to_string(world.at("recipe.toml")).unwrap();
    std::fs::write(world.at("recipe.toml"), without_captions(&recipe)).unwrap();
    let (said, told) = tune("blind", &[]);
    assert!(said.is_empty() && told.contains("the recipe has no eval.captions"), "{said}{told}");
}

#[test]
fn what_cannot_be_blended_is_refused_with_the_way_out() {
    let world = tuned();
    train(&world, "again", &["--set", "train.epochs=1", "--set", "train.seed=5"]);
    train(&world, "elsewhere", &["--init", "again", "--set", "train.epochs=1"]);
    let begun = ["--init", "joined", "--set", "train.epochs=1"];
    let hidden = ["--set", "model.projection.kind=residual", "--set", "model.projection.hidden=6"];
    train(&world, "residual", &[&begun[..], &hidden].concat());
    let colors = COLORS.map(|(name, _)| name).join("\n");
    std::fs::write(world.at("colors.txt"), colors).unwrap();
    train(&world, "classes", &[&begun[..], &["--set", "model.image.classes=colors.txt"]].concat());
    let recipe = std::fs::read_to_string(world.at("tuned/recipe.toml")).unwrap();
    std::fs::create_dir(world.at("blind")).unwrap();
    std::fs::write(world.at("blind/recipe.toml"), without_captions(&recipe)).unwrap();
    let newest = Checkpoint::newest_file(&world.at("tuned/checkpoints")).unwrap().unwrap();
    std::fs::create_dir(world.at("blind/checkpoints")).unwrap();
    std::fs::copy(&newest, world.at("blind/checkpoints").join(newest.file_name().unwrap()))
        .unwrap();
    for (args, words) in [
        (&["joined"][..], "joined began with projections or weights that were random"),
        (&["tuned", "elsewhere"], "tuned and elsewhere did not begin from the same model"),
        (
            &["residual"],
            "residual put weights of its own over what it began from (text_projection, ",
        ),
        (&["classes"], "classes put weights of its own over what it began from (class_model)"),
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
