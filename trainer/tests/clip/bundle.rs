//! A CLIP as a bundle: three precisions, each judged, each as narrow as it may be.

use std::path::Path;

use clip::bundle::{Manifest, Precision as Stored};
use clip::config::{ModelConfig, TextConfig, VisionConfig};
use clip::image::PixelValues;
use clip::{Embedding, ModelBundle, TokenIds};
use clipsight_trainer::export::{
    ExportError, Inputs, Precision, Report, Request, Samples, Subject, export_unmeasured,
};
use clipsight_trainer::model::{DualEncoder, Torch, Weights};
use clipsight_trainer::onnx::{Attribute, Dimension, ElementType, GraphBuilder};
use runtime::{Model, ModelOptions};
use tch::{Device, Kind, Tensor};

use super::{folder, recorded, tiny};

/// A model with inputs and the answers that its graphs must give.
struct Case {
    model: DualEncoder,
    weights: Weights,
    samples: Samples,
}

fn row(tensor: &Tensor, index: i64) -> Vec<f32> {
    Vec::try_from(tensor.get(index).contiguous().view([-1])).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Embedding> {
    (0..tensor.size()[0]).map(|index| Embedding::new(row(tensor, index)).unwrap()).collect()
}

fn inputs(pixels: &Tensor, ids: &Tensor) -> Inputs {
    let pixels = (0..pixels.size()[0]).map(|index| PixelValues {
        data: row(pixels, index),
        height: 32,
        width: 32,
    });
    let tokens = (0..ids.size()[0]).map(|index| {
        let mut ids = Vec::<i64>::try_from(ids.get(index)).unwrap();
        let end = ids.iter().position(|&id| id == 713).unwrap();
        ids.truncate(end + 1);
        TokenIds { ids, truncated: false }
    });
    Inputs { pixels: pixels.collect(), tokens: tokens.collect() }
}

/// The recorded one: it must answer as `transformers` did.
fn recorded_case() -> Case {
    let (model, weights) = tiny();
    let inputs = inputs(&recorded("pixel_values"), &recorded("input_ids"));
    let (images, texts) = (rows(&recorded("image_features")), rows(&recorded("text_features")));
    Case { model, weights, samples: Samples { inputs, images, texts } }
}

fn wider(config: &mut ModelConfig) {
    let (VisionConfig::ClipVision(vision), TextConfig::ClipText(text)) =
        (&mut config.vision_config, &mut config.text_config)
    else {
        panic!("{config:?}")
    };
    (vision.hidden_size, vision.intermediate_size) = (64, 128);
    (text.hidden_size, text.intermediate_size) = (64, 128);
    config.projection_dim = 80;
}

/// One with matrices that are large enough to be stored as bytes, changed by `change`.
fn wide_case(change: impl FnOnce(&mut Weights)) -> Case {
    let mut config = tiny().0.config;
    wider(&mut config);
    let model = DualEncoder::new(config).unwrap();
    let mut weights = Weights::random(&model.parameters(), 5);
    change(&mut weights);
    tch::manual_seed(6);
    let pixels = Tensor::randn([16, 3, 32, 32], (Kind::Float, Device::Cpu));
    let ids = Tensor::randint_low(1, 700, [16, 8], (Kind::Int64, Device::Cpu));
    let _ = ids.narrow(1, 0, 1).fill_(712);
    let _ = ids.narrow(1, 7, 1).fill_(713);
    let (images, texts) = tch::no_grad(|| {
        let mut ops = Torch::new(&weights);
        let images = model.image_embeddings(&mut ops, &pixels).unwrap();
        (images, model.text_embeddings(&mut ops, &ids, &ids.ones_like()).unwrap())
    });
    let (images, texts) = (rows(&images), rows(&texts));
    Case { model, weights, samples: Samples { inputs: inputs(&pixels, &ids), images, texts } }
}

fn export(case: Case, out: &Path, precisions: &[Precision]) -> Result<Report, ExportError> {
    runtime::library::load(None).unwrap();
    let processor = std::fs::read(folder().join("preprocessor_config.json")).unwrap();
    let subject = Subject {
        model: &case.model,
        weights: &case.weights,
        tokenizer: &folder().join("tokenizer.json"),
        context_length: 16,
        processor: serde_json::from_slice(&processor).unwrap(),
        templates: vec!["a photo of a {}".to_owned()],
        samples: case.samples,
    };
    let request = Request { precisions: precisions.to_vec(), ..Request::default() };
    export_unmeasured(&subject, out, &request, 1)
}

fn open(bundle: &Path, precision: &str) -> (ModelBundle, Model) {
    let bundle = ModelBundle::open(bundle).unwrap();
    let options = ModelOptions { threads: 1, precision: Some(precision.to_owned()) };
    let model = Model::open(&bundle, &options).unwrap();
    (bundle, model)
}

fn stored(bundle: &Path, precision: &str) -> Stored {
    let manifest = Manifest::read(&bundle.join("manifest.json")).unwrap().unwrap();
    manifest.precisions[precision].clone()
}

/// The lowest cosine to `expected`, `batch` at a time.
fn lowest(model: &mut Model, inputs: &Inputs, expected: [&[Embedding]; 2], batch: usize) -> f32 {
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    for chunk in inputs.pixels.chunks(batch) {
        images.extend(model.image.embed(chunk).unwrap());
    }
    for chunk in inputs.tokens.chunks(batch) {
        texts.extend(model.text.embed(chunk).unwrap());
    }
    assert_eq!((images.len(), texts.len()), (expected[0].len(), expected[1].len()));
    let pairs = images.iter().zip(expected[0]).chain(texts.iter().zip(expected[1]));
    pairs.map(|(found, expected)| found.cosine(expected)).fold(1.0, f32::min)
}

#[test]
fn a_clip_becomes_a_bundle_that_answers_as_transformers_in_three_precisions() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    // Fails where a number of the f32 graphs is off by 1e-4.
    let report = export(recorded_case(), &out, &[]).unwrap();
    let case = recorded_case();
    let expected = [&*case.samples.images, &*case.samples.texts];
    for (precision, arithmetic, least) in
        [("fp32", "fp32", 0.999_999), ("fp16", "fp32", 0.9999), ("int8", "fp32", 0.99)]
    {
        let (bundle, mut model) = open(&out, precision);
        assert_eq!(bundle.manifest.as_ref().unwrap().id.to_string(), report.id);
        // A CPU widens f16, and no matrix of this one is large enough for bytes.
        assert_eq!(model.arithmetic, arithmetic, "{precision}");
        for batch in [1, 8] {
            let cosine = lowest(&mut model, &case.samples.inputs, expected, batch);
            assert!(cosine > least, "{precision}, batch {batch}: {cosine}");
        }
        assert!(runtime::self_check(&mut model, &bundle).unwrap().unwrap().compared >= 7);
    }
    let sizes = ["fp32", "fp16", "int8"].map(|precision| {
        let stored = stored(&out, precision);
        [stored.vision, stored.text].map(|file| out.join(file).metadata().unwrap().len())
    });
    assert!((0..2).all(|tower| sizes[0][tower] > sizes[1][tower]), "{sizes:?}");
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("a CLIP as `transformers` has it") && card.contains("- fp16: image:"));
}

/// Whether this processor has instructions for products of bytes; others add two products in 16 bits, where
/// large ones saturate, and a tower may lose by it.
fn bytes_are_exact() -> bool {
    runtime::precision_order(runtime::Provider::Cpu)[0] == "int8"
}

/// Whether a tower's weights are said to be multiplied as bytes, or not to be for what is lost by it here.
fn multiplied(tower: &str) -> bool {
    let lost = tower.contains("multiplied as int8 it keeps a cosine of only");
    if bytes_are_exact() {
        tower.contains("multiplied as bytes") && !lost
    } else {
        tower.contains("multiplied as bytes") != lost
    }
}

#[test]
fn transformers_multiply_bytes_and_their_tolerance_is_that_of_a_batch() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    export(wide_case(|_| ()), &out, &[Precision::Int8]).unwrap();
    let kept = stored(&out, "int8");
    let towers: Vec<&str> = kept.weights.split("; text: ").collect();
    assert!(towers.len() == 2 && towers.iter().all(|tower| multiplied(tower)), "{towers:?}");
    assert!(kept.tolerance <= 0.995 && kept.batch == 8, "{kept:?}");
    let (bundle, mut model) = open(&out, "int8");
    assert!(model.arithmetic == "int8" || !bytes_are_exact(), "{}", model.arithmetic);
    let check = runtime::self_check(&mut model, &bundle).unwrap().unwrap();
    // Four texts and three pictures, one by one and together.
    assert_eq!(check.compared, 14);
    let case = wide_case(|_| ());
    let expected = [&*case.samples.images, &*case.samples.texts];
    let [alone, together] =
        [1, 8].map(|batch| lowest(&mut model, &case.samples.inputs, expected, batch));
    assert!(alone > 0.99 && together > 0.99, "{alone} {together}");
}

#[test]
fn a_tower_that_loses_by_int8_stays_wider_and_the_manifest_says_so() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    // A weight that never counts, but makes all others small beside it.
    let case = wide_case(|weights| {
        for part in ["weight", "bias"] {
            let norm = weights.get(&format!("vision_model.post_layernorm.{part}")).unwrap();
            let _ = norm.get(0).fill_(0.0);
        }
        let projection = weights.get("visual_projection.weight").unwrap();
        let _ = projection.narrow(1, 0, 1).fill_(1_000.0);
    });
    let report = export(case, &out, &[Precision::Fp32, Precision::Int8]).unwrap();
    let kept = stored(&out, "int8");
    let (image, text) = kept.weights.split_once("; text: ").unwrap();
    assert!(image.starts_with("image: f16, widened"), "{image}");
    let reasons = ["multiplied as int8 it keeps a cosine of only", "stored as int8 it keeps"];
    assert!(reasons.iter().all(|reason| image.contains(reason)), "{image}");
    assert!(multiplied(text), "{text}");
    assert!(report.checks.iter().any(|check| check.contains("the image tower becomes f16")));
    let (_, model) = open(&out, "int8");
    assert!(model.arithmetic == "fp32 and int8" || !bytes_are_exact(), "{}", model.arithmetic);
}

#[test]
fn weights_beyond_sixteen_bits_are_no_fp16() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    let large = || {
        wide_case(|weights| {
            let projection = weights.get("text_projection.weight").unwrap();
            let _ = projection.shallow_clone().g_mul_scalar_(1e8);
        })
    };
    let error = export(large(), &out, &[]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("text graph of fp16") && message.contains("--precision"), "{message}");
    assert!(!out.exists());
    export(large(), &out, &[Precision::Fp32, Precision::Int8]).unwrap();
}

#[test]
fn who_computes_otherwise_is_told_which_form_to_run() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    export(wide_case(|_| ()), &out, &[Precision::Fp32, Precision::Int8]).unwrap();
    let path = out.join("manifest.json");
    let mut manifest = Manifest::read(&path).unwrap().unwrap();
    let answers = manifest.reference.embeddings.get_mut("int8").unwrap();
    answers.pictures[1].iter_mut().step_by(2).for_each(|number| *number = -*number);
    std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let (bundle, mut model) = open(&out, "int8");
    let error = runtime::self_check(&mut model, &bundle).unwrap_err().to_string();
    assert!(error.contains("tower.png") && error.contains("at int8"), "{error}");
    assert!(error.contains("--precision fp32"), "{error}");
    let (bundle, mut model) = open(&out, "fp32");
    assert!(runtime::self_check(&mut model, &bundle).unwrap().is_some());
}

/// A text graph whose answer points to the length that it was run at.
fn length_teller(dim: usize) -> Vec<u8> {
    let mut graph = GraphBuilder::new("length");
    let [batch, length] = ["batch", "length"].map(Dimension::Named);
    let ids = graph.input("input_ids", ElementType::I64, &[batch, length]);
    let shape = graph.node("Shape", &[&ids], &[]);
    let [first, second] = [0, 1].map(|at| graph.i64s("at", &[1], &[at]));
    let rows = graph.node("Gather", &[&shape, &first], &[("axis", Attribute::Int(0))]);
    let length = graph.node("Gather", &[&shape, &second], &[("axis", Attribute::Int(0))]);
    let to_f32 = [("to", Attribute::Int(ElementType::F32 as i64))];
    let length = graph.node("Cast", &[&length], &to_f32);
    let rest = graph.f32s("rest", &[dim - 1], &vec![1.0; dim - 1]);
    let row = graph.node("Concat", &[&length, &rest], &[("axis", Attribute::Int(0))]);
    let width = graph.i64s("width", &[1], &[i64::try_from(dim).unwrap()]);
    let shape = graph.node("Concat", &[&rows, &width], &[("axis", Attribute::Int(0))]);
    let all = graph.node("Expand", &[&row, &shape], &[]);
    graph.output(&all, "text_embeds", ElementType::F32, &[batch, Dimension::Fixed(dim)]);
    graph.finish()
}

#[test]
fn a_causal_text_runs_at_its_own_length_whatever_stands_beside_it() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("bundle");
    export(recorded_case(), &out, &[Precision::Fp32]).unwrap();
    std::fs::write(out.join("onnx/text_model.onnx"), length_teller(24)).unwrap();
    let (bundle, mut model) = open(&out, "fp32");
    let texts = ["", "a", "a dog", "two dogs in the snow", "a cat", &"long ".repeat(40)];
    let tokens: Vec<TokenIds> =
        texts.iter().map(|text| bundle.tokenizer.encode(text).unwrap()).collect();
    assert!(tokens[0].ids.len() == 2 && tokens[5].ids.len() == 16);
    for (text, found) in tokens.iter().zip(model.text.embed(&tokens).unwrap()) {
        let length = (found.as_slice()[0] / found.as_slice()[1]).round();
        assert_eq!(length, text.ids.len() as f32);
    }
}
