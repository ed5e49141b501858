//! The page and what comes with it.

use super::*;

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy() {
    let server = Server::empty();
    let page = server.get("/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    if !html.contains("<script") {
        // Built on a machine without npm: the address says how to get the page.
        assert!(html.contains("make web"), "{html}");
        return;
    }
    // Whatever the page names must be there: a file without its route would be noticed by nobody.
    let mut named: Vec<String> = html
        .split(['"', '\''])
        .filter(|word| word.starts_with('/') && word.contains('.'))
        .map(str::to_owned)
        .collect();
    assert!(named.iter().any(|name| name.ends_with(".js")), "{named:?}");
    while let Some(name) = named.pop() {
        let file = server.get(&name).await;
        assert_eq!(file.status(), 200, "{name}");
        assert_eq!(file.headers()["x-content-type-options"], "nosniff", "{name}");
        if name.ends_with(".js") {
            let script = file.text().await.unwrap();
            let imported = script.split('"').filter(|word| word.starts_with("./"));
            named.extend(imported.map(|word| word[1..].to_owned()));
        }
    }
}

#[tokio::test]
async fn the_page_brings_no_inline_script_or_style_that_its_policy_would_stop() {
    let server = Server::empty();
    let html = server.get("/").await.text().await.unwrap();
    assert!(html.contains("<title>Clipsight</title>"), "{html}");
    for stopped in ["<style", "style=", "onclick=", "<script>", "javascript:"] {
        assert!(!html.contains(stopped), "{stopped}");
    }
}

#[tokio::test]
async fn health_and_model_answer() {
    let server = Server::empty();
    let ok = StatusCode::OK;
    assert_eq!(answer(server.get("/health/live").await, ok).await["status"], "live");
    assert_eq!(answer(server.get("/health/ready").await, ok).await["status"], "ready");
    let model = answer(server.get("/v1/model").await, ok).await;
    assert_eq!(model["id"].as_str().unwrap().len(), 64);
    assert_eq!(model["self_checked"], true);
    assert!(model["dim"].as_u64().unwrap() > 0 && model["precision"].is_string(), "{model}");
}
