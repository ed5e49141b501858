//! A dual encoder as a whole: gradients reach it, and its graphs answer as it does.

use std::path::Path;

use clip::config::{
    BertConfig, EfficientNetLiteConfig, LiteVariant, ModelConfig, ModelType, TextConfig,
    VisionConfig,
};
use clipsight_trainer::model::{DualEncoder, ModelError, Side, Torch, TowerFiles, Weights};
use clipsight_trainer::onnx::WeightStorage;
use runtime::{Graph, Input};
use tch::{Device, Kind, Tensor};

const SIZE: usize = 35;

fn tiny_bert() -> BertConfig {
    serde_json::from_str(
        r#"{"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
            "intermediate_size": 40, "max_position_embeddings": 16}"#,
    )
    .unwrap()
}

fn config() -> ModelConfig {
    let vision = EfficientNetLiteConfig {
        variant: LiteVariant::Lite0,
        image_size: SIZE,
        hidden_size: 96,
        batch_norm_eps: 1e-3,
        num_labels: None,
    };
    ModelConfig {
        model_type: ModelType::DualEncoder,
        projection_dim: 10,
        projection_bias: true,
        projection_hidden_size: None,
        logit_scale_init_value: 2.0,
        vision_config: VisionConfig::EfficientnetLite(vision),
        text_config: TextConfig::Bert(tiny_bert()),
    }
}

/// Random towers; the pictures' pooled outputs are standardized before their projection.
fn encoder() -> (DualEncoder, Weights) {
    encoder_of(config())
}

fn encoder_of(config: ModelConfig) -> (DualEncoder, Weights) {
    let model = DualEncoder::new(config).unwrap();
    let mut weights = Weights::random(&model.parameters(), 5);
    weights.insert("visual_projection.input_mean", Tensor::arange(96, FLOATS) / 50.0);
    weights.insert("visual_projection.input_std", Tensor::arange(96, FLOATS) / 90.0 + 0.3);
    (model, weights)
}

const FLOATS: (Kind, Device) = (Kind::Float, Device::Cpu);
const INTEGERS: (Kind, Device) = (Kind::Int64, Device::Cpu);

fn pixels(batch: i64) -> Tensor {
    let size = SIZE as i64;
    (Tensor::arange(batch * 3 * size * size, FLOATS) * 0.37).sin().view([batch, 3, size, size])
}

/// Ids and mask; each row is one shorter than the one before.
fn tokens(batch: i64, length: i64) -> [Tensor; 2] {
    let ids =
        (Tensor::arange(batch * length, INTEGERS) * 7 + 1).remainder(40).view([batch, length]);
    let ends = length - Tensor::arange(batch, INTEGERS).unsqueeze(1);
    let mask = Tensor::arange(length, INTEGERS).unsqueeze(0).less_tensor(&ends);
    let mask = mask.to_kind(Kind::Int64);
    [ids * &mask, mask]
}

fn learned(name: &str) -> bool {
    !["running_mean", "running_var", "input_mean", "input_std"]
        .iter()
        .any(|statistic| name.ends_with(statistic))
}

fn loss(model: &DualEncoder, weights: &Weights) -> Tensor {
    let mut ops = Torch::new(weights);
    let images = model.image_embeddings(&mut ops, &pixels(3)).unwrap();
    let [ids, mask] = tokens(3, 6);
    let texts = model.text_embeddings(&mut ops, &ids, &mask).unwrap();
    let scores = images.matmul(&texts.tr()) * weights.get("logit_scale").unwrap().exp();
    let targets = Tensor::arange(3, INTEGERS);
    scores.cross_entropy_for_logits(&targets)
}

#[test]
fn gradients_reach_every_learned_weight_of_both_towers() {
    let (model, mut weights) = encoder();
    let names: Vec<String> = weights.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| learned(name)) {
        let tensor = weights.remove(name).unwrap().set_requires_grad(true);
        weights.insert(name.clone(), tensor);
    }
    loss(&model, &weights).backward();
    for (name, tensor) in weights.iter().filter(|(name, _)| learned(name)) {
        let size = tensor.grad().abs().max().double_value(&[]);
        // A key's bias shifts all scores of a query alike, which softmax does not see.
        let at_least = if name.ends_with("self.key.bias") { 0.0 } else { 1e-12 };
        assert!(size.is_finite() && size >= at_least, "{name}: {size}");
    }
}

#[test]
fn a_gradient_is_the_slope_of_the_loss() {
    let (model, mut weights) = encoder();
    for name in ["vision_model._blocks.1._expand_conv.weight", "vision_model._bn0.weight"] {
        let tensor = weights.get(name).unwrap().copy().set_requires_grad(true);
        weights.insert(name, tensor);
        loss(&model, &weights).backward();
        let slope = weights.get(name).unwrap().grad();
        let expected = slope.square().sum(Kind::Double).sqrt();
        let step = &slope / &expected.to_kind(Kind::Float) * 1e-3;
        let centre = weights.get(name).unwrap().detach();
        let mut at = |tensor: Tensor| {
            weights.insert(name, tensor);
            tch::no_grad(|| loss(&model, &weights)).double_value(&[])
        };
        let found = (at(&centre + &step) - at(&centre - &step)) / 2e-3;
        let expected = expected.double_value(&[]);
        assert!((found - expected).abs() < 0.05 * expected, "{name}: {found}, {expected}");
        weights.insert(name, centre);
    }
}

fn open(folder: &Path, bytes: Vec<u8>) -> Graph {
    runtime::library::load(None).unwrap();
    let path = folder.join("graph.onnx");
    std::fs::write(&path, bytes).unwrap();
    Graph::open(&path, 1).unwrap()
}

fn agree(graph: &mut Graph, inputs: &[(&str, Input<'_>)], expected: &Tensor, tolerance: f64) {
    let output = graph.run(inputs).unwrap().remove(0);
    let found = Tensor::from_slice(&output.data).view(expected.size().as_slice());
    let worst = (found - expected).abs().max().double_value(&[]);
    assert!(worst < tolerance, "{}: {worst}", output.name);
}

#[test]
fn the_image_graph_answers_as_the_model_in_every_form() {
    image_graph_answers(&encoder());
}

/// With residual projections, classes, and standardized texts, whose mixture the image graph has too.
#[test]
fn the_image_graph_with_all_parts_answers_as_the_model_in_every_form() {
    image_graph_answers(&with_all_parts());
}

fn with_all_parts() -> (DualEncoder, Weights) {
    let mut config = config();
    config.projection_hidden_size = Some(30);
    let VisionConfig::EfficientnetLite(lite) = &mut config.vision_config else { unreachable!() };
    lite.num_labels = Some(7);
    let (model, mut weights) = encoder_of(config);
    weights.insert("text_projection.input_mean", Tensor::arange(24, FLOATS) / 30.0);
    weights.insert("text_projection.input_std", Tensor::arange(24, FLOATS) / 20.0 + 0.5);
    // Of one class more than of the others, so that the shares matter.
    let bias = Tensor::arange(7, FLOATS) / 3.0;
    weights.insert("class_model._fc.bias", bias);
    (model, weights)
}

#[test]
fn an_image_with_classes_goes_on_from_any_shared_block() {
    let (model, weights) = with_all_parts();
    let mut ops = Torch::new(&weights);
    let whole = model.image_pooled(&mut ops, &pixels(2)).unwrap();
    assert_eq!(whole.size(), [2, 96 + 24]);
    for blocks in [0, 3, model.classes().unwrap().shared_blocks()] {
        let beginning = model.image_beginning(&mut ops, &pixels(2), blocks).unwrap();
        let found = model.image_rest(&mut ops, beginning, blocks).unwrap();
        assert!((found - &whole).abs().max().double_value(&[]) < 1e-5, "{blocks}");
    }
}

/// The mixture is that of the names' answers by the classifier's softmax, and its place is that of a text.
#[test]
fn a_picture_that_is_surely_of_a_class_moves_towards_the_classs_name() {
    let (model, mut weights) = with_all_parts();
    let sure = Tensor::from_slice(&[0f32, 0.0, 90.0, 0.0, 0.0, 0.0, 0.0]);
    weights.insert("class_model._fc.bias", sure);
    let mut ops = Torch::new(&weights);
    let pooled = model.image_pooled(&mut ops, &pixels(1)).unwrap();
    let name = weights.get("class_model.names.weight").unwrap().select(1, 2); // [24]
    let mixture = pooled.narrow(1, 96, 24).squeeze();
    assert!((mixture - &name).abs().max().double_value(&[]) < 1e-5);
    let found = model.features(&mut ops, Side::Image, &pooled).unwrap();
    let own = model.image_projection.features(&mut ops, &pooled.narrow(1, 0, 96)).unwrap();
    let words = model.text_projection.linear(&mut ops, &name.unsqueeze(0)).unwrap();
    assert!((found - own - words).abs().max().double_value(&[]) < 1e-5);
}

fn image_graph_answers((model, weights): &(DualEncoder, Weights)) {
    let folder = tempfile::tempdir().unwrap();
    for (storage, tolerance) in [
        (WeightStorage::F32, 1e-4),
        (WeightStorage::F16, 1e-2),
        (WeightStorage::Int8Matrices, 0.1),
        (WeightStorage::Int8, 0.1),
    ] {
        let bytes = model.export_image_graph(weights, storage).unwrap();
        let mut graph = open(folder.path(), bytes);
        for batch in [1, 3] {
            let pixels = pixels(batch);
            let expected = model.image_embeddings(&mut Torch::new(weights), &pixels).unwrap();
            let data = Vec::<f32>::try_from(pixels.view([-1])).unwrap();
            let shape = [batch as usize, 3, SIZE, SIZE];
            let input = [("pixel_values", Input::F32(&data, &shape))];
            agree(&mut graph, &input, &expected, tolerance);
        }
    }
}

#[test]
fn the_text_graph_answers_as_the_model_for_every_batch_and_length() {
    let (model, weights) = encoder();
    let folder = tempfile::tempdir().unwrap();
    let bytes = model.export_text_graph(&weights, WeightStorage::F32).unwrap();
    let mut graph = open(folder.path(), bytes);
    for (batch, length) in [(1, 1), (1, 9), (3, 4), (3, 16)] {
        let [ids, mask] = tokens(batch, length);
        let expected = model.text_embeddings(&mut Torch::new(&weights), &ids, &mask).unwrap();
        let flat = |tensor: &Tensor| Vec::<i64>::try_from(tensor.contiguous().view([-1])).unwrap();
        let (ids, mask) = (flat(&ids), flat(&mask));
        let shape = [batch as usize, length as usize];
        let inputs = [
            ("input_ids", Input::I64(&ids, &shape)),
            ("attention_mask", Input::I64(&mask, &shape)),
        ];
        agree(&mut graph, &inputs, &expected, 1e-4);
    }
}

#[test]
fn padding_changes_no_embedding() {
    let (model, weights) = encoder();
    let [ids, _] = tokens(1, 5);
    let embed = |ids: &Tensor, mask: &Tensor| {
        model.text_embeddings(&mut Torch::new(&weights), ids, mask).unwrap()
    };
    let alone = embed(&ids, &ids.ones_like());
    let padding = Tensor::zeros([1, 4], INTEGERS);
    let padded = Tensor::cat(&[&ids, &padding], 1);
    let mask = Tensor::cat(&[&ids.ones_like(), &padding], 1);
    assert!((alone - embed(&padded, &mask)).abs().max().double_value(&[]) < 1e-6);
}

#[test]
fn towers_are_loaded_under_their_own_names_and_checked() {
    let (model, weights) = encoder();
    let folder = tempfile::tempdir().unwrap();
    let save = |side: Side, prefix: &str, file: &str| {
        let mut tower = Weights::new();
        for parameter in model.tower_parameters(side) {
            let tensor = weights.get(&parameter.name).unwrap().shallow_clone();
            tower.insert(parameter.name.strip_prefix(prefix).unwrap(), tensor);
        }
        tower.insert("_fc.weight", Tensor::zeros([2, 2], FLOATS));
        tower.save(&folder.path().join(file)).unwrap();
        folder.path().join(file)
    };
    let image = save(Side::Image, "vision_model.", "image.safetensors");
    let text = save(Side::Text, "text_model.", "text.safetensors");
    let loaded = model.from_towers(TowerFiles { image: &image, text: &text }, 1).unwrap();
    let names: Vec<&str> = loaded.iter().map(|(name, _)| name).collect();
    let mut wanted: Vec<String> = model.parameters().into_iter().map(|p| p.name).collect();
    wanted.sort();
    assert_eq!(names, wanted);
    let scale = loaded.data("logit_scale").unwrap();
    assert_eq!(scale, (Vec::new(), vec![2.0]));
    let swapped = model.from_towers(TowerFiles { image: &text, text: &image }, 1);
    let Err(ModelError::Differs(differences)) = swapped else { panic!("not the same tower") };
    assert!(differences.missing.iter().any(|name| name.contains("_conv_stem")), "{differences}");
}

#[test]
fn a_contradiction_in_the_configuration_is_named() {
    let mut config = config();
    config.text_config = TextConfig::Bert(BertConfig { num_attention_heads: 5, ..tiny_bert() });
    let error = DualEncoder::new(config.clone()).unwrap_err().to_string();
    assert_eq!(error, "num_attention_heads must divide hidden_size");
    config.projection_dim = 0;
    let error = DualEncoder::new(config).unwrap_err().to_string();
    assert_eq!(error, "projection_dim must be at least 1");
}

#[test]
fn products_in_sixteen_bits_stay_close_and_send_gradients_in_f32() {
    let (model, weights) = encoder();
    let mut learning = Weights::new();
    for (name, tensor) in weights.iter() {
        learning.insert(name, tensor.copy().set_requires_grad(learned(name)));
    }
    let [ids, mask] = tokens(3, 6);
    let mut exact = Torch::new(&weights);
    let mut narrow = Torch::in_kind(&learning, Kind::BFloat16);
    for (expected, found) in [
        (
            model.image_embeddings(&mut exact, &pixels(3)),
            model.image_embeddings(&mut narrow, &pixels(3)),
        ),
        (
            model.text_embeddings(&mut exact, &ids, &mask),
            model.text_embeddings(&mut narrow, &ids, &mask),
        ),
    ] {
        let (expected, found) = (expected.unwrap(), found.unwrap());
        assert_eq!(found.kind(), Kind::Float);
        let difference = (&found - &expected).abs().max().double_value(&[]);
        assert!(difference < 0.03, "{difference}");
        assert!(difference > 0.0, "nothing was computed in sixteen bits");
        (found * Tensor::arange(10, FLOATS)).sum(Kind::Float).backward();
    }
    for (name, tensor) in
        learning.iter().filter(|(name, _)| learned(name) && *name != "logit_scale")
    {
        let gradient = tensor.grad();
        assert_eq!(gradient.kind(), Kind::Float, "{name}");
        assert!(gradient.isfinite().all().int64_value(&[]) == 1, "{name}");
    }
}
