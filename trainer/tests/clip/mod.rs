//! CLIP as others save it: loaded, computed, exported and trained, it answers as `transformers`.
//!
//! `fixtures/tiny_clip` and `fixtures/make_clip.py` hold a small random CLIP and its answers.

mod bundle;

use std::path::{Path, PathBuf};

use clip::config::TextConfig;
use clipsight_trainer::model::{DualEncoder, ModelError, Side, Torch, Weights};
use clipsight_trainer::onnx::WeightStorage;
use runtime::{Graph, Input};
use tch::{Kind, Tensor};

/// How much a feature may differ.
const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_clip")
}

fn recorded(name: &str) -> Tensor {
    let all = Tensor::read_safetensors(folder().join("expected.safetensors")).unwrap();
    all.into_iter().find(|(found, _)| found == name).expect("the fixture holds it").1
}

fn tiny() -> (DualEncoder, Weights) {
    DualEncoder::from_checkpoint(&folder()).unwrap()
}

fn close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size());
    let worst = (found - expected).abs().max().double_value(&[]);
    assert!(worst < TOLERANCE, "{worst}");
}

fn image_features(model: &DualEncoder, weights: &Weights, pixels: &Tensor) -> Tensor {
    let mut ops = Torch::new(weights);
    let pooled = model.image_pooled(&mut ops, pixels).unwrap();
    model.features(&mut ops, Side::Image, &pooled).unwrap()
}

fn text_features(model: &DualEncoder, weights: &Weights, ids: &Tensor) -> Tensor {
    let mut ops = Torch::new(weights);
    let pooled = model.text_pooled(&mut ops, ids, &ids.ones_like()).unwrap();
    model.features(&mut ops, Side::Text, &pooled).unwrap()
}

/// A folder with the tiny CLIP's configuration, and these weights.
fn checkpoint(file: &str, weights: &[(&str, Tensor)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder().join("config.json"), copy.path().join("config.json")).unwrap();
    Tensor::write_safetensors(weights, copy.path().join(file)).unwrap();
    copy
}

fn state(file: &str) -> Vec<(String, Tensor)> {
    Tensor::read_safetensors(folder().join(file)).unwrap()
}

fn borrowed(state: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    state.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect()
}

#[test]
fn features_are_those_of_transformers() {
    let (model, weights) = tiny();
    let found = image_features(&model, &weights, &recorded("pixel_values"));
    close(&found, &recorded("image_features"));
    let found = text_features(&model, &weights, &recorded("input_ids"));
    close(&found, &recorded("text_features"));
}

#[test]
fn a_tower_that_is_left_and_entered_between_its_blocks_answers_the_same() {
    let (model, weights) = tiny();
    let (mut ops, pixels) = (Torch::new(&weights), recorded("pixel_values"));
    let whole = model.image_pooled(&mut ops, &pixels).unwrap();
    for blocks in 0..4 {
        let beginning = model.image_beginning(&mut ops, &pixels, blocks).unwrap();
        close(&model.image_rest(&mut ops, beginning, blocks).unwrap(), &whole);
    }
}

#[test]
fn an_old_configuration_pools_at_the_highest_id() {
    let (model, weights) = tiny();
    let mut config = model.config.clone();
    let TextConfig::ClipText(text) = &mut config.text_config else { panic!("{config:?}") };
    text.eos_token_id = 2;
    let old = DualEncoder::new(config).unwrap();
    let ids = recorded("old_input_ids");
    close(&text_features(&old, &weights, &ids), &recorded("old_text_features"));
    let new = text_features(&model, &weights, &ids);
    let difference = (new - recorded("old_text_features")).abs().max().double_value(&[]);
    assert!(difference > 0.1, "the two ways must differ on these ids: {difference}");
}

#[test]
fn what_fills_a_text_up_changes_nothing_bit_by_bit_of_its_length() {
    let (model, weights) = tiny();
    let ids = recorded("input_ids");
    let padded = text_features(&model, &weights, &ids);
    for row in 0..ids.size()[0] {
        let numbers = Vec::<i64>::try_from(ids.get(row)).unwrap();
        let end = 1 + numbers.iter().position(|&id| id == 713).unwrap();
        let alone = Tensor::from_slice(&numbers[..end]).unsqueeze(0);
        close(&text_features(&model, &weights, &alone), &padded.narrow(0, row, 1));
    }
}

#[test]
fn names_of_open_clip_give_the_same_features() {
    let state = state("open_clip.safetensors");
    for file in ["model.safetensors", "open_clip_model.safetensors"] {
        let copy = checkpoint(file, &borrowed(&state));
        let (model, weights) = DualEncoder::from_checkpoint(copy.path()).unwrap();
        let found = image_features(&model, &weights, &recorded("pixel_values"));
        close(&found, &recorded("image_features"));
        let found = text_features(&model, &weights, &recorded("input_ids"));
        close(&found, &recorded("text_features"));
    }
    let (_, ours) = tiny();
    let copy = checkpoint("model.safetensors", &borrowed(&state));
    let (_, theirs) = DualEncoder::from_checkpoint(copy.path()).unwrap();
    for (name, tensor) in ours.iter() {
        assert_eq!(tensor, theirs.get(name).unwrap(), "{name}");
    }
}

#[test]
fn a_text_tower_of_its_own_in_open_clip_is_the_same() {
    let mut state = state("open_clip.safetensors");
    for (name, _) in &mut state {
        if !name.starts_with("visual.") && name != "logit_scale" {
            *name = format!("text.{name}");
        }
    }
    let copy = checkpoint("model.safetensors", &borrowed(&state));
    let (model, weights) = DualEncoder::from_checkpoint(copy.path()).unwrap();
    let found = text_features(&model, &weights, &recorded("input_ids"));
    close(&found, &recorded("text_features"));
}

#[test]
fn weights_of_sixteen_bits_are_widened() {
    let state = state("model.safetensors");
    for kind in [Kind::Half, Kind::BFloat16] {
        let narrow: Vec<(&str, Tensor)> =
            state.iter().map(|(name, tensor)| (name.as_str(), tensor.to_kind(kind))).collect();
        let copy = checkpoint("model.safetensors", &narrow);
        let (_, weights) = DualEncoder::from_checkpoint(copy.path()).unwrap();
        for (name, tensor) in narrow {
            let found = weights.get(name).unwrap();
            assert_eq!((found.kind(), found), (Kind::Float, &tensor.to_kind(Kind::Float)));
        }
    }
}

#[test]
fn counters_of_older_releases_are_passed_over() {
    let state = state("model.safetensors");
    let mut with_counters = borrowed(&state);
    let places = Tensor::arange(16, (Kind::Int64, tch::Device::Cpu)).unsqueeze(0);
    with_counters.push(("text_model.embeddings.position_ids", places.shallow_clone()));
    with_counters.push(("vision_model.embeddings.position_ids", places.to_kind(Kind::Half)));
    let copy = checkpoint("model.safetensors", &with_counters);
    let (_, weights) = DualEncoder::from_checkpoint(copy.path()).unwrap();
    assert_eq!(weights.iter().count(), state.len());
}

#[test]
fn a_clip_that_starts_from_nothing_is_as_large_as_one_that_was_saved() {
    let (model, saved) = tiny();
    let fresh = Weights::random(&model.parameters(), 3);
    let shapes = |weights: &Weights| -> Vec<(String, Vec<i64>)> {
        weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.size())).collect()
    };
    assert_eq!(shapes(&fresh), shapes(&saved));
    assert!(loss(&model, &fresh).double_value(&[]).is_finite());
}

#[test]
fn parts_of_a_large_checkpoint_are_found_by_their_index() {
    let state = state("model.safetensors");
    let all = borrowed(&state);
    let (first, second) = all.split_at(all.len() / 2);
    let copy = checkpoint("model-00001-of-00002.safetensors", first);
    Tensor::write_safetensors(second, copy.path().join("model-00002-of-00002.safetensors"))
        .unwrap();
    let map: std::collections::BTreeMap<&str, &str> = [(first, 1), (second, 2)]
        .iter()
        .flat_map(|(part, number)| part.iter().map(move |(name, _)| (*name, *number)))
        .map(|(name, number)| {
            let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
            (name, parts[number - 1])
        })
        .collect();
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    std::fs::write(copy.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let (_, weights) = DualEncoder::from_checkpoint(copy.path()).unwrap();
    for (name, tensor) in tiny().1.iter() {
        assert_eq!(weights.get(name).unwrap(), tensor, "{name}");
    }
}

fn open(bytes: Vec<u8>, folder: &Path) -> Graph {
    runtime::library::load(None).unwrap();
    let path = folder.join("graph.onnx");
    std::fs::write(&path, bytes).unwrap();
    Graph::open(&path, 1).unwrap()
}

/// Rows of length one.
fn normalized(features: &Tensor) -> Tensor {
    features / features.square().sum_dim_intlist([-1i64].as_slice(), true, Kind::Float).sqrt()
}

fn embeds(graph: &mut Graph, inputs: &[(&str, Input<'_>)], expected: &Tensor) -> Tensor {
    let output = graph.run(inputs).unwrap().remove(0);
    Tensor::from_slice(&output.data).view(expected.size().as_slice())
}

fn image_embeds(graph: &mut Graph, pixels: &Tensor, expected: &Tensor) -> Tensor {
    let shape: Vec<usize> = pixels.size().iter().map(|&dim| dim as usize).collect();
    let data = Vec::<f32>::try_from(pixels.view([-1])).unwrap();
    embeds(graph, &[("pixel_values", Input::F32(&data, &shape))], expected)
}

/// Runs the graph on `input_ids` alone.
fn text_embeds(graph: &mut Graph, ids: &Tensor, expected: &Tensor) -> Tensor {
    assert_eq!(graph.inputs().map(|(name, _)| name).collect::<Vec<_>>(), ["input_ids"]);
    let shape: Vec<usize> = ids.size().iter().map(|&dim| dim as usize).collect();
    let data = Vec::<i64>::try_from(ids.contiguous().view([-1])).unwrap();
    embeds(graph, &[("input_ids", Input::I64(&data, &shape))], expected)
}

#[test]
fn exported_graphs_answer_as_transformers() {
    let (model, weights) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let bytes = model.export_image_graph(&weights, WeightStorage::F32).unwrap();
    let mut graph = open(bytes, folder.path());
    let (pixels, expected) = (recorded("pixel_values"), normalized(&recorded("image_features")));
    close(&image_embeds(&mut graph, &pixels, &expected), &expected);
    let (pixels, expected) = (pixels.narrow(0, 1, 1), expected.narrow(0, 1, 1));
    close(&image_embeds(&mut graph, &pixels, &expected), &expected);

    let bytes = model.export_text_graph(&weights, WeightStorage::F32).unwrap();
    let mut graph = open(bytes, folder.path());
    let (ids, expected) = (recorded("input_ids"), normalized(&recorded("text_features")));
    close(&text_embeds(&mut graph, &ids, &expected), &expected);
    for row in 0..ids.size()[0] {
        let numbers = Vec::<i64>::try_from(ids.get(row)).unwrap();
        let end = 1 + numbers.iter().position(|&id| id == 713).unwrap();
        let alone = ids.narrow(0, row, 1).narrow(1, 0, end as i64);
        let expected = expected.narrow(0, row, 1);
        close(&text_embeds(&mut graph, &alone, &expected), &expected);
    }
}

#[test]
fn an_old_configuration_is_exported_as_it_is_computed() {
    let (model, weights) = tiny();
    let mut config = model.config.clone();
    let TextConfig::ClipText(text) = &mut config.text_config else { panic!("{config:?}") };
    text.eos_token_id = 2;
    let old = DualEncoder::new(config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut graph =
        open(old.export_text_graph(&weights, WeightStorage::F32).unwrap(), folder.path());
    let expected = normalized(&recorded("old_text_features"));
    close(&text_embeds(&mut graph, &recorded("old_input_ids"), &expected), &expected);
}

#[test]
fn compact_graphs_stay_close() {
    let (model, weights) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let images = normalized(&recorded("image_features"));
    let texts = normalized(&recorded("text_features"));
    for (storage, least) in [
        (WeightStorage::F16, 0.9999),
        (WeightStorage::Int8, 0.99),
        (WeightStorage::Int8Dynamic, 0.98),
    ] {
        let cosine = |found: &Tensor, expected: &Tensor| {
            let products =
                (found * expected).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
            products.min().double_value(&[])
        };
        let mut graph = open(model.export_image_graph(&weights, storage).unwrap(), folder.path());
        let found = image_embeds(&mut graph, &recorded("pixel_values"), &images);
        assert!(cosine(&found, &images) > least, "{storage:?}: {}", cosine(&found, &images));
        let mut graph = open(model.export_text_graph(&weights, storage).unwrap(), folder.path());
        let found = text_embeds(&mut graph, &recorded("input_ids"), &texts);
        assert!(cosine(&found, &texts) > least, "{storage:?}: {}", cosine(&found, &texts));
    }
}

/// The usual contrastive loss over the recorded pictures and as many texts.
fn loss(model: &DualEncoder, weights: &Weights) -> Tensor {
    let mut ops = Torch::new(weights);
    let images = model.image_embeddings(&mut ops, &recorded("pixel_values")).unwrap();
    let ids = recorded("input_ids").narrow(0, 0, 3);
    let texts = model.text_embeddings(&mut ops, &ids, &ids.ones_like()).unwrap();
    let scores = images.matmul(&texts.tr()) * weights.get("logit_scale").unwrap().exp();
    let targets = Tensor::arange(3, (Kind::Int64, tch::Device::Cpu));
    scores.cross_entropy_for_logits(&targets) + scores.tr().cross_entropy_for_logits(&targets)
}

fn with_gradients(weights: &Weights) -> Weights {
    let mut learning = Weights::new();
    for (name, tensor) in weights.iter() {
        learning.insert(name, tensor.copy().set_requires_grad(true));
    }
    learning
}

#[test]
fn a_step_reaches_every_weight_and_lowers_the_loss() {
    let (model, weights) = tiny();
    let learning = with_gradients(&weights);
    let before = loss(&model, &learning);
    before.backward();
    let mut stepped = Weights::new();
    for (name, tensor) in learning.iter() {
        let gradient = tensor.grad();
        let size = gradient.abs().max().double_value(&[]);
        // A key's bias shifts all scores of a query alike, which softmax does not see.
        let at_least = if name.ends_with("k_proj.bias") { 0.0 } else { 1e-12 };
        assert!(size.is_finite() && size >= at_least, "{name}: {size}");
        stepped.insert(name, tensor.detach() - gradient * 1e-4);
    }
    let after = loss(&model, &stepped);
    assert!(after.double_value(&[]) < before.double_value(&[]));
}

fn refusal(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> ModelError {
    let mut state = state("model.safetensors");
    change(&mut state);
    let copy = checkpoint("model.safetensors", &borrowed(&state));
    DualEncoder::from_checkpoint(copy.path()).unwrap_err()
}

#[test]
fn a_weight_that_is_missing_misshapen_strange_or_broken_is_named() {
    let name = "vision_model.encoder.layers.1.mlp.fc1.bias";
    let at = |state: &[(String, Tensor)]| state.iter().position(|(n, _)| n == name).unwrap();
    let missing = refusal(|state| drop(state.remove(at(state)))).to_string();
    assert_eq!(missing, format!("there is no weight `{name}`"));
    let misshapen = refusal(|state| {
        let place = at(state);
        state[place].1 = state[place].1.narrow(0, 0, 9).copy();
    });
    let expected = format!("weight `{name}` has shape [9], the configuration asks for [64]");
    assert_eq!(misshapen.to_string(), expected);
    let broken = refusal(|state| {
        let place = at(state);
        let _ = state[place].1.fill_(f64::NAN);
    });
    assert_eq!(broken.to_string(), format!("weight `{name}` is not finite"));
    let strange = refusal(|state| {
        let ones = Tensor::from_slice(&[1f32, 1.0]);
        state.push(("vision_model.encoder.layers.2.mlp.fc1.bias".to_owned(), ones.shallow_clone()));
        state.push(("vision_model.encoder.layers.2.mlp.fc2.bias".to_owned(), ones));
    });
    let expected = "the configuration has no place for the weight \
                    `vision_model.encoder.layers.2.mlp.fc1.bias`, \
                    `vision_model.encoder.layers.2.mlp.fc2.bias`";
    assert_eq!(strange.to_string(), expected);
    let both = refusal(|state| {
        let place = at(state);
        state[place].0 = "vision_model.extra".to_owned();
    });
    let expected = format!(
        "there is no weight `{name}`; the configuration has no place for the weight \
         `vision_model.extra`"
    );
    assert_eq!(both.to_string(), expected);
}

#[test]
fn a_folder_without_weights_or_configuration_says_what_is_missing() {
    let copy = tempfile::tempdir().unwrap();
    let error = DualEncoder::from_checkpoint(copy.path()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    std::fs::copy(folder().join("config.json"), copy.path().join("config.json")).unwrap();
    std::fs::write(copy.path().join("pytorch_model.bin"), b"pickled").unwrap();
    let error = DualEncoder::from_checkpoint(copy.path()).unwrap_err();
    assert!(matches!(&error, ModelError::NoWeights { folder } if folder == copy.path()), "{error}");
    std::fs::write(copy.path().join("model.safetensors.index.json"), b"{}").unwrap();
    let error = DualEncoder::from_checkpoint(copy.path()).unwrap_err();
    assert!(matches!(error, ModelError::Index { .. }), "{error}");
}
