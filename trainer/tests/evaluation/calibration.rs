//! Reliability of zero-shot probabilities.

use clip::image::{DecodeLimits, decode};
use clipsight_trainer::eval::calibration::{Scores, fitted_temperature, reliability};
use serde_json::Value;

use super::{holds, measured, refused, trained};
use crate::commands::{ok, text, trainer};

#[test]
fn errors_and_the_fitted_temperature_equal_numpys() {
    let fixture: Value =
        serde_json::from_str(include_str!("../fixtures/calibration.json")).unwrap();
    let scores = Scores {
        rows: serde_json::from_value(fixture["scores"].clone()).unwrap(),
        truth: serde_json::from_value(fixture["truth"].clone()).unwrap(),
    };
    let expected = |at: usize, key: &str| fixture["at"][at][key].as_f64().unwrap();
    let fitted = fitted_temperature(&scores);
    assert!((fitted / expected(1, "temperature") - 1.0).abs() < 1e-6, "{fitted}");
    for at in [0, 1] {
        let found = reliability(&scores, expected(at, "temperature"), 0);
        for (key, value) in [
            ("expected_calibration_error", found.expected_calibration_error),
            ("negative_log_likelihood", found.negative_log_likelihood),
        ] {
            assert!((value - expected(at, key)).abs() < 1e-6, "{key}: {value}");
        }
    }
}

#[test]
fn eval_tells_the_error_before_and_after_and_draws_it() {
    let world = trained();
    let args = ["--labels", "labels.tar", "--reliability", "r.png"];
    let found = measured(&world, &args);
    let labels = &found["labels"];
    for figure in ["top_1", "top_5"] {
        assert!(holds(&labels["intervals"][figure], labels[figure].as_f64().unwrap()), "{labels}");
    }
    let calibration = &labels["calibration"];
    assert_eq!((&calibration["fitted_on"], &calibration["measured_on"]), (&12.into(), &12.into()));
    let metrics = std::fs::read_to_string(world.at("run/metrics.jsonl")).unwrap();
    let scale = metrics
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str::<Value>(line).unwrap()["logit_scale"].as_f64());
    let own = calibration["own"]["temperature"].as_f64().unwrap();
    assert!((own - (-scale.unwrap()).exp()).abs() < 1e-4, "{own}");
    for at in ["own", "fitted"] {
        let at = &calibration[at];
        let error = at["expected_calibration_error"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&error), "{at}");
        let bins = at["bins"].as_array().unwrap();
        let pictures: u64 = bins.iter().map(|bin| bin["pictures"].as_u64().unwrap()).sum();
        assert_eq!((bins.len(), pictures), (15, 12));
    }
    assert_eq!(measured(&world, &args), found, "the same seed, the same figures");
    assert_ne!(measured(&world, &[&args[..2], &["--seed", "1"]].concat()), found);
    let picture = std::fs::read(world.at("r.png")).unwrap();
    assert!(decode(&picture, &DecodeLimits::default()).unwrap().pixels.width() >= 1000);

    let output = trainer(&world.at(""), &["eval", "run", "--labels", "labels.tar"]);
    ok(&output);
    let table = text(&output.stdout);
    for words in ["95 % of draws", "temperature", "ECE", "fitted on 12 of the pictures"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let lost = refused(&world, &["--labels", "labels.tar", "--reliability", "nowhere/r.png"]);
    assert!(lost.contains("cannot write nowhere/r.png"), "{lost}");
}
