//! Adding, looking at and deleting pictures.

use super::*;

#[tokio::test]
async fn an_upload_is_found_and_a_second_one_changes_nothing() {
    let server = Server::empty();
    let bytes = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    let add = || async {
        let response = server.form("/v1/pictures", None, &[("my pizza.jpg", bytes.clone())]).await;
        answer(response, StatusCode::CREATED).await
    };
    let first = add().await;
    assert_eq!(first["pictures"][0]["status"], "indexed");
    assert_eq!(first["failed"], json!([]));
    let second = add().await;
    assert_eq!(second["pictures"][0]["status"], "unchanged");
    assert_eq!(second["pictures"][0]["id"], first["pictures"][0]["id"]);
    assert_eq!(server.find("a pizza").await, ["my pizza.jpg"]);
}

#[tokio::test]
async fn a_broken_upload_is_named_and_the_good_ones_stay() {
    let server = Server::empty();
    let good = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    let cut = good[..good.len() / 2].to_vec();
    let images = [("good.jpg", good), ("cut.jpg", cut.clone()), ("none.jpg", Vec::new())];
    let response = server.form("/v1/pictures", None, &images).await;
    let both = answer(response, StatusCode::CREATED).await;
    assert_eq!(both["pictures"].as_array().unwrap().len(), 1);
    let failed = both["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["name"], "cut.jpg");
    assert!(failed[0]["reason"].as_str().unwrap().contains("cut off"), "{both}");
    assert_eq!(failed[1]["name"], "none.jpg");
    let none = server.form("/v1/pictures", None, &[("cut.jpg", cut)]).await;
    let none = problem(none, 422).await;
    assert_eq!(none["failed"][0]["name"], "cut.jpg");
}

#[tokio::test]
async fn a_record_tells_all_that_is_known() {
    let server = Server::with_pictures();
    let id = server.id_of("pizza_image_0021.jpg").await;
    let record = answer(server.get(&format!("/v1/pictures/{id}")).await, StatusCode::OK).await;
    let bytes = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    assert_eq!(record["id"], id);
    assert_eq!(record["format"], "jpeg");
    assert_eq!(record["size_bytes"], bytes.len());
    assert_eq!(record["sha256"].as_str().unwrap().len(), 64);
    assert!(record["added_at"].as_str().unwrap().ends_with('Z'), "{record}");
    assert_eq!(record["paths"][0], record["path"]);
}

#[tokio::test]
async fn a_file_comes_whole_in_ranges_and_not_again() {
    let server = Server::with_pictures();
    let id = server.id_of("pizza_image_0021.jpg").await;
    let bytes = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    let url = format!("{}/v1/pictures/{id}/file", server.url);
    let whole = server.client.get(&url).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "image/jpeg");
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.bytes().await.unwrap(), bytes);

    let part = server.client.get(&url).header("range", "bytes=100-299").send().await.unwrap();
    assert_eq!(part.status(), 206);
    let length = bytes.len();
    assert_eq!(part.headers()["content-range"], format!("bytes 100-299/{length}").as_str());
    assert_eq!(part.bytes().await.unwrap(), bytes[100..300]);

    let stale = server.client.get(&url).header("range", "bytes=0-9").header("if-range", "\"old\"");
    assert_eq!(stale.send().await.unwrap().bytes().await.unwrap(), bytes);

    let again = server.client.get(&url).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert!(again.bytes().await.unwrap().is_empty());
}

/// What a drawing may hold to do harm: scripts, links to elsewhere and to files here, a page within.
fn hostile_svg(secret: &Path) -> Vec<u8> {
    let secret = secret.display();
    format!(
        r##"<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY leak SYSTEM "file://{secret}">]>
        <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
             width="40" height="20" onload="alert(1)">
        <script>alert(1)</script><script xlink:href="http://evil.example/x.js"/>
        <style>@import "http://evil.example/x.css"; rect {{ fill: url(http://evil.example/#x) }}</style>
        <image xlink:href="file://{secret}" width="40" height="20"/>
        <image xlink:href="http://evil.example/x.png" width="40" height="20"/>
        <foreignObject width="40" height="20"><body xmlns="http://www.w3.org/1999/xhtml">
        <iframe src="file:///etc/passwd"/></body></foreignObject>
        <circle cx="10" cy="10" r="9" fill="#00c000"/></svg>"##
    )
    .into_bytes()
}

#[tokio::test]
async fn a_hostile_drawing_is_painted_without_what_it_names_and_nothing_of_it_runs() {
    let server = Server::empty();
    let secret = server.temp.path().join("secret.png");
    image::RgbImage::from_pixel(8, 8, image::Rgb([255, 0, 0])).save(&secret).unwrap();
    let name = "<img src=x onerror=alert(1)>.svg";
    let response = server.form("/v1/pictures", None, &[(name, hostile_svg(&secret))]).await;
    let added = answer(response, StatusCode::CREATED).await;
    let id = added["pictures"][0]["id"].as_str().unwrap();
    let record = answer(server.get(&format!("/v1/pictures/{id}")).await, StatusCode::OK).await;
    assert_eq!((&record["format"], &record["path"]), (&json!("svg+xml"), &json!(name)));
    assert_eq!((&record["width"], &record["height"]), (&json!(1024), &json!(512)));

    let file = server.get(&format!("/v1/pictures/{id}/file")).await;
    assert_eq!(file.headers()["content-type"], "image/svg+xml");
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    let policy = file.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    assert!(!policy.contains("script") && !policy.contains("http"), "{policy}");

    let small = server.get(&format!("/v1/pictures/{id}/thumbnail?size=160")).await;
    assert_eq!(small.headers()["content-type"], "image/jpeg");
    let small = small.bytes().await.unwrap();
    let small = clip::image::decode(&small, &clip::image::DecodeLimits::default()).unwrap().pixels;
    let colored = |at: usize| small.pixels().any(|p| p.0[at] > 150 && p.0[(at + 1) % 3] < 100);
    assert!(colored(1) && !colored(0), "green is drawn, the red of the file here is not");
}

#[tokio::test]
async fn a_drawing_that_multiplies_itself_is_refused_soon() {
    let server = Server::empty();
    let mut svg = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><defs><path id="u0" d="M0 0h9v9"/>"#.to_owned();
    for level in 1..12 {
        let twice = format!(r##"<use href="#u{}"/>"##, level - 1).repeat(10);
        svg += &format!(r#"<g id="u{level}">{twice}</g>"#);
    }
    svg += r##"</defs><use href="#u11"/></svg>"##;
    let started = std::time::Instant::now();
    let refused = server.form("/v1/pictures", None, &[("bomb.svg", svg.into_bytes())]).await;
    let refused = problem(refused, 422).await;
    assert!(refused["failed"][0]["reason"].as_str().unwrap().contains("SVG"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_thumbnail_is_a_small_jpeg_of_the_same_shape() {
    let server = Server::with_pictures();
    let name = "000000000790.jpg";
    let id = server.id_of(name).await;
    let response = server.get(&format!("/v1/pictures/{id}/thumbnail?size=160")).await;
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    let small = response.bytes().await.unwrap();
    let limits = clip::image::DecodeLimits::default();
    let small = clip::image::decode(&small, &limits).unwrap().pixels;
    let original = std::fs::read(demo(&format!("coco/{name}"))).unwrap();
    let original = clip::image::decode(&original, &limits).unwrap().pixels;
    assert_eq!(small.width().max(small.height()), 160);
    let ratio =
        |picture: &clip::image::RgbImage| f64::from(picture.width()) / f64::from(picture.height());
    assert!((ratio(&small) / ratio(&original) - 1.0).abs() < 0.02);
}

#[tokio::test]
async fn a_deleted_picture_is_gone_from_the_next_answer_and_its_file_stays() {
    let server = Server::with_pictures();
    let name = "pizza_image_0021.jpg";
    let id = server.id_of(name).await;
    // Its thumbnail has been made, too, and must not survive it.
    assert_eq!(server.get(&format!("/v1/pictures/{id}/thumbnail")).await.status(), 200);
    assert_eq!(server.delete(&format!("/v1/pictures/{id}")).await.status(), 204);
    assert!(!server.find("a pizza").await.contains(&name.to_owned()));
    for path in ["", "/file", "/thumbnail"] {
        problem(server.get(&format!("/v1/pictures/{id}{path}")).await, 404).await;
    }
    problem(server.delete(&format!("/v1/pictures/{id}")).await, 404).await;
    let query = json!({"terms": [{"picture": id}]});
    problem(server.post("/v1/search", &query).await, 404).await;
    assert!(server.temp.path().join("pictures").join(name).is_file());
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_told_so() {
    let server = Server::with_pictures();
    let name = "pizza_image_0021.jpg";
    let id = server.id_of(name).await;
    std::fs::remove_file(server.temp.path().join("pictures").join(name)).unwrap();
    for path in ["file", "thumbnail"] {
        let gone = problem(server.get(&format!("/v1/pictures/{id}/{path}")).await, 404).await;
        assert!(gone["detail"].as_str().unwrap().contains("index"), "{gone}");
    }
}
