//! `clipsight-trainer eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clip::metrics::Retrieval;
use serde::Serialize;

use super::model::{About, ModelArgs};
use super::{Ending, print_json};
use crate::data::{BadSample, Dataset};
use crate::eval::{self, CaptionFigures, Embedder, LabelFigures};
use crate::watch::Stop;

/// Flags of `eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    sets: Sets,
    /// Templates for the labels, one a line, {} where the class goes; default: the model's own.
    #[arg(long, value_name = "FILE", requires = "labels")]
    templates: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// What to measure on: at least one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Sets {
    /// A set with captions: recall of pictures by words and of words by pictures.
    #[arg(long, value_name = "DATA")]
    captions: Option<PathBuf>,
    /// A labelled set: top-1 and top-5 accuracy.
    #[arg(long, value_name = "DATA")]
    labels: Option<PathBuf>,
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
    let measured =
        args.model.with(stop, |embedder, about| measure(args, embedder, about, templates))?;
    if args.json {
        print_json(&measured)?;
    } else {
        print_table(&measured);
    }
    let unusable = measured.captions.iter().map(|c| c.unusable.len()).sum::<usize>()
        + measured.labels.iter().map(|l| l.unusable.len()).sum::<usize>();
    Ok(if unusable == 0 { Ending::Done } else { Ending::Partly })
}

fn measure(
    args: &EvalArgs,
    embedder: &mut dyn Embedder,
    about: About,
    templates: Option<Vec<String>>,
) -> anyhow::Result<Measured> {
    let templates = templates.unwrap_or(about.templates);
    let open = |path: &PathBuf| Dataset::open(path, &templates).map(Arc::new);
    let (captions, labels) = (
        args.sets.captions.as_ref().map(open).transpose()?,
        args.sets.labels.as_ref().map(open).transpose()?,
    );
    Ok(Measured {
        model: args.model.model.display().to_string(),
        precision: about.precision,
        captions: captions.map(|set| eval::captions(embedder, &set)).transpose()?,
        labels: labels.map(|set| eval::labels(embedder, &set, &templates)).transpose()?,
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

pub(super) fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Bad samples that are named one by one; `--json` names all.
const NAMED: usize = 5;

pub(super) fn unusable(bad: &[BadSample]) {
    for sample in bad.iter().take(NAMED) {
        println!("{} left out: {}", sample.key, sample.reason);
    }
    if !bad.is_empty() {
        println!("{} samples could not be used", bad.len());
    }
}
