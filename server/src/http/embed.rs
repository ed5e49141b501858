//! `POST /v1/embed` and `GET /v1/model`: the model itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use clip::ModelId;
use serde::{Deserialize, Serialize};

use super::body::{IMAGE, Kind, json, kind, parts};
use super::{App, Problem};
use crate::embed::ModelFacts;
use crate::search::check_text;

/// Most texts of one request.
pub(super) const MAX_TEXTS: usize = 64;

/// Texts to embed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    texts: Vec<String>,
}

/// Embeddings in the order of what was sent.
#[derive(Serialize)]
pub(super) struct Embedded {
    embeddings: Vec<Vec<f32>>,
    model: ModelId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// Embeds texts (JSON) or pictures (a form of parts `image`).
pub(super) async fn embed(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Embedded>, Problem> {
    let (embeddings, truncated) = match kind(&request)? {
        Kind::Json => texts(&app, json(request.into_body()).await?).await?,
        Kind::Form => (pictures(&app, request).await?, false),
    };
    let model = app.collection.embedder.facts().id.clone();
    Ok(Json(Embedded { embeddings, model, truncated }))
}

/// What model answers.
pub(super) async fn model(State(app): State<Arc<App>>) -> Json<ModelFacts> {
    Json(app.collection.embedder.facts().clone())
}

async fn texts(app: &App, Texts { texts }: Texts) -> Result<(Vec<Vec<f32>>, bool), Problem> {
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        let detail = format!("from 1 to {MAX_TEXTS} texts are accepted, found {}", texts.len());
        return Err(Problem::invalid("/texts", detail));
    }
    for (index, text) in texts.iter().enumerate() {
        check_text(text)
            .map_err(|fault| Problem::invalid(format!("/texts/{index}"), fault.to_string()))?;
    }
    let answers = app.collection.embedder.texts(texts).await?;
    let truncated = answers.iter().any(|answer| answer.truncated);
    let vectors = answers.iter().map(|answer| answer.embedding.as_slice().to_vec()).collect();
    Ok((vectors, truncated))
}

async fn pictures(app: &App, request: Request) -> Result<Vec<Vec<f32>>, Problem> {
    let (_admitted, parts) = parts(app, request).await?;
    if parts.is_empty() {
        return Err(Problem::invalid("", "the form needs at least one part `image`"));
    }
    let mut embeddings = Vec::with_capacity(parts.len());
    for part in parts {
        if part.field != IMAGE {
            let detail = format!("a part is named {:?}; only `image` is accepted", part.field);
            return Err(Problem::invalid("", detail));
        }
        let name = part.file_name.unwrap_or(part.field);
        let embedding = app.collection.embedder.picture(Arc::new(part.bytes)).await;
        embeddings.push(embedding.map_err(|e| Problem::of_picture(e, &name))?.embedding.into_vec());
    }
    Ok(embeddings)
}
