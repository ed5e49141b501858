//! How long an objective takes here, forward and backward, and what memory it needs, row by row as
//! `bench/peers/objectives.py` prints for others.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example objectives -- info-nce --batch 4096
//! ```
//! Computes where `clipsight-trainer train` would: on the first CUDA device, else on the CPU.
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use clipsight_trainer::device::Placement;
use clipsight_trainer::objectives::{
    Distance, Mining, Related, Triplets, dcl, info_nce, margin_in_batch, nt_xent, related_pairs,
    sigmoid, sup_con_pairs, triplet_in_batch,
};
use clipsight_trainer::recipe::Precision;
use tch::{Device, Kind, Tensor};

/// A temperature of 0.07, as an untrained CLIP has it.
const LOGIT_SCALE: f32 = 2.6592;

/// Measures an objective over random unit vectors.
#[derive(Parser)]
struct Arguments {
    /// Which one.
    objective: Objective,
    /// Pairs of a batch.
    #[arg(long, default_value_t = 1024)]
    batch: i64,
    /// Numbers of an embedding.
    #[arg(long, default_value_t = 512)]
    dim: i64,
    /// Batches that count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Batches before the clock starts.
    #[arg(long, default_value_t = 1)]
    warm_up: usize,
    /// Threads of libtorch on a CPU.
    #[arg(long, default_value_t = 2)]
    threads: i32,
    /// Compute on the CPU even where there is a GPU.
    #[arg(long)]
    cpu: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Objective {
    InfoNce,
    /// The same as the paper writes it, over the whole matrix.
    Plain,
    NtXent,
    Dcl,
    SupCon,
    Sigmoid,
    Triplet,
    Margin,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    let place = Placement::choose(Some(Precision::F32));
    let device = if arguments.cpu { Device::Cpu } else { place.device };
    let batch = Batch::new(&arguments, device)?;
    for _ in 0..arguments.warm_up {
        batch.forward_and_backward(arguments.objective)?;
    }
    let start = Instant::now();
    for _ in 0..arguments.rounds {
        batch.forward_and_backward(arguments.objective)?;
    }
    if device.is_cuda() {
        tch::Cuda::synchronize(0);
    }
    let seconds = start.elapsed().as_secs_f64() / arguments.rounds as f64;
    println!(
        "| here | {:?} | {} | {} | {:.1} ms | {:.1} pairs/s | {:.0} MiB |",
        arguments.objective,
        arguments.batch,
        arguments.dim,
        1e3 * seconds,
        arguments.batch as f64 / seconds,
        most_resident_mib()? - batch.resident_mib,
    );
    Ok(())
}

/// Embeddings, and what is learned beside them; all ask for gradients.
struct Batch {
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    related: Related,
    /// What the process held before the first loss.
    resident_mib: f64,
}

impl Batch {
    fn new(arguments: &Arguments, device: Device) -> Result<Self> {
        tch::manual_seed(1);
        let size = [arguments.batch, arguments.dim];
        let embeddings = || -> Result<Tensor> {
            let features = Tensor::f_randn(size, (Kind::Float, device))?;
            let length = features.f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?;
            Ok((features / length).set_requires_grad(true))
        };
        let scalar = |value: f32| Tensor::from(value).to_device(device).set_requires_grad(true);
        let keys = Tensor::f_arange(arguments.batch, (Kind::Int64, device))?;
        Ok(Self {
            images: embeddings()?,
            texts: embeddings()?,
            logit_scale: scalar(LOGIT_SCALE),
            logit_bias: scalar(-10.0),
            related: related_pairs(&keys, &keys),
            resident_mib: most_resident_mib()?,
        })
    }

    fn forward_and_backward(&self, objective: Objective) -> Result<()> {
        let leaves = [&self.images, &self.texts, &self.logit_scale];
        let gradients = Tensor::f_run_backward(&[self.loss(objective)], &leaves, false, false)?;
        gradients.first().context("a loss without gradients")?;
        Ok(())
    }

    fn loss(&self, objective: Objective) -> Tensor {
        let Self { images, texts, logit_scale, logit_bias, related, .. } = self;
        let (distance, mining) = (Distance::Cosine, Mining::Hard);
        match objective {
            Objective::InfoNce => info_nce(images, texts, logit_scale, related),
            Objective::Plain => plain(images, texts, logit_scale),
            Objective::NtXent => nt_xent(images, texts, logit_scale, related),
            Objective::Dcl => dcl(images, texts, logit_scale, related),
            Objective::SupCon => sup_con_pairs(images, texts, logit_scale, related),
            Objective::Sigmoid => sigmoid(images, texts, logit_scale, logit_bias, related),
            Objective::Triplet => {
                triplet_in_batch(images, texts, related, Triplets { margin: 0.2, distance, mining })
            }
            Objective::Margin => margin_in_batch(images, texts, related, 1.0, mining),
        }
    }
}

/// Figure 3 of Radford et al. 2021, line by line.
fn plain(images: &Tensor, texts: &Tensor, logit_scale: &Tensor) -> Tensor {
    let logits = images.matmul(&texts.tr()) * logit_scale.exp(); // [B, B]
    let labels = Tensor::arange(images.size()[0], (Kind::Int64, images.device()));
    let by_image = logits.cross_entropy_for_logits(&labels);
    (by_image + logits.tr().cross_entropy_for_logits(&labels)) / 2.0
}

/// The most that this process has held in memory so far.
fn most_resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("the system does not tell VmHWM")?.parse::<f64>()? / 1024.0)
}
