//! A CLIP laid out as public folders are answers as `transformers` does.
//!
//! The folder, the pictures and the answers are made by `fixtures/make_hf_clip.py`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layouts;

use std::path::{Path, PathBuf};

use clip::image::{DecodeLimits, decode};
use clip::{Embedding, ModelBundle};
use runtime::{Model, ModelOptions, Provider, RuntimeError};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A copy of the public folder that a test may change.
fn public_folder() -> tempfile::TempDir {
    let (from, to) = (fixtures().join("hf_clip"), tempfile::tempdir().unwrap());
    std::fs::create_dir(to.path().join("onnx")).unwrap();
    for folder in [from.clone(), from.join("onnx")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.path().join(path.strip_prefix(&from).unwrap())).unwrap();
            }
        }
    }
    to
}

fn open(dir: &Path, precision: Option<&str>, provider: Provider) -> Result<Model, RuntimeError> {
    runtime::library::load(library().as_deref())?;
    let bundle = ModelBundle::open(dir).unwrap();
    let options = ModelOptions { threads: 1, precision: precision.map(str::to_owned) };
    Model::open_on(&bundle, &options, provider)
}

/// As other programs are told.
fn library() -> Option<PathBuf> {
    std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from)
}

/// The error of an opening that must fail.
fn refusal(opened: Result<Model, RuntimeError>) -> String {
    opened.err().unwrap().to_string()
}

/// What `transformers` answered to the inputs of a kind, normalized.
fn answers(kind: &str, input: &str) -> Vec<(String, Embedding)> {
    let text = std::fs::read(fixtures().join("hf_clip.json")).unwrap();
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let one = |answer: &Value| {
        let row = answer["embedding"].as_array().unwrap().iter();
        let row = row.map(|number| number.as_f64().unwrap() as f32).collect();
        (answer[input].as_str().unwrap().to_owned(), Embedding::new(row).unwrap())
    };
    recorded[kind].as_array().unwrap().iter().map(one).collect()
}

/// The lowest cosine to the recorded answers, over texts and pictures, all in one batch.
fn lowest_cosine(model: &mut Model, dir: &Path) -> f32 {
    let bundle = ModelBundle::open(dir).unwrap();
    let (texts, pictures) = (answers("texts", "text"), answers("pictures", "picture"));
    let ids: Vec<_> = texts.iter().map(|(x, _)| bundle.tokenizer.encode(x).unwrap()).collect();
    assert!(ids.iter().any(|ids| ids.truncated) && ids.iter().any(|ids| ids.ids.len() == 2));
    let pixels = pictures.iter().map(|(name, _)| {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        bundle.processor.process(&decode(&bytes, &DecodeLimits::default()).unwrap().pixels)
    });
    let pixels: Vec<_> = pixels.collect();
    let found = [model.text.embed(&ids).unwrap(), model.image.embed(&pixels).unwrap()].concat();
    let expected = texts.iter().chain(&pictures).map(|(_, embedding)| embedding);
    assert_eq!(found.len(), texts.len() + pictures.len());
    expected.zip(&found).map(|(a, b)| a.cosine(b)).fold(1.0, f32::min)
}

#[test]
fn every_precision_of_a_public_folder_answers_as_the_reference() {
    let dir = fixtures().join("hf_clip");
    // The pictures are resized by another program: one step of 255 here and there. Products of bytes saturate
    // where the processor has no VNNI, which is why f32 goes first there.
    let exact = runtime::precision_order(Provider::Cpu)[0] == "int8";
    for (precision, arithmetic, wanted) in [
        ("fp32", "fp32", 0.9999),
        ("fp16", "fp32", 0.9999),
        ("int8", "int8", if exact { 0.99 } else { 0.8 }),
    ] {
        let mut model = open(&dir, Some(precision), Provider::Cpu).unwrap();
        assert_eq!((model.provider, model.precision.as_str()), ("CPU", precision));
        // A CPU widens f16 before it multiplies; bytes it multiplies as bytes.
        assert_eq!(model.arithmetic, arithmetic, "{precision}");
        let lowest = lowest_cosine(&mut model, &dir);
        assert!(lowest > wanted, "{precision}: {lowest}");
    }
}

#[test]
fn the_precision_is_chosen_among_those_that_both_towers_have() {
    let folder = public_folder();
    let onnx = folder.path().join("onnx");
    std::fs::remove_file(onnx.join("text_model_int8.onnx")).unwrap();
    assert_eq!(open(folder.path(), None, Provider::Cpu).unwrap().precision, "fp32");
    let error = refusal(open(folder.path(), Some("int8"), Provider::Cpu));
    assert!(error.contains("no precision \"int8\"; it has fp16, fp32"), "{error}");
    std::fs::remove_dir_all(onnx).unwrap();
    std::fs::create_dir(folder.path().join("onnx")).unwrap();
    let error = refusal(open(folder.path(), None, Provider::Cpu));
    assert!(error.contains("onnx/vision_model*.onnx") && error.contains("wide.png"), "{error}");
}

#[test]
fn an_output_before_the_projection_is_refused() {
    let folder = public_folder();
    let graph = folder.path().join("onnx/vision_model.onnx");
    std::fs::copy(fixtures().join("vision_pooled.onnx"), graph).unwrap();
    let error = refusal(open(folder.path(), Some("fp32"), Provider::Cpu));
    assert!(error.contains("pooler_output") && error.contains("image_embeds"), "{error}");
}

#[test]
fn a_graph_for_another_dimension_is_refused() {
    let folder = public_folder();
    let path = folder.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("\"projection_dim\": 24", "\"projection_dim\": 25");
    std::fs::write(path, config).unwrap();
    let error = refusal(open(folder.path(), Some("fp32"), Provider::Cpu));
    assert!(error.contains("[batch, 25]"), "{error}");
}

#[test]
fn what_is_not_on_cuda_says_why() {
    let dir = fixtures().join("hf_clip");
    let model = open(&dir, None, Provider::Auto).unwrap();
    if model.provider == "CUDA" {
        assert_eq!(model.not_cuda, None);
        return;
    }
    // A library that is built with CUDA says at the start why it does not run there; one that is
    // not, when it is asked to.
    let error = refusal(open(&dir, None, Provider::Cuda));
    assert!(error.contains("cannot run on CUDA") && error.contains("--provider cuda"), "{error}");
    match model.not_cuda {
        Some(reason) => assert!(error.contains(&reason), "{error}: {reason}"),
        None => assert!(error.contains("built without CUDA"), "{error}"),
    }
}

/// JPEG decoders differ by a few 255ths here and there; what counts is what a model makes of it.
#[test]
fn a_jpeg_is_embedded_as_the_picture_that_the_reference_decodes() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let starter = checkout.join("models/starter");
    let bundle = ModelBundle::open(&starter).unwrap();
    let mut model = open(&starter, None, Provider::Cpu).unwrap();
    let mut embedded = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let pixels = decode(&bytes, &DecodeLimits::default()).unwrap().pixels;
        model.image.embed(&[bundle.processor.process(&pixels)]).unwrap().remove(0)
    };
    for name in ["photo", "progressive", "gray", "cmyk"] {
        let jpeg = checkout.join(format!("clip/tests/fixtures/pixels/{name}_jpg.jpg"));
        let cosine = embedded(&jpeg).cosine(&embedded(&jpeg.with_extension("seen.png")));
        assert!(cosine >= 0.999, "{name}: {cosine}");
    }
}
