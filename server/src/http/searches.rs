//! `POST /v1/search` and `POST /v1/classify`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};

use super::body::asked;
use super::{App, Problem};
use crate::search::{self, Answer, Classified, Classify, Query};

/// Answers a query, JSON alone or with pictures.
pub(super) async fn search(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let asked = asked::<Query>(&app, request).await?;
    Ok(Json(search::find(&app.collection, &asked.query, &asked.images).await?))
}

/// Ranks labels for a picture of the collection or one that came along.
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Classified>, Problem> {
    let asked = asked::<Classify>(&app, request).await?;
    Ok(Json(search::classify(&app.collection, &asked.query, &asked.images).await?))
}
