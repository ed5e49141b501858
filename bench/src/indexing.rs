//! Indexing a folder by the release binary, as a user would.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::program::{BINARY, command};

const RUNS: usize = 3;

pub(crate) fn measure(model: &Path, pictures: &Path) -> Result<()> {
    println!("\n## From files to stored vectors, all cores\n");
    println!("| run | pictures | seconds | pictures/s |\n|---|---|---|---|");
    for run in 1..=RUNS {
        let (indexed, seconds) = index(model, pictures, &[])?;
        println!("| {run} | {indexed} | {seconds:.2} | {:.1} |", indexed / seconds);
    }
    Ok(())
}

/// With the flags `how` as well.
pub(crate) fn pictures_per_s(model: &Path, pictures: &Path, how: &[&str]) -> Result<f64> {
    let (indexed, seconds) = index(model, pictures, how)?;
    Ok(indexed / seconds)
}

/// Pictures indexed, and the seconds that it took by the program's own report.
fn index(model: &Path, pictures: &Path, how: &[&str]) -> Result<(f64, f64)> {
    let data = tempfile::tempdir()?;
    let mut command = command("index", model, data.path());
    let output = command
        .arg("--json")
        .args(how)
        .arg(pictures)
        .output()
        .with_context(|| format!("cannot run {BINARY}; run `make build` first"))?;
    ensure!(output.status.success(), "indexing ended with {}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |key: &str| report[key].as_f64().context("the report lacks a number");
    Ok((number("indexed")?, number("seconds")?))
}
