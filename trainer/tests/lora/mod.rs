//! Low-rank adapters: they compute as `peft` does, learn beside towers that stay as they are, and are
//! merged wherever a model is measured, blended or exported.

mod reference;

use clip::image::{DecodeLimits, PixelValues, decode};
use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::model::Weights;
use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;
use clipsight_trainer::train::restore;
use tch::Tensor;

use crate::commands::{ok, text, trainer};
use crate::tiny::{COLORS, World, png};
use crate::training::{go, resumes_exactly, series};

/// Adapters in both towers.
const BOTH: [&str; 4] = [
    "model.image.lora={rank=2, alpha=4}",
    "model.text.lora={rank=4, alpha=8, targets=[\"text_model.encoder.layer.0.attention\"]}",
    "model.image.learning_rate=1e-3",
    "model.text.learning_rate=1e-2",
];

/// Adapters in the last block of the image tower and its head, above blocks that are kept.
const KEPT: [&str; 3] = [
    "model.image.lora={rank=4, alpha=4, targets=[\"vision_model._blocks.15\", \"vision_model._conv_head\"]}",
    "model.image.learning_rate=1e-2",
    "image.cache=true",
];

fn finished(world: &World, name: &str, sets: &[&str]) -> (Run, Vec<String>) {
    let run = Run::create(&world.at(name), world.recipe(sets)).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.unwrap().finished);
    (run, said)
}

fn newest(run: &Run) -> Checkpoint {
    Checkpoint::newest(&run.checkpoints()).unwrap()
}

/// A run's encoder as it is measured.
fn measured(run: &Run) -> Encoder {
    let mut encoder = Encoder::from_recipe(&run.recipe).unwrap();
    restore(&mut encoder, &newest(run)).unwrap();
    encoder
}

fn pictures(encoder: &Encoder) -> Vec<PixelValues> {
    let picture = |(at, (_, color)): (usize, &(&str, [u8; 3]))| {
        let picture = decode(&png(*color, at as u32), &DecodeLimits::default()).unwrap();
        encoder.processor.process(&picture.pixels)
    };
    COLORS.iter().enumerate().map(picture).collect()
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn a_resumed_run_with_adapters_equals_an_uninterrupted_one() {
    let world = World::new();
    resumes_exactly(&world, &world.recipe(&[&BOTH[..], &["train.ema=0.5"]].concat()));
}

#[test]
fn a_resumed_run_with_adapters_above_kept_blocks_equals_an_uninterrupted_one() {
    let world = World::new();
    resumes_exactly(&world, &world.recipe(&KEPT));
}

#[test]
fn adapters_alone_are_learned_and_kept_and_the_loss_falls() {
    let world = World::new();
    let (run, said) = finished(&world, "run", &[&BOTH[..], &["train.epochs=15"]].concat());
    assert!(!said.iter().any(|words| words.contains("is locked")), "{said:?}");
    let losses = series(&run.folder, "loss");
    assert!(losses[losses.len() - 1].1 < 0.8 * losses[0].1, "{losses:?}");
    let learned = newest(&run).weights;
    let of_towers = learned.keys().filter(|name| name.contains("_model."));
    for name in of_towers {
        assert!(name.contains(".lora_"), "{name}");
    }
    let query = "text_model.encoder.layer.0.attention.self.query";
    let b = &learned[&format!("{query}.lora_B.weight")];
    assert!(b.abs().max().double_value(&[]) > 0.0);
    assert!(!learned.keys().any(|name| name.contains("intermediate")), "it is no target");

    let tower = Weights::load(&world.at("text/model.safetensors")).unwrap();
    let before = tower.get("encoder.layer.0.attention.self.query.weight").unwrap();
    let encoder = measured(&run);
    let merged = encoder.weights.get(&format!("{query}.weight")).unwrap();
    let a = &learned[&format!("{query}.lora_A.weight")];
    // Alpha is twice the rank.
    assert!(apart(merged, &(before + b.matmul(a) * 2.0)) < 1e-6);
    assert!(apart(merged, before) > 1e-4);
    assert!(!encoder.weights.iter().any(|(name, _)| name.contains(".lora_")));
}

#[test]
fn a_merged_model_answers_as_the_one_with_adapters() {
    let world = World::new();
    let (run, _) = finished(&world, "run", &[&BOTH[..], &["train.ema=0.9"]].concat());
    let checkpoint = newest(&run);
    let mut beside = Encoder::from_recipe(&run.recipe).unwrap();
    for (name, tensor) in checkpoint.weights.iter().chain(&checkpoint.average) {
        beside.weights.insert(name.as_str(), tensor.shallow_clone());
    }
    let merged = measured(&run);
    let pictures = pictures(&merged);
    let [a, b] = [&beside, &merged].map(|encoder| encoder.pooled_pixels(&pictures).unwrap());
    assert!(apart(&a, &b) < 1e-5 * a.abs().max().double_value(&[]), "{}", apart(&a, &b));
    let tokens = merged.tokenizer.encode("a red picture").unwrap();
    let [a, b] = [&beside, &merged].map(|encoder| encoder.pooled_tokens(&[&tokens]).unwrap());
    assert!(apart(&a, &b) < 1e-5 * a.abs().max().double_value(&[]), "{}", apart(&a, &b));
}

#[test]
fn products_in_bf16_take_adapters_along() {
    let world = World::new();
    let (exact, _) = finished(&world, "f32", &BOTH);
    let (rough, _) = finished(&world, "bf16", &[&BOTH[..], &["train.precision=bf16"]].concat());
    let (a, b) = (series(&exact.folder, "loss"), series(&rough.folder, "loss"));
    assert_ne!(a, b);
    for ((step, exact), (_, rough)) in a.iter().zip(&b) {
        assert!((exact - rough).abs() < 0.05 * exact, "step {step}: {exact} and {rough}");
    }
}

#[test]
fn a_batch_in_parts_over_blocks_that_are_computed_twice_learns_the_same_adapters() {
    let world = World::new();
    let (whole, _) = finished(&world, "whole", &BOTH);
    let parts = [
        "train.micro_batch=6",
        "model.image.gradient_checkpointing=true",
        "model.text.gradient_checkpointing=true",
    ];
    let (parts, _) = finished(&world, "parts", &[&BOTH[..], &parts].concat());
    let (a, b) = (series(&whole.folder, "loss"), series(&parts.folder, "loss"));
    for ((step, whole), (_, parts)) in a.iter().zip(&b) {
        assert!((whole - parts).abs() < 1e-3 * whole, "step {step}: {whole} and {parts}");
    }
}

#[test]
fn blocks_below_the_first_adapter_are_kept_and_serve_every_blend() {
    let world = World::new();
    finished(&world, "joined", &["train.epochs=8"]);
    let init = format!("model.init={:?}", world.at("joined"));
    let (run, said) = finished(&world, "tuned", &[&KEPT[..], &[&init]].concat());
    assert!(said.iter().any(|words| words.starts_with("the first 15 blocks")), "{said:?}");
    let beginnings = || {
        let files = std::fs::read_dir(run.cache()).unwrap();
        files
            .filter(|file| {
                file.as_ref().unwrap().file_name().to_string_lossy().starts_with("beginning-")
            })
            .count()
    };
    let before = beginnings();
    ok(&trainer(
        &world.at(""),
        &["blend", "tuned", "--at", "0,0.5,1", "--out", "half", "--share", "0.5"],
    ));
    assert_eq!(beginnings(), before, "the kept answers were made anew");

    let name = "vision_model._blocks.15._project_conv.weight";
    let half = Run::open(&world.at("half")).unwrap();
    let [start, end, half] =
        [Encoder::from_recipe(&run.recipe).unwrap(), measured(&run), measured(&half)]
            .map(|encoder| encoder.weights.get(name).unwrap().copy());
    assert!(apart(&start, &end) > 1e-5, "the training changed nothing");
    assert!(apart(&half, &((&start + &end) / 2.0)) < 1e-6);
    ok(&trainer(&world.at(""), &["export", "half", "--out", "bundle", "--precision", "fp32"]));
}

#[test]
fn a_run_begins_from_merged_adapters_and_the_figures_stay() {
    let world = World::new();
    let (first, _) = finished(&world, "first", &[&BOTH[..], &["train.epochs=10"]].concat());
    let init = format!("model.init={:?}", first.folder);
    let encoder = Encoder::from_recipe(&world.recipe(&[&init])).unwrap();
    let merged = measured(&first);
    assert!(!encoder.weights.iter().any(|(name, _)| name.contains(".lora_")));
    for (name, tensor) in merged.weights.iter() {
        assert!(tensor == encoder.weights.get(name).unwrap(), "{name}");
    }
    // And adapters again beside what they have become.
    finished(&world, "second", &[&BOTH[..], &[&init, "train.epochs=1"]].concat());
}

#[test]
fn a_momentum_encoder_follows_adapters() {
    let world = World::new();
    let text = std::fs::read_to_string(world.at("recipe.toml")).unwrap();
    let alone = text.split("[eval]").next().unwrap();
    std::fs::write(world.at("recipe.toml"), alone).unwrap();
    let method = r#"train.method={ name = "moco_v3", hidden = 32, dim = 16 }"#;
    let sets = ["image.crop_scale=[0.5, 1.0]", "model.image.learning_rate=1e-3", BOTH[0], method];
    let (run, _) = finished(&world, "run", &sets);
    let checkpoint = newest(&run);
    let name = "vision_model._blocks.3._expand_conv.lora_B.weight";
    let (own, followed) = (&checkpoint.weights[name], &checkpoint.momentum[name]);
    assert!(followed.abs().max().double_value(&[]) > 0.0, "it stayed at its start");
    assert!(apart(own, followed) > 0.0);
}

#[test]
fn adapters_that_cannot_be_are_refused_with_the_way_out() {
    let world = World::new();
    let read = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load(&world.at("recipe.toml"), &sets).unwrap_err().to_string()
    };
    let rate = "model.image.learning_rate=1e-3";
    for (sets, words) in [
        (&["model.image.lora={rank=0, alpha=1}", rate][..], "model.image.lora.rank is 0"),
        (&["model.image.lora={rank=2, alpha=-1}", rate], "model.image.lora.alpha must be"),
        (&["model.image.lora={rank=2, alpha=1}"], "model.image.lora needs a rate"),
        (&["model.text.lora={rank=2}", rate], "alpha"),
        (&["model.text.lora={rank=2, alpha=1, dropout=0.1}", rate], "dropout"),
    ] {
        let error = read(sets);
        assert!(error.contains(words), "{sets:?}: {error}");
    }
    let refused =
        |sets: &[&str]| Encoder::from_recipe(&world.recipe(sets)).unwrap_err().to_string();
    let wide = refused(&["model.image.lora={rank=17, alpha=1}", rate]);
    assert!(
        wide.contains("smaller side of vision_model._blocks.0._project_conv.weight is 16"),
        "{wide}"
    );
    let named = r#"model.image.lora={rank=2, alpha=1, targets=["vision_model._blocks.16"]}"#;
    let named = refused(&[named, rate]);
    assert!(
        named.contains("\"vision_model._blocks.16\"") && named.contains("_blocks.15"),
        "{named}"
    );
    let twice = refused(&[BOTH[0], rate, "model.learning_rates={\"vision_model._blocks.3\"=1e-4}"]);
    assert!(twice.contains("lora adapts vision_model._blocks.3._expand_conv.weight"), "{twice}");
    // What is not adapted may learn beside it.
    let free = world.recipe(&[BOTH[0], rate, "model.learning_rates={\"vision_model._bn1\"=1e-4}"]);
    let rates = Encoder::from_recipe(&free).unwrap().rates;
    assert_eq!(
        (rates.of("vision_model._bn1.weight"), rates.of("vision_model._bn0.weight")),
        (1e-4, 0.0)
    );

    std::fs::write(
        world.at("clip.toml"),
        "[model]\nmodel_type = \"clip\"\nconfig = \"config.json\"\nprojection = { learning_rate = 1e-3 }\n\
         image = { learning_rate = 1e-3, lora = { rank = 2, alpha = 2.0 } }\n\
         [[data]]\npath = \"captions.tar\"\n[train]\nbatch_size = 4\nepochs = 1\n",
    )
    .unwrap();
    let output = trainer(&world.at(""), &["train", "clip.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("model.image.lora goes with a tower that has learned something"),
        "{said}"
    );
}
