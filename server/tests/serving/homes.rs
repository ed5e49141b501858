//! The server in homes that others built: immich's requests and those of clients of `OpenAI`.
//!
//! immich's are as its server sends them (`machine-learning.repository.ts`): a form of `entries` and
//! `image` without a file's name, or `text`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::multipart::{Form, Part};

use super::*;

const PIZZA: &str = "caltech101/pizza_image_0021.jpg";

fn entries(task: &str, kind: &str, model: &str) -> Form {
    let entries = json!({task: {kind: {"modelName": model, "options": {"language": "en"}}}});
    Form::new().text("entries", entries.to_string())
}

async fn predict(server: &Server, form: Form) -> (u16, Value) {
    let url = format!("{}/predict", server.url);
    let response = server.client.post(url).multipart(form).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn embeddings(server: &Server, body: &Value) -> (u16, Value) {
    let url = format!("{}/v1/embeddings", server.url);
    let response = server.client.post(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn photograph() -> Vec<u8> {
    std::fs::read(demo(PIZZA)).unwrap()
}

/// What `/v1/embed` says to a text.
async fn own_answer(server: &Server, text: &str) -> Value {
    let url = format!("{}/v1/embed", server.url);
    let response = server.client.post(url).json(&json!({"texts": [text]})).send().await.unwrap();
    response.json::<Value>().await.unwrap()["embeddings"][0].clone()
}

#[tokio::test]
async fn immich_gets_the_vectors_of_texts_and_pictures() {
    let server = Server::empty();
    let pong = server.get("/ping").await;
    assert_eq!((pong.status().as_u16(), pong.text().await.unwrap().as_str()), (200, "pong"));
    let (status, text) =
        predict(&server, entries("clip", "textual", "starter").text("text", "a pizza")).await;
    assert_eq!(status, 200, "{text}");
    let found: Value = serde_json::from_str(text["clip"].as_str().unwrap()).unwrap();
    assert_eq!(found, own_answer(&server, "a pizza").await);
    assert!(text.get("imageHeight").is_none());

    let image = Part::bytes(photograph()).file_name("blob");
    let form = entries("clip", "visual", "starter").part("image", image);
    let (status, picture) = predict(&server, form).await;
    assert_eq!(status, 200, "{picture}");
    let found: Vec<f32> = serde_json::from_str(picture["clip"].as_str().unwrap()).unwrap();
    assert_eq!(found.len(), 384);
    let decoded = clip::image::decode(&photograph(), &Default::default()).unwrap().pixels;
    assert_eq!(picture["imageWidth"], decoded.width());
    assert_eq!(picture["imageHeight"], decoded.height());
}

#[tokio::test]
async fn what_immich_does_elsewhere_is_refused_with_the_model_served() {
    let server = Server::empty();
    let text = |form: Form| form.text("text", "a pizza");
    let broken = Part::bytes(b"no picture".to_vec()).file_name("blob");
    for (form, status, words) in [
        (text(entries("clip", "textual", "ViT-B-32__openai")), 422, "ViT-B-32__openai"),
        (text(entries("facial-recognition", "detection", "buffalo_l")), 422, "starter"),
        (text(entries("ocr", "detection", "PP-OCRv5_mobile")), 422, "starter"),
        (text(entries("clip", "audible", "starter")), 422, "textual"),
        (text(entries("clip", "visual", "starter")), 422, "image"),
        (entries("clip", "textual", "starter"), 422, "text"),
        (entries("clip", "textual", "starter").text("text", ""), 422, "empty"),
        (entries("clip", "visual", "starter").part("image", broken), 422, "not a picture"),
        (text(Form::new()), 422, "entries"),
        (text(Form::new().text("entries", "{")), 400, "JSON"),
        (text(Form::new().text("entries", "{}")), 422, "one is answered"),
        (text(Form::new().text("entries", r#"{"clip": {"textual": {}}}"#)), 422, "modelName"),
    ] {
        let (found, problem) = predict(&server, form).await;
        assert_eq!(found, status, "{words}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{words}: {problem}");
    }
}

#[tokio::test]
async fn openai_s_clients_get_texts_and_pictures_as_numbers_or_as_base64() {
    let server = Server::empty();
    let uri = format!("data:image/jpeg;base64,{}", STANDARD.encode(photograph()));
    let body = json!({"model": "starter", "input": ["a pizza", uri]});
    let (status, answer) = embeddings(&server, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"][0]["embedding"], own_answer(&server, "a pizza").await);
    assert_eq!(answer["data"][1]["index"], 1);
    // The start token, two words and the end token.
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    let body = json!({"model": "starter", "input": "a pizza", "encoding_format": "base64"});
    let (_, packed) = embeddings(&server, &body).await;
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let plain: Vec<f32> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(numbers.collect::<Vec<_>>(), plain);
}

#[tokio::test]
async fn embeddings_that_cannot_be_made_are_refused_where_they_stand() {
    let server = Server::empty();
    for (body, pointer, words) in [
        (json!({"model": "gpt", "input": "a"}), "/model", "starter"),
        (json!({"model": "starter", "input": []}), "/input", "64"),
        (json!({"model": "starter", "input": [1, 2]}), "/input", "text"),
        (json!({"model": "starter", "input": ["a", ""]}), "/input/1", "empty"),
        (json!({"model": "starter", "input": "a", "dimensions": 8}), "/dimensions", "384"),
        (json!({"model": "starter", "input": "data:image/png,x"}), "/input/0", "base64"),
        (json!({"model": "starter", "input": "data:image/png;base64,?"}), "/input/0", "base64"),
    ] {
        let (status, problem) = embeddings(&server, &body).await;
        assert_eq!(status, 422, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
    }
    let no_picture = json!({"model": "starter", "input": "data:image/png;base64,AAAA"});
    let (status, problem) = embeddings(&server, &no_picture).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["type"].as_str().unwrap().ends_with("unreadable-picture"), "{problem}");
}
