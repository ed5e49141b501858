//! `clipsight-trainer export`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clip::bundle::Licence;
use serde::Deserialize;

use super::bars::Bars;
use super::{Ending, threads};
use crate::export::{Precision, Request, export};
use crate::processes::Processes;
use crate::run::Run;
use crate::train::Surroundings;
use crate::watch::Stop;

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The run, exported at its newest checkpoint.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The bundle's folder; it must not exist yet, or be empty.
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Which forms of the weights to write; may be repeated [default: all]
    #[arg(long = "precision", value_enum)]
    precisions: Vec<Precision>,
    /// The card, copied into the bundle as README.md [default: one is written]
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// What the model was made from: TOML with [[licence]] of what, license and source
    #[arg(long, value_name = "FILE")]
    licences: Option<PathBuf>,
    /// ONNX Runtime's library; default: the one below .runtime, else the loader's.
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceFile {
    licence: Vec<Licence>,
}

pub(super) fn run(args: &ExportArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let licences = args.licences.as_deref().map(read_licences).transpose()?.unwrap_or_default();
    let request =
        Request { precisions: args.precisions.clone(), card: args.card.clone(), licences };
    let run = Run::open(&args.run)?;
    runtime::library::load(args.onnxruntime.as_deref())?;
    let mut bars = Bars::default();
    let mut around =
        Surroundings { watch: &mut bars, stop, threads: threads(), processes: Processes::ALONE };
    let report = export(&run, &args.out, &request, &mut around)
        .with_context(|| format!("{} was not exported", args.run.display()))?;
    drop(bars);
    for check in &report.checks {
        eprintln!("{check}");
    }
    let megabytes = report.size_bytes as f64 / 1e6;
    println!("{} · model {} · {megabytes:.1} MB", args.out.display(), report.id);
    Ok(Ending::Done)
}

fn read_licences(path: &Path) -> anyhow::Result<Vec<Licence>> {
    let what = || format!("cannot read the licences {}", path.display());
    let text = std::fs::read_to_string(path).with_context(what)?;
    Ok(toml::from_str::<LicenceFile>(&text).with_context(what)?.licence)
}
