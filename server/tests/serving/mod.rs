//! The server over HTTP: the real program on a free port, with the starter model and photographs of
//! the demo.

mod browsing;
mod contract;
mod guarding;
mod homes;
mod large;
mod lifecycle;
mod pictures;
mod problems;
mod searching;
mod watching;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use contract::Client;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// Photographs of the demo that are told apart easily.
const PICTURES: [&str; 8] = [
    "caltech101/airplanes_image_0336.jpg",
    "caltech101/butterfly_image_0016.jpg",
    "caltech101/dalmatian_image_0034.jpg",
    "caltech101/grand_piano_image_0028.jpg",
    "caltech101/pizza_image_0021.jpg",
    "caltech101/sunflower_image_0036.jpg",
    "caltech101/watch_image_0047.jpg",
    "coco/000000000790.jpg",
];

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo").join(name)
}

/// The bundle that comes with the checkout.
pub(crate) fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/starter")
}

/// The program with an environment of its own: nothing that is set outside reaches it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipsight"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CLIPSIGHT_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A temporary folder with some photographs of the demo in `pictures`.
pub(crate) fn photographs() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("pictures");
    std::fs::create_dir(&folder).unwrap();
    for name in PICTURES {
        let file = Path::new(name).file_name().unwrap();
        std::fs::copy(demo(name), folder.join(file)).unwrap();
    }
    temp
}

/// The photographs, indexed into `data` beside them.
fn indexed() -> tempfile::TempDir {
    let temp = photographs();
    let indexed = program()
        .arg("index")
        .arg(temp.path().join("pictures"))
        .arg("--data")
        .arg(temp.path().join("data"))
        .output()
        .unwrap();
    assert!(indexed.status.success(), "{}", String::from_utf8_lossy(&indexed.stderr));
    temp
}

/// A server of its own for each test; ends with it.
struct Server {
    child: Child,
    /// Kept open, or the program could not print.
    stdout: BufReader<ChildStdout>,
    url: String,
    client: Client,
    temp: tempfile::TempDir,
}

impl Server {
    /// Serves an empty collection.
    fn empty() -> Self {
        Self::over(tempfile::tempdir().unwrap(), &[])
    }

    /// Serves the photographs.
    fn with_pictures() -> Self {
        Self::over(indexed(), &[])
    }

    /// Serves the data folder in `temp` with further flags.
    fn over(temp: tempfile::TempDir, flags: &[&str]) -> Self {
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(temp.path().join("data"))
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server ended");
            if let Some((_, rest)) = line.split_once("Open ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let client = Client(client);
        Self { child, stdout, url, client, temp }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> Response {
        self.client.delete(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// Posts a form of a JSON part `query`, where there is one, and of pictures under these names.
    async fn form(&self, path: &str, query: Option<Value>, images: &[(&str, Vec<u8>)]) -> Response {
        let mut form = reqwest::multipart::Form::new();
        if let Some(query) = query {
            form = form.text("query", query.to_string());
        }
        for (name, bytes) in images {
            let part = reqwest::multipart::Part::bytes(bytes.clone()).file_name(name.to_string());
            form = form.part("image", part);
        }
        self.client.post(format!("{}{path}", self.url)).multipart(form).send().await.unwrap()
    }

    async fn search(&self, query: &Value) -> Value {
        answer(self.post("/v1/search", query).await, StatusCode::OK).await
    }

    /// File names of the hits for some words, best first.
    async fn find(&self, words: &str) -> Vec<String> {
        names(&self.search(&json!({"terms": [{"text": words}], "limit": 100})).await)
    }

    /// The id of the picture with this file name.
    async fn id_of(&self, name: &str) -> String {
        let all = self.search(&json!({"terms": [{"text": "a photo"}], "limit": 100})).await;
        let hits = all["hits"].as_array().unwrap();
        let hit = hits.iter().find(|hit| hit["path"].as_str().unwrap().ends_with(name));
        hit.unwrap_or_else(|| panic!("{name} is not in {all}"))["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, as some tests want it to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JSON of an answer that has this status.
async fn answer(response: Response, status: StatusCode) -> Value {
    let found = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(found, status, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The problem of an answer: checked for its form, and that it has this status.
async fn problem(response: Response, status: u16) -> Value {
    let headers = response.headers().clone();
    let found = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(found, status, "{body}");
    assert_eq!(headers["content-type"], "application/problem+json", "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{body}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {body}");
    }
    assert_eq!(problem["instance"], headers["x-request-id"].to_str().unwrap(), "{body}");
    assert_eq!(headers.contains_key("retry-after"), status == 503, "{body}");
    problem
}

/// File names of the hits, best first.
fn names(answer: &Value) -> Vec<String> {
    let name = |hit: &Value| hit["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    answer["hits"].as_array().unwrap().iter().map(name).collect()
}
