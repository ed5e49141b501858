//! `POST /predict` and `GET /ping`, as immich's machine-learning service answers them for CLIP: an
//! immich server can be pointed here for its searches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use clip::Embedding;
use serde::{Deserialize, Serialize};

use super::body::{IMAGE, Kind, Part, from_json, kind, parts};
use super::{App, Problem};
use crate::search::check_text;

/// The one of immich's tasks that is answered here.
const TASK: &str = "clip";
/// The parts of its form beside the picture.
const ENTRIES: &str = "entries";
const TEXT: &str = "text";

/// Tasks, each with the kinds of model that are to run.
type Entries = BTreeMap<String, BTreeMap<String, Entry>>;

/// What is to run; immich sends options too, which have no meaning for the models served here.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "modelName")]
    model_name: String,
}

/// A vector as the text of a JSON array, the form in which immich stores it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Predicted {
    clip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_width: Option<u32>,
}

/// Whoever asks is answered.
pub(super) async fn ping() -> &'static str {
    "pong"
}

/// Embeds the text or the picture of a form by the model that its entries name.
pub(super) async fn predict(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Predicted>, Problem> {
    let Kind::Form = kind(&request)? else {
        return Err(Problem::media_type("multipart/form-data"));
    };
    let (_admitted, parts) = parts(&app, request).await?;
    let mut parts: BTreeMap<String, Part> =
        parts.into_iter().map(|part| (part.field.clone(), part)).collect();
    let Some(entries) = parts.remove(ENTRIES) else {
        return Err(Problem::invalid("", "the form needs a part `entries`, JSON"));
    };
    let embedder = &app.collection.embedder;
    let tower = tower(&from_json(&entries.bytes)?, &embedder.facts().name)?;
    match (tower, parts.remove(IMAGE), parts.remove(TEXT)) {
        (Tower::Visual, Some(image), _) => {
            let name = image.file_name.unwrap_or(image.field);
            let found = embedder.picture(Arc::new(image.bytes)).await;
            let found = found.map_err(|error| Problem::of_picture(error, &name))?;
            let (image_height, image_width) = (Some(found.height), Some(found.width));
            Ok(Json(Predicted { clip: written(&found.embedding)?, image_height, image_width }))
        }
        (Tower::Textual, _, Some(text)) => {
            let text = String::from_utf8(text.bytes)
                .map_err(|_| Problem::invalid("", "the part `text` is not UTF-8"))?;
            check_text(&text).map_err(|fault| Problem::invalid("", fault.to_string()))?;
            let found = embedder.text(&text).await?;
            let clip = written(&found.embedding)?;
            Ok(Json(Predicted { clip, image_height: None, image_width: None }))
        }
        (Tower::Visual, None, _) => {
            Err(Problem::invalid("", "the form needs a part `image` for a visual model"))
        }
        (Tower::Textual, _, None) => {
            Err(Problem::invalid("", "the form needs a part `text` for a textual model"))
        }
    }
}

enum Tower {
    Visual,
    Textual,
}

/// Which tower is asked for; anything but one of the model `served` is refused.
fn tower(entries: &Entries, served: &str) -> Result<Tower, Problem> {
    let refuse = |detail: String| Err(Problem::invalid("", detail));
    let asked: Vec<(&str, &str, &Entry)> = entries
        .iter()
        .flat_map(|(task, kinds)| kinds.iter().map(move |(kind, e)| (&task[..], &kind[..], e)))
        .collect();
    let [(task, kind, entry)] = asked[..] else {
        return refuse(format!("`entries` asks for {} models; one is answered", asked.len()));
    };
    if task != TASK {
        return refuse(format!(
            "{task:?} is not done here; this server answers for \"clip\" by the model {served:?}"
        ));
    }
    if entry.model_name != served {
        return refuse(format!(
            "the model {:?} is not served here, but {served:?}; name that one in immich, or serve a \
             folder that has the name you want",
            entry.model_name
        ));
    }
    match kind {
        "visual" => Ok(Tower::Visual),
        "textual" => Ok(Tower::Textual),
        other => refuse(format!("a model of CLIP is \"visual\" or \"textual\", not {other:?}")),
    }
}

fn written(embedding: &Embedding) -> Result<String, Problem> {
    serde_json::to_string(embedding.as_slice()).map_err(|error| Problem::internal(&error))
}
