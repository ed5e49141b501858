//! The OpenAPI document as a contract: every answer that the tests get is held against it.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use reqwest::{Method, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Map, Value};

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT
        .get_or_init(|| serde_json::from_str(include_str!("../../src/http/openapi.json")).unwrap())
}

/// A client whose every answer is held against the document.
pub(super) struct Client(pub(super) reqwest::Client);

impl Client {
    pub(super) fn get(&self, url: impl reqwest::IntoUrl) -> Asking {
        Asking(self.0.get(url))
    }

    pub(super) fn post(&self, url: impl reqwest::IntoUrl) -> Asking {
        Asking(self.0.post(url))
    }

    pub(super) fn put(&self, url: impl reqwest::IntoUrl) -> Asking {
        Asking(self.0.put(url))
    }

    pub(super) fn delete(&self, url: impl reqwest::IntoUrl) -> Asking {
        Asking(self.0.delete(url))
    }
}

/// A request on its way.
pub(super) struct Asking(RequestBuilder);

impl Asking {
    pub(super) fn header(self, name: &str, value: impl AsRef<str>) -> Self {
        Self(self.0.header(name, value.as_ref()))
    }

    pub(super) fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    pub(super) fn body(self, body: &'static str) -> Self {
        Self(self.0.body(body))
    }

    pub(super) fn multipart(self, form: reqwest::multipart::Form) -> Self {
        Self(self.0.multipart(form))
    }

    /// Sends it; the answer is what the document promises, or the test fails.
    pub(super) async fn send(self) -> reqwest::Result<Response> {
        let (client, request) = self.0.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let sent = request.body().and_then(reqwest::Body::as_bytes).map(<[u8]>::to_vec);
        let response = client.execute(request).await?;
        let mut copy = axum::http::Response::builder().status(response.status());
        *copy.headers_mut().unwrap() = response.headers().clone();
        let body = response.bytes().await?;
        let copy = copy.body(body.to_vec()).unwrap();
        check(&method, &path, sent.as_deref(), &copy);
        Ok(copy.into())
    }
}

/// Panics where an answer is none that the document has, or where the body of an accepted request is
/// none.
fn check(method: &Method, path: &str, sent: Option<&[u8]>, answer: &axum::http::Response<Vec<u8>>) {
    let status = answer.status();
    let context = format!("{method} {path} → {status}");
    let Some(route) = route(path) else {
        // The page's own files, or nothing at all.
        assert!(status == 200 && !path.starts_with("/v1") || is_problem(answer), "{context}");
        return;
    };
    let method = method.as_str().to_ascii_lowercase();
    let Some(operation) = route.get(&method) else {
        assert!(status == 405 && is_problem(answer), "{context}: not in the document");
        return;
    };
    let promised = operation["responses"].get(status.as_str());
    let promised = resolved(promised.unwrap_or_else(|| panic!("{context}: not in the document")));
    for (name, header) in promised["headers"].as_object().into_iter().flatten() {
        let there = answer.headers().contains_key(name);
        assert!(there || header["required"] != true, "{context}: no header {name}");
    }
    match promised["content"].as_object() {
        None => assert!(answer.body().is_empty(), "{context}: a body"),
        Some(content) => {
            let content_type = essence(answer.headers());
            let of = content_type.split('/').next().unwrap();
            let media = content.get(&content_type).or_else(|| content.get(&format!("{of}/*")));
            let media = media.unwrap_or_else(|| panic!("{context}: {content_type}"));
            if content_type.ends_with("json") {
                conforms(answer.body(), &media["schema"], &context);
            }
        }
    }
    let body = operation.pointer("/requestBody/content/application~1json/schema");
    if let (true, Some(schema), Some(sent)) = (status.is_success(), body, sent) {
        conforms(sent, schema, &format!("the body of {context}"));
    }
}

fn conforms(bytes: &[u8], schema: &Value, context: &str) {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{context}: {e}"));
    if let Err(fault) = fits(&value, schema) {
        panic!("{context}: {fault} in {value}");
    }
}

/// Whether it is a problem in the form that the document gives problems.
fn is_problem(answer: &axum::http::Response<Vec<u8>>) -> bool {
    let schema = &document()["components"]["schemas"]["Problem"];
    let value = serde_json::from_slice(answer.body());
    essence(answer.headers()) == "application/problem+json"
        && value.is_ok_and(|value| fits(&value, schema).is_ok())
}

fn essence(headers: &HeaderMap) -> String {
    let value = headers.get("content-type").map(|value| value.to_str().unwrap());
    value.unwrap_or_default().split(';').next().unwrap().trim().to_owned()
}

/// The entry of the document for a path; what is written out goes before a pattern.
fn route(path: &str) -> Option<&'static Map<String, Value>> {
    let paths = document()["paths"].as_object().unwrap();
    let matches = |pattern: &str| {
        let (ours, theirs) = (pattern.split('/'), path.split('/'));
        ours.clone().count() == theirs.clone().count()
            && ours.zip(theirs).all(|(a, b)| a == b || a.starts_with('{') && !b.is_empty())
    };
    let found = paths.get(path).or_else(|| paths.iter().find(|(p, _)| matches(p)).map(|p| p.1));
    found.map(|route| route.as_object().unwrap())
}

/// What a reference points to; anything else itself.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(pointer) => document().pointer(pointer.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Checks a value against a schema (JSON Schema 2020-12, the keywords that the document uses; any
/// other is a failure, so that none is passed over).
fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().ok_or("the schema is no object")? {
        let holds = match keyword.as_str() {
            "description" | "default" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                fits(value, document().pointer(pointer).ok_or(pointer)?)?;
                true
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|wanted| is_a(value, wanted)),
                one => is_a(value, one),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "oneOf" => {
                let choices = wanted.as_array().unwrap().iter();
                choices.filter(|choice| fits(value, choice).is_ok()).count() == 1
            }
            "minimum" => value.as_f64().is_none_or(|x| x >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|x| x <= wanted.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|x| x.chars().count() >= size(wanted)),
            "maxLength" => value.as_str().is_none_or(|x| x.chars().count() <= size(wanted)),
            "minItems" => value.as_array().is_none_or(|x| x.len() >= size(wanted)),
            "maxItems" => value.as_array().is_none_or(|x| x.len() <= size(wanted)),
            "items" => {
                value.as_array().into_iter().flatten().try_for_each(|item| fits(item, wanted))?;
                true
            }
            "required" => {
                let names = wanted.as_array().unwrap();
                names.iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    value.get(name).map_or(Ok(()), |value| fits(value, schema))?;
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, false);
                let known = |name: &String| schema["properties"].get(name).is_some();
                value.as_object().is_none_or(|object| object.keys().all(known))
            }
            other => return Err(format!("the keyword {other} is not checked")),
        };
        if !holds {
            return Err(format!("{keyword} {wanted} does not hold for {value}"));
        }
    }
    Ok(())
}

fn size(wanted: &Value) -> usize {
    usize::try_from(wanted.as_u64().unwrap()).unwrap()
}

fn is_a(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not checked"),
    }
}

#[test]
fn the_check_refuses_what_the_document_does_not_have() {
    use serde_json::json;
    let query = json!({"$ref": "#/components/schemas/Query"});
    let term = json!({"text": "a dog", "weight": -0.5});
    assert_eq!(fits(&json!({"terms": [term], "limit": 3}), &query), Ok(()));
    for wrong in [
        json!([]),
        json!({}),
        json!({"terms": []}),
        json!({"terms": [{"text": ""}]}),
        json!({"terms": [{"text": "a", "picture": "1"}]}),
        json!({"terms": [term], "limit": 1.5}),
        json!({"terms": [term], "limit": 1001}),
        json!({"terms": [term], "more": true}),
    ] {
        assert!(fits(&wrong, &query).is_err(), "{wrong}");
    }
    assert!(fits(&json!(1), &json!({"multipleOf": 2})).is_err());
    let answer = |status: u16, body: &str| {
        let answer = axum::http::Response::builder().status(status);
        answer.header("content-type", "application/json").body(body.as_bytes().to_vec()).unwrap()
    };
    let live = r#"{"status":"live"}"#;
    check(&Method::GET, "/health/live", None, &answer(200, live));
    for (path, status, body) in [
        ("/health/live", 200, r#"{"status":"well"}"#),
        ("/health/live", 200, r#"{"status":"live","more":1}"#),
        ("/health/live", 418, live),
        ("/v1/unknown", 200, live),
    ] {
        let answer = answer(status, body);
        let checked =
            std::panic::catch_unwind(AssertUnwindSafe(|| check(&Method::GET, path, None, &answer)));
        assert!(checked.is_err(), "{path} {status} {body}");
    }
}
