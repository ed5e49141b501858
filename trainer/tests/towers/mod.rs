//! The towers answer as their reference implementations did, with the real weights.
//!
//! What they answered stands in `fixtures/`, with the script that recorded it. The weights are
//! fetched by `make towers`, which `make test` runs first.

use std::path::{Path, PathBuf};

use clip::config::{BertConfig, EfficientNetLiteConfig, LiteVariant};
use clipsight_trainer::model::{Bert, EfficientNetLite, Torch, Weights};
use tch::{Device, Kind, Tensor};

/// How much a pooled number may differ.
const TOLERANCE: f64 = 1e-4;

fn fixture(name: &str) -> Vec<(String, Tensor)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    Tensor::read_safetensors(folder.join(name)).unwrap()
}

fn recorded<'a>(fixture: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    &fixture.iter().find(|(found, _)| found == name).expect(name).1
}

fn tower(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join(".runtime/towers").join(name);
    assert!(folder.is_dir(), "the weights of {name} are not here; run `make towers`");
    folder
}

fn weights(prefix: &str, path: &Path) -> Weights {
    let mut weights = Weights::new();
    weights.extend(prefix, Weights::load(path).unwrap());
    weights
}

fn worst_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// The pattern of `fixtures/make_towers.py`.
fn pixels(batch: i64, size: i64) -> Tensor {
    let axis =
        |count: i64, shape: [i64; 4]| Tensor::arange(count, (Kind::Int64, Device::Cpu)).view(shape);
    let b = axis(batch, [-1, 1, 1, 1]);
    let c = axis(3, [1, -1, 1, 1]);
    let y = axis(size, [1, 1, -1, 1]);
    let x = axis(size, [1, 1, 1, -1]);
    let pattern = x.square() + y.square() * 3 + &x * &y * 17 + c * 97 + b * 31;
    (pattern.remainder(256) - 127).to_kind(Kind::Float) / 128.0
}

fn lite_answers_as_recorded(variant: LiteVariant, name: &str) {
    let weights = weights("t.", &tower(name).join("model.safetensors"));
    let config = EfficientNetLiteConfig {
        variant,
        image_size: variant.image_size(),
        hidden_size: 1280,
        batch_norm_eps: 1e-3,
        num_labels: None,
    };
    let model = EfficientNetLite::new(&config, "t.");
    let weights = weights.select(&model.parameters()).unwrap();
    let pixels = pixels(2, variant.image_size() as i64);
    let pooled = tch::no_grad(|| model.pooled(&mut Torch::new(&weights), &pixels)).unwrap();
    let worst = worst_difference(&pooled, recorded(&fixture("towers.safetensors"), name));
    assert!(worst < TOLERANCE, "{worst}");
}

#[test]
fn lite0_answers_as_recorded() {
    lite_answers_as_recorded(LiteVariant::Lite0, "efficientnet-lite0");
}

#[test]
fn lite1_answers_as_recorded() {
    lite_answers_as_recorded(LiteVariant::Lite1, "efficientnet-lite1");
}

#[test]
fn lite2_answers_as_recorded() {
    lite_answers_as_recorded(LiteVariant::Lite2, "efficientnet-lite2");
}

fn bert_answers_as_recorded(config: &BertConfig, weights: Weights, recorded: [&Tensor; 3]) {
    let model = Bert::new(config, "model.").unwrap();
    let weights = weights.select(&model.parameters()).unwrap();
    let [ids, mask, expected] = recorded;
    let pooled = tch::no_grad(|| model.pooled(&mut Torch::new(&weights), ids, mask)).unwrap();
    let worst = worst_difference(&pooled, expected);
    assert!(worst < TOLERANCE, "{worst}");
}

#[test]
fn minilm_answers_as_recorded() {
    let folder = tower("all-minilm-l6-v2");
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let config: BertConfig = serde_json::from_slice(&config).unwrap();
    let weights = weights("model.", &folder.join("model.safetensors"));
    let fixture = fixture("towers.safetensors");
    let name = |part: &str| format!("all-minilm-l6-v2.{part}");
    let recorded = ["input_ids", "attention_mask", "pooled"].map(|p| recorded(&fixture, &name(p)));
    bert_answers_as_recorded(&config, weights, recorded);
}

#[test]
fn a_small_random_bert_answers_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let weights = Weights::load(&folder.join("tiny_bert.safetensors")).unwrap();
    let config: BertConfig = serde_json::from_str(
        r#"{"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
            "intermediate_size": 40, "max_position_embeddings": 16}"#,
    )
    .unwrap();
    let fixture = fixture("tiny_bert.safetensors");
    let recorded = ["input_ids", "attention_mask", "pooled"].map(|part| recorded(&fixture, part));
    bert_answers_as_recorded(&config, weights, recorded);
}
