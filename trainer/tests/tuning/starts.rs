//! What a CLIP may start from, and what is said where it cannot.

use std::path::Path;

use clipsight_trainer::encoder::Encoder;
use tch::{Kind, Tensor};

use super::{folder, recipe, saved, world};

/// A copy of the small CLIP's folder, changed.
fn changed(change: impl Fn(&Path)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let files = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"];
    for file in files {
        std::fs::copy(folder().join(file), copy.path().join(file)).unwrap();
    }
    change(copy.path());
    copy
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn rewrite(path: &Path, change: impl Fn(&mut Vec<(String, Tensor)>)) {
    let mut all = Tensor::read_safetensors(path).unwrap();
    change(&mut all);
    Tensor::write_safetensors(&all, path).unwrap();
}

#[test]
fn a_folder_gives_weights_scale_pictures_and_words() {
    let world = world();
    let encoder = Encoder::from_recipe(&recipe(&world, Some(&folder()), &[])).unwrap();
    for (name, tensor) in saved().iter() {
        assert_eq!(encoder.weights.get(name).unwrap(), tensor, "{name}");
    }
    assert_eq!((encoder.processor.height(), encoder.tokenizer.context_length()), (32, 16));
    let sets = ["image.resize_mode=squash", "model.text.context_length=9"];
    let encoder = Encoder::from_recipe(&recipe(&world, Some(&folder()), &sets)).unwrap();
    assert!(!encoder.processor.config().do_center_crop);
    assert_eq!(encoder.tokenizer.context_length(), 9);
}

#[test]
fn a_clip_that_becomes_a_sigmoid_model_keeps_its_scale_and_gets_a_bias() {
    let world = world();
    let sets = ["train.objective=sigmoid"];
    let encoder = Encoder::from_recipe(&recipe(&world, Some(&folder()), &sets)).unwrap();
    assert_eq!(encoder.weights.get("logit_bias").unwrap().double_value(&[]), -10.0);
    assert!(encoder.rates.of("logit_bias") > 0.0);
    let scale = saved().get("logit_scale").unwrap().copy();
    assert_eq!(encoder.weights.get("logit_scale").unwrap(), &scale);
}

#[test]
fn a_configuration_alone_gives_weights_that_the_seed_decides() {
    let world = world();
    let config = format!("model.config={}", folder().join("config.json").display());
    let start = |seed: &str| {
        let recipe = recipe(&world, None, &[&config, seed, "train.logit_scale_init=1.5"]);
        Encoder::from_recipe(&recipe).unwrap().weights
    };
    let (a, b, c) = (start("train.seed=1"), start("train.seed=1"), start("train.seed=2"));
    let name = "vision_model.encoder.layers.0.mlp.fc1.weight";
    assert_eq!(a.get(name).unwrap(), b.get(name).unwrap());
    assert_ne!(a.get(name).unwrap(), c.get(name).unwrap());
    assert_ne!(a.get(name).unwrap(), saved().get(name).unwrap());
    assert_eq!(a.get("logit_scale").unwrap().double_value(&[]), 1.5);
}

#[test]
fn random_weights_are_as_wide_as_those_of_transformers() {
    /// The small CLIP was saved with its random matrices multiplied by this.
    const FACTOR: f64 = 4.0;
    let world = world();
    let config = format!("model.config={}", folder().join("config.json").display());
    let fresh = Encoder::from_recipe(&recipe(&world, None, &[&config])).unwrap().weights;
    for (name, theirs) in saved().iter().filter(|(_, tensor)| tensor.numel() > 256) {
        let wide = |tensor: &Tensor| tensor.std(true).double_value(&[]);
        let ratio = FACTOR * wide(fresh.get(name).unwrap()) / wide(theirs);
        assert!((0.88..1.14).contains(&ratio), "{name}: {ratio}");
    }
}

#[test]
fn another_configuration_serves_weights_that_have_none() {
    let world = world();
    let bare = changed(|folder| {
        std::fs::remove_file(folder.join("config.json")).unwrap();
        let names = "open_clip.safetensors";
        std::fs::copy(super::folder().join(names), folder.join("model.safetensors")).unwrap();
    });
    let config = format!("model.config={}", folder().join("config.json").display());
    let encoder = Encoder::from_recipe(&recipe(&world, Some(bare.path()), &[&config])).unwrap();
    for (name, tensor) in saved().iter() {
        assert_eq!(encoder.weights.get(name).unwrap(), tensor, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let world = world();
    let says = |folder: &Path, sets: &[&str], words: &[&str]| {
        let error = Encoder::from_recipe(&recipe(&world, Some(folder), sets)).unwrap_err();
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            said = format!("{said}: {inner}");
            cause = inner.source();
        }
        for word in words {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
        }
    };
    let without = |name: &'static str| {
        changed(move |folder| std::fs::remove_file(folder.join(name)).unwrap())
    };
    says(Path::new("/nowhere"), &[], &["/nowhere/config.json"]);
    says(without("tokenizer.json").path(), &[], &["no tokenizer.json"]);
    says(without("model.safetensors").path(), &[], &["no model.safetensors"]);
    let bare = without("preprocessor_config.json");
    says(bare.path(), &[], &["image.size", "no preprocessor_config.json"]);
    let smaller = changed(|folder| {
        edit(&folder.join("config.json"), "\"vocab_size\": 714", "\"vocab_size\": 700");
    });
    says(smaller.path(), &[], &["eos_token_id"]);
    let other = changed(|folder| {
        edit(&folder.join("config.json"), "\"eos_token_id\": 713", "\"eos_token_id\": 700");
    });
    says(other.path(), &[], &["tokenizer.json", "end token, 700"]);
    let weights = "model.safetensors";
    let narrow = changed(|folder| {
        rewrite(&folder.join(weights), |all| {
            for (name, tensor) in all {
                if name == "text_projection.weight" {
                    *tensor = Tensor::zeros([3, 5], (Kind::Float, tch::Device::Cpu));
                }
            }
        });
    });
    says(narrow.path(), &[], &["`text_projection.weight`", "[3, 5]", "[24, 32]"]);
    let lacking = changed(|folder| {
        rewrite(&folder.join(weights), |all| all.retain(|(name, _)| name != "logit_scale"));
    });
    says(lacking.path(), &[], &["`logit_scale`"]);
    says(&folder(), &["image.size=64"], &["image.size", "64", "32"]);
    let cropping = changed(|folder| {
        edit(&folder.join("preprocessor_config.json"), "\"height\": 32", "\"height\": 24");
    });
    says(cropping.path(), &[], &["preprocessor_config.json", "24", "32"]);
    let rate = "model.learning_rates={\"text_model.encoder.layers.7\"=1}";
    says(&folder(), &[rate], &["layers.7", "layers.0, text_model.encoder.layers.1"]);
    let zero = ["model.image.learning_rate=0", "model.text.learning_rate=0"];
    let zero = [&zero[..], &["model.projection.learning_rate=0"]].concat();
    says(&folder(), &zero, &["nothing would be learned"]);
}
