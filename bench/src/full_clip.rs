//! A full-size CLIP (ViT-B/32) with random weights: made and answered by `transformers`, then loaded,
//! trained and exported here. What its weights are makes no difference to how long it takes.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::indexing;
use crate::peers::{Peer, example, figure, in_turns, output_of, script};
use crate::towers;

/// Rounds of all that take part.
const ROUNDS: usize = 3;
/// Pictures that each of them indexes in a round.
const PICTURES: usize = 1000;
/// Pairs in a step, and pictures in a round, where a GPU computes.
const GPU_BATCH: &str = "1024";
const GPU_PICTURES: usize = 3_000;
/// Pairs that a GPU computes in parts, how many at once, and the model, as `large_batch` and
/// `accumulated_step.py` are told of them.
const LARGE_BATCH: [&str; 4] = ["--batch", "4096", "--micro-batch", "1024"];
const LARGE_HERE: [&str; 6] = [
    "--set",
    "model.config=../bench/vit-b-32/config.json",
    "--set",
    "image.size=224",
    "--set",
    "train.precision=bf16",
];
const LARGE_THERE: [&str; 2] = ["--model", "bench/vit-b-32"];
/// Units as all programs print them.
const PAIRS: &str = "pairs/s";
const PICTURES_PER_S: &str = "pictures/s";
/// The graph that Python drives.
const INT8: &str = "onnx/vision_model_int8.onnx";

/// Where everything lies that takes long to make.
pub(crate) struct Workshop<'a> {
    pub(crate) folder: &'a Path,
    /// A folder of pictures, or shards, that pictures are made of.
    pub(crate) sources: &'a [PathBuf],
}

impl Workshop<'_> {
    fn checkpoint(&self) -> PathBuf {
        self.folder.join("vit-b-32")
    }

    /// The exported model; made at the first call.
    pub(crate) fn bundle(&self) -> Result<PathBuf> {
        let bundle = self.folder.join("vit-b-32-bundle");
        if bundle.join("manifest.json").is_file() {
            return Ok(bundle);
        }
        let checkpoint = self.checkpoint();
        println!("\n## A full-size CLIP beside transformers\n");
        println!("transformers:\n{}", output_of(script("full_clip.py")?.arg(&checkpoint))?);
        let mut here = example("full_clip")?;
        println!("here:\n{}", output_of(here.arg(&checkpoint).arg("--out").arg(&bundle))?);
        Ok(bundle)
    }

    /// A folder of `count` JPEGs of 500 pixels; made at the first call.
    pub(crate) fn pictures(&self, count: usize) -> Result<PathBuf> {
        let folder = self.folder.join(format!("pictures-{count}"));
        if !folder.is_dir() {
            let unfinished = self.folder.join("unfinished");
            let mut maker = script("pictures.py")?;
            maker.arg(&unfinished).arg("--count").arg(count.to_string()).args(self.sources);
            output_of(&mut maker)?;
            std::fs::rename(unfinished, &folder)?;
        }
        Ok(folder)
    }
}

/// Answers beside those of `transformers`, and the towers of each precision.
pub(crate) fn measure_towers(workshop: &Workshop<'_>, pictures: &Path) -> Result<()> {
    towers::measure(&workshop.bundle()?, pictures)
}

/// From files to stored vectors, beside Python.
pub(crate) fn measure_indexing(workshop: &Workshop<'_>) -> Result<()> {
    let (bundle, pictures) = (workshop.bundle()?, workshop.pictures(PICTURES)?);
    println!("\n## From {PICTURES} JPEGs of 500 pixels to stored vectors, ViT-B/32, all cores\n");
    let (graph, checkpoint) = (bundle.join(INT8), workshop.checkpoint());
    let here = || indexing::pictures_per_s(&bundle, &pictures, &[]);
    let onnxruntime = || index_there("onnxruntime", &pictures, &graph);
    let transformers = || index_there("transformers", &pictures, &checkpoint);
    in_turns(
        ROUNDS,
        PICTURES_PER_S,
        &mut [
            Peer::new("clipsight index, int8", here),
            Peer::new("ONNX Runtime from Python, the same int8 graph", onnxruntime),
            Peer::new("transformers with PyTorch, f32", transformers),
        ],
    )
}

/// A training step beside the same written plainly in `PyTorch`, and `open_clip`'s, in f32 and in bf16 (there
/// by its autocast).
pub(crate) fn measure_step() -> Result<()> {
    for precision in ["f32", "bf16"] {
        println!("\n## A training step, ViT-B/32, 16 pairs, {precision}, two threads\n");
        println!("Texts of 16 tokens:\n");
        let size = ["--batch", "16", "--precision", precision, "--length"];
        let (short, long) = ([&size[..], &["16"]].concat(), [&size[..], &["77"]].concat());
        let (here, plain) = (step_here(&short), step_there("plain", &short));
        let mut both = [Peer::new("here", here), Peer::new("plain PyTorch", plain)];
        in_turns(ROUNDS, PAIRS, &mut both)?;
        println!("\nTexts of 77 tokens:\n");
        let (here, open_clip) = (step_here(&long), step_there("open_clip", &long));
        let mut both = [Peer::new("here", here), Peer::new("open_clip", open_clip)];
        in_turns(ROUNDS, PAIRS, &mut both)?;
    }
    for precision in ["f32", "bf16"] {
        println!(
            "\n## A training step, EfficientNet-Lite2 and MiniLM, 16 pairs, {precision}, two threads\n"
        );
        let towers = ["--model", "towers", "--precision", precision];
        let mut all = [
            Peer::new("here", step_here(&towers)),
            Peer::new("plain PyTorch", step_there("plain", &towers)),
            Peer::new("open_clip", step_there("open_clip", &towers)),
        ];
        in_turns(ROUNDS, PAIRS, &mut all)?;
    }
    Ok(())
}

/// With a GPU: the training step in bf16, the same losses as on the CPU, and pictures a second.
pub(crate) fn measure_gpu(workshop: &Workshop<'_>) -> Result<()> {
    println!("\n## The same losses, ViT-B/32, 16 pairs, f32\n");
    let losses = ["--losses", "--precision", "f32"];
    println!("GPU {}", output_of(example("training_step")?.args(losses))?);
    println!("CPU {}", output_of(example("training_step")?.args(losses).arg("--cpu"))?);
    println!("## A training step, ViT-B/32, {GPU_BATCH} pairs, bf16\n");
    println!(
        "Texts of 77 tokens; here of 32 as well, since batches are as long as their longest:\n"
    );
    let (short, long) =
        (["--batch", GPU_BATCH, "--length", "32"], ["--batch", GPU_BATCH, "--length", "77"]);
    let mut all = [
        Peer::new("here, 32 tokens", step_here(&short)),
        Peer::new("here", step_here(&long)),
        Peer::new("open_clip", step_there("open_clip", &long)),
    ];
    in_turns(ROUNDS, PAIRS, &mut all)?;
    let mut step = example("training_step")?;
    println!("\n{}", output_of(step.args(long))?);
    measure_large_batch()?;
    let (bundle, pictures) = (workshop.bundle()?, workshop.pictures(GPU_PICTURES)?);
    println!("## From {GPU_PICTURES} JPEGs of 500 pixels to stored vectors, ViT-B/32\n");
    let here = || {
        let how = ["--provider", "cuda", "--precision", "fp16"];
        indexing::pictures_per_s(&bundle, &pictures, &how)
    };
    let transformers = || index_there("transformers", &pictures, &workshop.checkpoint());
    in_turns(
        ROUNDS,
        PICTURES_PER_S,
        &mut [
            Peer::new("clipsight index, CUDA, fp16", here),
            Peer::new("transformers with PyTorch, CUDA, fp16", transformers),
        ],
    )
}

/// A batch that does not fit at once: in micro-batches, and with gradient checkpointing in place of them.
fn measure_large_batch() -> Result<()> {
    for (name, way) in [
        ("in micro-batches of 1,024", &LARGE_BATCH[..]),
        ("with checkpointing", &["--batch", "4096", "--checkpointing"]),
    ] {
        println!("\n## A step of a ViT-B/32 over 4,096 pairs {name}, bf16\n");
        let here = || output_of(example("large_batch")?.args(LARGE_HERE).args(way));
        let there = || output_of(script("accumulated_step.py")?.args(LARGE_THERE).args(way));
        let (here, there) = (printed_rate(here), printed_rate(there));
        in_turns(ROUNDS, PAIRS, &mut [Peer::new("here", here), Peer::new("open_clip", there)])?;
    }
    Ok(())
}

/// Runs a program that prints its memory too, shows its line and answers its rate.
fn printed_rate(mut run: impl FnMut() -> Result<String>) -> impl FnMut() -> Result<f64> {
    move || {
        let printed = run()?;
        print!("{printed}");
        figure(&printed, PAIRS)
    }
}

fn step_here<'a>(arguments: &'a [&'a str]) -> impl FnMut() -> Result<f64> + 'a {
    move || figure(&output_of(example("training_step")?.args(arguments))?, PAIRS)
}

fn step_there<'a>(peer: &'a str, arguments: &'a [&'a str]) -> impl FnMut() -> Result<f64> + 'a {
    move || figure(&output_of(script("training_step.py")?.arg(peer).args(arguments))?, PAIRS)
}

fn index_there(peer: &str, pictures: &Path, model: &Path) -> Result<f64> {
    let mut command = script("indexing.py")?;
    figure(&output_of(command.arg(peer).arg(pictures).arg(model))?, PICTURES_PER_S)
}
