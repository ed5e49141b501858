//! The command line as people and scripts use it: the real program, its output and its exit codes.

mod answers;
mod failures;
mod settings;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::serving::{photographs, program};

/// Runs the program over the data folder in `temp`.
fn run(temp: &Path, words: &[&str]) -> Output {
    program().args(words).arg("--data").arg(temp.join("data")).output().unwrap()
}

/// The photographs, indexed.
fn indexed() -> tempfile::TempDir {
    let temp = photographs();
    let pictures = temp.path().join("pictures");
    let output = run(temp.path(), &["index", pictures.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    temp
}

/// Standard output as exactly one JSON document.
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error of a command that could not be done: said once, with exit code 2.
fn refused(output: &Output) -> String {
    let said = error(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
