//! The bytes of a picture and of its small copy, with `ETag` and ranges.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tower_http::services::ServeFile;

use super::problem::chain;
use super::{App, Problem};
use crate::ingest::{FileError, file_of, thumbnail as small_copy};

/// A picture can go at any time, so a copy is asked for again; an unchanged one costs no bytes.
const CACHING: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Whatever the bytes are, nothing in them runs.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// Smallest and largest longer side that can be asked for, in pixels.
const SIZES: std::ops::RangeInclusive<u32> = 16..=1280;

/// How large the small copy should be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    #[serde(default = "usual")]
    size: u32,
}

fn usual() -> u32 {
    320
}

/// The file of a picture, byte for byte.
pub(super) async fn file(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let picture = app.picture(&id).await?;
    let tag = format!("\"{}\"", picture.hash);
    if is_known(request.headers(), &tag) {
        return Ok(unchanged(&tag));
    }
    let content_type = format!("image/{}", picture.format);
    let folder = app.folder.clone();
    let finding = tokio::task::spawn_blocking(move || file_of(&folder, &picture));
    let path = finding.await.map_err(|error| Problem::internal(&error))??;
    send(path, request, &tag, &content_type).await
}

/// A JPEG of a picture whose longer side is about as long as asked for.
pub(super) async fn thumbnail(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    size: Result<Query<Size>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(Size { size }) = size.map_err(|error| Problem::parameter(error.body_text()))?;
    if !SIZES.contains(&size) {
        let (least, most) = (SIZES.start(), SIZES.end());
        return Err(Problem::parameter(format!("size must be from {least} to {most}")));
    }
    let picture = app.picture(&id).await?;
    let tag = format!("\"{}-{size}\"", picture.hash);
    if is_known(request.headers(), &tag) {
        return Ok(unchanged(&tag));
    }
    let path = {
        let Ok(_waiting) = app.thumbnails_waiting.try_acquire() else {
            return Err(Problem::overloaded("too many thumbnails are being made"));
        };
        // The semaphore is never closed.
        let _running = app.thumbnails_running.acquire().await.ok();
        let (folder, limits) = (app.folder.clone(), *app.collection.embedder.limits());
        let making = move || small_copy(&folder, &picture, size, &limits);
        let made = tokio::task::spawn_blocking(making).await;
        made.map_err(|error| Problem::internal(&error))??
    };
    send(path, request, &tag, "image/jpeg").await
}

/// Whether the client has this very version (RFC 9110, 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        given
            .split(',')
            .map(|one| one.trim().trim_start_matches("W/"))
            .any(|one| one == tag || one == "*")
    })
}

fn unchanged(tag: &str) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(response.headers_mut(), tag);
    response
}

fn describe(headers: &mut HeaderMap, tag: &str) {
    if let Ok(value) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, CACHING);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
}

/// Sends a file or the ranges of it that were asked for.
async fn send(
    path: PathBuf,
    mut request: Request,
    tag: &str,
    content_type: &str,
) -> Result<Response, Problem> {
    let headers = request.headers_mut();
    // A range of another version is of no use: then the whole is sent (RFC 9110, 13.1.5).
    if headers.get(header::IF_RANGE).is_some_and(|version| version.as_bytes() != tag.as_bytes()) {
        headers.remove(header::RANGE);
    }
    // The tag decides about versions; times would be a second opinion.
    for name in [
        header::IF_RANGE,
        header::IF_NONE_MATCH,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(name);
    }
    let mut service = ServeFile::new(&path);
    let answer = service.try_call(request).await;
    let mut response =
        answer.map_err(|error| Problem::no_file(format!("{}: {error}", path.display())))?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(Problem::no_file(format!("{} is gone", path.display())));
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.remove(header::LAST_MODIFIED);
    describe(headers, tag);
    Ok(response.map(Body::new))
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Gone { .. } | FileError::Read { .. } => Self::no_file(chain(&error)),
            FileError::Write { .. } => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_others() {
        let known = |given: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(given));
            is_known(&headers, "\"ab\"")
        };
        assert!(known("\"ab\"") && known("\"x\", W/\"ab\"") && known("*"));
        assert!(!known("\"x\"") && !known("ab"));
    }
}
