//! A model hub on this machine: the endpoints of Hugging Face's that `model pull` uses, over a folder.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Path as Parts, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http_body::Frame;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// What goes wrong with one answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The answer ends after so many bytes, as one that a proxy cut off.
    Short(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// The first byte is another.
    Damage,
}

/// The hub; it ends with this value.
pub(super) struct LocalHub {
    pub(super) endpoint: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    folder: PathBuf,
    faults: Mutex<HashMap<String, VecDeque<Fault>>>,
    /// Path and first byte of each piece that was asked for.
    asked: Mutex<Vec<(String, usize)>>,
    /// Further entries of the listing.
    listed: Mutex<Vec<Value>>,
}

impl LocalHub {
    /// Serves the files of a folder as the repository `test/model`.
    pub(super) fn over(folder: &Path) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            faults: Mutex::default(),
            asked: Mutex::default(),
            listed: Mutex::default(),
        });
        let router = Router::new()
            .route("/api/models/test/model/revision/{revision}", get(listing))
            .route("/test/model/resolve/{commit}/{*path}", get(file))
            .with_state(Arc::clone(&shared));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, shared, _runtime: runtime }
    }

    /// Lets the next answers for a file go wrong, one after the other.
    pub(super) fn spoil(&self, path: &str, faults: &[Fault]) {
        let faults = faults.iter().copied().collect();
        self.shared.faults.lock().unwrap().insert(path.to_owned(), faults);
    }

    /// Lists a file that is not there.
    pub(super) fn list_also(&self, path: &str) {
        let entry = json!({"rfilename": path, "size": 3, "blobId": "0".repeat(40)});
        self.shared.listed.lock().unwrap().push(entry);
    }

    /// Where the pieces of a file that were asked for so far began.
    pub(super) fn asked(&self, path: &str) -> Vec<usize> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == path).map(|(_, from)| *from).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Graphs lie beside git and have a sha256, the rest is git's, as on the real hub.
fn entry(path: &str, bytes: &[u8]) -> Value {
    let git = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    let mut entry =
        json!({"rfilename": path, "size": bytes.len(), "blobId": hex(&Sha1::digest(&git))});
    if path.ends_with(".onnx") {
        let sha256 = hex(&Sha256::digest(bytes));
        entry["lfs"] = json!({"sha256": sha256, "size": bytes.len(), "pointerSize": 134});
    }
    entry
}

async fn listing(
    State(shared): State<Arc<Shared>>,
    Parts(revision): Parts<String>,
) -> Result<Json<Value>, StatusCode> {
    if revision != "main" {
        return Err(StatusCode::NOT_FOUND);
    }
    let files = WalkDir::new(&shared.folder).into_iter().map(Result::unwrap);
    let mut siblings: Vec<Value> = files
        .filter(|found| found.file_type().is_file())
        .map(|found| {
            let path = found.path().strip_prefix(&shared.folder).unwrap();
            entry(path.to_str().unwrap(), &std::fs::read(found.path()).unwrap())
        })
        .collect();
    siblings.extend(shared.listed.lock().unwrap().iter().cloned());
    let card = json!({"license": "apache-2.0"});
    Ok(Json(json!({"sha": "c0ffee", "cardData": card, "siblings": siblings})))
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Parts((commit, path)): Parts<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let bytes = std::fs::read(shared.folder.join(&path));
    let (Ok(mut bytes), "c0ffee") = (bytes, commit.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    shared.asked.lock().unwrap().push((path.clone(), from));
    let fault = shared.faults.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front);
    if let Some(Fault::Damage) = fault {
        bytes[from] ^= 1;
    }
    let told = format!("bytes {from}-{to}/{}", bytes.len());
    let piece = Bytes::from(bytes).slice(from..=to);
    let (length, body) = match fault {
        Some(Fault::Short(at)) => (at, Body::from(piece.slice(..at))),
        Some(Fault::Stall(at)) => (piece.len(), Body::new(Silent(Some(piece.slice(..at))))),
        Some(Fault::Damage) | None => (piece.len(), Body::from(piece)),
    };
    let headers = [(header::CONTENT_RANGE, told), (header::CONTENT_LENGTH, length.to_string())];
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

/// Some bytes, then silence, though more was promised.
struct Silent(Option<Bytes>);

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}
