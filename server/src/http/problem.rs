//! Every error of the API in one form, RFC 9457 `application/problem+json`; the only file with
//! status codes of errors.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::catalog::CatalogError;
use crate::embed::EmbedError;
use crate::search::SearchError;

/// Seconds after which a client that was refused for load may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error of the API; boxed, since it is in the way of every answer that is none.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Problem(Box<Wire>);

/// What goes over the wire.
#[derive(Debug, Clone, Serialize)]
struct Wire {
    /// Which kind, for programs: the same URI each time.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words, the same each time.
    title: &'static str,
    status: u16,
    /// This case, and what to do about it.
    detail: String,
    /// The id of the request, also in the header `x-request-id` and in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// What is wrong where in the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<At>,
    /// Pictures of an upload that were not accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Refused>,
}

/// A fault in the body.
#[derive(Debug, Clone, Serialize)]
pub(super) struct At {
    /// What is wrong there.
    detail: String,
    /// JSON pointer (RFC 6901) into the body.
    pointer: String,
}

/// A picture of an upload that was not accepted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Refused {
    /// Its file name.
    pub(super) name: String,
    /// Why, for the person who sent it.
    pub(super) reason: String,
}

/// A kind of problem: name, title and status belong together.
type Kind = (&'static str, &'static str, StatusCode);

const INVALID: Kind =
    ("invalid-request", "A value of the request is not accepted", StatusCode::UNPROCESSABLE_ENTITY);
const NOT_JSON: Kind = ("malformed-body", "The body cannot be read", StatusCode::BAD_REQUEST);
const MEDIA_TYPE: Kind = (
    "unsupported-media-type",
    "The content type of the body is not accepted",
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
);
const TOO_LARGE: Kind =
    ("body-too-large", "The body is larger than accepted", StatusCode::PAYLOAD_TOO_LARGE);
const PICTURE: Kind =
    ("unreadable-picture", "A picture cannot be read", StatusCode::UNPROCESSABLE_ENTITY);
const NO_PICTURE: Kind = ("no-such-picture", "There is no such picture", StatusCode::NOT_FOUND);
const NO_FILE: Kind = ("file-gone", "The picture's file cannot be read", StatusCode::NOT_FOUND);
const NO_ROUTE: Kind = ("no-such-route", "There is nothing at this address", StatusCode::NOT_FOUND);
const METHOD: Kind = (
    "method-not-allowed",
    "This address does not take this method",
    StatusCode::METHOD_NOT_ALLOWED,
);
const RANGE: Kind =
    ("range-not-satisfiable", "The range lies outside the file", StatusCode::RANGE_NOT_SATISFIABLE);
const FOREIGN: Kind =
    ("foreign-host", "The request was meant for another host", StatusCode::FORBIDDEN);
const OVERLOADED: Kind =
    ("overloaded", "The server has all the work it can take", StatusCode::SERVICE_UNAVAILABLE);
const TIMEOUT: Kind =
    ("timeout", "The answer took longer than allowed", StatusCode::SERVICE_UNAVAILABLE);
const NOT_READY: Kind = ("not-ready", "The server is not ready", StatusCode::SERVICE_UNAVAILABLE);
const NO_ROOM: Kind =
    ("no-room", "The disk of the server is full", StatusCode::INSUFFICIENT_STORAGE);
const INTERNAL: Kind = ("internal", "The server failed", StatusCode::INTERNAL_SERVER_ERROR);

/// The names of all kinds.
pub(super) const KINDS: [&str; 16] = [
    INVALID.0,
    NOT_JSON.0,
    MEDIA_TYPE.0,
    TOO_LARGE.0,
    PICTURE.0,
    NO_PICTURE.0,
    NO_FILE.0,
    NO_ROUTE.0,
    METHOD.0,
    RANGE.0,
    FOREIGN.0,
    OVERLOADED.0,
    TIMEOUT.0,
    NOT_READY.0,
    NO_ROOM.0,
    INTERNAL.0,
];

/// What stands before the name of a kind on the wire.
const PREFIX: &str = "urn:clipsight:problem:";

impl Problem {
    fn new((name, title, status): Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Wire {
            kind: format!("{PREFIX}{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            errors: Vec::new(),
            failed: Vec::new(),
        }))
    }

    fn at(mut self, pointer: impl Into<String>) -> Self {
        let detail = self.0.detail.clone();
        self.0.errors.push(At { detail, pointer: pointer.into() });
        self
    }

    /// A value of the body that is not accepted.
    pub(super) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(INVALID, detail).at(pointer)
    }

    /// A parameter of the address that is not accepted.
    pub(super) fn parameter(detail: impl Into<String>) -> Self {
        Self::new(INVALID, detail)
    }

    /// A body that is not what its content type says.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(NOT_JSON, detail)
    }

    /// A body of another content type than the two that are read.
    pub(super) fn media_type(accepted: &str) -> Self {
        Self::new(MEDIA_TYPE, format!("send {accepted} and say so in the header content-type"))
    }

    /// A body beyond the limit.
    pub(super) fn too_large(limit_bytes: usize) -> Self {
        let mib = limit_bytes / (1024 * 1024);
        Self::new(TOO_LARGE, format!("a body of this kind may have {mib} MiB"))
    }

    /// A form that could not be read; `status` is what its reader makes of it.
    pub(super) fn form(status: StatusCode, detail: String, limit_bytes: usize) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(limit_bytes),
            _ => Self::malformed(detail),
        }
    }

    /// An upload of which nothing was accepted.
    pub(super) fn nothing_accepted(failed: Vec<Refused>) -> Self {
        let first =
            failed.first().map_or_else(String::new, |f| format!("{}: {}", f.name, f.reason));
        let mut problem = Self::new(PICTURE, format!("none was accepted; {first}"));
        problem.0.failed = failed;
        problem
    }

    /// What became of embedding the picture of that name.
    pub(super) fn of_picture(error: EmbedError, name: &str) -> Self {
        match error {
            EmbedError::Picture(_) | EmbedError::Decoder => {
                Self::new(PICTURE, format!("{name:?}: {}", chain(&error)))
            }
            other => other.into(),
        }
    }

    /// An id that no picture has.
    pub(super) fn no_picture(id: &str) -> Self {
        Self::new(NO_PICTURE, format!("there is no picture {id:?}; it may have been deleted"))
    }

    /// A picture whose places are all unreadable.
    pub(super) fn no_file(reason: impl std::fmt::Display) -> Self {
        Self::new(NO_FILE, format!("{reason}; it may have been moved: index its folder again"))
    }

    /// A path that no route has.
    pub(super) fn no_route(path: &str) -> Self {
        Self::new(NO_ROUTE, format!("no route {path:?}; the API is under /v1, the page at /"))
    }

    /// A method that the route does not have.
    pub(super) fn method(method: &str) -> Self {
        Self::new(METHOD, format!("{method} is not accepted here; the header allow says what is"))
    }

    /// A Host or Origin that is not this server.
    pub(super) fn foreign(detail: impl Into<String>) -> Self {
        Self::new(FOREIGN, detail)
    }

    /// A queue is full.
    pub(super) fn overloaded(what: &str) -> Self {
        Self::new(OVERLOADED, format!("{what}; try again in a moment"))
    }

    /// The request was given up.
    pub(super) fn timeout(limit_s: u64) -> Self {
        Self::new(TIMEOUT, format!("no answer within {limit_s} s; send less at once"))
    }

    /// Something that is needed to answer does not work.
    pub(super) fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(NOT_READY, detail)
    }

    /// A fault of ours; the log has the cause, the client only the request's id.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        Self::new(INTERNAL, "the server's log says why, under the id of this request")
    }

    /// What a layer below answered with a bare status.
    pub(super) fn bare(status: StatusCode) -> Self {
        let kind = [NOT_JSON, MEDIA_TYPE, TOO_LARGE, NO_ROUTE, METHOD, RANGE, OVERLOADED]
            .into_iter()
            .find(|(_, _, known)| *known == status);
        match kind {
            Some(RANGE) => Self::new(RANGE, "the header content-range says how long the file is"),
            Some(kind) => Self::new(kind, "the request was refused before it was read"),
            None if status.is_client_error() => {
                let (name, title, _) = NOT_JSON;
                Self::new((name, title, status), "the request was refused")
            }
            None => Self::new(INTERNAL, "the server's log says why, under the id of this request"),
        }
    }

    /// The name of its kind, one of [`KINDS`].
    pub(super) fn kind(&self) -> &str {
        self.0.kind.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The same with the id of its request.
    pub(super) fn of_request(mut self, id: &str) -> Self {
        self.0.instance = Some(id.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Request { pointer, fault } => Self::invalid(pointer, fault.to_string()),
            SearchError::Picture { ref pointer, .. } => {
                Self::new(PICTURE, chain(&error)).at(pointer.clone())
            }
            SearchError::NoSuchPicture { id, pointer } => Self::no_picture(&id).at(pointer),
            SearchError::Overloaded => Self::overloaded("the queue of the model is full"),
            SearchError::Embed(error) => error.into(),
            SearchError::Catalog(error) => error.into(),
            SearchError::Broken => Self::internal(&error),
        }
    }
}

impl From<EmbedError> for Problem {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Overloaded => Self::overloaded("the queue of the model is full"),
            EmbedError::Stopped => Self::not_ready(error.to_string()),
            EmbedError::Picture(_) | EmbedError::Decoder => Self::new(PICTURE, chain(&error)),
            _ => Self::internal(&error),
        }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NoRoom { .. } => {
                tracing::error!(error = %chain(&error), "a request failed");
                Self::new(NO_ROOM, error.to_string())
            }
            _ => Self::internal(&error),
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(problem: impl Into<Problem>) -> u16 {
        problem.into().into_response().status().as_u16()
    }

    #[test]
    fn what_the_rooms_cannot_do_is_told_apart() {
        assert_eq!(status(SearchError::Overloaded), 503);
        assert_eq!(status(EmbedError::Stopped), 503);
        assert_eq!(status(EmbedError::Decoder), 422);
        assert_eq!(status(EmbedError::Picture(clip::image::DecodeError::Empty)), 422);
        assert_eq!(status(SearchError::Broken), 500);
        let missing = CatalogError::Missing { folder: "secret".into() };
        let problem = Problem::from(missing);
        assert_eq!(problem.0.status, 500);
        assert!(!problem.0.detail.contains("secret"), "causes of ours stay in the log");
    }
}
