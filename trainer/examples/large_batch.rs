//! What a step of CLIP over a large batch costs here, at once or in micro-batches, with gradient
//! checkpointing or without, as `bench/peers/accumulated_step.py` prints it for `open_clip`: towers, loss,
//! backward and `AdamW`, in f32.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example large_batch -- --batch 256 --micro-batch 32
//! ```
//! Memory is the peak above what was in use before the first step. Computes where `clipsight-trainer train`
//! would: on the first CUDA device, else on the CPU.
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use clip::TokenIds;
use clipsight_trainer::device::{Placement, free_cuda_memory};
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::methods::{self, Branch, Learner};
use clipsight_trainer::model::Side;
use clipsight_trainer::optimizer::{Gradients, Optimizer};
use clipsight_trainer::processes::Processes;
use clipsight_trainer::recipe::{Recipe, load};
use clipsight_trainer::towers::{Images, Inputs, TextInputs, Texts, Towers};
use clipsight_trainer::train::collect;
use tch::{Device, Kind, Tensor};

/// Steps before the clock starts.
const WARM_UP: usize = 1;

/// What makes a recipe for pictures alone one of CLIP whose towers both learn.
const CLIP: [&str; 4] = [
    "data=[{ path = \".\" }]",
    "train.method=clip",
    "train.precision=f32",
    "model.text.learning_rate=1e-3",
];

/// Measures steps over pairs that are noise.
#[derive(Parser)]
struct Arguments {
    /// The recipe; its sets are not opened.
    #[arg(long, default_value = "recipes/alone.toml")]
    recipe: PathBuf,
    /// Overrides of the recipe, as `train` takes them.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Pairs of a step.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Pairs at once; all where absent.
    #[arg(long)]
    micro_batch: Option<usize>,
    /// Gradient checkpointing of both towers.
    #[arg(long)]
    checkpointing: bool,
    /// Tokens of a text.
    #[arg(long, default_value_t = 77)]
    length: i64,
    /// Steps that count.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Threads of libtorch.
    #[arg(long, default_value_t = 2)]
    threads: i32,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    let overrides = [&CLIP.map(str::to_owned)[..], &arguments.set].concat();
    let recipe = load(&arguments.recipe, &overrides)?;
    let (seconds, bytes) = measure(&recipe, &arguments)?;
    let (batch, at_once) = (arguments.batch, arguments.micro_batch.unwrap_or(arguments.batch));
    println!(
        "| here | {batch} | {at_once} | {:.0} ms | {:.3} steps/s | {:.1} pairs/s | {:.0} MB |",
        1e3 * seconds,
        seconds.recip(),
        batch as f64 / seconds,
        bytes as f64 / 1e6
    );
    Ok(())
}

/// Seconds of a step, and bytes that it needs.
fn measure(recipe: &Recipe, arguments: &Arguments) -> Result<(f64, u64)> {
    let mut encoder = Encoder::from_recipe(recipe)?;
    let place = Placement::choose(recipe.train.precision);
    encoder.place(place.device, place.kind)?;
    let method = methods::of(recipe, &encoder);
    let parameters = collect(&mut encoder)?;
    let learned: Vec<&Tensor> = parameters.iter().map(|parameter| &parameter.tensor).collect();
    let mut optimizer = Optimizer::new(recipe.train.optimizer, recipe.train.weight_decay);
    let both = [Side::Image, Side::Text];
    let checkpointed = if arguments.checkpointing { &both[..] } else { &[] };
    let micro_batch = arguments.micro_batch;
    let (target, processes) = (None, Processes::ALONE);
    let towers = Towers { encoder: &encoder, target, micro_batch, checkpointed, processes };
    let online = Branch { encoder: &encoder, weights: &encoder.weights };
    let pixels = noise(&encoder, arguments)?;
    let memory = Memory::before(place.device)?;
    let mut start = Instant::now();
    for step in 0..WARM_UP + arguments.steps {
        if step == WARM_UP {
            wait(place.device);
            start = Instant::now();
        }
        let (batch, tape) = towers.forward(inputs(&pixels, arguments.length))?;
        let loss = method.step(&batch, &Learner { online, target: online, step: 0 })?.loss;
        let gradients = tape.backward(&loss, &batch, &learned, &towers)?;
        optimizer.step(&parameters, &Gradients::limited(gradients, 0.0)?, 1.0)?;
    }
    wait(place.device);
    let seconds = start.elapsed().as_secs_f64() / arguments.steps as f64;
    Ok((seconds, memory.peak()?))
}

/// Until the device has computed all that it was handed.
fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        tch::Cuda::synchronize(number as i64);
    }
}

/// Bytes in use on the CPU, or free on a GPU, before the first step.
enum Memory {
    Used(u64),
    Free(u64),
}

impl Memory {
    fn before(device: Device) -> Result<Self> {
        if device.is_cuda() {
            return Ok(Self::Free(free_cuda_memory().context("the GPU tells no memory")?));
        }
        Ok(Self::Used(bytes("VmRSS:")?))
    }

    /// Bytes above that; libtorch gives none back to the GPU before its end.
    fn peak(&self) -> Result<u64> {
        Ok(match *self {
            Self::Used(before) => bytes("VmHWM:")?.saturating_sub(before),
            Self::Free(before) => before.saturating_sub(free_cuda_memory().unwrap_or_default()),
        })
    }
}

/// Pictures `[B, 3, S, S]` on the encoder's device, in memory as training has them.
fn noise(encoder: &Encoder, arguments: &Arguments) -> Result<Tensor> {
    tch::manual_seed(1);
    let edge = encoder.model.config.vision_config.image_size() as i64;
    let size = [arguments.batch as i64, 3, edge, edge];
    let planes = Tensor::f_randn(size, (Kind::Float, Device::Cpu))?;
    let planes = planes.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?;
    Ok(encoder.moved(&planes)?)
}

/// A step's pictures, of which no two are the same, with texts of `length` different tokens.
fn inputs(pixels: &Tensor, length: i64) -> Inputs {
    let pairs = pixels.size()[0];
    let text = |pair: i64| TokenIds {
        ids: (0..length).map(|token| 1 + pair + 97 * token).collect(),
        truncated: false,
    };
    let inputs = TextInputs::Tokens((0..pairs).map(text).collect());
    Inputs {
        images: Images::Pixels(vec![pixels.shallow_clone()]),
        class_pictures: None,
        texts: Some(Texts { inputs, keys: (0..pairs).collect() }),
        picture_keys: (0..pairs).collect(),
        class_keys: Vec::new(),
    }
}

/// A line of what the system tells of this program, in bytes.
fn bytes(key: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kilobytes.with_context(|| format!("{key} is not told"))?.trim().parse::<u64>()? * 1024)
}
