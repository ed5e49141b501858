//! What the commands answer when all is well.

use super::*;

#[test]
fn index_reports_what_it_did_and_again_that_nothing_was_left() {
    let temp = photographs();
    let pictures = temp.path().join("pictures");
    let index = || run(temp.path(), &["index", pictures.to_str().unwrap(), "--json"]);
    let first = json(&index());
    let count = std::fs::read_dir(&pictures).unwrap().count();
    assert_eq!(first["indexed"], count);
    assert_eq!((&first["unchanged"], &first["removed"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(first["failed"], Value::Array(Vec::new()));
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let second = json(&index());
    assert_eq!((&second["indexed"], &second["unchanged"]), (&Value::from(0), &Value::from(count)));
}

#[test]
fn index_names_what_it_could_not_read_and_ends_with_one() {
    let temp = photographs();
    let pictures = temp.path().join("pictures");
    std::fs::write(pictures.join("broken.jpg"), "no picture").unwrap();
    let output = run(temp.path(), &["index", pictures.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("broken.jpg: not a picture"), "{}", error(&output));
    assert!(text(&output).contains("1 failed"), "{}", text(&output));
}

#[test]
fn search_shows_a_table_and_with_json_what_the_api_gives() {
    let temp = indexed();
    let table = run(temp.path(), &["search", "a", "sunflower", "--limit", "3"]);
    assert_eq!(table.status.code(), Some(0), "{}", error(&table));
    let lines: Vec<String> = text(&table).lines().map(str::to_owned).collect();
    // A heading, three hits, and the line between the one that matches and the others.
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("score"), "{lines:?}");
    assert!(lines[1].ends_with("sunflower_image_0036.jpg"), "{lines:?}");
    let json = json(&run(temp.path(), &["search", "a sunflower", "--limit", "3", "--json"]));
    assert_eq!(json["hits"].as_array().unwrap().len(), 3);
    assert!(json["hits"][0]["path"].as_str().unwrap().ends_with("sunflower_image_0036.jpg"));
    assert_eq!(json["path_taken"], "exact");
}

#[test]
fn search_takes_pictures_and_what_to_steer_away_from() {
    let temp = indexed();
    let picture = temp.path().join("pictures/watch_image_0047.jpg");
    let words = ["search", "--image", picture.to_str().unwrap(), "--not", "a dog", "--json"];
    let found = json(&run(temp.path(), &words));
    assert!(found["hits"][0]["path"].as_str().unwrap().ends_with("watch_image_0047.jpg"));
}

#[test]
fn search_that_finds_nothing_ends_with_one() {
    let temp = indexed();
    let output = run(temp.path(), &["search", "a dog", "--min-score", "0.99", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["hits"], Value::Array(Vec::new()));
    let negative = run(temp.path(), &["search", "a dog", "--min-score", "-0.99"]);
    assert_eq!(negative.status.code(), Some(0));
}

#[test]
fn classify_needs_no_collection() {
    let temp = photographs();
    let picture = temp.path().join("pictures/sunflower_image_0036.jpg");
    let list = temp.path().join("labels.txt");
    std::fs::write(&list, "airplane\n\npizza\n").unwrap();
    let output = program()
        .args(["classify", picture.to_str().unwrap(), "--labels", "sunflower,watch"])
        .args(["--labels-file", list.to_str().unwrap(), "--template", "a photo of a {}", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let labels = json(&output)["labels"].as_array().unwrap().clone();
    assert_eq!(labels.len(), 4);
    assert_eq!(labels[0]["label"], "sunflower");
    assert!(labels[0]["probability"].as_f64().unwrap() > 0.5);
}

#[test]
fn status_counts_and_names_the_model() {
    let temp = indexed();
    let status = json(&run(temp.path(), &["status", "--json"]));
    let count = std::fs::read_dir(temp.path().join("pictures")).unwrap().count();
    assert_eq!(
        (&status["pictures"], &status["embedded"]),
        (&Value::from(count), &status["places"])
    );
    assert_eq!(status["model"]["id"], status["embedded_by"]);
    assert_eq!(status["model"]["precision"], status["precision"]);
    assert!(status["size_bytes"].as_u64().unwrap() > 0);
    assert_eq!(status["model_error"], Value::Null);
    let shown = text(&run(temp.path(), &["status"]));
    assert!(shown.contains(&format!("{count} ({count} embedded)")), "{shown}");
}

#[test]
fn model_check_runs_what_the_bundle_holds() {
    let output = program().args(["model", "check", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let checks = json(&output)["checks"].as_array().unwrap().clone();
    assert!(!checks.is_empty());
    for check in checks {
        assert_eq!(check["passed"], true, "{check}");
        assert!(check["compared"].as_u64().unwrap() > 0, "{check}");
        assert!(check["lowest_cosine"].as_f64() >= check["tolerance"].as_f64(), "{check}");
    }
}

#[test]
fn search_tells_where_good_hits_end() {
    let temp = indexed();
    let shown = run(temp.path(), &["search", "a", "sunflower"]);
    let shown = text(&shown);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].contains("sunflower") && lines[2].contains("weaker matches"), "{lines:?}");
    let nothing = run(temp.path(), &["search", "a", "windmill"]);
    assert!(error(&nothing).contains("nothing here really matches"), "{}", error(&nothing));
    assert!(!text(&nothing).contains("weaker matches"));
}

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = program().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", error(&output));
        for word in ["classify", "cors-origin", "min-score"] {
            assert!(text(&output).contains(word), "{shell} lacks {word}");
        }
    }
    let unknown = program().args(["completions", "sh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn help_tells_of_every_command() {
    let output = program().arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for command in ["index", "search", "classify", "serve", "status", "model", "completions"] {
        assert!(text(&output).contains(command));
        let help = program().args([command, "--help"]).output().unwrap();
        assert_eq!(help.status.code(), Some(0), "{command}");
    }
}

#[test]
fn nothing_but_the_data_folder_is_written_when_a_model_runs() {
    let temp = indexed();
    let home = temp.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let output = program()
        .args(["search", "a dog", "--data"])
        .arg(temp.path().join("data"))
        .env("HOME", &home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    // ONNX Runtime keeps an id of the device there when it means to report what it runs.
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
}
