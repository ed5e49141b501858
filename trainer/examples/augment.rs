//! How many pictures a second augmentation makes ready here, as `bench/peers/augment.py` measures
//! torchvision.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example augment -- FOLDER --from files
//! ```
//! The usual recipe of contrastive learning on pictures (`MoCo` v2, Chen et al. 2020): a cut of a
//! fifth and more, resized, mirrored, color jitter, gray, blur, then the normalized input of a tower.
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use clip::image::{DecodeLimits, ImageProcessor, ImageProcessorConfig, RgbImage, Size, decode};
use clipsight_trainer::data::augment::{Augmentation, Look, Views};
use clipsight_trainer::data::mixture::Draw;

/// Measures augmentation.
#[derive(Parser)]
struct Arguments {
    /// A folder of JPEGs, or of drawings, at any depth.
    folder: PathBuf,
    /// What it begins with.
    #[arg(long = "from", value_enum, default_value = "pixels")]
    source: Source,
    /// Pictures, each seen once in a round.
    #[arg(long, default_value_t = 400)]
    count: usize,
    /// Rounds that count; one before them does not.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Height and width of what a tower sees.
    #[arg(long, default_value_t = 224)]
    side: u32,
    /// Longer side in pixels at which drawings are painted; as training does where absent.
    #[arg(long)]
    drawing_side: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Source {
    /// Files in memory, which have to be decoded.
    Files,
    /// Decoded pictures.
    Pixels,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let files = files(&arguments.folder, arguments.count)?;
    let size = Size::Shortest { shortest_edge: arguments.side };
    let processor = ImageProcessor::new(ImageProcessorConfig { size, ..Default::default() })?;
    let views = Views { augmentation: moco(), seed: 1, epoch: 0 };
    let mut look = Look { views, processor };
    let drawing_side = arguments.drawing_side.unwrap_or_else(|| look.wanted_side());
    let limits = DecodeLimits { drawing_side, ..DecodeLimits::default() };
    let pixels = |file: &Vec<u8>| anyhow::Ok(decode(file, &limits)?.pixels);
    let pictures = match arguments.source {
        Source::Files => Vec::new(),
        Source::Pixels => files.iter().map(pixels).collect::<Result<_>>()?,
    };
    let mut start = Instant::now();
    for epoch in 0..=arguments.rounds {
        if epoch == 1 {
            start = Instant::now();
        }
        look.views.epoch = epoch;
        let see = |at: usize, picture: &RgbImage| {
            let draw = Draw { set: 0, pair: at, caption: 0, turn: 0 };
            black_box(look.of(picture, &draw, 0));
        };
        let work = |at: usize| match pictures.get(at) {
            Some(picture) => {
                see(at, picture);
                Ok(())
            }
            None => pixels(&files[at]).map(|picture| see(at, &picture)),
        };
        on_threads(arguments.threads.max(1), files.len(), work)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = (arguments.rounds * files.len() as u64) as f64 / seconds;
    println!("| here | {} threads | {rate:.1} pictures/s |", arguments.threads);
    Ok(())
}

fn moco() -> Augmentation {
    Augmentation {
        crop_scale: [0.2, 1.0],
        flip: 0.5,
        color_jitter: Some([0.4, 0.4, 0.4, 0.1]),
        grayscale: 0.2,
        blur: 0.5,
        ..Augmentation::default()
    }
}

/// The first files in the order of their names.
fn files(folder: &Path, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() && files.len() < count {
            files.push(std::fs::read(entry.path())?);
        }
    }
    ensure!(!files.is_empty(), "{} holds no file", folder.display());
    Ok(files)
}

/// Does the work of `count` places, each thread every n-th.
fn on_threads(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let one = |first| scope.spawn(move || (first..count).step_by(threads).try_for_each(work));
        let all: Vec<_> = (0..threads).map(one).collect();
        all.into_iter().try_for_each(|one| one.join().ok().context("a thread died")?)
    })
}
