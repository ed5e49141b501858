//! Whom the server answers, and how much it takes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

async fn ask(server: &Server, headers: &[(&str, &str)]) -> Response {
    let mut request = server.client.post(format!("{}/v1/search", server.url));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.json(&json!({"terms": [{"text": "a dog"}]})).send().await.unwrap()
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let server = Server::empty();
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "192.168.0.7"] {
        let refused = problem(ask(&server, &[("host", host)]).await, 403).await;
        assert!(refused["detail"].as_str().unwrap().contains("--allow-host"), "{refused}");
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "clipsight.localhost"] {
        assert_eq!(ask(&server, &[("host", host)]).await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_post_here() {
    let server = Server::empty();
    for origin in ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1"] {
        problem(ask(&server, &[("origin", origin)]).await, 403).await;
    }
    assert_eq!(ask(&server, &[("origin", &server.url)]).await.status(), 200);
}

#[tokio::test]
async fn a_host_that_was_allowed_is_answered() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--allow-host", "photos.example"]);
    let proxied = [("host", "photos.example"), ("origin", "https://photos.example")];
    assert_eq!(ask(&server, &proxied).await.status(), 200);
    problem(ask(&server, &[("host", "other.example")]).await, 403).await;
}

#[tokio::test]
async fn a_page_of_an_origin_that_was_named_may_ask_and_read() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--cors-origin", "https://photos.example"]);
    let answered = ask(&server, &[("origin", "https://photos.example")]).await;
    assert_eq!(answered.status(), 200);
    assert_eq!(answered.headers()["access-control-allow-origin"], "https://photos.example");
    assert_eq!(answered.headers()["vary"], "origin");
    // A problem can be read as well.
    let missing = server.client.get(format!("{}/v1/pictures/1", server.url));
    let missing = missing.header("origin", "https://photos.example").send().await.unwrap();
    assert_eq!(missing.headers()["access-control-allow-origin"], "https://photos.example");
    problem(missing, 404).await;
    for other in ["https://photos.example:8443", "http://photos.example", "https://evil.example"] {
        let refused = ask(&server, &[("origin", other)]).await;
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{other}");
        let refused = problem(refused, 403).await;
        assert!(refused["detail"].as_str().unwrap().contains("--cors-origin"), "{refused}");
    }
}

#[tokio::test]
async fn a_browser_that_asks_beforehand_hears_what_its_page_may_do() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--cors-origin", "https://photos.example"]);
    let preflight = |origin: &'static str| {
        let url = format!("{}/v1/pictures/1", server.url);
        let asked = server.client.0.request(reqwest::Method::OPTIONS, url);
        asked.header("origin", origin).header("access-control-request-method", "DELETE").send()
    };
    let told = preflight("https://photos.example").await.unwrap();
    assert_eq!(told.status(), 204);
    assert_eq!(told.headers()["access-control-allow-origin"], "https://photos.example");
    let methods = told.headers()["access-control-allow-methods"].to_str().unwrap();
    assert!(methods.contains("DELETE"), "{methods}");
    let refused = preflight("https://evil.example").await.unwrap();
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    assert!(!refused.headers().contains_key("access-control-allow-methods"));
}

/// A connection that has sent the head of an upload and holds back its body.
pub(super) fn half_an_upload(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST /v1/pictures HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\n\
         content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn one_upload_too_many_is_refused_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--uploads", "1"]);
    let held = half_an_upload(&server);
    let picture = || vec![("a.jpg", b"x".to_vec())];
    // The server needs a moment to see the first, which would be refused itself behind a second.
    let open = "clipsight_uploads_open 1\n";
    while !server.get("/metrics").await.text().await.unwrap().contains(open) {}
    problem(server.form("/v1/pictures", None, &picture()).await, 503).await;
    drop(held);
    // And a moment to see that it has gone.
    let mut response = server.form("/v1/pictures", None, &picture()).await;
    while response.status() == 503 {
        response = server.form("/v1/pictures", None, &picture()).await;
    }
    problem(response, 422).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--timeout-s", "1"]);
    let mut stream = half_an_upload(&server);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = String::new();
    // The server may close before it has read the whole request.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("no answer within 1 s"), "{answer}");
}
