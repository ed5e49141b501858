//! `POST /v1/embeddings`, as clients of the API of `OpenAI` ask for embeddings; pictures come as data
//! URIs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clip::Embedding;
use serde::{Deserialize, Serialize};

use super::body::{Kind, kind, large_json};
use super::embed::MAX_TEXTS;
use super::{App, Problem};
use crate::search::check_text;

/// What is to be embedded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    input: Input,
    model: String,
    #[serde(default)]
    encoding_format: Encoding,
    /// Vectors have the length that the model gives them.
    dimensions: Option<usize>,
    /// Whose request it is; nothing is made of it.
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`input` must be a text or a list of texts")]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// The numbers as f32, little endian, in base64.
    Base64,
}

/// The answer to all of the input.
#[derive(Serialize)]
pub(super) struct Answer {
    object: &'static str,
    data: Vec<Item>,
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

/// Tokens of all texts; a picture has none.
#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Embeds texts and pictures.
pub(super) async fn embeddings(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let Kind::Json = kind(&request)? else { return Err(Problem::media_type("application/json")) };
    let (_admitted, asked): (_, Asked) = large_json(&app, request).await?;
    let facts = app.collection.embedder.facts();
    if asked.model != facts.name && asked.model != facts.id.0 {
        let detail =
            format!("the model {:?} is not served here, but {:?}", asked.model, facts.name);
        return Err(Problem::invalid("/model", detail));
    }
    if asked.dimensions.is_some_and(|dimensions| dimensions != facts.dim) {
        let detail = format!("the model's vectors have {} numbers, no more and no less", facts.dim);
        return Err(Problem::invalid("/dimensions", detail));
    }
    let inputs = match asked.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if !(1..=MAX_TEXTS).contains(&inputs.len()) {
        let detail = format!("from 1 to {MAX_TEXTS} inputs are accepted, found {}", inputs.len());
        return Err(Problem::invalid("/input", detail));
    }
    let model = facts.name.clone();
    let (mut data, mut tokens) = (Vec::with_capacity(inputs.len()), 0);
    for (index, input) in inputs.iter().enumerate() {
        let (embedding, read) = embed(&app, input, index).await?;
        tokens += read;
        let embedding = Vector::of(&embedding, asked.encoding_format);
        data.push(Item { object: "embedding", index, embedding });
    }
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(Answer { object: "list", data, model, usage }))
}

/// The embedding of one input and the tokens that were read for it.
async fn embed(app: &App, input: &str, index: usize) -> Result<(Arc<Embedding>, usize), Problem> {
    let pointer = format!("/input/{index}");
    let embedder = &app.collection.embedder;
    if let Some(uri) = input.strip_prefix("data:") {
        let bytes = picture(uri).map_err(|detail| Problem::invalid(&pointer, detail))?;
        let found = embedder.picture(Arc::new(bytes)).await;
        let found = found.map_err(|error| Problem::of_picture(error, &pointer))?;
        return Ok((Arc::new(found.embedding), 0));
    }
    check_text(input).map_err(|fault| Problem::invalid(&pointer, fault.to_string()))?;
    let found = embedder.text(input).await?;
    Ok((found.embedding, found.tokens))
}

/// The bytes of a data URI after its `data:` (RFC 2397). What they are is looked at later.
fn picture(uri: &str) -> Result<Vec<u8>, &'static str> {
    let (_, text) = uri
        .split_once(";base64,")
        .ok_or("a picture is written as data:image/…;base64, and its bytes in base64")?;
    STANDARD.decode(text.trim()).map_err(|_| "what follows base64, is not base64")
}

impl Vector {
    fn of(embedding: &Embedding, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Float(embedding.as_slice().to_vec()),
            Encoding::Base64 => Self::Base64(STANDARD.encode(embedding.to_le_bytes())),
        }
    }
}
