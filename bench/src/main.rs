//! Measures what users wait for: towers on one core, the scan, indexing from files to vectors.
//!
//! Each figure is the median of several runs in one process; figures of two things that are compared
//! are taken in turn in the same run, because machines differ and are shared.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod augment;
mod collection;
mod full_clip;
mod indexing;
mod kills;
mod large_batch;
mod nearest;
mod objectives;
mod overload;
mod peers;
mod program;
mod scan;
mod served;
mod simclr;
mod timing;
mod towers;
mod vectors;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use full_clip::Workshop;

/// Measures Clipsight on this machine.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything of the first half of the list where nothing is named.
    what: Vec<What>,
    /// The model bundle.
    #[arg(long, default_value = "models/starter")]
    model: PathBuf,
    /// Pictures to index.
    #[arg(long, default_value = "demo")]
    pictures: PathBuf,
    /// A WebDataset shard of pictures with captions; may be repeated. `nearest` and `served` want it,
    /// and pictures are made of it in place of --pictures.
    #[arg(long)]
    captions: Vec<PathBuf>,
    /// Sizes of the collections of `nearest`.
    #[arg(long, value_delimiter = ',', default_value = "20000,200000")]
    counts: Vec<usize>,
    /// Pictures of `collection`.
    #[arg(long, default_value_t = 20_000)]
    collection: usize,
    /// Where is kept what takes long to make.
    #[arg(long, default_value = "target/bench")]
    work: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Milliseconds for a picture and for a text on one core, for each precision.
    Towers,
    /// Milliseconds for a search over stored vectors.
    Scan,
    /// Pictures a second from files to stored vectors, by the release binary.
    Index,
    /// A full-size ViT-B/32: its answers beside transformers, then as `towers`.
    FullTowers,
    /// A full-size ViT-B/32: as `index`, beside Python.
    FullIndex,
    /// A full-size ViT-B/32: a training step beside `PyTorch` and `open_clip`.
    FullStep,
    /// A step of `SimCLR`, beside lightly.
    Simclr,
    /// A step over a large batch: at once, in micro-batches, with gradient checkpointing, beside
    /// `open_clip` and its `--accum-freq`; time and memory.
    LargeBatch,
    /// Pictures made ready for training, beside torchvision.
    Augment,
    /// Losses forward and backward beside `open_clip` and lightly, and what memory they need.
    Objectives,
    /// The graph against the scan and against `USearch`; wants --captions, and minutes to build.
    Nearest,
    /// Many pictures by the starter and by ViT-B/32: memory while indexing and serving, how soon
    /// it is ready, how long a search takes, how soon the page stands and how smoothly it scrolls.
    Collection,
    /// Where there is a GPU: a full-size ViT-B/32's training step in bf16 and indexing in fp16, beside
    /// `open_clip` and transformers; only where it is named.
    Gpu,
    /// A hundred kills at random moments of indexing; only where it is named.
    Kills,
    /// Ten times the load that it bears, for a minute, by the release binary; only where it is named.
    Overload,
    /// Recall and latency over HTTP, by the release binary; wants --captions; only where it is named.
    Served,
}

fn main() -> Result<()> {
    runtime::environment::settle(&[]);
    let arguments = Arguments::parse();
    let Arguments { what, model, pictures, captions, counts, collection, work } = arguments;
    std::fs::create_dir_all(&work)?;
    let named = |part| what.contains(&part);
    let wanted = |part| what.is_empty() || named(part);
    let sources =
        if captions.is_empty() { std::slice::from_ref(&pictures) } else { captions.as_slice() };
    let workshop = Workshop { folder: &work, sources };
    if wanted(What::Towers) {
        towers::measure(&model, &pictures)?;
    }
    if wanted(What::Scan) {
        scan::measure()?;
    }
    if wanted(What::Index) {
        indexing::measure(&model, &pictures)?;
    }
    if wanted(What::FullTowers) {
        full_clip::measure_towers(&workshop, &pictures)?;
    }
    if wanted(What::FullIndex) {
        full_clip::measure_indexing(&workshop)?;
    }
    measure_training(wanted, &workshop)?;
    if wanted(What::Nearest) && !(captions.is_empty() && what.is_empty()) {
        let vectors = work.join("vectors");
        nearest::measure(&vectors::of_shards(&model, &captions, &vectors)?, &counts, &vectors)?;
    } else if what.is_empty() {
        println!("\nnearest is left out: it wants --captions FILE.tar");
    }
    if wanted(What::Collection) {
        let pictures = workshop.pictures(collection)?;
        collection::measure(&model, &pictures)?;
        collection::measure(&workshop.bundle()?, &pictures)?;
    }
    if named(What::Gpu) {
        full_clip::measure_gpu(&workshop)?;
    }
    if named(What::Overload) {
        overload::measure(&model, &pictures)?;
    }
    if named(What::Kills) {
        kills::measure(&pictures)?;
    }
    if named(What::Served) {
        let shard = captions.first().context("`served` wants --captions FILE.tar")?;
        served::measure(&model, shard)?;
    }
    Ok(())
}

/// What training is made of.
fn measure_training(wanted: impl Fn(What) -> bool, workshop: &Workshop<'_>) -> Result<()> {
    if wanted(What::FullStep) {
        full_clip::measure_step()?;
    }
    if wanted(What::Simclr) {
        simclr::measure()?;
    }
    if wanted(What::LargeBatch) {
        large_batch::measure()?;
    }
    if wanted(What::Augment) {
        augment::measure(workshop)?;
    }
    if wanted(What::Objectives) {
        objectives::measure()?;
    }
    Ok(())
}
