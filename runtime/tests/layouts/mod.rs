//! Every arrangement of public folders answers as the program that its model was made with.
//!
//! The folders and the answers are made by `fixtures/make_layouts.py`, the pictures by
//! `fixtures/make_hf_clip.py`.

use std::path::{Path, PathBuf};

use clip::image::{DecodeLimits, PixelValues, decode};
use clip::zero_shot::Logits;
use clip::{Embedding, ModelBundle, TokenIds};
use runtime::{Model, Provider, RuntimeError};
use serde_json::Value;

use crate::{fixtures, open, refusal};

const LAYOUTS: [&str; 9] = [
    "siglip",
    "siglip2_joint",
    "clip_joint",
    "immich",
    "immich_nllb",
    "immich_mclip",
    "open_clip",
    "rclip",
    "jina_clip",
];

fn folder(layout: &str) -> PathBuf {
    fixtures().join("layouts").join(layout)
}

/// A copy of a folder that a test may change.
fn copied(layout: &str) -> tempfile::TempDir {
    let (from, to) = (folder(layout), tempfile::tempdir().unwrap());
    let mut folders = vec![from.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let there = to.path().join(path.strip_prefix(&from).unwrap());
            if path.is_dir() {
                std::fs::create_dir(there).unwrap();
                folders.push(path);
            } else {
                std::fs::copy(path, there).unwrap();
            }
        }
    }
    to
}

fn recorded(layout: &str) -> Value {
    let text = std::fs::read(fixtures().join("layouts.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()[layout].take()
}

/// Inputs of a kind and what the reference answered to them, normalized.
fn answers(recorded: &Value, kind: &str, input: &str) -> Vec<(String, Embedding)> {
    let one = |answer: &Value| {
        let row = answer["embedding"].as_array().unwrap().iter();
        let row = row.map(|number| number.as_f64().unwrap() as f32).collect();
        (answer[input].as_str().unwrap().to_owned(), Embedding::new(row).unwrap())
    };
    recorded[kind].as_array().unwrap().iter().map(one).collect()
}

fn token_ids(bundle: &ModelBundle, texts: &[(String, Embedding)]) -> Vec<TokenIds> {
    texts.iter().map(|(text, _)| bundle.tokenizer.encode(text).unwrap()).collect()
}

fn pixels(bundle: &ModelBundle, name: &str) -> PixelValues {
    let bytes = std::fs::read(fixtures().join("hf_clip").join(name)).unwrap();
    bundle.processor.process(&decode(&bytes, &DecodeLimits::default()).unwrap().pixels)
}

fn opened(layout: &str) -> (ModelBundle, Model) {
    let dir = folder(layout);
    (ModelBundle::open(&dir).unwrap(), open(&dir, None, Provider::Cpu).unwrap())
}

/// What the model in a folder that a test has changed is refused with.
fn refused(dir: &Path) -> String {
    runtime::library::load(crate::library().as_deref()).unwrap();
    match ModelBundle::open(dir) {
        Ok(_) => refusal(open(dir, None, Provider::Cpu)),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        }
    }
}

#[test]
fn every_layout_answers_as_its_reference() {
    for layout in LAYOUTS {
        let (bundle, mut model) = opened(layout);
        let recorded = recorded(layout);
        let texts = answers(&recorded, "texts", "text");
        let ids = token_ids(&bundle, &texts);
        assert!(ids.iter().any(|ids| ids.truncated), "{layout}: no text is cut");
        let found = model.text.embed(&ids).unwrap();
        assert_eq!(found.len(), texts.len());
        for ((text, expected), found) in texts.iter().zip(&found) {
            let cosine = expected.cosine(found);
            assert!(cosine > 0.9999, "{layout}, {text:?}: {cosine}");
        }
        let pictures = answers(&recorded, "pictures", "picture");
        let values: Vec<_> = pictures.iter().map(|(name, _)| pixels(&bundle, name)).collect();
        let found = model.image.embed(&values).unwrap();
        assert_eq!(found.len(), pictures.len());
        for ((name, expected), found) in pictures.iter().zip(&found) {
            let cosine = expected.cosine(found);
            assert!(cosine > 0.9999, "{layout}, {name}: {cosine}");
        }
    }
}

#[test]
fn an_input_is_answered_alike_alone_and_among_others() {
    for layout in LAYOUTS {
        let (bundle, mut model) = opened(layout);
        let ids = token_ids(&bundle, &answers(&recorded(layout), "texts", "text"));
        let together = model.text.embed(&ids).unwrap();
        for (text, among) in ids.iter().zip(&together) {
            let alone = model.text.embed(std::slice::from_ref(text)).unwrap();
            assert!(alone[0].cosine(among) > 0.99999, "{layout}");
        }
    }
}

#[test]
fn scale_and_bias_are_those_of_the_reference_or_not_known() {
    for layout in LAYOUTS {
        let (bundle, model) = opened(layout);
        let recorded = &recorded(layout)["logits"];
        let number = |key: &str| recorded[key].as_f64().map(|number| number as f32);
        let Some(logit_scale) = number("logit_scale") else {
            assert_eq!(model.logits, None, "{layout}");
            continue;
        };
        let expected = Logits { logit_scale, logit_bias: number("logit_bias") };
        let found = model.logits.unwrap();
        let scores = [-0.1, 0.0, 0.2, 0.3];
        let pairs = expected.probabilities(&scores).into_iter().zip(found.probabilities(&scores));
        for (expected, found) in pairs {
            assert!((expected - found).abs() < 1e-3, "{layout}: {found}, not {expected}");
        }
        assert_eq!(bundle.rules.sigmoid, expected.logit_bias.is_some(), "{layout}");
    }
}

#[test]
fn what_was_understood_of_a_graph_is_told() {
    let (_, immich) = opened("immich");
    let told = [immich.text.describe(), immich.image.describe()];
    assert!(told[0].starts_with("text i32 [1, 16] -> embedding f32"), "{}", told[0]);
    assert!(told.iter().all(|told| told.ends_with("one at a time")), "{told:?}");
    let (_, mclip) = opened("immich_mclip");
    let told = mclip.text.describe();
    assert!(told.contains("attention_mask i32 [1, 16]"), "{told}");
    let (_, rclip) = opened("rclip");
    assert_eq!(rclip.image.describe(), "input f16 [b, 3, 24, 24] -> 2051 f16 [b, 12]");
    let (_, jina) = opened("jina_clip");
    assert!(jina.files.joint());
    assert!(jina.text.describe().contains("pixel_values"), "{}", jina.text.describe());
}

#[test]
fn a_missing_file_is_named() {
    for (layout, file, named) in [
        ("siglip", "config.json", "config.json"),
        ("siglip", "tokenizer.json", "save_pretrained"),
        ("siglip", "preprocessor_config.json", "preprocessor_config.json"),
        ("immich", "visual/preprocess_cfg.json", "preprocess"),
        ("immich", "textual/tokenizer.json", "tokenizer.json"),
        ("open_clip", "open_clip_config.json", "config.json"),
        ("jina_clip", "onnx/model.onnx_data", "model.onnx_data"),
    ] {
        let dir = copied(layout);
        std::fs::remove_file(dir.path().join(file)).unwrap();
        let error = refused(dir.path());
        assert!(error.contains(named), "{layout} without {file}: {error}");
    }
}

#[test]
fn half_a_model_and_weights_alone_are_refused_with_the_way_out() {
    let dir = copied("immich");
    std::fs::remove_file(dir.path().join("textual/model.onnx")).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("visual/model.onnx") && error.contains("it holds"), "{error}");
    let dir = copied("siglip");
    std::fs::remove_dir_all(dir.path().join("onnx")).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
    let error = refused(dir.path());
    assert!(error.contains("clipsight-trainer export"), "{error}");
}

#[test]
fn graphs_that_are_not_understood_are_refused_with_what_was_found() {
    let dir = copied("immich");
    let [text, visual] = ["textual", "visual"].map(|name| dir.path().join(name).join("model.onnx"));
    std::fs::copy(&text, &visual).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("text i32 [1, 16]") && error.contains("no pixels"), "{error}");
    std::fs::write(&visual, "no graph").unwrap();
    let error = refused(dir.path());
    assert!(error.contains("visual/model.onnx"), "{error}");
    // The pooled state of a plain CLIP is no embedding; of a SigLIP it is.
    let dir = copied("siglip");
    let config = r#"{"model_type": "clip", "projection_dim": 16,
        "text_config": {"max_position_embeddings": 64}}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("before the projection"), "{error}");
    // A text tower that was exported for another length of text.
    let dir = copied("immich");
    let config = dir.path().join("config.json");
    let longer = std::fs::read_to_string(&config).unwrap().replace(": 16,", ": 17,");
    std::fs::write(&config, longer).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("of 16 tokens") && error.contains("17"), "{error}");
    assert!(matches!(open(dir.path(), None, Provider::Cpu), Err(RuntimeError::Signature { .. })));
}
