//! A step of each method loses what the reference implementations say.
//!
//! `fixtures/make_methods.py` recorded losses, and gradients by the last normalization of the tower.

use std::collections::BTreeMap;
use std::path::Path;

use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::methods::{self, Branch, Learner};
use clipsight_trainer::model::Weights;
use clipsight_trainer::processes::Processes;
use clipsight_trainer::towers::{Images, Inputs, TextInputs, Texts, Towers};
use tch::Tensor;

use super::{recipe, world};
use crate::tuning;

const CLASSES: [i64; 6] = [0, 1, 0, 2, 1, 3];

/// As in the script: layers of 16, 8, 4 numbers and 5 prototypes.
const METHODS: [(&str, &str); 7] = [
    ("simclr", "hidden = 16, dim = 8"),
    ("sup_con", "hidden = 16, dim = 8"),
    ("simsiam", "dim = 8, bottleneck = 4"),
    ("byol", "hidden = 16, dim = 8"),
    ("moco_v3", "hidden = 16, dim = 8"),
    ("swav", "hidden = 16, dim = 8, prototypes = 5, freeze_prototypes = 0, small_views = 1"),
    ("slip", "hidden = 16, dim = 8"),
];

fn recorded() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods.safetensors");
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

fn close(what: &str, found: &Tensor, expected: &Tensor) {
    let scale = expected.abs().max().double_value(&[]).max(1e-3);
    let worst = (found - expected).abs().max().double_value(&[]) / scale;
    assert!(worst < 2e-4, "{what}: {found} is not {expected}, by {worst}");
}

/// The views that a method asked for, of those recorded, and what is known of the pictures.
fn inputs(all: &BTreeMap<String, Tensor>, views: usize, words: bool) -> Inputs {
    let view = |number: usize| all[&format!("view{number}")].shallow_clone();
    let texts = TextInputs::Pooled(all["texts"].shallow_clone());
    Inputs {
        images: Images::Pixels((0..views).map(view).collect()),
        class_pictures: None,
        texts: words.then(|| Texts { inputs: texts, keys: (0..6).collect() }),
        picture_keys: (10..16).collect(),
        class_keys: CLASSES.to_vec(),
    }
}

/// The weights of the momentum encoder, where the method has one.
fn target(encoder: &Encoder, recorded: &BTreeMap<&str, &Tensor>) -> Weights {
    let mut weights = encoder.weights.clone();
    for (name, tensor) in recorded {
        if let Some(name) = name.strip_prefix("target.") {
            weights.insert(name, tensor.shallow_clone());
        }
    }
    weights
}

#[test]
fn losses_and_gradients_are_those_of_the_reference_implementations() {
    let (world, all) = (world(), recorded());
    let init = format!("model.init={:?}", tuning::folder());
    for (name, keys) in METHODS {
        let method = format!("train.method={{ name = \"{name}\", {keys} }}");
        let recipe = recipe(&world, &[&method, &init]);
        let mut encoder = Encoder::from_recipe(&recipe).unwrap();
        let prefix = format!("{name}/");
        let of_it: BTreeMap<&str, &Tensor> = all
            .iter()
            .filter_map(|(key, tensor)| Some((key.strip_prefix(&prefix)?, tensor)))
            .collect();
        let method = methods::of(&recipe, &encoder);
        methods::add_heads(&mut encoder, &method.heads(), &recipe);
        let heads = of_it.iter().filter(|(name, _)| methods::is_head(name));
        for (name, tensor) in heads {
            assert_eq!(encoder.weights.get(name).unwrap().size(), tensor.size(), "{name}");
            encoder.weights.insert(*name, tensor.shallow_clone());
        }
        let last = encoder.weights.get("vision_model.post_layernorm.weight").unwrap();
        let last = last.copy().set_requires_grad(true);
        encoder.weights.insert("vision_model.post_layernorm.weight", last.shallow_clone());
        let target = target(&encoder, &of_it);
        let online = Branch { encoder: &encoder, weights: &encoder.weights };
        let learner = Learner { online, target: Branch { weights: &target, ..online }, step: 0 };
        let views = method.views(&recipe.image).len();
        let followed = method.momentum().map(|_| &target);
        let towers = Towers {
            encoder: &encoder,
            target: followed,
            micro_batch: None,
            checkpointed: &[],
            processes: Processes::ALONE,
        };
        let (batch, tape) = towers.forward(inputs(&all, views, name == "slip")).unwrap();
        let step = method.step(&batch, &learner).unwrap();
        close(&format!("loss of {name}"), &step.loss.detach(), of_it["loss"]);
        let gradient = tape.backward(&step.loss, &batch, &[&last], &towers).unwrap().remove(0);
        close(&format!("gradient of {name}"), &gradient, of_it["gradient"]);
    }
}
