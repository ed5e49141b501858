//! Measures what users wait for: towers on one core, the scan, indexing from files to vectors.
//!
//! Each figure is the median of several runs in one process; figures of two things that are compared
//! are taken in turn in the same run, because machines differ and are shared.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod collection;
mod indexing;
mod kills;
mod nearest;
mod overload;
mod program;
mod scan;
mod served;
mod timing;
mod towers;
mod vectors;

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
    /// A WebDataset shard of pictures with captions, for `served` and `nearest`; may be repeated for
    /// `nearest`.
    #[arg(long)]
    captions: Vec<PathBuf>,
    /// Sizes of the collections of `nearest`.
    #[arg(long, value_delimiter = ',', default_value = "20000,200000")]
    counts: Vec<usize>,
    /// Where `nearest` keeps its vectors.
    #[arg(long, default_value = "target/vectors")]
    vectors: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Milliseconds for a picture and for a text on one core, for each precision.
    Towers,
    /// Milliseconds for a search over stored vectors.
    Scan,
    /// The graph against the scan by real captions; wants --captions, and minutes to build.
    Nearest,
    /// A hundred kills at random moments of indexing; only where it is named.
    Kills,
    /// Ten times the load that it bears, for a minute, by the release binary; only where it is named.
    Overload,
    /// Memory while indexing --pictures and while serving them, how soon it is ready, how long a
    /// search takes; only where it is named.
    Collection,
    /// Pictures a second from files to stored vectors, by the release binary.
    Index,
    /// Recall and latency over HTTP, by the release binary; wants --captions.
    Served,
}

fn main() -> Result<()> {
    runtime::environment::settle(&[]);
    let arguments = Arguments::parse();
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    if wanted(What::Towers) {
        towers::measure(&arguments.model, &arguments.pictures)?;
    }
    if wanted(What::Scan) {
        scan::measure()?;
    }
    if wanted(What::Index) {
        indexing::measure(&arguments.model, &arguments.pictures)?;
    }
    let named = |what| arguments.what.contains(&what);
    if named(What::Collection) {
        collection::measure(&arguments.model, &arguments.pictures)?;
    }
    if named(What::Overload) {
        overload::measure(&arguments.model, &arguments.pictures)?;
    }
    if named(What::Kills) {
        kills::measure(&arguments.pictures)?;
    }
    let Some(shard) = arguments.captions.first() else {
        anyhow::ensure!(
            !named(What::Served) && !named(What::Nearest),
            "`served` and `nearest` need a shard of pictures with captions: --captions FILE.tar"
        );
        return Ok(());
    };
    if wanted(What::Served) {
        served::measure(&arguments.model, shard)?;
    }
    if wanted(What::Nearest) {
        let Arguments { model, captions, vectors, counts, .. } = &arguments;
        let real = vectors::of_shards(model, captions, vectors)?;
        nearest::measure(&real, counts, vectors)?;
    }
    Ok(())
}
