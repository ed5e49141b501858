//! `clipsight-trainer export`.

use std::path::PathBuf;

use clap::Args;

use super::Ending;
use crate::watch::Stop;

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The run, exported at its newest checkpoint.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The bundle's folder; it must not exist yet.
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
}

pub(super) fn run(args: &ExportArgs, _stop: &Stop) -> anyhow::Result<Ending> {
    anyhow::bail!("{} {}", args.run.display(), args.out.display())
}
