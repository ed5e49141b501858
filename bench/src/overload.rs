//! Ten times the load that the server can bear, for a minute: who is refused, how quickly, and what
//! the others notice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::program::{Server, index};
use crate::timing::at;

/// How long the usual load is watched, and how long the flood lasts.
const USUAL: Duration = Duration::from_secs(10);
const FLOOD: Duration = Duration::from_secs(60);
/// Clients of the load that can be borne: each asks again as soon as it has its answer.
const CLIENTS: usize = 8;
const TIMES: f64 = 10.0;
/// Clients have machines of their own; here the server gets one core and all of them another.
const SERVER_CORE: &str = "0";
const CLIENTS_CORE: &str = "1";
/// Requests of the flood that wait for an answer at once; the server would not accept more connections.
const OPEN: usize = 500;

/// What was answered and how long it took, in seconds.
#[derive(Default)]
struct Answers {
    served: Vec<f64>,
    refused: Vec<f64>,
}

impl Answers {
    fn take(&mut self, (status, seconds): (StatusCode, f64)) {
        let kind = if status == StatusCode::OK { &mut self.served } else { &mut self.refused };
        kind.push(seconds);
    }
}

/// Asks for new texts and for pictures sent along: alone, by a few clients, and in a flood.
pub(crate) fn measure(model: &Path, pictures: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let data = work.path().join("data");
    index(model, pictures, &data)?;
    keep_on(SERVER_CORE)?;
    let server = Server::start(model, &data)?;
    keep_on(CLIENTS_CORE)?;
    let picture = walk(pictures).context("there is no picture to ask with")?;
    let bytes = std::fs::read(picture)?;
    let (client, url) = (Client::new(), format!("{}/v1/search", server.address));
    let asked = AtomicUsize::new(0);
    println!("\n## {TIMES:.0} times the load that can be borne, for {} s\n", FLOOD.as_secs());
    println!(
        "| asked for | load | a second | served | median | 99 % | refused after, median | 99 % |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Runtime::new()?;
    // Texts that nobody asked for before: the cache has none of them.
    let text = || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let words = format!("a photo of {number} dogs on a beach with {number} boats");
        client.post(&url).json(&json!({"terms": [{"text": words}], "limit": 10}))
    };
    runtime.block_on(flood_of("a text", text))?;
    let image = || {
        let part = reqwest::multipart::Part::bytes(bytes.clone()).file_name("asked.jpg");
        let query = json!({"terms": [{"image": "asked.jpg"}], "limit": 10}).to_string();
        let form = reqwest::multipart::Form::new().text("query", query).part("image", part);
        client.post(&url).multipart(form)
    };
    runtime.block_on(flood_of("a picture", image))
}

/// Keeps this program, and what it starts from now on, on one core.
fn keep_on(core: &str) -> Result<()> {
    let own = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-acp", core, &own])
        .stdout(Stdio::null())
        .status()
        .context("cannot run taskset; it is in the package util-linux")?;
    ensure!(status.success(), "taskset ended with {status}; this wants two cores");
    Ok(())
}

/// Some picture of the folder.
fn walk(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = entries.collect();
    paths.sort();
    paths.into_iter().find_map(|path| match path.extension() {
        Some(extension) if extension == "jpg" => Some(path),
        _ if path.is_dir() => walk(&path),
        _ => None,
    })
}

async fn flood_of(what: &str, request: impl Fn() -> RequestBuilder) -> Result<()> {
    let alone = closed(1, &request).await?;
    report(what, "one client", USUAL, &alone);
    let borne = closed(CLIENTS, &request).await?;
    ensure!(borne.refused.is_empty(), "{CLIENTS} clients are more than the server bears");
    report(what, &format!("{CLIENTS} clients"), USUAL, &borne);
    let rate = TIMES * borne.served.len() as f64 / USUAL.as_secs_f64();
    let flood = open(rate, &request).await?;
    report(what, &format!("{rate:.0} a second"), FLOOD, &flood);
    Ok(())
}

fn report(what: &str, load: &str, during: Duration, Answers { served, refused }: &Answers) {
    let all = (served.len() + refused.len()).max(1) as f64;
    let times = |times: &[f64]| match times {
        [] => "– | –".to_owned(),
        _ => format!("{:.1} ms | {:.1} ms", at(times, 0.5) * 1e3, at(times, 0.99) * 1e3),
    };
    let share = 100.0 * served.len() as f64 / all;
    let a_second = served.len() as f64 / during.as_secs_f64();
    let (served, refused) = (times(served), times(refused));
    println!("| {what} | {load} | {a_second:.0} | {share:.0} % | {served} | {refused} |");
}

/// Some clients, each of which asks again as soon as it has its answer.
async fn closed(clients: usize, request: &impl Fn() -> RequestBuilder) -> Result<Answers> {
    let (mut open, mut all) = (JoinSet::new(), Answers::default());
    let start = Instant::now();
    (0..clients).for_each(|_| drop(open.spawn(answer(request(), Instant::now()))));
    while let Some(done) = open.join_next().await {
        all.take(done??);
        if start.elapsed() < USUAL {
            open.spawn(answer(request(), Instant::now()));
        }
    }
    Ok(all)
}

/// So many requests a second, whatever becomes of those before: times count from when a request was
/// due, so that a late one is not taken for a quick one.
async fn open(rate: f64, request: &impl Fn() -> RequestBuilder) -> Result<Answers> {
    let (mut open, mut all) = (JoinSet::new(), Answers::default());
    let (start, mut sent) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while start.elapsed() < FLOOD {
        tick.tick().await;
        while sent < (start.elapsed().as_secs_f64() * rate) as usize && open.len() < OPEN {
            let due = start + Duration::from_secs_f64(sent as f64 / rate);
            open.spawn(answer(request(), due));
            sent += 1;
        }
        while let Some(done) = open.try_join_next() {
            all.take(done??);
        }
    }
    while let Some(done) = open.join_next().await {
        all.take(done??);
    }
    Ok(all)
}

/// The status of an answer that was read to its end, and the seconds since it was due.
async fn answer(request: RequestBuilder, due: Instant) -> Result<(StatusCode, f64)> {
    let response = request.send().await?;
    let status = response.status();
    let honest = status == StatusCode::OK
        || (status == StatusCode::SERVICE_UNAVAILABLE
            && response.headers().contains_key("retry-after"));
    let body = response.bytes().await?;
    ensure!(honest, "{status}: {}", String::from_utf8_lossy(&body));
    Ok((status, due.elapsed().as_secs_f64()))
}
