//! Every error of the API leaves in the same form.

use super::*;

/// Requests that are at fault, each with the status and the pointer of its problem.
fn faults() -> Vec<(&'static str, Value, u16, &'static str)> {
    let text = |text: &str| json!({"terms": [{"text": text}]});
    let long = "x".repeat(8193);
    let classify = |labels: Value| json!({"picture": "1", "labels": labels});
    let many = json!((0..10_000).map(|n| format!("label {n}")).collect::<Vec<_>>());
    vec![
        ("/v1/search", json!({}), 422, ""),
        ("/v1/search", json!([]), 422, ""),
        ("/v1/search", json!({"text": "a dog"}), 422, "/text"),
        ("/v1/search", json!({"terms": []}), 422, "/terms"),
        ("/v1/search", json!({"terms": [{"text": "a", "picture": "1"}]}), 422, "/terms/0"),
        ("/v1/search", json!({"terms": [{"text": "a", "boost": 2}]}), 422, "/terms/0/boost"),
        ("/v1/search", json!({"terms": vec![json!({"text": "a"}); 33]}), 422, "/terms"),
        ("/v1/search", text(""), 422, "/terms/0/text"),
        ("/v1/search", text(" \t\n"), 422, "/terms/0/text"),
        ("/v1/search", text(&long), 422, "/terms/0/text"),
        ("/v1/search", text(&"x".repeat(100_000)), 422, "/terms/0/text"),
        ("/v1/search", json!({"terms": [{"vector": [1.0]}]}), 422, "/terms/0/vector"),
        ("/v1/search", json!({"terms": [{"vector": []}]}), 422, "/terms/0/vector"),
        ("/v1/search", json!({"terms": [{"image": "none"}]}), 422, "/terms/0/image"),
        ("/v1/search", json!({"terms": [{"picture": "999"}]}), 404, "/terms/0/picture"),
        ("/v1/search", json!({"terms": [{"picture": "../1"}]}), 404, "/terms/0/picture"),
        (
            "/v1/search",
            json!({"terms": [{"text": "a"}, {"text": "a", "weight": -1}]}),
            422,
            "/terms",
        ),
        ("/v1/search", json!({"terms": [{"text": "a"}], "limit": 0}), 422, "/limit"),
        ("/v1/search", json!({"terms": [{"text": "a"}], "limit": 1001}), 422, "/limit"),
        ("/v1/search", json!({"terms": [{"text": "a"}], "limit": -1}), 422, "/limit"),
        ("/v1/search", json!({"terms": [{"text": "a"}], "offset": 1_000_000}), 422, "/offset"),
        ("/v1/search", json!({"terms": [{"text": "a"}], "min_score": "x"}), 422, "/min_score"),
        ("/v1/classify", classify(json!([])), 422, "/labels"),
        ("/v1/classify", classify(json!(["a", ""])), 422, "/labels/1"),
        ("/v1/classify", classify(many.clone()), 422, "/labels"),
        ("/v1/classify", classify(json!(["a", "a"])), 422, "/labels/1"),
        ("/v1/classify", classify(json!(["a"])), 404, "/picture"),
        ("/v1/classify", json!({"labels": ["a"]}), 422, "/picture"),
        (
            "/v1/classify",
            json!({"picture": "1", "labels": ["a"], "templates": ["no slot"]}),
            422,
            "/templates/0",
        ),
        (
            "/v1/classify",
            json!({"picture": "1", "labels": ["a"], "templates": []}),
            422,
            "/templates",
        ),
        ("/v1/embed", json!({"texts": []}), 422, "/texts"),
        ("/v1/embed", json!({"texts": ["a", ""]}), 422, "/texts/1"),
        ("/v1/embed", json!({"texts": vec!["a"; 65]}), 422, "/texts"),
    ]
}

#[tokio::test]
async fn faults_in_json_are_told_with_a_pointer() {
    let server = Server::empty();
    for (path, body, status, pointer) in faults() {
        let problem = problem(server.post(path, &body).await, status).await;
        let found = problem["errors"][0]["pointer"].as_str();
        assert_eq!(found, Some(pointer), "{body}: {problem}");
    }
    // After all of these, it still answers.
    assert_eq!(server.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_told() {
    let server = Server::empty();
    let send = |content_type: &'static str, body: &'static str| {
        let request = server.client.post(format!("{}/v1/search", server.url));
        request.header("content-type", content_type).body(body).send()
    };
    problem(send("application/json", "{").await.unwrap(), 400).await;
    problem(send("application/json", "").await.unwrap(), 400).await;
    problem(send("application/json", "{\"terms\":[]} and more").await.unwrap(), 400).await;
    problem(send("application/json", "{\"terms\":\u{1}").await.unwrap(), 400).await;
    problem(send("text/plain", "{}").await.unwrap(), 415).await;
    problem(send("application/x-www-form-urlencoded", "a=b").await.unwrap(), 415).await;
    problem(send("multipart/form-data", "x").await.unwrap(), 400).await;
    problem(send("multipart/form-data; boundary=b", "x").await.unwrap(), 400).await;
    problem(send("multipart/form-data; boundary=b", "--b--\r\n").await.unwrap(), 422).await;
    let bare = server.client.post(format!("{}/v1/search", server.url)).send().await.unwrap();
    problem(bare, 415).await;
    problem(server.post("/v1/pictures", &json!({})).await, 415).await;
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_told() {
    let server = Server::empty();
    for path in ["/v1/nothing", "/v2/search", "/%00", "/v1/pictures/1/nothing", "/../etc/passwd"] {
        problem(server.get(path).await, 404).await;
    }
    for path in ["/v1/pictures/1", "/v1/pictures/abc", "/v1/pictures/1/file", "/v1/pictures/-1"] {
        problem(server.get(path).await, 404).await;
    }
    problem(server.delete("/v1/pictures/1").await, 404).await;
    let put = server.client.put(format!("{}/v1/search", server.url)).send().await.unwrap();
    assert_eq!(put.headers()["allow"], "POST");
    problem(put, 405).await;
    problem(server.get("/v1/search").await, 405).await;
}

#[tokio::test]
async fn parameters_and_ranges_that_are_not_accepted_are_told() {
    let server = Server::with_pictures();
    let id = server.id_of("pizza_image_0021.jpg").await;
    for size in ["0", "-5", "a", "100000", "99999999999999999999"] {
        let path = format!("/v1/pictures/{id}/thumbnail?size={size}");
        problem(server.get(&path).await, 422).await;
    }
    let url = format!("{}/v1/pictures/{id}/file", server.url);
    let beyond = server.client.get(url).header("range", "bytes=99999999-").send().await.unwrap();
    assert!(beyond.headers()["content-range"].to_str().unwrap().starts_with("bytes */"));
    problem(beyond, 416).await;
}

#[tokio::test]
async fn pictures_that_cannot_be_read_are_told() {
    let server = Server::empty();
    let query = || Some(json!({"terms": [{"image": "image"}]}));
    let labels = || Some(json!({"labels": ["a"]}));
    let words = || vec![("a.jpg", b"no picture".to_vec())];
    let search = problem(server.form("/v1/search", query(), &words()).await, 422).await;
    assert_eq!(search["errors"][0]["pointer"], "/terms/0/image");
    problem(server.form("/v1/classify", labels(), &words()).await, 422).await;
    problem(server.form("/v1/embed", None, &words()).await, 422).await;
    problem(server.form("/v1/embed", None, &[]).await, 400).await;
    problem(server.form("/v1/pictures", None, &[]).await, 400).await;
    problem(server.form("/v1/pictures", query(), &words()).await, 422).await;
    problem(server.form("/v1/search", None, &words()).await, 422).await;
    // A header that claims 60,000 by 60,000 pixels costs no memory.
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".to_vec();
    huge.extend(crc(&huge[12..29]).to_be_bytes());
    huge.extend(b"\0\0\0\x01IDAT\x78");
    huge.extend(crc(b"IDAT\x78").to_be_bytes());
    let huge = server.form("/v1/embed", None, &[("huge.png", huge)]).await;
    let huge = problem(huge, 422).await;
    assert!(huge["detail"].as_str().unwrap().contains("--max-pixels"), "{huge}");
}

/// The check sum of a PNG chunk (PNG specification, annex D).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(temp, &["--max-upload-mib", "1"]);
    let long = "x".repeat(3 * 1024 * 1024);
    problem(server.post("/v1/search", &json!({"terms": [{"text": long}]})).await, 413).await;
    let picture = vec![0; 3 * 1024 * 1024];
    let upload = server.form("/v1/pictures", None, &[("a.jpg", picture)]).await;
    problem(upload, 413).await;
}
