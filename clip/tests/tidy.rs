//! The arrows between the rooms, kept by looking at the source text.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Where the workspace begins.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files below `folder`, as (path from the root with forward slashes, text).
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((name, text));
            }
        }
    }
    files.sort();
    files
}

const CRATES: [&str; 5] = ["clip", "runtime", "server", "collective", "trainer"];

fn everything() -> Vec<(String, String)> {
    CRATES.into_iter().flat_map(rust_files).collect()
}

/// Whether a line of code (comments left out) names the crate or room `name` as a path.
fn names(text: &str, name: &str) -> bool {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + name.len()..];
            let starts = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
            starts && after.starts_with("::")
        })
    })
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/")
}

#[test]
fn a_library_is_named_in_its_own_room_only() {
    let rooms: [(&str, &[&str]); 9] = [
        ("libheif_rs", &["clip/src/image/"]),
        ("ort", &["runtime/src/"]),
        ("sqlx", &["server/src/catalog/"]),
        ("axum", &["server/src/http/"]),
        ("hnsw_rs", &["server/src/index/"]),
        ("tch", &["trainer/", "collective/"]),
        ("prost", &["trainer/src/onnx/"]),
        ("hf_hub", &["server/src/hub/"]),
        ("ureq", &["server/src/hub/"]),
    ];
    for (path, text) in everything() {
        for (library, rooms) in rooms {
            let in_its_room = rooms.iter().any(|room| path.starts_with(room));
            assert!(
                !names(&text, library) || in_its_room || is_test(&path),
                "{path} names {library}, which belongs to {rooms:?}"
            );
        }
    }
}

#[test]
fn catalog_and_index_do_not_know_each_other() {
    for (room, stranger) in [("catalog", "index"), ("index", "catalog")] {
        for (path, text) in rust_files(&format!("server/src/{room}")) {
            assert!(
                !names(&text, &format!("crate::{stranger}")),
                "{path} names {stranger}; ingest and search bring the two together"
            );
        }
    }
}

#[test]
fn nothing_below_names_the_edges() {
    for (path, text) in rust_files("server/src") {
        let is_edge = path.starts_with("server/src/http")
            || path.starts_with("server/src/cli")
            || path == "server/src/main.rs";
        for edge in ["crate::http", "crate::cli"] {
            assert!(is_edge || !names(&text, edge), "{path} names {edge}");
        }
    }
}

#[test]
fn rooms_know_only_what_lies_below_them() {
    // Each room with those it must not name: the ones beside and above it.
    let rooms: [(&str, &[&str]); 5] = [
        ("catalog", &["index", "ingest", "search", "embed"]),
        ("index", &["catalog", "ingest", "search", "embed"]),
        ("embed", &["catalog", "index", "ingest", "search"]),
        ("ingest", &["search"]),
        ("search", &["ingest"]),
    ];
    for (room, forbidden) in rooms {
        for (path, text) in rust_files(&format!("server/src/{room}")) {
            for other in forbidden {
                assert!(!names(&text, &format!("crate::{other}")), "{path} names {other}");
            }
        }
    }
}

#[test]
fn the_lower_crates_do_not_know_the_upper_ones() {
    for (folder, strangers) in [
        ("clip/src", &["runtime", "clipsight", "clipsight_trainer"] as &[&str]),
        ("runtime/src", &["clipsight", "clipsight_trainer"]),
        ("server/src", &["clipsight_trainer", "collective"]),
        ("collective/src", &["clip", "runtime", "clipsight", "clipsight_trainer"]),
        ("trainer/src", &["clipsight"]),
    ] {
        for (path, text) in rust_files(folder) {
            for stranger in strangers {
                assert!(!names(&text, stranger), "{path} names {stranger}");
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in everything() {
        assert!(text.starts_with("//!"), "{path} does not open with //!");
    }
}

#[test]
fn the_walk_over_the_source_finds_it() {
    // A tidy test that reads nothing would hold forever.
    assert!(everything().len() > 20);
    assert!(names("use sqlx::Row;", "sqlx") && !names("my_sqlx::x", "sqlx"));
    assert!(!names("// sqlx::Row", "sqlx"));
}
