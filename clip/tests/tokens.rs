//! Odd texts become the ids that the reference tokenizers give them.
//!
//! `fixtures/make_clip_tokens.py` and `fixtures/make_tokens.py` recorded them; the first also built
//! CLIP's tokenizer from CLIP's own merges, the second's is that of the starter.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::{Path, PathBuf};

use clip::Tokenizer;
use serde::Deserialize;

/// A text and what the reference makes of it.
#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<i64>,
    truncated: bool,
}

const CLIP_CONTEXT: usize = 77;
const CLIP_START: i64 = 49406;
const CLIP_END: i64 = 49407;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens").join(name)
}

fn rows(name: &str) -> Vec<Row> {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn clip(context: usize) -> Tokenizer {
    Tokenizer::from_file(&fixture("clip_tokenizer.json"), context, 0).unwrap()
}

fn ids_are_those_of_the_reference(tokenizer: &Tokenizer, rows: &[Row]) {
    assert!(rows.len() >= 100);
    for Row { text, ids, truncated } in rows {
        let found = tokenizer.encode(text).unwrap();
        assert_eq!(&found.ids, ids, "{text:?}");
        assert_eq!(found.truncated, *truncated, "{text:?}");
    }
}

#[test]
fn clip_gives_every_text_the_ids_of_the_reference() {
    ids_are_those_of_the_reference(&clip(CLIP_CONTEXT), &rows("clip.json"));
}

#[test]
fn minilm_gives_every_text_the_ids_of_the_reference() {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/starter");
    let tokenizer = Tokenizer::from_file(&starter.join("tokenizer.json"), 128, 0).unwrap();
    ids_are_those_of_the_reference(&tokenizer, &rows("minilm.json"));
}

#[test]
fn no_text_loses_its_end_token_whatever_the_context() {
    for context in [3, 5, 16, CLIP_CONTEXT] {
        let tokenizer = clip(context);
        for Row { text, .. } in rows("clip.json") {
            let found = tokenizer.encode(&text).unwrap().ids;
            assert!(found.len() <= context, "{text:?}");
            assert_eq!((found[0], found[found.len() - 1]), (CLIP_START, CLIP_END), "{text:?}");
        }
    }
}
