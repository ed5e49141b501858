//! `clipsight-trainer temperature` by its real binary: of a run and of a bundle, as a table, as JSON and
//! as a picture.

use clip::image::{DecodeLimits, decode};
use serde_json::Value;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;

fn drawn(world: &World, args: &[&str]) -> Value {
    let output = trainer(&world.at(""), &[&["temperature"], args, &["--json"]].concat());
    ok(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn sharpness_falls_with_the_temperature_and_the_models_own_is_among_them() {
    let world = World::new();
    let here = world.at("");
    ok(&trainer(&here, &["train", "recipe.toml", "--out", "run", "--set", "train.epochs=20"]));
    let of_run = drawn(&world, &["run", "--captions", "captions.tar", "--at", "1,0.01,0.1"]);
    assert_eq!((&of_run["pictures"], &of_run["captions"]), (&24.into(), &48.into()));
    let own = of_run["temperature"].as_f64().unwrap();
    let of = |key: &str| -> Vec<f64> {
        of_run["at"].as_array().unwrap().iter().map(|at| at[key].as_f64().unwrap()).collect()
    };
    let temperatures = of("temperature");
    assert!(temperatures.len() == 4 && temperatures.contains(&own), "{temperatures:?}");
    assert!(temperatures.is_sorted());
    assert!(of("entropy").is_sorted() && of("effective_pictures").is_sorted(), "{of_run}");
    assert!(of("effective_pictures").iter().all(|n| (1.0..=24.001).contains(n)), "{of_run}");
    let picture = std::fs::read(world.at("temperature.png")).unwrap();
    assert!(decode(&picture, &DecodeLimits::default()).unwrap().pixels.width() >= 1000);

    ok(&trainer(&here, &["export", "run", "--out", "bundle", "--precision", "fp32"]));
    let args = ["bundle", "--captions", "captions.tar", "--at", "1,0.01,0.1", "--out", "b.png"];
    let of_bundle = drawn(&world, &args);
    assert!(world.at("b.png").is_file());
    for (a, b) in of_run["at"].as_array().unwrap().iter().zip(of_bundle["at"].as_array().unwrap()) {
        for key in ["temperature", "probability", "entropy"] {
            let (a, b) = (a[key].as_f64().unwrap(), b[key].as_f64().unwrap());
            assert!((a - b).abs() < 1e-3, "{key}: {a} and {b}");
        }
    }
}

#[test]
fn the_table_names_the_picture_and_bad_input_is_told() {
    let world = World::new();
    let here = world.at("");
    ok(&trainer(&here, &["train", "recipe.toml", "--out", "run", "--set", "train.epochs=1"]));
    let output = trainer(&here, &["temperature", "run", "--captions", "captions.tar"]);
    ok(&output);
    let table = text(&output.stdout);
    for words in
        ["24 pictures, 48 captions", "effective pictures", "the model's own", "temperature.png"]
    {
        assert!(table.contains(words), "{table}");
    }
    for (args, words) in [
        (&["--captions", "labels.tar"][..], "has no captions"),
        (&["--captions", "captions.tar", "--at", "0.1,cold"], "between 0.0001 and 1000"),
        (&["--captions", "captions.tar", "--at", "0"], "between 0.0001 and 1000"),
        (&["--captions", "captions.tar", "--out", "nowhere/t.png"], "cannot write nowhere/t.png"),
        (&["--captions", "no.tar"], "no.tar"),
    ] {
        let output = trainer(&here, &[&["temperature", "run"], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
