//! `clipsight-trainer blend`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::bars::Bars;
use super::eval::percent;
use super::{Ending, print_json, threads};
use crate::blend::{Blend, Point, recommended};
use crate::curves;
use crate::data::Dataset;
use crate::run::Run;
use crate::train::{HeldOut, Surroundings};
use crate::watch::Stop;

/// Flags of `blend`.
#[derive(Debug, Args)]
pub(super) struct BlendArgs {
    /// The run that is blended with what it began from, at its newest checkpoint; of several that began
    /// from the same model the weights are averaged first.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The labelled set that shows what was won; default: the first run's eval.labels.
    #[arg(long, value_name = "DATA")]
    labels: Option<PathBuf>,
    /// The set with captions that shows what was forgotten; default: the first run's eval.captions.
    #[arg(long, value_name = "DATA")]
    captions: Option<PathBuf>,
    /// Shares of the end to measure, separated by commas; 0 is what the run began from.
    #[arg(
        long,
        value_name = "SHARE,…",
        value_delimiter = ',',
        value_parser = share,
        default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
    )]
    at: Vec<f64>,
    /// The picture.
    #[arg(long, value_name = "FILE", default_value = "blend.png")]
    picture: PathBuf,
    /// Write a blend as a run of its own, which eval and export read like any other.
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Which blend to write; default: the recommended one.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "out")]
    share: Option<f64>,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Swept<'a> {
    labels: String,
    captions: String,
    points: &'a [Point],
    recommended: f64,
    picture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
}

#[derive(Serialize)]
struct Written {
    run: String,
    share: f64,
}

pub(super) fn run(args: &BlendArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let mut runs =
        args.runs.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>, _>>()?;
    let first = runs.remove(0);
    let held_out = held_out(args, &first)?;
    args.out.as_deref().map(Run::free).transpose()?;
    let mut bars = Bars::default();
    let mut around = Surroundings { watch: &mut bars, stop, threads: threads() };
    let mut blend = Blend::of(first, &runs)?;
    let mut shares = args.at.clone();
    shares.sort_unstable_by(f64::total_cmp);
    shares.dedup();
    let points = blend.sweep(&shares, &held_out, &mut around)?;
    bars.finish();
    let best = recommended(&points).context("--at names no share")?.share;
    curves::draw_blend(&points, best, &args.picture)?;
    let written = args.out.as_ref().map(|folder| -> anyhow::Result<Written> {
        let share = args.share.unwrap_or(best);
        blend.write(share, folder)?;
        Ok(Written { run: folder.display().to_string(), share })
    });
    let name = |set: &Option<Arc<Dataset>>| set.as_ref().map(|set| set.name()).unwrap_or_default();
    let swept = Swept {
        labels: name(&held_out.labels),
        captions: name(&held_out.captions),
        points: &points,
        recommended: best,
        picture: args.picture.display().to_string(),
        written: written.transpose()?,
    };
    if args.json {
        print_json(&swept)?;
    } else {
        print_table(&swept);
    }
    Ok(Ending::Done)
}

/// The sets of the first run's recipe, where flags name no others.
fn held_out(args: &BlendArgs, run: &Run) -> anyhow::Result<HeldOut> {
    let mut recipe = run.recipe.clone();
    recipe.eval.labels = args.labels.clone().or(recipe.eval.labels);
    recipe.eval.captions = args.captions.clone().or(recipe.eval.captions);
    Ok(HeldOut::open(&recipe)?)
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a share is a number between 0, the start, and 1, the end".to_owned()),
    }
}

fn print_table(swept: &Swept<'_>) {
    println!("won: top-1 on {} · kept: R@10 on {}\n", swept.labels, swept.captions);
    println!(
        "{:>6}{:>10}{:>16}{:>16}{:>10}",
        "share", "top-1", "text → image", "image → text", "mean"
    );
    for point in swept.points {
        let cells =
            [point.top_1, point.recall_at_10, point.image_to_text_recall_at_10, point.mean()];
        let [top_1, text, image, mean] = cells.map(|share| percent(share as f32));
        let mark = if point.share == swept.recommended { "  recommended" } else { "" };
        println!("{:>6}{top_1:>10}{text:>16}{image:>16}{mean:>10}{mark}", point.share);
    }
    println!("\n{}", swept.picture);
    if let Some(Written { run, share }) = &swept.written {
        println!(
            "{run} is the blend at {share}; write its bundle with: clipsight-trainer export {run} --out BUNDLE"
        );
    }
}
