//! `GET /v1/openapi.json`: the API for programs, an OpenAPI 3.1 document that is part of the program.

use axum::http::{HeaderName, HeaderValue, header};

/// The document, written by hand; the tests hold every answer that they get against it.
const DOCUMENT: &str = include_str!("openapi.json");

/// The document as it is.
pub(super) async fn document() -> ([(HeaderName, HeaderValue); 1], &'static str) {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::problem::KINDS;
    use crate::search::{MAX_LABELS, MAX_TEMPLATES};
    use crate::search::{MAX_LIMIT, MAX_OFFSET, MAX_TERMS, MAX_TEXT_CHARS};

    #[test]
    fn it_promises_what_the_program_keeps() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let schemas = &document["components"]["schemas"];
        for (place, value) in [
            ("/Query/properties/terms/maxItems", MAX_TERMS),
            ("/Query/properties/limit/maximum", MAX_LIMIT),
            ("/Query/properties/offset/maximum", MAX_OFFSET),
            ("/Text/maxLength", MAX_TEXT_CHARS),
            ("/Classify/properties/labels/maxItems", MAX_LABELS),
            ("/Classify/properties/templates/maxItems", MAX_TEMPLATES),
            ("/Texts/properties/texts/maxItems", crate::http::embed::MAX_TEXTS),
        ] {
            assert_eq!(schemas.pointer(place), Some(&json!(value)), "{place}");
        }
        let kinds = KINDS.map(|kind| format!("urn:clipsight:problem:{kind}"));
        assert_eq!(schemas["Problem"]["properties"]["type"]["enum"], json!(kinds));
    }
}
