//! Optimizers, schedules and the average of the weights: equal to the references, and resumed as if
//! never stopped.

mod average;

use std::collections::BTreeMap;
use std::path::Path;

use clipsight_trainer::optimizer::{Gradients, Optimizer, Parameter};
use clipsight_trainer::recipe::OptimizerSection;
use clipsight_trainer::run::Run;
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::commands::{text, trainer};
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};

/// Values of each parameter, by its name.
type Values = BTreeMap<String, Vec<f32>>;

/// What `make_optimizers.py` recorded.
#[derive(Deserialize)]
struct Recorded {
    parameters: Vec<Start>,
    schedule: Vec<f64>,
    gradients: Vec<Values>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Start {
    name: String,
    shape: Vec<i64>,
    learning_rate: f64,
    start: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    optimizer: OptimizerSection,
    weight_decay: f64,
    after: Vec<Values>,
}

fn recorded() -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optimizers.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn parameters(starts: &[Start]) -> Vec<Parameter> {
    let parameter = |start: &Start| {
        let tensor = Tensor::from_slice(&start.start).view(start.shape.as_slice());
        Parameter {
            name: start.name.clone(),
            tensor: tensor.set_requires_grad(true),
            learning_rate: start.learning_rate,
            decays: start.shape.len() >= 2,
        }
    };
    starts.iter().map(parameter).collect()
}

/// Those of a loss whose gradients are `wanted`: `Σ p · g`.
fn gradients(parameters: &[Parameter], wanted: &Values) -> Gradients {
    let loss = parameters.iter().fold(Tensor::from(0f32), |loss, p| {
        loss + (p.tensor.view([-1]) * Tensor::from_slice(&wanted[&p.name])).sum(Kind::Float)
    });
    Gradients::of(&loss, parameters, 0.0).unwrap()
}

#[test]
fn ten_steps_of_each_optimizer_equal_those_of_torch_and_timm() {
    let recorded = recorded();
    for Case { case, optimizer, weight_decay, after } in &recorded.cases {
        let parameters = parameters(&recorded.parameters);
        let mut optimizer = Optimizer::new(*optimizer, *weight_decay);
        for (step, (wanted, schedule)) in
            recorded.gradients.iter().zip(&recorded.schedule).enumerate()
        {
            optimizer.step(&parameters, &gradients(&parameters, wanted), *schedule).unwrap();
            for p in &parameters {
                let found = Vec::<f32>::try_from(p.tensor.detach().view([-1])).unwrap();
                for (found, expected) in found.iter().zip(&after[step][&p.name]) {
                    let far = (found - expected).abs();
                    assert!(far <= 1e-6, "{case}, step {step}, {}: {found} {expected}", p.name);
                }
            }
        }
        assert_eq!(after.len(), 10, "{case}");
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_with_every_optimizer_and_schedule() {
    for sets in [
        ["train.optimizer={name=\"sgd\",momentum=0.0}", "train.schedule=linear"],
        ["train.optimizer={name=\"sgd\",nesterov=true}", "train.schedule=constant"],
        ["train.optimizer=lars", "train.schedule={name=\"step\",at=[0.3,0.6]}"],
        ["train.optimizer=lamb", "train.schedule=cosine"],
    ] {
        let world = World::new();
        resumes_exactly(&world, &world.recipe(&sets));
    }
}

#[test]
fn every_optimizer_learns_at_a_rate_of_its_own() {
    for (name, optimizer, rate) in [
        ("run1", "train.optimizer=sgd", "1.0"),
        ("run2", "train.optimizer={name=\"lars\",trust=0.1}", "0.3"),
        ("run3", "train.optimizer=lamb", "5e-2"),
    ] {
        let world = World::new();
        let rate = format!("model.projection.learning_rate={rate}");
        let recipe = world.recipe(&["train.epochs=30", "eval.every_epochs=30", optimizer, &rate]);
        let run = Run::create(&world.at(name), recipe).unwrap();
        assert!(go(&run, None).0.unwrap().finished);
        let losses = series(&run.folder, "loss");
        let (first, last) = (losses[0].1, losses[losses.len() - 1].1);
        assert!(last < 0.7 * first, "{optimizer}: from {first} to {last}");
    }
}

#[test]
fn the_learning_rate_follows_the_schedule() {
    let world = World::new();
    let schedule = "train.schedule={name=\"step\",at=[0.5],factor=0.1}";
    let sets = [schedule, "train.warmup_steps=0", "eval.every_epochs=4"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    go(&run, None).0.unwrap();
    let rates = series(&run.folder, "learning_rate");
    let half = rates.len() / 2;
    assert!(rates[..half].iter().all(|(_, rate)| (rate - 1e-2).abs() < 1e-12), "{rates:?}");
    assert!(rates[half..].iter().all(|(_, rate)| (rate - 1e-3).abs() < 1e-12), "{rates:?}");
}

#[test]
fn what_a_recipe_gets_wrong_is_said_with_what_there_is() {
    let world = World::new();
    for (set, words) in [
        ("train.optimizer=adagrad", &["train.optimizer", "`adagrad`", "`adamw`", "`lamb`"][..]),
        ("train.optimizer={name=\"sgd\",trust=1}", &["`trust`", "`momentum`", "`nesterov`"]),
        ("train.optimizer={name=\"lars\",trust=0}", &["train.optimizer.trust", "above 0"]),
        ("train.schedule=poly", &["train.schedule", "`poly`", "`linear`", "`step`"]),
        ("train.schedule={name=\"step\",at=[2]}", &["train.schedule.at", "[0.6, 0.8]"]),
        ("train.ema=1", &["train.ema", "0.999"]),
    ] {
        let output = trainer(&world.at(""), &["train", "recipe.toml", "--set", set]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{said:?} does not say {word}");
        }
    }
}
