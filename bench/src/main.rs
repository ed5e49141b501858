//! Measures what users wait for: towers on one core, the scan, indexing from files to vectors.
//!
//! Each figure is the median of several runs in one process; figures of two things that are compared
//! are taken in turn in the same run, because machines differ and are shared.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod indexing;
mod scan;
mod served;
mod timing;
mod towers;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures Clipsight on this machine.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything where nothing is named.
    what: Vec<What>,
    /// The model bundle.
    #[arg(long, default_value = "models/starter")]
    model: PathBuf,
    /// Pictures to index.
    #[arg(long, default_value = "demo")]
    pictures: PathBuf,
    /// A WebDataset shard of pictures with captions, for `served`.
    #[arg(long)]
    captions: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Milliseconds for a picture and for a text on one core, for each precision.
    Towers,
    /// Milliseconds for a search over stored vectors.
    Scan,
    /// Pictures a second from files to stored vectors, by the release binary.
    Index,
    /// Recall and latency over HTTP, by the release binary; wants --captions.
    Served,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    if wanted(What::Towers) {
        towers::measure(&arguments.model, &arguments.pictures)?;
    }
    if wanted(What::Scan) {
        scan::measure()?;
    }
    if wanted(What::Index) {
        indexing::measure(&arguments.pictures)?;
    }
    match &arguments.captions {
        Some(shard) if wanted(What::Served) => served::measure(&arguments.model, shard)?,
        None if arguments.what.contains(&What::Served) => {
            anyhow::bail!("`served` needs a shard of pictures with captions: --captions FILE.tar")
        }
        _ => {}
    }
    Ok(())
}
