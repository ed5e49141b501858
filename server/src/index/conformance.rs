//! What every index must do, whatever its inside: run over each implementation by its own tests.
use std::collections::HashSet;

use clip::Embedding;

use super::{Key, Scored, VectorIndex, WrongDimension};

/// Makes an empty index of a dimension.
pub(super) type Make<'a> = &'a dyn Fn(usize) -> Box<dyn VectorIndex>;

/// Runs the whole suite, over an index that misses nothing.
pub(super) fn all(make: Make<'_>) {
    rules(make);
    random_changes_equal_the_plain_way(&mut *make(20));
}

/// What holds for an index that may miss a neighbor now and then, too.
pub(super) fn rules(make: Make<'_>) {
    empty_index_finds_nothing(&mut *make(4));
    nearest_comes_first(&mut *make(2));
    equal_scores_come_by_key(&mut *make(3));
    no_more_than_asked_for_or_there(&mut *make(5));
    key_that_comes_again_is_replaced(&mut *make(2));
    removed_is_in_no_later_answer(&mut *make(6));
    only_the_allowed_are_found(&mut *make(7));
    another_dimension_is_refused(&mut *make(4));
}

/// A vector that depends on its seed alone.
pub(super) fn vector(dim: usize, seed: Key) -> Embedding {
    // SplitMix64 (Steele, Lea, Flood 2014), enough to scatter directions.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    Embedding::new((0..dim).map(|_| next()).collect()).unwrap()
}

fn unit(values: &[f32]) -> Embedding {
    Embedding::new(values.to_vec()).unwrap()
}

fn found(
    index: &dyn VectorIndex,
    query: &Embedding,
    k: usize,
    allowed: Option<&HashSet<Key>>,
) -> Vec<Scored> {
    index.search(query, k, allowed).unwrap().hits
}

fn keys(hits: &[Scored]) -> Vec<Key> {
    hits.iter().map(|hit| hit.key).collect()
}

fn empty_index_finds_nothing(index: &mut dyn VectorIndex) {
    assert!(index.is_empty());
    assert_eq!(found(&*index, &vector(4, 1), 10, None), []);
    assert!(!index.remove(7));
}

fn nearest_comes_first(index: &mut dyn VectorIndex) {
    index.insert(1, &unit(&[0.0, 1.0])).unwrap();
    index.insert(2, &unit(&[1.0, 0.0])).unwrap();
    index.insert(3, &unit(&[-1.0, 0.0])).unwrap();
    let hits = found(&*index, &unit(&[0.8, 0.6]), 3, None);
    assert_eq!(keys(&hits), [2, 1, 3]);
    for (hit, score) in hits.iter().zip([0.8, 0.6, -0.8]) {
        assert!((hit.score - score).abs() < 1e-6, "{hit:?}");
    }
}

fn equal_scores_come_by_key(index: &mut dyn VectorIndex) {
    for key in [9, 4, 7, 1, 8, 2] {
        index.insert(key, &unit(&[1.0, 2.0, 3.0])).unwrap();
    }
    let query = unit(&[1.0, 1.0, 0.0]);
    assert_eq!(keys(&found(&*index, &query, 4, None)), [1, 2, 4, 7]);
    assert!(index.remove(2));
    assert_eq!(keys(&found(&*index, &query, 9, None)), [1, 4, 7, 8, 9]);
}

fn no_more_than_asked_for_or_there(index: &mut dyn VectorIndex) {
    for key in 0..8 {
        index.insert(key, &vector(5, key)).unwrap();
    }
    for (k, there) in [(0, 0), (3, 3), (8, 8), (1_000_000_000, 8)] {
        assert_eq!(found(&*index, &vector(5, 99), k, None).len(), there);
    }
}

fn key_that_comes_again_is_replaced(index: &mut dyn VectorIndex) {
    index.insert(5, &unit(&[1.0, 0.0])).unwrap();
    index.insert(5, &unit(&[0.0, 1.0])).unwrap();
    assert_eq!(index.len(), 1);
    let hits = found(&*index, &unit(&[0.0, 1.0]), 10, None);
    assert_eq!(keys(&hits), [5]);
    assert!((hits[0].score - 1.0).abs() < 1e-6);
}

fn removed_is_in_no_later_answer(index: &mut dyn VectorIndex) {
    for key in 0..50 {
        index.insert(key, &vector(6, key)).unwrap();
    }
    for gone in [0, 49, 20, 21] {
        assert!(index.remove(gone));
        assert!(!index.remove(gone), "removed twice");
        // Its own vector is the query that would find it first.
        let hits = found(&*index, &vector(6, gone), 50, None);
        assert_eq!(hits.len(), index.len());
        assert!(!keys(&hits).contains(&gone));
    }
    index.insert(20, &vector(6, 20)).unwrap();
    assert_eq!(found(&*index, &vector(6, 20), 1, None)[0].key, 20);
}

fn only_the_allowed_are_found(index: &mut dyn VectorIndex) {
    for key in 0..100 {
        index.insert(key, &vector(7, key)).unwrap();
    }
    let query = vector(7, 1000);
    let allowed: HashSet<Key> = [3, 14, 15, 92, 5000].into();
    let every: Vec<Key> = keys(&found(&*index, &query, 100, None));
    let expected: Vec<Key> = every.into_iter().filter(|key| allowed.contains(key)).collect();
    assert_eq!(keys(&found(&*index, &query, 10, Some(&allowed))), expected);
    assert_eq!(found(&*index, &query, 10, Some(&HashSet::new())), []);
}

fn another_dimension_is_refused(index: &mut dyn VectorIndex) {
    index.insert(1, &vector(4, 1)).unwrap();
    let error = WrongDimension { expected: 4, found: 3 };
    assert_eq!(index.insert(2, &vector(3, 2)), Err(error));
    assert_eq!(index.search(&vector(3, 2), 1, None), Err(error));
    assert_eq!(index.len(), 1);
}

/// A list, searched by sorting it.
fn random_changes_equal_the_plain_way(index: &mut dyn VectorIndex) {
    let mut plain: Vec<(Key, Embedding)> = Vec::new();
    for step in 0..600u64 {
        let key = step * 7919 % 97;
        plain.retain(|(k, _)| *k != key);
        if step % 3 == 2 {
            index.remove(key);
        } else {
            // Few seeds: many vectors stand twice and tie.
            let vector = vector(20, step % 40);
            index.insert(key, &vector).unwrap();
            plain.push((key, vector));
        }
        assert_eq!(index.len(), plain.len());
        if step % 20 == 0 {
            let query = vector(20, 1_000_000 + step);
            let mut expected: Vec<(f64, Key)> =
                plain.iter().map(|(key, v)| (cosine(&query, v), *key)).collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let found = found(&*index, &query, 12, None);
            let expected: Vec<Key> = expected.iter().take(12).map(|(_, key)| *key).collect();
            assert_eq!(keys(&found), expected, "step {step}");
        }
    }
}

fn cosine(a: &Embedding, b: &Embedding) -> f64 {
    a.as_slice().iter().zip(b.as_slice()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
