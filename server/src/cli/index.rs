//! `clipsight index`: folders into the collection.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::progress::{Show, duration};
use super::signals::Signals;
use super::{Outcome, collection, output};
use crate::catalog::Writer;
use crate::ingest::{Ingest, IngestError, Job, Model, ModelChange, Report};
use crate::search::keep_background;
use crate::settings::{CollectionSettings, QueueSettings};

/// Failures that are shown one by one; `--json` has them all.
const SHOWN_FAILURES: usize = 20;

/// Adds the pictures of folders to the collection
///
/// Goes through the folders with all that is in them and embeds every picture that is new.
/// What is known is not read again, so indexing a folder again is quick, and an interrupted run goes
/// on where it ended.
/// Pictures that have vanished from the given folders are removed from the collection; a picture
/// that was deleted in Clipsight stays away.
/// Hidden files and folders are left out.
///
/// Ends with 1 if some files could not be read, each named with its reason.
#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    /// Folders and files to add
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Embed the whole collection anew with this model, which need not be the one that made it
    ///
    /// What this model has embedded in this precision already stays; another precision (--precision)
    /// embeds all of it anew.
    #[arg(long)]
    reembed: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: CollectionSettings,
    #[command(flatten)]
    queue: QueueSettings,
}

pub(super) fn run(args: &IndexArgs) -> Result<Outcome> {
    // The paths before anything is made: a mistyped one leaves nothing behind.
    for path in &args.paths {
        path.canonicalize().map_err(|source| IngestError::Root { path: path.clone(), source })?;
    }
    let tokio = collection::tokio()?;
    tokio.block_on(async { Signals::survive_size_limit() })?;
    // The lock before the model: a second writer hears of the first at once.
    let CollectionSettings { data, model, pictures } = &args.of;
    let folder = collection::folder(data)?;
    let writer = tokio.block_on(Writer::open(folder, "clipsight index"))?;
    let embedder = collection::embedder(model, pictures, &args.queue)?;
    let (runs, limits) = (Model::of(&embedder), *embedder.limits());
    let change = if args.reembed { ModelChange::Reembed } else { ModelChange::Refuse };
    let opening = Ingest::open(writer.clone(), runs, limits, None, change);
    let ingest = tokio.block_on(opening)?;
    let cancel = tokio.block_on(async {
        Ok::<_, anyhow::Error>(Signals::listen()?.into_flag("stopping after this batch …"))
    })?;
    let show = Show::start();
    let report = ingest.index(&Job {
        roots: &args.paths,
        threads: model.thread_count(),
        cancel: &cancel,
        progress: &|progress| show.update(progress),
    });
    show.finish();
    if report.as_ref().is_ok_and(|report| !report.interrupted)
        && let Err(error) = tokio.block_on(keep_background(&writer, &embedder))
    {
        tracing::warn!(%error, "what hits are compared with was not kept; searches make it anew");
    }
    tokio.block_on(writer.close());
    let report = report?;
    tell_failures(&report, args.json);
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&summary(&report))?;
    }
    if report.interrupted {
        output::tell("interrupted: what is indexed stays; the same command goes on from here");
    }
    let whole = report.failed.is_empty() && !report.interrupted;
    Ok(if whole { Outcome::Done } else { Outcome::Partly })
}

/// Names the files that could not be taken.
fn tell_failures(report: &Report, in_json: bool) {
    let shown = if in_json { 0 } else { SHOWN_FAILURES };
    for failure in report.failed.iter().take(shown) {
        output::tell(&format!("not indexed: {}: {}", failure.path, failure.reason));
    }
    let more = report.failed.len().saturating_sub(SHOWN_FAILURES);
    if more > 0 && !in_json {
        output::tell(&format!("… and {more} more; --json lists them all"));
    }
}

fn summary(report: &Report) -> String {
    let Report { indexed, unchanged, removed, .. } = report;
    let took = duration(std::time::Duration::from_secs_f64(report.seconds));
    let failed = report.failed.len();
    format!(
        "{indexed} indexed, {unchanged} unchanged, {removed} removed, {failed} failed in {took}"
    )
}
