//! Pages of other origins that `--cors-origin` names: what a browser wants to hear before it lets them
//! ask, and read the answer (Fetch Standard, 3.3).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;

/// What a page may send, and what it may read besides the body.
const ALLOWED: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, DELETE")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type, if-none-match, if-range, range"),
    ),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];
const READABLE: HeaderValue =
    HeaderValue::from_static("content-range, etag, retry-after, x-request-id");

/// The origin that the request says it comes from, if it was named.
pub(super) fn named<'a>(headers: &'a HeaderMap, app: &App) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    app.limits.cors_origins.iter().any(|named| named.eq_ignore_ascii_case(text)).then_some(origin)
}

/// What the answer to a named origin carries.
pub(super) fn headers(origin: &HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, READABLE),
    ])
}

/// Whether a browser asks beforehand what its page may do.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that.
pub(super) fn preflight() -> Response {
    (StatusCode::NO_CONTENT, HeaderMap::from_iter(ALLOWED)).into_response()
}
