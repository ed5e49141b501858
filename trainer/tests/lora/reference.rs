//! What adapters compute is what `peft` computes (`fixtures/make_lora.py`), beside the weights and merged.

use std::path::{Path, PathBuf};

use clipsight_trainer::model::{BatchNorm, Conv, DualEncoder, Ops, Side, Torch, Weights};
use tch::{Kind, Tensor};

/// How much a number may differ, of the largest of its tensor.
const TOLERANCE: f64 = 1e-5;

/// Alpha by rank in the script.
const SCALING: f64 = 6.0 / 4.0;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The tensors of a part of the fixture, without its name before theirs.
fn recorded(part: &str) -> Vec<(String, Tensor)> {
    let all = Tensor::read_safetensors(fixtures().join("lora.safetensors")).unwrap();
    let own =
        |(name, tensor): (String, Tensor)| Some((name.strip_prefix(part)?.to_owned(), tensor));
    all.into_iter().filter_map(own).collect()
}

fn tensor<'a>(all: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    &all.iter().find(|(found, _)| found == name).expect(name).1
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let off = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-6);
    assert!(off.double_value(&[]) < TOLERANCE, "{what}: {off}");
}

/// Puts the recorded adapters beside `weights`; answers their matrices, which ask for gradients.
fn adapt(weights: &mut Weights, all: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let mut matrices = Vec::new();
    for (name, tensor) in all {
        let own = !name.starts_with("gradient/");
        if own && let Some(stem) = name.strip_suffix(".lora_A.weight") {
            weights.insert_scaling(&format!("{stem}.weight"), SCALING);
        }
        if own && name.contains(".lora_") {
            let matrix = tensor.copy().set_requires_grad(true);
            weights.insert(name.as_str(), matrix.shallow_clone());
            matrices.push((name.clone(), matrix));
        }
    }
    matrices
}

fn learns_as_recorded(matrices: &[(String, Tensor)], all: &[(String, Tensor)], loss: &Tensor) {
    loss.backward();
    assert!(!matrices.is_empty());
    for (name, matrix) in matrices {
        let name = format!("gradient/{name}");
        close(&matrix.grad(), tensor(all, &name), &name);
    }
}

/// The small CLIP's features, of pictures and of texts.
fn features(model: &DualEncoder, weights: &Weights) -> [Tensor; 2] {
    let inputs =
        Tensor::read_safetensors(fixtures().join("tiny_clip/expected.safetensors")).unwrap();
    let mut ops = Torch::new(weights);
    let pooled = model.image_pooled(&mut ops, tensor(&inputs, "pixel_values")).unwrap();
    let image = model.features(&mut ops, Side::Image, &pooled).unwrap();
    let ids = tensor(&inputs, "input_ids");
    let pooled = model.text_pooled(&mut ops, ids, &ids.ones_like()).unwrap();
    [image, model.features(&mut ops, Side::Text, &pooled).unwrap()]
}

#[test]
fn both_towers_of_a_clip_answer_and_learn_as_with_peft() {
    let all = recorded("clip/");
    let (model, mut weights) = DualEncoder::from_checkpoint(&fixtures().join("tiny_clip")).unwrap();
    let [before, _] = features(&model, &weights);
    let matrices = adapt(&mut weights, &all);
    assert_eq!(matrices.len(), 2 * 2 * 2 * 6, "two of six in two blocks of two towers");
    let [image, text] = features(&model, &weights);
    close(&image, tensor(&all, "image_features"), "image_features");
    close(&text, tensor(&all, "text_features"), "text_features");
    assert!((&image - before).abs().max().double_value(&[]) > 0.1, "the adapters do nothing");
    let loss = image.sin().sum(Kind::Float) + text.sin().sum(Kind::Float);
    learns_as_recorded(&matrices, &all, &loss);

    weights.merge_adapters().unwrap();
    let merged = features(&model, &weights);
    close(&merged[0], &image, "merged");
    close(&merged[1], &text, "merged");
}

#[test]
fn a_convolution_answers_and_learns_as_with_peft() {
    let all = recorded("convolution/");
    let mut weights = Weights::new();
    for (name, tensor) in
        all.iter().filter(|(name, _)| name.starts_with("bn.") || name == "conv.weight")
    {
        weights.insert(name.as_str(), tensor.shallow_clone());
    }
    let matrices = adapt(&mut weights, &all);
    let answer = |weights: &Weights| {
        let conv = Conv { stride: 1, depthwise: false };
        let norm = BatchNorm { name: "bn", eps: 1e-3 };
        Torch::new(weights).conv_batch_norm(tensor(&all, "x"), "conv", conv, norm).unwrap()
    };
    let beside = answer(&weights);
    close(&beside, tensor(&all, "answer"), "answer");
    learns_as_recorded(&matrices, &all, &beside.sin().sum(Kind::Float));
    weights.merge_adapters().unwrap();
    close(&answer(&weights), &beside, "merged");
}
