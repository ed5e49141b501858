//! Indexing a folder by the release binary, as a user would.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::program::BINARY;

const RUNS: usize = 3;

pub(crate) fn measure(model: &Path, pictures: &Path) -> Result<()> {
    println!("\n## From files to stored vectors, all cores\n");
    println!("| run | pictures | seconds | pictures/s |\n|---|---|---|---|");
    for run in 1..=RUNS {
        let data = tempfile::tempdir()?;
        let output = Command::new(BINARY)
            .args(["index", "--json", "--data"])
            .arg(data.path())
            .arg("--model")
            .arg(model)
            .arg(pictures)
            .stderr(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {BINARY}; run `make build` first"))?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |key: &str| report[key].as_f64().context("the report lacks a number");
        let (indexed, seconds) = (number("indexed")?, number("seconds")?);
        println!("| {run} | {indexed} | {seconds:.2} | {:.1} |", indexed / seconds);
    }
    Ok(())
}
