//! Bodies: JSON with pointers to its faults, and multipart forms with pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use tokio::sync::SemaphorePermit;

use super::{App, Problem};
use crate::search::Images;

/// Largest JSON body: 64 texts of the longest, or a vector of any model.
const JSON_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// Most parts of a form; each picture is decoded and embedded on its own.
const MAX_PARTS: usize = 256;
/// The part that holds the JSON of a form.
const QUERY: &str = "query";
/// The part that holds a picture.
pub(super) const IMAGE: &str = "image";

/// A JSON query and the pictures that came with it, however they were sent.
pub(super) struct Asked<'a, Q> {
    pub(super) query: Q,
    pub(super) images: Images,
    /// Held while the pictures are in memory.
    _admitted: Option<SemaphorePermit<'a>>,
}

/// A file of a form.
pub(super) struct Part {
    /// The name of its field.
    pub(super) field: String,
    /// The name that its file had where it comes from.
    pub(super) file_name: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// What the header content-type says, as far as it matters.
pub(super) enum Kind {
    Json,
    Form,
}

/// Which of the two kinds of body this is.
pub(super) fn kind(request: &Request) -> Result<Kind, Problem> {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(Kind::Json)
    } else if essence.eq_ignore_ascii_case("multipart/form-data") {
        Ok(Kind::Form)
    } else {
        Err(Problem::media_type("application/json or multipart/form-data"))
    }
}

/// Reads a query with its pictures: JSON alone, or a form with a part `query`.
pub(super) async fn asked<Q: DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<Asked<'_, Q>, Problem> {
    match kind(&request)? {
        Kind::Json => {
            let query = json(request.into_body()).await?;
            Ok(Asked { query, images: Images::new(), _admitted: None })
        }
        Kind::Form => {
            let (admitted, parts) = parts(app, request).await?;
            let (queries, pictures): (Vec<Part>, Vec<Part>) =
                parts.into_iter().partition(|part| part.field == QUERY);
            let [query] = &queries[..] else {
                return Err(Problem::invalid("", "the form needs exactly one part `query`, JSON"));
            };
            let query = from_json(&query.bytes)?;
            Ok(Asked { query, images: by_name(pictures)?, _admitted: Some(admitted) })
        }
    }
}

/// Reads a JSON body.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    json_within(body, JSON_LIMIT_BYTES).await
}

async fn json_within<T: DeserializeOwned>(body: Body, limit_bytes: usize) -> Result<T, Problem> {
    let bytes = to_bytes(body, limit_bytes).await.map_err(|error| {
        if is_length_limit(&error) {
            Problem::too_large(limit_bytes)
        } else {
            Problem::malformed(format!("the body broke off: {error}"))
        }
    })?;
    from_json(&bytes)
}

/// Reads a JSON body that may hold pictures, after a permit to hold it in memory.
pub(super) async fn large_json<T: DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<(SemaphorePermit<'_>, T), Problem> {
    let admitted = admitted(app)?;
    let value = json_within(request.into_body(), app.limits.max_upload_bytes).await?;
    Ok((admitted, value))
}

/// A permit to hold pictures in memory.
fn admitted(app: &App) -> Result<SemaphorePermit<'_>, Problem> {
    app.uploads
        .try_acquire()
        .map_err(|_| Problem::overloaded("as many pictures are being received as the server takes"))
}

/// Reads every part of a form, after a permit to hold it in memory.
pub(super) async fn parts(
    app: &App,
    request: Request,
) -> Result<(SemaphorePermit<'_>, Vec<Part>), Problem> {
    let admitted = admitted(app)?;
    let limit = app.limits.max_upload_bytes;
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::form(error.status(), error.body_text(), limit))?;
    let failed = |error: MultipartError| Problem::form(error.status(), error.body_text(), limit);
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(failed)? {
        if parts.len() == MAX_PARTS {
            let detail = format!("a form may have {MAX_PARTS} parts; send the rest in another");
            return Err(Problem::invalid("", detail));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(failed)?;
        parts.push(Part { field: name, file_name, bytes: bytes.into() });
    }
    Ok((admitted, parts))
}

/// Pictures by the names that a term can give them: the name of their part where no other has it,
/// and the name of their file.
fn by_name(parts: Vec<Part>) -> Result<Images, Problem> {
    let mut fields: BTreeMap<String, usize> = BTreeMap::new();
    for part in &parts {
        *fields.entry(part.field.clone()).or_default() += 1;
    }
    let mut images = Images::new();
    for part in parts {
        let bytes = Arc::new(part.bytes);
        let own_field = fields.get(&part.field) == Some(&1);
        let names = own_field.then_some(part.field.clone()).into_iter().chain(part.file_name);
        let mut named = false;
        for name in names.filter(|name| own_field || !fields.contains_key(name)) {
            named |= images.insert(name, Arc::clone(&bytes)).is_none();
        }
        if !named {
            let detail = format!("a term could not tell apart the parts named {:?}", part.field);
            return Err(Problem::invalid("", detail));
        }
    }
    Ok(images)
}

/// JSON to a value; what is wrong in it is told with a pointer.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            Problem::invalid(pointer, error.to_string())
        } else {
            Problem::malformed(format!("the body is not JSON: {error}"))
        }
    })?;
    json.end().map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// A path through a document as JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

/// Whether a body ended because it was too long.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // The type is in http-body-util, which nothing else here needs; its words are stable.
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Query;

    fn fault(text: &str) -> serde_json::Value {
        let problem = from_json::<Query>(text.as_bytes()).unwrap_err();
        serde_json::to_value(&problem).unwrap()
    }

    #[test]
    fn faults_of_json_are_told_by_pointer() {
        for (text, pointer) in [
            (r#"{"terms":[{"text":"a"},{"text":7}]}"#, "/terms/1"),
            (r#"{"terms":[{"text":"a"}],"limit":"ten"}"#, "/limit"),
            (r#"{"terms":[{"text":"a"}],"a/b":1}"#, "/a~1b"),
            (r#"{"terms":[{"text":"a","picture":"1"}]}"#, "/terms/0"),
        ] {
            let problem = fault(text);
            assert_eq!(problem["status"], 422, "{text}");
            let found = problem["errors"][0]["pointer"].as_str().unwrap();
            assert!(found.starts_with(pointer), "{text}: {found}");
        }
    }

    fn part(field: &str, file_name: Option<&str>) -> Part {
        let bytes = file_name.unwrap_or(field).as_bytes().to_vec();
        Part { field: field.to_owned(), file_name: file_name.map(str::to_owned), bytes }
    }

    #[test]
    fn a_term_names_a_part_or_its_file() {
        let one = by_name(vec![part("image", Some("a.jpg"))]).unwrap();
        assert_eq!(one["image"], one["a.jpg"]);
        let two =
            by_name(vec![part("image", Some("a.jpg")), part("image", Some("b.jpg"))]).unwrap();
        assert_eq!(two.keys().collect::<Vec<_>>(), ["a.jpg", "b.jpg"]);
        let named = by_name(vec![part("left", None), part("right", None)]).unwrap();
        assert_eq!(named.len(), 2);
        assert!(by_name(vec![part("image", None), part("image", None)]).is_err());
    }

    #[test]
    fn what_is_not_json_is_told_apart_from_what_is_not_accepted() {
        for text in ["", "{", "terms", r#"{"terms":[]} x"#] {
            assert_eq!(fault(text)["status"], 400, "{text}");
        }
    }
}
