//! `clipsight status`: what there is, and which model knows it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{Outcome, collection, output};
use crate::catalog::{Counts, CurrentModel, DataFolder, Reader};
use crate::embed::{Embedder, ModelFacts};
use crate::settings::{CollectionSettings, QueueSettings};

/// Shows what is in the collection, the model and the size on disk
///
/// Works beside a running server.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: CollectionSettings,
}

/// Everything that is shown.
#[derive(Serialize)]
struct Status {
    data: PathBuf,
    #[serde(flatten)]
    counts: Counts,
    /// Bytes of the data folder; the pictures themselves lie elsewhere.
    size_bytes: u64,
    /// The model that made the collection's embeddings, by its id; none before the first index.
    embedded_by: Option<String>,
    /// The model that the settings name.
    model: Option<ModelFacts>,
    /// The precision that it runs in.
    precision: Option<String>,
    /// Why that model cannot be used, or not with this collection.
    model_error: Option<String>,
}

pub(super) fn run(args: &StatusArgs) -> Result<Outcome> {
    let CollectionSettings { data, model, pictures } = &args.of;
    let folder = collection::folder(data)?;
    let tokio = collection::tokio()?;
    let (counts, current, reader) = tokio.block_on(read(&folder))?;
    let queue = QueueSettings::default();
    let model = collection::embedder(model, pictures, &queue);
    let status = status(folder, counts, current, model);
    tokio.block_on(reader.close());
    if args.json {
        output::json(&status)?;
    } else {
        show(&status)?;
    }
    Ok(if status.model_error.is_none() { Outcome::Done } else { Outcome::Partly })
}

async fn read(folder: &DataFolder) -> Result<(Counts, Option<CurrentModel>, Reader)> {
    let reader = Reader::open(folder).await?;
    Ok((reader.counts().await?, reader.current_model().await?, reader))
}

fn status(
    folder: DataFolder,
    counts: Counts,
    current: Option<CurrentModel>,
    model: Result<Embedder>,
) -> Status {
    let (model, model_error) = match model {
        Ok(embedder) => (Some(embedder.facts().clone()), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let stranger = model.as_ref().zip(current.as_ref()).is_some_and(|(m, c)| m.id != c.id);
    let other = || {
        "this model did not make the collection; search with the one that did, or run clipsight index --reembed".to_owned()
    };
    Status {
        data: folder.path().to_path_buf(),
        size_bytes: folder.size_bytes(),
        counts,
        embedded_by: current.map(|model| model.id.0),
        precision: model.as_ref().map(|model| model.precision.clone()),
        model_error: model_error.or_else(|| stranger.then(other)),
        model,
    }
}

fn show(status: &Status) -> Result<()> {
    let Counts { pictures, embedded, places, uploads, hidden } = status.counts;
    let mut lines = vec![
        ("data", status.data.display().to_string()),
        ("size", output::size(status.size_bytes)),
        ("pictures", format!("{pictures} ({embedded} embedded)")),
        ("files", format!("{places}, and {uploads} uploaded")),
        ("deleted", hidden.to_string()),
    ];
    if let Some(model) = &status.model {
        let id: String = model.id.0.chars().take(12).collect();
        lines.push(("model", format!("{} ({id}), {} dimensions", model.name, model.dim)));
        let ModelFacts { precision, provider, arithmetic, .. } = model;
        let runs = format!("{precision} on {provider}, computing in {arithmetic}");
        lines.push(("precision", runs));
    }
    if let Some(error) = &status.model_error {
        lines.push(("problem", error.clone()));
    }
    for (name, value) in lines {
        output::line(&format!("{name:9}  {value}"))?;
    }
    Ok(())
}
