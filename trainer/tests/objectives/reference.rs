//! Values and gradients beside those of the reference implementations, as
//! `tests/fixtures/make_objectives.py` recorded them.

use std::collections::BTreeMap;
use std::path::Path;

use clipsight_trainer::objectives::{
    Distance, Mining, Negatives, Related, Sharing, Triplets, dcl, info_nce,
    info_nce_with_negative_texts, info_nce_with_negatives, margin, negative_cosine, nt_xent,
    sigmoid, sup_con, sup_con_pairs, swapped_prediction, triplet_in_batch,
};
use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

/// Relative to the largest number of a gradient, or of 1 where that is less.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Recorded {
    inputs: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    objective: String,
    temperature: f64,
    distance: Option<Distance>,
    mining: Option<Mining>,
    loss: f64,
    gradients: BTreeMap<String, Value>,
}

/// Nested lists of numbers, f32.
fn tensor(value: &Value) -> Tensor {
    match value {
        Value::Array(parts) => Tensor::stack(&parts.iter().map(tensor).collect::<Vec<_>>(), 0),
        number => Tensor::from(number.as_f64().unwrap() as f32),
    }
}

fn normalized(features: &Tensor) -> Tensor {
    features / features.norm_scalaropt_dim(2, [-1i64].as_slice(), true)
}

/// What a case starts from: leaves that ask for gradients.
struct Inputs {
    leaves: BTreeMap<String, Tensor>,
    classes: Tensor,
    same: Tensor,
}

impl Inputs {
    fn of(recorded: &BTreeMap<String, Value>, temperature: f64) -> Self {
        let named = ["images", "texts", "negatives", "own_negatives", "logit_bias"];
        let mut leaves: BTreeMap<String, Tensor> =
            named.iter().map(|name| ((*name).to_owned(), tensor(&recorded[*name]))).collect();
        leaves.insert("logit_scale".to_owned(), Tensor::from(-temperature.ln() as f32));
        leaves.values_mut().for_each(|leaf| *leaf = leaf.set_requires_grad(true));
        let classes = tensor(&recorded["classes"]).to_kind(Kind::Int64);
        Self { leaves, classes, same: tensor(&recorded["same"]).to_kind(Kind::Bool) }
    }

    fn loss(&self, case: &Case) -> Tensor {
        let embeddings = |name: &str| normalized(&self.leaves[name]);
        let (images, texts) = (embeddings("images"), embeddings("texts"));
        let (scale, bias) = (&self.leaves["logit_scale"], &self.leaves["logit_bias"]);
        let nobody =
            Related::by(&[&Tensor::arange(images.size()[0], (Kind::Int64, images.device()))]);
        let classes = Related::by(&[&self.classes]);
        let against =
            |name: &str| info_nce_with_negatives(&images, &texts, &embeddings(name), scale, None);
        match case.objective.as_str() {
            "info_nce" => info_nce(&images, &texts, scale, &nobody),
            "info_nce_negative_texts" => {
                let texts_of_nobody = embeddings("negatives");
                let excluded = images.matmul(&texts_of_nobody.tr()).gt(2.0);
                let negatives = Negatives { texts: &texts_of_nobody, excluded: &excluded };
                info_nce_with_negative_texts(&images, &texts, scale, &nobody, negatives)
            }
            "info_nce_shared" => against("negatives"),
            "info_nce_own" => against("own_negatives"),
            "nt_xent" => nt_xent(&images, &texts, scale, &nobody),
            "dcl" => dcl(&images, &texts, scale, &nobody),
            "sigmoid" => sigmoid(&images, &texts, scale, bias, &nobody),
            "sup_con" => sup_con(&images, scale, &classes),
            "sup_con_pairs" => sup_con_pairs(&images, &texts, scale, &classes),
            "margin" => margin(&images, &texts, &self.same, 1.2),
            "negative_cosine" => negative_cosine(&images, &texts),
            "swapped_prediction" => {
                let small = embeddings("own_negatives").select(1, 0);
                let how = Sharing { epsilon: 0.05, iterations: 3 };
                swapped_prediction(&[images, texts, small], 2, 0.1, how)
            }
            "triplet" => {
                let (distance, mining) = (case.distance.unwrap(), case.mining.unwrap());
                triplet_in_batch(
                    &images,
                    &texts,
                    &nobody,
                    Triplets { margin: 0.3, distance, mining },
                )
            }
            other => panic!("nothing here is called {other}"),
        }
    }
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

#[test]
fn values_and_gradients_are_those_of_the_reference_implementations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/objectives.json");
    let text = std::fs::read_to_string(path).unwrap();
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    for case in &recorded.cases {
        let what = format!("{} at {}", case.objective, case.temperature);
        let what = format!("{what} {:?} {:?}", case.distance, case.mining);
        let inputs = Inputs::of(&recorded.inputs, case.temperature);
        let loss = inputs.loss(case);
        let (got, expected) = (loss.double_value(&[]), case.loss);
        let tolerance = TOLERANCE * expected.abs().max(1.0);
        assert!((got - expected).abs() < tolerance, "{what}: {got} is not {expected}");

        let leaves: Vec<&Tensor> = case.gradients.keys().map(|name| &inputs.leaves[name]).collect();
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        for ((name, expected), got) in case.gradients.iter().zip(gradients) {
            let expected = tensor(expected);
            let difference = largest(&(&got - &expected));
            let tolerance = TOLERANCE * largest(&expected).max(1.0);
            assert!(
                difference < tolerance,
                "{what}: the gradient of {name} is off by {difference}"
            );
        }
    }
}
