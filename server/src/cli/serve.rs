//! `clipsight serve`: the page and the API, until Ctrl-C.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::signals::Signals;
use super::{Outcome, collection, output};
use crate::catalog::Writer;
use crate::http::{self, App, Bound, Limits};
use crate::ingest::{Ingest, Model, ModelChange};
use crate::search::{Collection, Large};
use crate::settings::{CollectionSettings, IndexSettings, QueueSettings, ServeSettings};

/// Serves the page and the API
///
/// Prints the address when it is ready. Ctrl-C lets open requests finish and ends.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    of: CollectionSettings,
    #[command(flatten)]
    queue: QueueSettings,
    #[command(flatten)]
    index: IndexSettings,
}

pub(super) fn run(args: &ServeArgs) -> Result<Outcome> {
    let tokio = collection::tokio()?;
    let ended = tokio.block_on(serve(args));
    // What still runs on other threads has had its time.
    tokio.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(args: &ServeArgs) -> Result<Outcome> {
    let mut signals = Signals::listen()?;
    Signals::survive_size_limit()?;
    // Port and folder first: whoever has them already is told within a moment.
    let bound = http::bind(&args.serve.listen).await?;
    let CollectionSettings { data, model, pictures } = &args.of;
    let folder = collection::folder(data)?;
    let writer = Writer::open(folder.clone(), "clipsight serve").await?;
    let embedder = collection::embedder(model, pictures, &args.queue)?;
    let (runs, limits) = (Model::of(&embedder), *embedder.limits());
    let threads = model.thread_count();
    let large = Large { exact_below: args.index.exact_below, folder: folder.clone() };
    let collection =
        Collection::open(writer.reader.clone(), embedder, threads, Some(large)).await?;
    let index = Some(Arc::clone(&collection.index));
    let ingest = Ingest::open(writer.clone(), runs, limits, index, ModelChange::Refuse).await?;
    announce(&bound, &collection)?;
    let app = App::new(collection, ingest, folder, network(args, &bound));
    let stop = async move {
        signals.next().await;
        output::tell("stopping; Ctrl-C again ends at once");
        tokio::spawn(async move { signals.exit_on_next().await });
    };
    let grace = Duration::from_secs(args.serve.grace_s);
    let router = http::router(Arc::new(app));
    http::serve(bound, router, args.serve.connections.get(), stop, grace).await;
    writer.close().await;
    Ok(Outcome::Done)
}

fn network(args: &ServeArgs, bound: &Bound) -> Limits {
    let serve = &args.serve;
    let mib = usize::try_from(serve.max_upload_mib).unwrap_or(usize::MAX);
    Limits {
        max_upload_bytes: mib.saturating_mul(1024 * 1024),
        uploads: serve.uploads.get(),
        threads: args.of.model.thread_count(),
        timeout_s: serve.timeout_s,
        loopback: bound.address.ip().is_loopback(),
        allow_hosts: serve.allow_host.clone(),
        cors_origins: serve.cors_origin.clone(),
    }
}

/// Says where the server is and what to try.
fn announce(bound: &Bound, collection: &Collection) -> Result<()> {
    let address = bound.address;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "there is no authentication: whoever reaches this address can see, add and delete \
             pictures; listen on 127.0.0.1, or put a proxy with a password in front"
        );
    }
    let facts = collection.embedder.facts();
    output::line(&format!(
        "{} pictures, model {} ({} on {}, computing in {})",
        collection.index.len(),
        facts.name,
        facts.precision,
        facts.provider,
        facts.arithmetic
    ))?;
    let mut shown = address;
    if shown.ip().is_unspecified() {
        shown.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    output::line(&format!("Open http://{shown} in a browser, or ask:"))?;
    output::line(&format!(
        "  curl http://{shown}/v1/search -H 'content-type: application/json' \\\n    \
         -d '{{\"terms\": [{{\"text\": \"a dog on the beach\"}}], \"limit\": 3}}'"
    ))
}
