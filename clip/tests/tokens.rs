//! Token ids equal those of the reference tokenizer (`fixtures/make_tokens.py` says how they were made).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use clip::Tokenizer;
use serde::Deserialize;

/// What the fixtures were made with.
const CONTEXT_LENGTH: usize = 128;

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<i64>,
    truncated: bool,
}

#[test]
fn a_hundred_odd_texts_have_the_ids_of_the_reference() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("../models/starter/tokenizer.json");
    let tokenizer = Tokenizer::from_file(&file, CONTEXT_LENGTH, 0).unwrap();
    let rows = fs::read(here.join("tests/fixtures/tokens/minilm.json")).unwrap();
    let rows: Vec<Row> = serde_json::from_slice(&rows).unwrap();
    assert_eq!(rows.len(), 100);
    for row in rows {
        let found = tokenizer.encode(&row.text).unwrap();
        assert_eq!(found.ids, row.ids, "{:?}", row.text);
        assert_eq!(found.truncated, row.truncated, "{:?}", row.text);
    }
}
