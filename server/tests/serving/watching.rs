//! What programs ask the server about itself: its metrics and its document.

use super::*;

/// The value of a line of the metrics.
fn value(metrics: &str, line: &str) -> Option<f64> {
    let found = metrics.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn metrics_count_what_was_asked_and_what_is_held() {
    let server = Server::with_pictures();
    server.find("a dog").await;
    server.find("a cat").await;
    problem(server.post("/v1/search", &json!({"terms": []})).await, 422).await;
    problem(server.get("/v1/pictures/999").await, 404).await;
    problem(server.get("/v1/pictures/998").await, 404).await;
    problem(server.get("/nothing").await, 404).await;
    let response = server.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    let text = response.text().await.unwrap();
    let search = "route=\"/v1/search\"";
    let all = "clipsight_requests_total";
    let problems = "clipsight_problems_total";
    for (line, expected) in [
        (format!("{all}{{{search},method=\"POST\",status=\"200\"}}"), 2.0),
        (format!("{all}{{{search},method=\"POST\",status=\"422\"}}"), 1.0),
        (format!("{all}{{route=\"/v1/pictures/{{id}}\",method=\"GET\",status=\"404\"}}"), 2.0),
        (format!("{all}{{route=\"none\",method=\"GET\",status=\"404\"}}"), 1.0),
        (format!("clipsight_request_seconds_count{{{search}}}"), 3.0),
        (format!("clipsight_request_seconds_bucket{{{search},le=\"+Inf\"}}"), 3.0),
        (format!("{problems}{{type=\"invalid-request\"}}"), 1.0),
        (format!("{problems}{{type=\"no-such-picture\"}}"), 2.0),
        (format!("{problems}{{type=\"overloaded\"}}"), 0.0),
        ("clipsight_pictures".to_owned(), PICTURES.len() as f64),
        ("clipsight_requests_open".to_owned(), 1.0),
        ("clipsight_uploads_open".to_owned(), 0.0),
    ] {
        assert_eq!(value(&text, &line), Some(expected), "{line} in\n{text}");
    }
    assert!(text.contains("clipsight_info{version=\""), "{text}");
}

#[tokio::test]
async fn requests_that_come_together_are_embedded_together() {
    let server = Server::over(indexed(), &["--queue", "16"]);
    let mut metrics = String::new();
    let line = |name: &str| format!("clipsight_batch_size_{name}{{tower=\"text\"}}");
    let of = |metrics: &str, name: &str| value(metrics, &line(name)).unwrap();
    // While the first of sixteen is with the model, others come to wait.
    for round in 1..=50 {
        let texts = (0..16).map(|i| format!("a cat number {i} of the {round}"));
        let queries: Vec<_> = texts.map(|text| json!({"terms": [{"text": text}]})).collect();
        let answers = all(queries.iter().map(|query| server.post("/v1/search", query))).await;
        assert!(answers.iter().all(|answer| answer.status() == 200));
        metrics = server.get("/metrics").await.text().await.unwrap();
        assert_eq!(of(&metrics, "sum"), f64::from(16 * round), "{metrics}");
        if of(&metrics, "count") < of(&metrics, "sum") {
            break;
        }
    }
    assert!(of(&metrics, "count") < of(&metrics, "sum"), "{metrics}");
    for tower in ["image", "text"] {
        let named = |name| format!("clipsight_queue_{name}{{tower=\"{tower}\"}}");
        assert_eq!(value(&metrics, &named("depth")), Some(0.0), "{metrics}");
        assert!(value(&metrics, &named("places")) > Some(0.0), "{metrics}");
    }
}

#[tokio::test]
async fn the_document_is_served_and_names_every_route() {
    let server = Server::empty();
    let document = answer(server.get("/v1/openapi.json").await, StatusCode::OK).await;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, route) in document["paths"].as_object().unwrap() {
        let methods = route.as_object().unwrap().keys().filter(|key| *key != "parameters");
        let methods: Vec<String> = methods.map(|method| method.to_ascii_uppercase()).collect();
        // What a route takes stands in the answer to a method that it does not take.
        let put = server.client.put(format!("{}{}", server.url, path.replace("{id}", "1")));
        let put = put.send().await.unwrap();
        let allowed = put.headers()["allow"].to_str().unwrap().to_owned();
        problem(put, 405).await;
        let mut allowed: Vec<&str> = allowed.split(',').filter(|name| *name != "HEAD").collect();
        allowed.sort_unstable();
        let mut methods: Vec<&str> = methods.iter().map(String::as_str).collect();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn who_cannot_be_answered_soon_is_refused_and_the_others_are_answered() {
    let server = Server::over(indexed(), &["--queue", "1", "--batch", "1"]);
    let alone =
        server.search(&json!({"terms": [{"text": "a yellow sunflower"}]})).await["hits"].clone();
    // Sixteen new texts at once for a model that takes one and lets one wait.
    let (mut refused, mut answered) = (0, 0);
    for round in 0..50 {
        let texts = (0..16).map(|i| format!("a dog number {i} of the {round}"));
        let queries = texts.map(|text| json!({"terms": [{"text": text}]}));
        let queries: Vec<Value> = queries.collect();
        let answers = queries.iter().map(|query| server.post("/v1/search", query));
        for response in all(answers).await {
            if response.status() == 200 {
                let hits = answer(response, StatusCode::OK).await["hits"].clone();
                assert_eq!(hits.as_array().unwrap().len(), 8);
                answered += 1;
            } else {
                let problem = problem(response, 503).await;
                assert_eq!(problem["type"], "urn:clipsight:problem:overloaded");
                refused += 1;
            }
        }
        if refused > 0 && answered > 0 {
            break;
        }
    }
    assert!(refused > 0 && answered > 0, "{refused} refused, {answered} answered");
    let again =
        server.search(&json!({"terms": [{"text": "a yellow sunflower"}]})).await["hits"].clone();
    assert_eq!(again, alone);
    let metrics = server.get("/metrics").await.text().await.unwrap();
    let counted = value(&metrics, "clipsight_problems_total{type=\"overloaded\"}");
    assert_eq!(counted, Some(f64::from(refused)));
}

/// The answers to all of these at once.
async fn all(asked: impl Iterator<Item = impl Future<Output = Response>>) -> Vec<Response> {
    let mut waiting: Vec<_> = asked.map(Box::pin).collect();
    let mut answers: Vec<Response> = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(response) => {
                answers.push(response);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}
