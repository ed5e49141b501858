//! A large collection from its first picture to its searches: memory, readiness, answers.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::peers::output_of;
use crate::program::{Server, command};
use crate::timing::at;

const SEARCHES: usize = 1000;
/// Shares of the indexing time at which memory is shown.
const SHARES: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];
const STARTS: usize = 5;
/// Looks at the page with Node and Chromium.
const PAGE: &str = "web/tests/speed.js";

pub(crate) fn measure(model: &Path, pictures: &Path) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let data = temp.path().join("data");
    println!("\n## A collection of {} by {}\n", pictures.display(), model.display());
    let memory = watch_indexing(model, pictures, &data)?;
    println!("| of the time to index | resident MiB |\n|---|---|");
    for share in SHARES {
        let place = ((memory.len() - 1) as f64 * share) as usize;
        println!("| {:.0} % | {} |", 100.0 * share, memory[place]);
    }
    println!("| highest | {} |\n", memory.iter().max().unwrap_or(&0));
    serve(model, &data)
}

/// Indexes and returns the resident memory in MiB, read each second.
fn watch_indexing(model: &Path, pictures: &Path, data: &Path) -> Result<Vec<u64>> {
    let start = Instant::now();
    let mut process = command("index", model, data)
        .arg(pictures)
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run the release binary; run `make build` first")?;
    let mut memory = Vec::new();
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        memory.extend(resident_mib(&process).filter(|&mib| mib > 0));
        std::thread::sleep(Duration::from_secs(1));
    };
    ensure!(status.success(), "indexing ended with {status}");
    ensure!(!memory.is_empty(), "indexing ended before its memory was read");
    println!("indexed in {:.0} s\n", start.elapsed().as_secs_f64());
    Ok(memory)
}

/// Resident memory of a process in MiB; none where it has just ended.
fn resident_mib(process: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Starts the server several times, then asks the last one the same text over and over.
fn serve(model: &Path, data: &Path) -> Result<()> {
    let client = reqwest::blocking::Client::new();
    let mut ready = Vec::new();
    let server = loop {
        let start = Instant::now();
        let server = Server::start(model, data)?;
        client.get(format!("{}/health/ready", server.address)).send()?.error_for_status()?;
        ready.push(start.elapsed().as_secs_f64());
        if ready.len() == STARTS {
            break server;
        }
    };
    let query = json!({"terms": [{"text": "two dogs on a beach"}], "limit": 10});
    let mut times = Vec::new();
    let mut answer = Value::Null;
    for _ in 0..SEARCHES {
        let start = Instant::now();
        let response = client.post(format!("{}/v1/search", server.address)).json(&query).send()?;
        answer = response.error_for_status()?.json()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (Some(count), Some(path)) =
        (answer["total_indexed"].as_u64(), answer["path_taken"].as_str())
    else {
        bail!("the answer says neither how many pictures there are nor how it searched")
    };
    println!("| {count} pictures served | median | slowest |\n|---|---|---|");
    println!("| ready after | {:.2} s | {:.2} s |", at(&ready, 0.5), at(&ready, 1.0));
    let (median, slow) = (at(&times, 0.5), at(&times, 0.99));
    println!("| a search, text cached, {path} | {median:.2} ms | {slow:.2} ms (99 %) |");
    let mib = resident_mib(&server.process).context("the server ended")?;
    println!("| resident | {mib} MiB | |\n");
    match output_of(Command::new("node").arg(PAGE).arg(&server.address)) {
        Ok(table) => println!("{table}"),
        Err(error) => println!("the page is left out: {error:#}"),
    }
    Ok(())
}
