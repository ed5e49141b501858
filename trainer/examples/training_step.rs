//! How long a training step takes here, row by row as `bench/peers/training_step.py` prints for others.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example training_step -- --batch 16 --length 16
//! $ cargo run --release -p clipsight-trainer --example training_step -- --model towers
//! ```
//! Computes where `clipsight-trainer train` would: on the first CUDA device, else on the CPU.
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use clip::config::{
    BertConfig, ClipTextConfig, ClipVisionConfig, EfficientNetLiteConfig, HiddenAct, LiteVariant,
    ModelConfig, ModelType, Pooling, TextConfig, VisionConfig,
};
use clipsight_trainer::device::{Placement, moved};
use clipsight_trainer::model::{DualEncoder, LOGIT_SCALE, Torch, Weights};
use clipsight_trainer::objectives::{Related, info_nce, related_pairs};
use clipsight_trainer::optimizer::{Gradients, Optimizer, Parameter};
use clipsight_trainer::recipe::{OptimizerSection, Precision};
use tch::{Device, Kind, Tensor};

/// As the peers train.
const LEARNING_RATE: f64 = 1e-5;
const WEIGHT_DECAY: f64 = 0.1;

/// Steps before the clock starts.
const WARM_UP: usize = 3;

/// Rows and columns of a product that is large for any device, and how many of it are timed.
const LARGE: i64 = 8192;
const PRODUCTS: usize = 10;

/// What learns, all of it.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Model {
    /// A ViT-B/32.
    Clip,
    /// The towers of the starter: EfficientNet-Lite2 at 260 pixels and MiniLM, projected linearly.
    Towers,
}

/// Measures the training step of a model that starts from nothing.
#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value_t = Model::Clip)]
    model: Model,
    /// Pairs of a step.
    #[arg(long, default_value_t = 16)]
    batch: i64,
    /// Tokens of a text.
    #[arg(long, default_value_t = 16)]
    length: i64,
    /// Steps that count.
    #[arg(long, default_value_t = 8)]
    steps: usize,
    /// `f32` or `bf16`; bf16 on a GPU and f32 elsewhere where it is not given.
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Threads of libtorch on a CPU.
    #[arg(long, default_value_t = 2)]
    threads: i32,
    /// Compute on the CPU even where there is a GPU.
    #[arg(long)]
    cpu: bool,
    /// Also print the losses of all steps.
    #[arg(long)]
    losses: bool,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    let mut place = Placement::choose(arguments.precision);
    if arguments.cpu {
        place.device = Device::Cpu;
    }
    let model = DualEncoder::new(config(arguments.model))?;
    let mut weights = Weights::random(&model.parameters(), 1);
    weights.move_to(place.device)?;
    let case = Case::new(&arguments, place)?;
    let (seconds, losses) = run(&model, &mut weights, &case, arguments.steps)?;
    let rate = arguments.batch as f64 / seconds;
    print!(
        "| here | {:?} | {} | {} | {:.1} ms | {rate:.1} pairs/s |",
        place.precision(),
        arguments.batch,
        arguments.length,
        1e3 * seconds,
    );
    if arguments.model == Model::Towers {
        println!();
    } else {
        let work = 3.0 * forward_operations(arguments.length) * rate / 1e12;
        println!(" {work:.2} TFLOP/s |");
        if place.device.is_cuda() {
            let bound = product_rate(place)?;
            println!(
                "{:.0} % of the {bound:.0} TFLOP/s of one large product here",
                100.0 * work / bound
            );
        }
    }
    if arguments.losses {
        let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.6}")).collect();
        println!("losses {}", losses.join(" "));
    }
    Ok(())
}

fn precision(name: &str) -> Result<Precision, String> {
    match name {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("it is f32 or bf16".to_owned()),
    }
}

fn config(model: Model) -> ModelConfig {
    let clip = ModelConfig {
        model_type: ModelType::Clip,
        projection_dim: 512,
        projection_bias: false,
        projection_hidden_size: None,
        logit_scale_init_value: 2.6592,
        vision_config: VisionConfig::ClipVision(ClipVisionConfig::default()),
        text_config: TextConfig::ClipText(ClipTextConfig::default()),
    };
    if model == Model::Clip {
        return clip;
    }
    ModelConfig {
        model_type: ModelType::DualEncoder,
        projection_dim: 384,
        projection_bias: true,
        vision_config: VisionConfig::EfficientnetLite(EfficientNetLiteConfig {
            variant: LiteVariant::Lite2,
            image_size: 260,
            hidden_size: 1280,
            batch_norm_eps: 1e-3,
            num_labels: None,
        }),
        text_config: TextConfig::Bert(BertConfig {
            vocab_size: 30_522,
            hidden_size: 384,
            num_hidden_layers: 6,
            num_attention_heads: 12,
            intermediate_size: 1536,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: HiddenAct::Gelu,
            pad_token_id: 0,
            pooling: Pooling::Mean,
        }),
        ..clip
    }
}

/// What every step is fed, on the device.
struct Case {
    place: Placement,
    pixels: Tensor,
    ids: Tensor,
    mask: Tensor,
    related: Related,
}

impl Case {
    fn new(arguments: &Arguments, place: Placement) -> Result<Self> {
        let &Arguments { model, batch, length, .. } = arguments;
        ensure!((2..=77).contains(&length), "a text has 2 to 77 tokens");
        tch::manual_seed(1);
        let config = config(model);
        let edge = config.vision_config.image_size() as i64;
        let (words, end) = match config.text_config {
            TextConfig::ClipText(text) => (text.vocab_size as i64 - 2, text.eos_token_id),
            TextConfig::Bert(text) => (text.vocab_size as i64 - 1, text.vocab_size as i64 - 1),
        };
        // Channel by channel within a pixel, as batches of pictures are.
        let pixels = Tensor::f_randn([batch, edge, edge, 3], (Kind::Float, Device::Cpu))?;
        let pixels = pixels.f_permute([0, 3, 1, 2])?;
        let ids = Tensor::f_randint(words, [batch, length], (Kind::Int64, Device::Cpu))?;
        let _ = ids.f_narrow(1, length - 1, 1)?.f_fill_(end)?;
        let keys = Tensor::f_arange(batch, (Kind::Int64, place.device))?;
        Ok(Self {
            place,
            pixels: moved(&pixels, place.device)?,
            mask: moved(&ids.ones_like(), place.device)?,
            ids: moved(&ids, place.device)?,
            related: related_pairs(&keys, &keys),
        })
    }

    fn loss(&self, model: &DualEncoder, weights: &Weights) -> Result<Tensor> {
        let mut ops = Torch::in_kind(weights, self.place.kind);
        let images = model.image_embeddings(&mut ops, &self.pixels)?;
        let texts = model.text_embeddings(&mut ops, &self.ids, &self.mask)?;
        Ok(info_nce(&images, &texts, weights.get(LOGIT_SCALE)?, &self.related))
    }
}

/// Seconds of a step, the mean, and all losses. Each loss is read once the next step has been handed
/// over: a GPU that is asked sooner stands idle.
fn run(
    model: &DualEncoder,
    weights: &mut Weights,
    case: &Case,
    steps: usize,
) -> Result<(f64, Vec<f64>)> {
    let mut parameters = Vec::new();
    for parameter in model.parameters() {
        let name = parameter.name;
        let tensor = weights.get(&name)?.set_requires_grad(true);
        weights.insert(name.as_str(), tensor.shallow_clone());
        let decays = tensor.dim() >= 2;
        parameters.push(Parameter { name, tensor, learning_rate: LEARNING_RATE, decays });
    }
    let mut optimizer = Optimizer::new(OptimizerSection::default(), WEIGHT_DECAY);
    let (mut losses, mut unread) = (Vec::new(), None::<Tensor>);
    let mut start = Instant::now();
    for step in 0..WARM_UP + steps {
        if step == WARM_UP {
            losses.extend(unread.take().map(|loss| loss.double_value(&[])));
            start = Instant::now();
        }
        let loss = case.loss(model, weights)?;
        let gradients = Gradients::of(&loss, &parameters, 0.0)?;
        optimizer.step(&parameters, &gradients, 1.0)?;
        losses.extend(unread.replace(loss.detach()).map(|loss| loss.double_value(&[])));
    }
    losses.extend(unread.map(|loss| loss.double_value(&[])));
    if case.place.device.is_cuda() {
        tch::Cuda::synchronize(0);
    }
    Ok((start.elapsed().as_secs_f64() / steps as f64, losses))
}

/// What the device makes of one large product of random matrices, in TFLOP/s: the ceiling of all products.
fn product_rate(place: Placement) -> Result<f64> {
    let random = || Tensor::f_randn([LARGE, LARGE], (place.kind, place.device));
    let (a, b) = (random()?, random()?);
    let mut start = Instant::now();
    for product in 0..WARM_UP + PRODUCTS {
        if product == WARM_UP {
            tch::Cuda::synchronize(0);
            start = Instant::now();
        }
        let _ = a.f_mm(&b)?;
    }
    tch::Cuda::synchronize(0);
    let seconds = start.elapsed().as_secs_f64() / PRODUCTS as f64;
    Ok(2.0 * (LARGE as f64).powi(3) / seconds / 1e12)
}

/// Additions and multiplications of matrix products in one pair's way forward; backwards it is twice
/// as many. What this program leaves out of its last blocks is counted nevertheless.
fn forward_operations(length: i64) -> f64 {
    let (vision, text) = (ClipVisionConfig::default(), ClipTextConfig::default());
    let blocks = |width: usize, wide: usize, layers: usize, tokens: f64| {
        let (width, wide) = (width as f64, wide as f64);
        let products = 4.0 * width * width + 2.0 * width * wide;
        2.0 * layers as f64 * tokens * (products + 2.0 * tokens * width)
    };
    let patches = (vision.image_size / vision.patch_size).pow(2) as f64;
    let patch = 3.0 * (vision.patch_size * vision.patch_size * vision.hidden_size) as f64;
    let image = blocks(
        vision.hidden_size,
        vision.intermediate_size,
        vision.num_hidden_layers,
        patches + 1.0,
    );
    let words =
        blocks(text.hidden_size, text.intermediate_size, text.num_hidden_layers, length as f64);
    2.0 * patches * patch + image + words
}
