//! The page at `/`: files that are part of the program.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::App;

/// The page may load its own files and nothing else, and show pictures that it was given.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page's files: path, content type, content.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("../../../web/index.html")),
    ("/page.css", CSS, include_str!("../../../web/page.css")),
    ("/page.js", JS, include_str!("../../../web/page.js")),
    ("/api.js", JS, include_str!("../../../web/api.js")),
    ("/state.js", JS, include_str!("../../../web/state.js")),
    ("/grid.js", JS, include_str!("../../../web/grid.js")),
    ("/viewer.js", JS, include_str!("../../../web/viewer.js")),
    ("/icon.svg", SVG, include_str!("../../../web/icon.svg")),
];

/// The page and its files.
pub(super) fn routes() -> Router<Arc<App>> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(move || async move { part(content_type, text) }))
    })
}

fn part(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        // The page belongs to this version of the server.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text)
}
