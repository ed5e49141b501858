//! `clipsight-trainer eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clip::ModelBundle;
use clip::metrics::Retrieval;
use serde::Serialize;

use super::bars::Bars;
use super::{Ending, print_json, threads};
use crate::checkpoint::Checkpoint;
use crate::data::{BadSample, Dataset};
use crate::encoder::Encoder;
use crate::eval::{self, BundleEmbedder, CaptionFigures, Embedder, LabelFigures, RunEmbedder};
use crate::run::Run;
use crate::train::{Surroundings, pass, restore};
use crate::watch::Stop;

/// Flags of `eval`.
#[derive(Debug, Args)]
#[group(id = "sets", required = true, multiple = true, args = ["captions", "labels"])]
pub(super) struct EvalArgs {
    /// A bundle, measured through ONNX Runtime as it is served, or a run, measured through libtorch
    /// at its newest checkpoint.
    #[arg(value_name = "BUNDLE_OR_RUN")]
    model: PathBuf,
    /// A set with captions: recall of pictures by words and of words by pictures.
    #[arg(long, value_name = "DATA")]
    captions: Option<PathBuf>,
    /// A labelled set: top-1 and top-5 accuracy.
    #[arg(long, value_name = "DATA")]
    labels: Option<PathBuf>,
    /// Templates for the labels, one a line, {} where the class goes; default: the model's own.
    #[arg(long, value_name = "FILE", requires = "labels")]
    templates: Option<PathBuf>,
    /// The precision of a bundle, as its manifest names it; default: the one that is served.
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// ONNX Runtime's library; default: the one below .runtime, else the loader's.
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Measured {
    model: String,
    precision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    captions: Option<CaptionFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LabelFigures>,
}

pub(super) fn run(args: &EvalArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let templates = args.templates.as_deref().map(read_templates).transpose()?;
    let mut bars = Bars::default();
    let measured = if args.model.join("recipe.toml").is_file() && !args.model.join("onnx").is_dir()
    {
        let mut around = Surroundings { watch: &mut bars, stop, threads: threads() };
        measure_run(args, templates, &mut around)?
    } else {
        measure_bundle(args, templates, &mut bars, stop)?
    };
    drop(bars);
    if args.json {
        print_json(&measured)?;
    } else {
        print_table(&measured);
    }
    let unusable = measured.captions.iter().map(|c| c.unusable.len()).sum::<usize>()
        + measured.labels.iter().map(|l| l.unusable.len()).sum::<usize>();
    Ok(if unusable == 0 { Ending::Done } else { Ending::Partly })
}

fn measure_run(
    args: &EvalArgs,
    templates: Option<Vec<String>>,
    around: &mut Surroundings<'_>,
) -> anyhow::Result<Measured> {
    anyhow::ensure!(args.precision.is_none(), "--precision is for bundles; a run computes in f32");
    let run = Run::open(&args.model)?;
    let mut encoder = Encoder::from_recipe(&run.recipe)?;
    let checkpoint = Checkpoint::newest(&run.checkpoints())?;
    restore(&mut encoder, &checkpoint)?;
    let of = if checkpoint.average.is_empty() { "" } else { ", average of the weights" };
    let cache = run.cache();
    let templates = templates.unwrap_or_else(|| run.recipe.templates());
    let mut embedder = RunEmbedder { pass: pass(&encoder, &cache, around) };
    measure(args, &mut embedder, &templates, format!("fp32 (libtorch){of}"))
}

fn measure_bundle(
    args: &EvalArgs,
    templates: Option<Vec<String>>,
    bars: &mut Bars,
    stop: &Stop,
) -> anyhow::Result<Measured> {
    let bundle = ModelBundle::open(&args.model)?;
    runtime::library::load(args.onnxruntime.as_deref())?;
    let templates = templates.unwrap_or_else(|| bundle.templates());
    let options = runtime::ModelOptions { threads: threads(), precision: args.precision.clone() };
    let mut embedder = BundleEmbedder::open(bundle, &options, bars, stop)?;
    let precision = embedder.precision().to_owned();
    measure(args, &mut embedder, &templates, precision)
}

fn measure(
    args: &EvalArgs,
    embedder: &mut dyn Embedder,
    templates: &[String],
    precision: String,
) -> anyhow::Result<Measured> {
    let open = |path: &PathBuf| Dataset::open(path, templates).map(Arc::new);
    let (captions, labels) = (
        args.captions.as_ref().map(open).transpose()?,
        args.labels.as_ref().map(open).transpose()?,
    );
    Ok(Measured {
        model: args.model.display().to_string(),
        precision,
        captions: captions.map(|set| eval::captions(embedder, &set)).transpose()?,
        labels: labels.map(|set| eval::labels(embedder, &set, templates)).transpose()?,
    })
}

fn read_templates(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the templates {}", path.display()))?;
    let templates: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!templates.is_empty(), "{} holds no template", path.display());
    Ok(templates)
}

fn print_table(measured: &Measured) {
    println!("{} · {}", measured.model, measured.precision);
    if let Some(c) = &measured.captions {
        println!("\n{} · {} pictures, {} captions", c.set, c.pictures, c.captions);
        println!("{:16}{:>8}{:>8}{:>8}{:>14}", "", "R@1", "R@5", "R@10", "median rank");
        row("text → image", &c.text_to_image);
        row("image → text", &c.image_to_text);
        unusable(&c.unusable);
    }
    if let Some(l) = &measured.labels {
        let templates = l.templates.len();
        println!(
            "\n{} · {} pictures, {} classes, {templates} templates",
            l.set, l.pictures, l.classes
        );
        println!("{:16}{:>8}{:>8}", "", "top-1", "top-5");
        println!(
            "{:16}{:>8}{:>8}",
            "image → class",
            percent(l.classification.top_1),
            percent(l.classification.top_5)
        );
        unusable(&l.unusable);
    }
}

fn row(name: &str, r: &Retrieval) {
    let [one, five, ten] = [r.recall_at_1, r.recall_at_5, r.recall_at_10].map(percent);
    println!("{name:16}{one:>8}{five:>8}{ten:>8}{:>14}", r.median_rank);
}

fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Bad samples that are named one by one; `--json` names all.
const NAMED: usize = 5;

fn unusable(bad: &[BadSample]) {
    for sample in bad.iter().take(NAMED) {
        println!("{} left out: {}", sample.key, sample.reason);
    }
    if !bad.is_empty() {
        println!("{} samples could not be used", bad.len());
    }
}
