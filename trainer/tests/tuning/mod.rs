//! A CLIP that somebody has, tuned: where it starts, which of its parts learn, what comes out.

mod starts;

use std::path::{Path, PathBuf};

use clip::ModelBundle;
use clip::image::RgbImage;
use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::model::{DualEncoder, Weights};
use clipsight_trainer::recipe::{Recipe, load_from};
use clipsight_trainer::run::Run;
use runtime::{Model, ModelOptions};
use tch::Kind;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};

/// The small random CLIP that `transformers` made.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_clip")
}

const RECIPE: &str = r#"
[model]
model_type = "clip"
image = { learning_rate = 1e-3, layer_decay = 0.7 }
text = { learning_rate = 1e-3, layer_decay = 0.7 }
projection = { learning_rate = 1e-3 }

[[data]]
path = "captions.tar"

[train]
batch_size = 12
epochs = 3
warmup_steps = 1
weight_decay = 0.1
seed = 5

[eval]
captions = "captions.tar"
labels = "labels.tar"
every_epochs = 3
"#;

/// A world with a recipe for CLIPs.
pub(crate) fn world() -> World {
    let world = World::new();
    std::fs::write(world.at("clip.toml"), RECIPE).unwrap();
    world
}

pub(crate) fn recipe(world: &World, init: Option<&Path>, sets: &[&str]) -> Recipe {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load_from(&world.at("clip.toml"), &sets, init).unwrap()
}

/// Trains to the end; what was said, and the run.
fn trained(world: &World, name: &str, sets: &[&str]) -> (Run, Vec<String>) {
    let run = Run::create(&world.at(name), recipe(world, Some(&folder()), sets)).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.unwrap().finished);
    (run, said)
}

fn saved() -> Weights {
    DualEncoder::from_checkpoint(&folder()).unwrap().1
}

/// How far a learned weight has moved from the folder's; none where the checkpoint leaves it out.
fn moved(run: &Run, name: &str) -> Option<f64> {
    let learned = Checkpoint::newest(&run.checkpoints()).unwrap().weights;
    let difference = learned.get(name)? - saved().get(name).unwrap();
    Some(difference.abs().max().double_value(&[]))
}

#[test]
fn a_resumed_clip_equals_one_that_was_never_stopped() {
    let world = world();
    let recipe = recipe(&world, Some(&folder()), &[]);
    resumes_exactly(&world, &recipe);
}

#[test]
fn both_towers_of_a_clip_learn_and_the_loss_falls() {
    let world = world();
    let (run, said) = trained(&world, "run", &["train.epochs=40"]);
    assert!(said.iter().any(|words| words.starts_with("training on ")), "{said:?}");
    let losses = series(&run.folder, "loss");
    let (first, last) = (losses[0].1, losses[losses.len() - 1].1);
    assert!(last < 0.6 * first, "from {first} to {last}");
    for name in [
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.encoder.layers.1.mlp.fc2.weight",
        "text_model.embeddings.token_embedding.weight",
        "text_projection.weight",
        "logit_scale",
    ] {
        assert!(moved(&run, name).unwrap() > 0.0, "{name}");
    }
}

#[test]
fn parts_learn_at_their_own_rates_and_a_rate_of_zero_locks() {
    let world = world();
    let rates = "model.learning_rates={\"text_model\"=0, \
                 \"text_model.encoder.layers.1\"=1e-3, \
                 \"text_model.encoder.layers.1.mlp\"=1e-5, \"logit_scale\"=0}";
    let (run, said) = trained(&world, "run", &[rates, "train.weight_decay=0"]);
    assert!(!said.iter().any(|words| words.contains("is locked")), "{said:?}");
    let moved = |name: &str| moved(&run, name);
    for locked in [
        "text_model.embeddings.token_embedding.weight",
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "text_model.final_layer_norm.weight",
        "logit_scale",
    ] {
        assert_eq!(moved(locked), None, "{locked}");
    }
    let attention = moved("text_model.encoder.layers.1.self_attn.v_proj.weight").unwrap();
    let feed_forward = moved("text_model.encoder.layers.1.mlp.fc1.weight").unwrap();
    assert!(feed_forward > 0.0 && attention > 20.0 * feed_forward, "{attention} {feed_forward}");
    let deep = moved("vision_model.encoder.layers.1.layer_norm1.bias").unwrap();
    let low = moved("vision_model.embeddings.class_embedding").unwrap();
    assert!(low > 0.0 && low < 0.8 * deep, "{low} {deep}");
}

#[test]
fn a_locked_tower_of_a_clip_answers_from_the_cache_and_its_projection_still_learns() {
    let world = world();
    let (run, said) = trained(&world, "run", &["model.image.learning_rate=0"]);
    assert!(said.iter().any(|s| s.contains("image tower is locked")), "{said:?}");
    let learned = Checkpoint::newest(&run.checkpoints()).unwrap().weights;
    assert!(!learned.keys().any(|name| name.starts_with("vision_model.")), "{learned:?}");
    assert!(!learned.contains_key("visual_projection.input_mean"), "CLIP's has no bias");
    assert!(moved(&run, "visual_projection.weight").unwrap() > 0.0);
}

#[test]
fn products_in_bf16_train_weights_in_f32_to_about_the_same_losses() {
    let world = world();
    let (exact, _) = trained(&world, "f32", &["train.precision=f32"]);
    let (rough, said) = trained(&world, "bf16", &["train.precision=bf16"]);
    assert!(said.iter().any(|words| words.contains("in bf16")), "{said:?}");
    let (a, b) = (series(&exact.folder, "loss"), series(&rough.folder, "loss"));
    assert_ne!(a, b);
    for ((step, exact), (_, rough)) in a.iter().zip(&b) {
        assert!((exact - rough).abs() < 0.05 * exact, "step {step}: {exact} and {rough}");
    }
    let learned = Checkpoint::newest(&rough.checkpoints()).unwrap().weights;
    let weight = &learned["text_projection.weight"];
    assert_eq!(weight.kind(), Kind::Float);
    let lost = weight - weight.to_kind(Kind::BFloat16).to_kind(Kind::Float);
    assert!(lost.abs().max().double_value(&[]) > 0.0, "more than bf16 can hold");
}

#[test]
fn a_folder_becomes_a_bundle_by_the_commands_alone() {
    let world = world();
    let (here, init) = (world.at(""), folder().display().to_string());
    let args = ["train", "clip.toml", "--init", &init, "--out", "run"];
    ok(&trainer(&here, &args));
    let again = [&args[..4], &["--resume", "run"]].concat();
    ok(&trainer(&here, &again));
    let written = std::fs::read_to_string(world.at("run/recipe.toml")).unwrap();
    assert!(written.contains("tiny_clip") && written.contains("precision = "), "{written}");
    ok(&trainer(&here, &["export", "run", "--out", "bundle"]));
    let args = ["--captions", "captions.tar", "--labels", "labels.tar", "--json"];
    let measured = |model, more: &[&str]| {
        let output = trainer(&here, &[&["eval", model], &args[..], more].concat());
        ok(&output);
        serde_json::from_str::<serde_json::Value>(&text(&output.stdout)).unwrap()
    };
    let (run, bundle) = (measured("run", &[]), measured("bundle", &["--precision", "fp32"]));
    assert_eq!(run["labels"]["top_1"], bundle["labels"]["top_1"]);
    assert_eq!(run["captions"]["text_to_image"], bundle["captions"]["text_to_image"]);
}

#[test]
fn a_tuned_clip_is_served_as_a_clip() {
    let world = world();
    let (here, init) = (world.at(""), folder().display().to_string());
    ok(&trainer(&here, &["train", "clip.toml", "--init", &init, "--out", "run"]));
    ok(&trainer(&here, &["export", "run", "--out", "bundle", "--precision", "fp32"]));
    let bundle = ModelBundle::open(&world.at("bundle")).unwrap();
    let kept = clip::image::ImageProcessor::from_file(&folder().join("preprocessor_config.json"));
    assert_eq!(bundle.processor.config(), kept.unwrap().config());
    let config = std::fs::read_to_string(world.at("bundle/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        (&config["model_type"], &config["projection_bias"]),
        (&"clip".into(), &false.into())
    );
    runtime::library::load(None).unwrap();
    let mut model = Model::open(&bundle, &ModelOptions { threads: 1, precision: None }).unwrap();
    assert!(runtime::self_check(&mut model, &bundle).unwrap().is_some());
    let pixels = bundle.processor.process(&RgbImage::new(40, 60));
    assert_eq!(model.image.embed(&[pixels]).unwrap()[0].as_slice().len(), 24);
}
