//! `/health/live` and `/health/ready`, for whoever restarts or routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{App, Problem};

/// How the server is.
#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

/// The process answers.
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "live" })
}

/// Model and catalog answer too.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, Problem> {
    if !app.collection.embedder.is_alive() {
        return Err(Problem::not_ready("the model has stopped; restart clipsight"));
    }
    app.collection.reader.current_model().await?;
    Ok(Json(Health { status: "ready" }))
}
