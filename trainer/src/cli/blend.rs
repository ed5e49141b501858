//! `clipsight-trainer blend`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::bars::Bars;
use super::report::{Swept, Written, print_table};
use super::{Ending, print_json, threads};
use crate::blend::{Blend, BlendError, recommended};
use crate::curves;
use crate::processes::Processes;
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
    /// The line from the last of the run's checkpoints to the mean of all that it keeps, in place of the one
    /// from what it began from.
    #[arg(long)]
    checkpoints: bool,
    /// Shares of the end to measure, separated by commas; 0 is what the run began from, or with --checkpoints
    /// the last of them; default: every tenth, with --checkpoints both ends.
    #[arg(long, value_name = "SHARE,…", value_delimiter = ',', value_parser = share)]
    at: Vec<f64>,
    /// The picture.
    #[arg(long, value_name = "FILE", default_value = "blend.png")]
    picture: PathBuf,
    /// Write a blend as a run of its own, which eval and export read like any other.
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Which blend to write; default: the recommended one. Without --at nothing is measured then, no set is
    /// needed and no picture drawn: 1 is the mean of several runs, as it is.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "out")]
    share: Option<f64>,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// Shares that are measured where none are named.
const TENTHS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const ENDS: [f64; 2] = [0.0, 1.0];

pub(super) fn run(args: &BlendArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let mut runs =
        args.runs.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>, _>>()?;
    let first = runs.remove(0);
    let alone = "--checkpoints takes the mean of one run's checkpoints; name one run";
    anyhow::ensure!(!args.checkpoints || runs.is_empty(), alone);
    args.out.as_deref().map(Run::free).transpose()?;
    if let (Some(share), Some(out), []) = (args.share, &args.out, args.at.as_slice()) {
        line(args, first, &runs)?.write(share, out)?;
        let written = Written::new(out, share);
        if args.json {
            print_json(&written)?;
        } else {
            written.print();
        }
        return Ok(Ending::Done);
    }
    let held_out = held_out(args, &first)?;
    let mut bars = Bars::default();
    let mut around =
        Surroundings { watch: &mut bars, stop, threads: threads(), processes: Processes::ALONE };
    let folder = first.folder.clone();
    let mut blend = line(args, first, &runs)?;
    let mut shares = match args.at.as_slice() {
        [] if args.checkpoints => ENDS.to_vec(),
        [] => TENTHS.to_vec(),
        shares => shares.to_vec(),
    };
    shares.sort_unstable_by(f64::total_cmp);
    shares.dedup();
    let points = blend.sweep(&shares, &held_out, &mut around)?;
    bars.finish();
    let best = recommended(&points).context("--at names no share")?.share;
    curves::draw_blend(&points, best, &args.picture)?;
    let mut swept = Swept::new(&points, best, &held_out, &args.picture);
    swept.of_checkpoints = args.checkpoints;
    if let Some(out) = &args.out {
        let share = args.share.unwrap_or(best);
        blend.write(share, out)?;
        swept.written = Some(Written::new(out, share));
    }
    if args.json {
        print_json(&swept)?;
    } else {
        print_table(&swept, &folder);
    }
    Ok(Ending::Done)
}

/// From the start of `first`, or with `--checkpoints` from its last checkpoint, to a mean.
fn line(args: &BlendArgs, first: Run, others: &[Run]) -> Result<Blend, BlendError> {
    if args.checkpoints { Blend::of_checkpoints(first) } else { Blend::of(first, others) }
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
