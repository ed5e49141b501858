//! The served system as a client sees it: recall over HTTP, and how long an answer takes.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::program::{Server, index};
use crate::timing::at;

const LIMIT: usize = 10;

/// Indexes the pictures of a WebDataset shard, asks for each of its captions by `POST /v1/search`
/// and counts how often the caption's picture is among the first.
pub(crate) fn measure(model: &Path, shard: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (pictures, data) = (work.path().join("pictures"), work.path().join("data"));
    let captions = unpack(shard, &pictures)?;
    ensure!(!captions.is_empty(), "{} holds no captions", shard.display());
    index(model, &pictures, &data)?;
    let server = Server::start(model, &data)?;
    let (ranks, times) = ask(&server, &captions)?;
    let (_, cached) = ask(&server, &captions[..captions.len().min(500)])?;
    println!("\n## Served over HTTP: {}\n", shard.display());
    let share = |k: usize| {
        let within = ranks.iter().flatten().filter(|&&rank| rank < k).count();
        100.0 * within as f64 / ranks.len() as f64
    };
    println!("{} captions: ", ranks.len());
    println!("R@1 {:.1} %, R@5 {:.1} %, R@10 {:.1} %\n", share(1), share(5), share(10));
    println!("| search | median | 99 % |\n|---|---|---|");
    for (what, times) in [("a new text", times), ("a text asked before", cached)] {
        let (median, slow) = (at(&times, 0.5), at(&times, 0.99));
        println!("| {what} | {:.2} ms | {:.2} ms |", median * 1e3, slow * 1e3);
    }
    Ok(())
}

/// Writes the pictures of a shard into a folder; (caption, file name) for each caption.
fn unpack(shard: &Path, folder: &Path) -> Result<Vec<(String, String)>> {
    std::fs::create_dir(folder)?;
    let file = std::fs::File::open(shard)
        .with_context(|| format!("cannot read the captions in {}", shard.display()))?;
    let mut texts: HashMap<String, String> = HashMap::new();
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        match name.rsplit_once('.') {
            Some((stem, "txt")) => {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                texts.insert(stem.to_owned(), text);
            }
            Some((stem, _)) if !stem.contains('/') => {
                entry.unpack(folder.join(&name))?;
            }
            _ => {}
        }
    }
    let mut captions: Vec<(String, String)> = texts
        .iter()
        .flat_map(|(stem, text)| {
            text.lines().map(move |line| (line.to_owned(), format!("{stem}.jpg")))
        })
        .filter(|(line, _)| !line.trim().is_empty())
        .collect();
    captions.sort();
    Ok(captions)
}

/// Each caption's rank from 0 among the hits, if it is there, and the seconds of each answer.
fn ask(server: &Server, captions: &[(String, String)]) -> Result<(Vec<Option<usize>>, Vec<f64>)> {
    let client = reqwest::blocking::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let address = format!("{}/v1/search", server.address);
    let (mut ranks, mut times) = (Vec::new(), Vec::new());
    for (caption, file) in captions {
        let query = json!({"terms": [{"text": caption}], "limit": LIMIT});
        let start = Instant::now();
        let answer: Value =
            client.post(&address).json(&query).send()?.error_for_status()?.json()?;
        times.push(start.elapsed().as_secs_f64());
        let hits = answer["hits"].as_array().context("the answer has no hits")?;
        let is_it = |hit: &Value| hit["path"].as_str().is_some_and(|path| path.ends_with(file));
        ranks.push(hits.iter().position(is_it));
    }
    Ok((ranks, times))
}
