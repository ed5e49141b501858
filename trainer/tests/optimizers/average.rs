//! `train.ema`: what is measured, kept, exported and resumed is the average of the weights.

use std::path::Path;

use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::run::Run;
use serde_json::Value;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;
use crate::training::{go, resumes_exactly};

/// The last line of `metrics.jsonl` that holds a measurement.
fn measured(run: &Path) -> Value {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.rfind(|line| line.get("recall_at_1").is_some()).unwrap()
}

#[test]
fn a_resumed_average_equals_an_uninterrupted_one() {
    let world = World::new();
    resumes_exactly(&world, &world.recipe(&["train.ema=0.9"]));
    let average =
        |run: &str| Checkpoint::newest(&world.at(run).join("checkpoints")).unwrap().average;
    let (whole, broken) = (average("whole"), average("broken"));
    assert!(!whole.is_empty());
    for (name, tensor) in &whole {
        assert!(tensor == &broken[name], "{name} differs");
    }
}

#[test]
fn the_average_is_measured_beside_the_last_weights_and_does_not_change_them() {
    let world = World::new();
    let plain = Run::create(&world.at("plain"), world.recipe(&[])).unwrap();
    go(&plain, None).0.unwrap();
    let averaged = Run::create(&world.at("averaged"), world.recipe(&["train.ema=0.95"])).unwrap();
    let (outcome, said) = go(&averaged, None);
    outcome.unwrap();
    let told = said.iter().any(|words| words.starts_with("epoch 4, average of the weights: "));
    assert!(told, "{said:?}");

    let newest = |run: &Run| Checkpoint::newest(&run.checkpoints()).unwrap();
    let (a, b) = (newest(&plain), newest(&averaged));
    assert!(a.average.is_empty() && b.average.len() < b.weights.len());
    for (name, tensor) in &a.weights {
        assert!(tensor == &b.weights[name], "{name} differs");
    }
    let name = "text_projection.weight";
    assert!(b.average[name] != b.weights[name]);
    let (of_plain, of_averaged) = (measured(&plain.folder), measured(&averaged.folder));
    assert!(of_plain.get("last_weights").is_none());
    for key in ["recall_at_1", "median_rank", "image_to_text", "top_1"] {
        assert_eq!(of_averaged["last_weights"][key], of_plain[key], "{key}");
    }
}

#[test]
fn what_is_measured_and_exported_afterwards_is_the_average() {
    let world = World::new();
    let here = world.at("");
    ok(&trainer(&here, &["train", "recipe.toml", "--out", "run", "--set", "train.ema=0.9"]));
    let measure = |model: &[&str]| {
        let sets = ["--captions", "captions.tar", "--labels", "labels.tar", "--json"];
        let output = trainer(&here, &[&["eval"], model, &sets].concat());
        ok(&output);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let of_run = measure(&["run"]);
    assert_eq!(of_run["precision"], "fp32 (libtorch), average of the weights");
    let in_training = measured(&world.at("run"));
    assert_eq!(of_run["captions"]["text_to_image"]["recall_at_1"], in_training["recall_at_1"]);
    assert_eq!(of_run["labels"]["top_1"], in_training["top_1"]);

    let exported = trainer(&here, &["export", "run", "--out", "bundle", "--precision", "fp32"]);
    ok(&exported);
    let said = text(&exported.stderr);
    assert!(said.contains("average of the weights"), "{said}");
    let of_bundle = measure(&["bundle", "--precision", "fp32"]);
    assert_eq!(of_bundle["captions"]["text_to_image"], of_run["captions"]["text_to_image"]);
    let kept = Checkpoint::newest(&world.at("run/checkpoints")).unwrap().average;
    let expected = kept["logit_scale"].double_value(&[]);
    let manifest = std::fs::read(world.at("bundle/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let found = manifest["logit_scale"].as_f64().unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
}
