//! Any bytes as the body of a search: an error, or a query that is read back as it was written.
#![no_main]

use clipsight::search::{Query, What};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(query) = serde_json::from_slice::<Query>(bytes) else { return };
    let written = serde_json::to_vec(&query).expect("a query can be written");
    // JSON has no infinity; the search refuses it before anything is computed.
    if is_finite(&query) {
        let again: Query = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(query, again);
    }
});

fn is_finite(query: &Query) -> bool {
    query.min_score.is_none_or(f32::is_finite)
        && query.terms.iter().all(|term| match &term.what {
            What::Vector(vector) => vector.iter().chain([&term.weight]).all(|x| x.is_finite()),
            What::Text(_) | What::Picture(_) | What::Image(_) => term.weight.is_finite(),
        })
}
