//! Collections that are large enough for a graph: here eight pictures, with the bound lowered.

use super::*;

const FLAGS: [&str; 2] = ["--exact-below", "5"];

/// Searches until the graph that is made beside them answers.
async fn led(server: &Server) -> Value {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let query = json!({"terms": [{"text": "a slice of pizza"}], "limit": 100});
        let answer = server.search(&query).await;
        if answer["path_taken"] == "hnsw" {
            return answer;
        }
        assert_eq!(answer["path_taken"], "exact");
        assert_eq!(answer["hits"].as_array().unwrap().len(), 8, "{answer}");
        assert!(std::time::Instant::now() < deadline, "no graph came: {answer}");
    }
}

/// Ends a server and serves the same data folder again.
fn again(mut server: Server) -> Server {
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let temp = std::mem::replace(&mut server.temp, tempfile::tempdir().unwrap());
    Server::over(temp, &FLAGS)
}

#[tokio::test]
async fn graph_answers_as_the_scan_and_comes_back_from_its_snapshot_or_without_it() {
    let server = Server::with_pictures();
    let scanned = server.search(&json!({"terms": [{"text": "a slice of pizza"}]})).await;
    assert_eq!(scanned["path_taken"], "exact");
    let server = again(server);
    let answer = led(&server).await;
    assert_eq!(answer["hits"], scanned["hits"]);

    let links = server.temp.path().join("data/index/hnsw/links.hnsw.graph");
    let whole = std::fs::read(&links).unwrap();
    let server = again(server);
    assert_eq!(led(&server).await["hits"], scanned["hits"]);
    assert_eq!(std::fs::read(&links).unwrap(), whole, "a whole snapshot was made again");

    std::fs::write(&links, &whole[..whole.len() / 2]).unwrap();
    let server = again(server);
    assert_eq!(led(&server).await["hits"], scanned["hits"]);
    assert!(std::fs::read(&links).unwrap().len() > whole.len() / 2, "it was left truncated");
}

#[tokio::test]
async fn deleted_picture_is_gone_from_the_graphs_next_answer_and_an_upload_brings_it_back() {
    let server = again(Server::with_pictures());
    led(&server).await;
    let id = server.id_of("pizza_image_0021.jpg").await;
    assert_eq!(server.delete(&format!("/v1/pictures/{id}")).await.status(), 204);
    let found = server.find("a slice of pizza").await;
    assert_eq!(found.len(), 7);
    assert!(!found.iter().any(|name| name.contains("pizza")), "{found:?}");
    let bytes = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    let added = server.form("/v1/pictures", None, &[("pizza.jpg", bytes)]).await;
    assert_eq!(answer(added, StatusCode::CREATED).await["pictures"][0]["id"], id);
    assert!(server.find("a slice of pizza").await[0].contains("pizza"));
}
