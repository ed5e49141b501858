//! The API and the page over HTTP: a thin edge that turns requests into calls and answers into JSON.
//!
//! Knows nothing of how anything is found, embedded or stored, and decides nothing that a room below
//! decides.
//! Invariant: every error leaves as `application/problem+json`, made in `problem`.

mod body;
mod cors;
mod drain;
mod embed;
mod files;
mod guard;
mod health;
mod immich;
mod listen;
mod metrics;
mod openai;
mod openapi;
mod pages;
mod pictures;
mod problem;
mod searches;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use listen::{Bound, ListenError, bind, serve};
use problem::Problem;
pub use state::{App, Limits};

/// Everything that answers, ready for a socket or for a test.
pub fn router(app: Arc<App>) -> Router {
    let picture = get(pictures::get).delete(pictures::delete);
    Router::new()
        .route("/v1/search", post(searches::search))
        .route("/v1/classify", post(searches::classify))
        .route("/v1/embed", post(embed::embed))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/v1/model", get(embed::model))
        .route("/v1/pictures", post(pictures::add))
        .route("/v1/pictures/{id}", picture)
        .route("/v1/pictures/{id}/file", get(files::file))
        .route("/v1/pictures/{id}/thumbnail", get(files::thumbnail))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/predict", post(immich::predict))
        .route("/ping", get(immich::ping))
        .route("/metrics", get(metrics::metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .merge(pages::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(app.limits.max_upload_bytes))
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(Arc::clone(&app), guard::meant_for_us))
        .layer(from_fn_with_state(Arc::clone(&app), guard::finish))
        .with_state(app)
}

async fn no_route(request: Request) -> Problem {
    Problem::no_route(request.uri().path())
}

async fn no_method(request: Request) -> Problem {
    Problem::method(request.method().as_str())
}
