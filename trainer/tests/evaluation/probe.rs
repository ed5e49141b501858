//! What a linear probe and the nearest neighbors learn from frozen embeddings.

use clip::image::{DecodeLimits, decode};
use clipsight_trainer::eval::nearest::by_neighbors;
use clipsight_trainer::eval::probe::{Features, Probe};
use serde_json::Value;
use tch::Kind;

use super::{holds, measured, refused, trained};
use crate::commands::{ok, text, trainer};
use crate::tiny::{World, png};

/// The features of a part of the fixture.
fn features(fixture: &Value, part: &str) -> Features {
    let part = &fixture[part];
    let rows: Vec<Vec<f32>> = serde_json::from_value(part["features"].clone()).unwrap();
    let classes: Vec<usize> = serde_json::from_value(part["classes"].clone()).unwrap();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    Features::new(&rows, &classes, 4).unwrap()
}

#[test]
fn weights_and_answers_equal_scikit_learns() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/probe.json")).unwrap();
    let (train, test) = (features(&fixture, "train"), features(&fixture, "test"));
    for case in fixture["fits"].as_array().unwrap() {
        let probe = Probe::fit(&train, case["penalty"].as_f64().unwrap()).unwrap();
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["weights"].clone()).unwrap();
        let expected = tch::Tensor::from_slice2(&expected);
        let largest = expected.abs().max().double_value(&[]);
        // The bias is free up to a number that all classes share.
        let bias = |weights: &tch::Tensor| {
            let bias = weights.narrow(1, 6, 1);
            &bias - bias.mean(Kind::Double)
        };
        let away = (probe.weights.narrow(1, 0, 6) - expected.narrow(1, 0, 6)).abs().max();
        assert!(away.double_value(&[]) < 2e-3 * largest, "{}: {away}", case["penalty"]);
        let away = (bias(&probe.weights) - bias(&expected)).abs().max();
        assert!(away.double_value(&[]) < 2e-3 * largest, "{}: {away}", case["penalty"]);
        let answers: Vec<i64> = serde_json::from_value(case["answers"].clone()).unwrap();
        assert_eq!(Vec::<i64>::try_from(&probe.classify(&test).unwrap()).unwrap(), answers);
    }
    let answers: Vec<i64> = serde_json::from_value(fixture["neighbors"].clone()).unwrap();
    assert_eq!(Vec::<i64>::try_from(&by_neighbors(&train, &test).unwrap()).unwrap(), answers);
}

/// A folder of class folders with pictures of these colors.
fn folder(world: &World, name: &str, classes: &[(&str, [u8; 3], u32)]) {
    for (class, color, count) in classes {
        let folder = world.at(name).join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..*count {
            std::fs::write(folder.join(format!("{n}.png")), png(*color, n)).unwrap();
        }
    }
}

const RED: (&str, [u8; 3], u32) = ("red", [220, 30, 30], 6);
const BLUE: (&str, [u8; 3], u32) = ("blue", [30, 40, 220], 6);
const WHITE: (&str, [u8; 3], u32) = ("white", [245, 245, 245], 6);

#[test]
fn classes_are_learned_from_another_set_whatever_their_order_and_layout() {
    let world = trained();
    // The same six classes; in a folder they come in another order than in the tar.
    folder(&world, "few", &[RED, BLUE, WHITE]);
    folder(&world, "few", &[("green", [30, 200, 40], 6), ("yellow", [230, 220, 40], 6)]);
    folder(&world, "few", &[("black", [10, 10, 10], 6)]);
    let args = ["--labels", "labels.tar", "--probe", "few", "--confusion", "c.png"];
    let found = measured(&world, &args);
    let learned = &found["labels"]["learned"];
    assert_eq!(learned["pictures"], 36);
    for figure in ["linear_probe", "nearest_neighbors"] {
        let value = learned[figure].as_f64().unwrap();
        assert!(value > 0.9, "{figure}: {value}");
        assert!(holds(&learned["intervals"][figure], value), "{figure}: {learned}");
    }
    let picture = std::fs::read(world.at("c.png")).unwrap();
    let picture = decode(&picture, &DecodeLimits::default()).unwrap().pixels;
    assert!(picture.width() > picture.height(), "zero-shot and probe side by side");
    let output = trainer(&world.at(""), &[&["eval", "run"][..], &args].concat());
    ok(&output);
    let table = text(&output.stdout);
    for words in ["linear probe", "nearest neighbors", "36 pictures; penalty "] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn sets_that_do_not_fit_each_other_are_told() {
    let world = trained();
    folder(&world, "two", &[RED, BLUE]);
    folder(&world, "other", &[RED, WHITE]);
    folder(&world, "one", &[RED]);
    let differ = refused(&world, &["--labels", "two", "--probe", "other"]);
    for words in ["only other has \"white\"", "only two has \"blue\"", "the same classes"] {
        assert!(differ.contains(words), "{words}: {differ}");
    }
    let one = refused(&world, &["--labels", "two", "--probe", "one"]);
    assert!(one.contains("one has one class, \"red\""), "{one}");
    folder(&world, "empty", &[RED]);
    std::fs::create_dir_all(world.at("empty/blue")).unwrap();
    std::fs::write(world.at("empty/blue/broken.png"), b"no picture").unwrap();
    let nothing = refused(&world, &["--labels", "two", "--probe", "empty"]);
    assert!(nothing.contains("no picture that can be used of \"blue\""), "{nothing}");
    let captions = refused(&world, &["--labels", "two", "--probe", "captions.tar"]);
    assert!(captions.contains("captions.tar has no labels"), "{captions}");
    let lost = refused(&world, &["--labels", "two", "--confusion", "nowhere/c.png"]);
    assert!(lost.contains("cannot write nowhere/c.png"), "{lost}");
}

#[test]
fn a_training_set_without_labels_to_measure_is_refused_by_the_flags() {
    let world = trained();
    let args = ["eval", "run", "--captions", "captions.tar", "--probe", "labels.tar"];
    let output = trainer(&world.at(""), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--labels <DATA>"), "{}", text(&output.stderr));
}
