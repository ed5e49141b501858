//! `/v1/pictures`: adding, looking at and deleting pictures.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::body::{IMAGE, Kind, Part, kind, parts};
use super::problem::{Refused, chain};
use super::{App, Problem};
use crate::catalog::{Added, Picture, PictureId};
use crate::ingest::AddError;

/// What came of an upload.
#[derive(Serialize)]
pub(super) struct Uploaded {
    pictures: Vec<Added>,
    failed: Vec<Refused>,
}

/// All that is known of a picture.
#[derive(Serialize)]
pub(super) struct Record {
    id: PictureId,
    /// The first place; an upload's file name.
    path: String,
    /// Every place.
    paths: Vec<String>,
    width: u32,
    height: u32,
    format: String,
    size_bytes: u64,
    sha256: String,
    added_at: String,
    /// The file name under which it was uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
    file: String,
    thumbnail: String,
}

/// Takes the pictures of a form; each is accepted or refused on its own.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    let Kind::Form = kind(&request)? else {
        return Err(Problem::media_type("multipart/form-data"));
    };
    let (_admitted, parts) = parts(&app, request).await?;
    if let Some(other) = parts.iter().find(|part| part.field != IMAGE) {
        let detail = format!("a part is named {:?}; only `image` is accepted", other.field);
        return Err(Problem::invalid("", detail));
    }
    if parts.is_empty() {
        return Err(Problem::invalid("", "the form needs at least one part `image`"));
    }
    let mut uploaded = Uploaded { pictures: Vec::new(), failed: Vec::new() };
    for part in parts {
        match add_one(&app, part).await? {
            Ok(added) => uploaded.pictures.push(added),
            Err(refused) => uploaded.failed.push(refused),
        }
    }
    if uploaded.pictures.is_empty() {
        return Err(Problem::nothing_accepted(uploaded.failed));
    }
    Ok((StatusCode::CREATED, Json(uploaded)))
}

/// Adds one picture; a picture that is no picture is an answer, not a failure of the request.
async fn add_one(app: &Arc<App>, part: Part) -> Result<Result<Added, Refused>, Problem> {
    let name = part.file_name.unwrap_or_default();
    let (app, file_name) = (Arc::clone(app), name.clone());
    let adding = tokio::task::spawn_blocking(move || app.ingest.add_bytes(&file_name, &part.bytes));
    match adding.await.map_err(|error| Problem::internal(&error))? {
        Ok(added) => Ok(Ok(added)),
        Err(error @ (AddError::Picture(_) | AddError::Decoder)) => {
            Ok(Err(Refused { name, reason: chain(&error) }))
        }
        Err(AddError::Catalog(error)) => Err(error.into()),
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// The record of one picture.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Record>, Problem> {
    let picture = app.picture(&id).await?;
    let address = format!("/v1/pictures/{}", picture.summary.id);
    Ok(Json(Record {
        id: picture.summary.id,
        path: picture.summary.path.clone(),
        paths: picture.paths().map(|path| path.to_string_lossy().into_owned()).collect(),
        width: picture.summary.width,
        height: picture.summary.height,
        format: picture.format,
        size_bytes: picture.size_bytes,
        sha256: picture.hash.to_string(),
        added_at: picture.added_at,
        upload: picture.upload,
        file: format!("{address}/file"),
        thumbnail: format!("{address}/thumbnail?size=320"),
    }))
}

/// Deletes a picture from the collection; its file stays where it is.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let Ok(picture) = id.parse::<PictureId>() else { return Err(Problem::no_picture(&id)) };
    let deleting = tokio::task::spawn_blocking(move || app.ingest.delete(picture));
    match deleting.await.map_err(|error| Problem::internal(&error))?? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::no_picture(&id)),
    }
}

impl App {
    /// The picture with this id, as a client wrote it.
    pub(super) async fn picture(&self, id: &str) -> Result<Picture, Problem> {
        let missing = || Problem::no_picture(id);
        let Ok(picture) = id.parse::<PictureId>() else { return Err(missing()) };
        self.collection.reader.get(picture).await?.ok_or_else(missing)
    }
}
