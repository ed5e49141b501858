//! From settings to what the commands work with: the model and the collection.

use anyhow::{Context, Result};
use clip::image::DecodeLimits;

use crate::catalog::{DataFolder, Reader};
use crate::embed::{EmbedOptions, Embedder};
use crate::search::Collection;
use crate::settings::{
    CollectionSettings, DataSettings, ModelSettings, PictureSettings, QueueSettings, data_folder,
};

/// The data folder that the settings name.
pub(super) fn folder(settings: &DataSettings) -> Result<DataFolder> {
    Ok(DataFolder::new(data_folder(settings.data.as_deref())?))
}

/// Starts the model that the settings name.
pub(super) fn embedder(
    model: &ModelSettings,
    pictures: &PictureSettings,
    queue: &QueueSettings,
) -> Result<Embedder> {
    Ok(Embedder::start(&EmbedOptions {
        model: model.model()?,
        precision: model.precision.clone(),
        provider: model.provider.into(),
        threads: model.thread_count(),
        onnxruntime: model.onnxruntime(),
        batch: queue.batch,
        queue: queue.queue,
        text_cache: queue.text_cache,
        limits: DecodeLimits { max_pixels: pictures.max_pixels, ..DecodeLimits::default() },
    })?)
}

/// Opens a collection to search it beside whoever writes to it.
pub(super) async fn open(
    CollectionSettings { data, model, pictures }: &CollectionSettings,
) -> Result<Collection> {
    // The catalog first: it is quick to say that there is nothing to search.
    let reader = Reader::open(&folder(data)?).await?;
    let embedder = embedder(model, pictures, &QueueSettings::default())?;
    Ok(Collection::open(reader, embedder, model.thread_count(), None).await?)
}

/// The threads on which sockets and the catalog are waited for.
pub(super) fn tokio() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.context("cannot start the threads that wait for the catalog")
}
