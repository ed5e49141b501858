//! How many steps of `SimCLR` a second are made here, as `bench/peers/simclr_step.py` prints it for
//! `lightly`: image tower, projector, loss, backward and `AdamW` over two views of a batch, in f32.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example simclr_step -- --batch 128
//! ```
//! Computes where `clipsight-trainer train` would: on the first CUDA device, else on the CPU.
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use clipsight_trainer::device::Placement;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::methods::{self, Branch, Learner};
use clipsight_trainer::optimizer::{Gradients, Optimizer};
use clipsight_trainer::processes::Processes;
use clipsight_trainer::recipe::{Recipe, load};
use clipsight_trainer::towers::{Images, Inputs, Towers};
use clipsight_trainer::train::collect;
use tch::{Device, Kind, Tensor};

/// Steps before the clock starts.
const WARM_UP: usize = 3;

/// Measures the steps of a recipe's method over pictures that are noise.
#[derive(Parser)]
struct Arguments {
    /// The recipe; its sets are not opened.
    #[arg(long, default_value = "recipes/alone.toml")]
    recipe: PathBuf,
    /// Pictures of a step, each seen twice.
    #[arg(long, default_value_t = 128)]
    batch: i64,
    /// Steps that count.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Threads of libtorch on a CPU.
    #[arg(long, default_value_t = 2)]
    threads: i32,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    let sets = ["data=[{ path = \".\" }]", "train.precision=f32"].map(str::to_owned);
    let recipe = load(&arguments.recipe, &sets)?;
    let seconds = seconds_of_a_step(&recipe, &arguments)?;
    let (batch, milliseconds) = (arguments.batch, 1e3 * seconds);
    println!("| here | {batch} | {milliseconds:.1} ms | {:.2} steps/s |", seconds.recip());
    Ok(())
}

fn seconds_of_a_step(recipe: &Recipe, arguments: &Arguments) -> Result<f64> {
    let mut encoder = Encoder::from_recipe(recipe)?;
    let place = Placement::choose(recipe.train.precision);
    let method = methods::of(recipe, &encoder);
    let views = method.views(&recipe.image).len();
    ensure!(views == 2, "{} looks at {views} views, not two", recipe.train.method.name());
    methods::add_heads(&mut encoder, &method.heads(), recipe);
    encoder.place(place.device, place.kind)?;
    let parameters = collect(&mut encoder)?;
    let mut optimizer = Optimizer::new(recipe.train.optimizer, recipe.train.weight_decay);
    let views = noise(&encoder, arguments.batch)?;
    let learned: Vec<&Tensor> = parameters.iter().map(|parameter| &parameter.tensor).collect();
    let (target, processes) = (None, Processes::ALONE);
    let towers =
        Towers { encoder: &encoder, target, micro_batch: None, checkpointed: &[], processes };
    let online = Branch { encoder: &encoder, weights: &encoder.weights };
    let mut start = Instant::now();
    for step in 0..WARM_UP + arguments.steps {
        if step == WARM_UP {
            wait(place.device);
            start = Instant::now();
        }
        let learner = Learner { online, target: online, step: step as u64 };
        let (batch, tape) = towers.forward(inputs(&views))?;
        let loss = method.step(&batch, &learner)?.loss;
        let gradients = tape.backward(&loss, &batch, &learned, &towers)?;
        let gradients = Gradients::limited(gradients, 0.0)?;
        optimizer.step(&parameters, &gradients, 1.0)?;
    }
    wait(place.device);
    Ok(start.elapsed().as_secs_f64() / arguments.steps as f64)
}

/// Two views of `count` pictures, on the encoder's device.
fn noise(encoder: &Encoder, count: i64) -> Result<[Tensor; 2]> {
    tch::manual_seed(1);
    let edge = encoder.model.config.vision_config.image_size() as i64;
    let view = || -> Result<Tensor> {
        let noise = Tensor::f_randn([count, 3, edge, edge], (Kind::Float, Device::Cpu))?;
        Ok(encoder.moved(&noise)?)
    };
    Ok([view()?, view()?])
}

/// A step's pictures, of which no two are the same.
fn inputs(views: &[Tensor; 2]) -> Inputs {
    let pictures = views[0].size()[0];
    Inputs {
        images: Images::Pixels(views.iter().map(Tensor::shallow_clone).collect()),
        class_pictures: None,
        texts: None,
        picture_keys: (0..pictures).collect(),
        class_keys: Vec::new(),
    }
}

fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}
