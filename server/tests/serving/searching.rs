//! Searching and classifying.

use super::*;

fn scores(answer: &Value) -> Vec<f64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["score"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn words_find_the_picture_they_describe() {
    let server = Server::with_pictures();
    for (words, file) in [
        ("a yellow sunflower", "sunflower_image_0036.jpg"),
        ("an airplane", "airplanes_image_0336.jpg"),
        ("a dalmatian dog", "dalmatian_image_0034.jpg"),
        ("a pizza", "pizza_image_0021.jpg"),
    ] {
        assert_eq!(server.find(words).await[0], file, "{words}");
    }
}

#[tokio::test]
async fn an_answer_has_what_was_promised() {
    let server = Server::with_pictures();
    let answer = server.search(&json!({"terms": [{"text": "a dog"}], "limit": 3})).await;
    assert_eq!(answer["total_indexed"], PICTURES.len());
    assert_eq!(answer["path_taken"], "exact");
    assert!(answer["took_ms"].as_f64().unwrap() > 0.0);
    assert!(answer.get("truncated").is_none());
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    for hit in hits {
        assert!(hit["id"].is_string() && hit["path"].as_str().unwrap().starts_with('/'), "{hit}");
        assert!(hit["width"].as_u64().unwrap() > 0 && hit["height"].as_u64().unwrap() > 0);
        let thumbnail = server.get(hit["thumbnail"].as_str().unwrap()).await;
        assert_eq!(thumbnail.status(), 200);
    }
    assert!(scores(&answer).is_sorted_by(|a, b| a >= b));
}

#[tokio::test]
async fn a_match_stands_above_the_line_and_what_is_not_there_below() {
    let server = Server::with_pictures();
    let calibrated = |answer: &Value| {
        let hits = answer["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["calibrated"].as_f64()).collect::<Option<Vec<f64>>>()
    };
    for words in ["a sunflower", "a pizza", "an airplane"] {
        let found = server.search(&json!({"terms": [{"text": words}]})).await;
        let found = calibrated(&found).unwrap();
        assert!(found[0] >= 0.5 && found[1] < 0.5, "{words}: {found:?}");
        assert!(found.is_sorted_by(|a, b| a >= b), "{words}: {found:?}");
    }
    for words in ["a windmill", "a saxophone", "an anchor"] {
        let found = server.search(&json!({"terms": [{"text": words}]})).await;
        assert!(calibrated(&found).unwrap()[0] < 0.5, "{words}: {found}");
    }
    // One hit is judged like many.
    let page = |limit: usize| json!({"terms": [{"text": "a pizza"}], "limit": limit});
    let (one, all) = (server.search(&page(1)).await, server.search(&page(100)).await);
    assert_eq!(one["hits"][0]["calibrated"], all["hits"][0]["calibrated"]);
    // Pictures are nearer to each other than to any words.
    let id = server.id_of("pizza_image_0021.jpg").await;
    let mixed = json!({"terms": [{"text": "food"}, {"picture": id}]});
    assert_eq!(calibrated(&server.search(&mixed).await), None);
}

#[tokio::test]
async fn pages_put_together_are_the_whole_ranking() {
    let server = Server::with_pictures();
    let page =
        |offset: usize| json!({"terms": [{"text": "an animal"}], "limit": 3, "offset": offset});
    let mut pages = Vec::new();
    for offset in [0, 3, 6, 9] {
        pages.extend(names(&server.search(&page(offset)).await));
    }
    assert_eq!(pages, server.find("an animal").await);
    assert_eq!(pages.len(), PICTURES.len());
}

#[tokio::test]
async fn a_stored_picture_that_is_a_term_is_no_hit() {
    let server = Server::with_pictures();
    let id = server.id_of("pizza_image_0021.jpg").await;
    let answer = server.search(&json!({"terms": [{"picture": id}], "limit": 100})).await;
    let found = names(&answer);
    assert_eq!(found.len(), PICTURES.len() - 1);
    assert!(!found.contains(&"pizza_image_0021.jpg".to_owned()));
    assert!(scores(&answer)[0] < 0.999);
}

#[tokio::test]
async fn a_picture_sent_along_finds_itself() {
    let server = Server::with_pictures();
    let bytes = std::fs::read(demo("caltech101/watch_image_0047.jpg")).unwrap();
    let query = json!({"terms": [{"image": "image"}], "limit": 1});
    let response = server.form("/v1/search", Some(query), &[("x.jpg", bytes)]).await;
    let answer = answer(response, StatusCode::OK).await;
    assert_eq!(names(&answer), ["watch_image_0047.jpg"]);
    assert!(scores(&answer)[0] > 0.999, "{answer}");
}

#[tokio::test]
async fn several_pictures_sent_along_are_named_by_their_files() {
    let server = Server::with_pictures();
    let read = |name: &str| std::fs::read(demo(name)).unwrap();
    let images = [
        ("a.jpg", read("caltech101/watch_image_0047.jpg")),
        ("b.jpg", read("coco/000000000790.jpg")),
    ];
    let query =
        json!({"terms": [{"image": "b.jpg"}, {"image": "a.jpg", "weight": 0.1}], "limit": 1});
    let response = server.form("/v1/search", Some(query), &images).await;
    assert_eq!(names(&answer(response, StatusCode::OK).await), ["000000000790.jpg"]);
}

#[tokio::test]
async fn a_negative_weight_steers_away() {
    let server = Server::with_pictures();
    let pizza = "pizza_image_0021.jpg";
    assert_eq!(server.find("a pizza").await[0], pizza);
    let without = json!([{"text": "a photo"}, {"text": "a pizza", "weight": -1.0}]);
    let without = names(&server.search(&json!({"terms": without, "limit": 100})).await);
    assert_ne!(server.find("a photo").await.last().unwrap(), pizza);
    assert_eq!(without.last().unwrap(), pizza);
}

#[tokio::test]
async fn an_embedding_sent_back_as_a_vector_is_the_same_query() {
    let server = Server::with_pictures();
    let embedded = server.post("/v1/embed", &json!({"texts": ["a piano", "a dog"]})).await;
    let embedded = answer(embedded, StatusCode::OK).await;
    let model = answer(server.get("/v1/model").await, StatusCode::OK).await;
    assert_eq!(embedded["model"], model["id"]);
    let vector = embedded["embeddings"][0].as_array().unwrap();
    assert_eq!(vector.len() as u64, model["dim"].as_u64().unwrap());
    let length: f64 = vector.iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    // Ten times as long: a vector is normalized here.
    let longer: Vec<f64> = vector.iter().map(|x| 10.0 * x.as_f64().unwrap()).collect();
    let query = json!({"terms": [{"vector": longer}], "limit": 100});
    assert_eq!(names(&server.search(&query).await), server.find("a piano").await);
}

#[tokio::test]
async fn pictures_embed_as_they_were_indexed() {
    let server = Server::with_pictures();
    let bytes = std::fs::read(demo("coco/000000000790.jpg")).unwrap();
    let response = server.form("/v1/embed", None, &[("x.jpg", bytes)]).await;
    let vector = answer(response, StatusCode::OK).await["embeddings"][0].clone();
    let found = server.search(&json!({"terms": [{"vector": vector}], "limit": 1})).await;
    assert_eq!(names(&found), ["000000000790.jpg"]);
    assert!(scores(&found)[0] > 0.999, "{found}");
}

#[tokio::test]
async fn a_picture_of_more_than_forty_megapixels_is_embedded_too() {
    let server = Server::empty();
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(8000, 5200).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let images = [("large.png", png.into_inner())];
    let response = server.form("/v1/embed", None, &images).await;
    assert_eq!(answer(response, StatusCode::OK).await["embeddings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_score_that_is_too_low_is_no_hit() {
    let server = Server::with_pictures();
    let all = server.search(&json!({"terms": [{"text": "a watch"}], "limit": 100})).await;
    let third = scores(&all)[2];
    let query = json!({"terms": [{"text": "a watch"}], "limit": 100, "min_score": third});
    assert_eq!(scores(&server.search(&query).await), scores(&all)[..3]);
}

#[tokio::test]
async fn a_text_beyond_the_context_says_that_it_was_cut() {
    let server = Server::with_pictures();
    let long = "a dog and a cat ".repeat(500);
    let answer = server.search(&json!({"terms": [{"text": long}]})).await;
    assert_eq!(answer["truncated"], true);
}

#[tokio::test]
async fn labels_are_ranked_for_a_stored_and_for_a_sent_picture_alike() {
    let server = Server::with_pictures();
    let name = "caltech101/grand_piano_image_0028.jpg";
    let id = server.id_of("grand_piano_image_0028.jpg").await;
    let labels = ["a grand piano", "a dog", "an airplane", "a sunflower"];
    let stored = json!({"picture": id, "labels": labels, "limit": 4});
    let stored = answer(server.post("/v1/classify", &stored).await, StatusCode::OK).await;
    let ranked = stored["labels"].as_array().unwrap();
    assert_eq!(ranked[0]["label"], "a grand piano");
    let sum: f64 = ranked.iter().map(|label| label["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{stored}");
    let query = json!({"labels": labels, "templates": ["a photo of {}"], "limit": 1});
    let images = [("x.jpg", std::fs::read(demo(name)).unwrap())];
    let sent = server.form("/v1/classify", Some(query), &images).await;
    let sent = answer(sent, StatusCode::OK).await;
    assert_eq!(sent["labels"].as_array().unwrap().len(), 1);
    assert_eq!(sent["labels"][0]["label"], "a grand piano");
}

#[tokio::test]
async fn an_empty_collection_answers_with_nothing() {
    let server = Server::empty();
    let answer = server.search(&json!({"terms": [{"text": "a dog"}]})).await;
    assert_eq!(answer["hits"], json!([]));
    assert_eq!(answer["total_indexed"], 0);
}
