//! Public models: brought whole, gone on with after a break, refused when they are not what they say.

mod local;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clipsight::hub::{Hub, HubError, Listing, RepoName, plan};
use serde_json::Value;
use tempfile::TempDir;

use crate::serving::{program, starter};
use local::{Fault, LocalHub};

const GRAPH: &str = "onnx/vision_model_int8.onnx";

/// A repository of small files that look like a model from afar.
fn small() -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("onnx")).unwrap();
    let files = ["config.json", "tokenizer.json", "preprocessor_config.json", "README.md"];
    for file in files.into_iter().chain([GRAPH, "onnx/text_model_int8.onnx"]) {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(|n| (n * 7919).to_le_bytes()).collect();
        std::fs::write(temp.path().join(file), [file.as_bytes(), &bytes].concat()).unwrap();
    }
    temp
}

/// Copies a folder with what is below it.
fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        let there = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(there).unwrap();
        } else {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

fn client(hub: &LocalHub) -> (Hub, Listing) {
    let client = Hub::new(&hub.endpoint, None, Duration::from_millis(500));
    let listing = client.listing(&RepoName::new("test/model").unwrap(), "main").unwrap();
    (client, listing)
}

fn fetch(hub: &LocalHub, into: &Path) -> Result<(), HubError> {
    let (client, listing) = client(hub);
    let plan = plan(&listing, None, None, &["int8"])?;
    let mut last = 0;
    client.fetch(&listing, &plan, into, &mut |done| last = done)?;
    assert_eq!(last, plan.size_bytes(), "progress ends with all bytes");
    Ok(())
}

/// The files below a folder that are still under way.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "part")).collect()
}

fn assert_same(repository: &Path, into: &Path) {
    for file in [GRAPH, "config.json"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(repository) == read(into), "{file} differs");
    }
    assert_eq!(parts(into), [] as [PathBuf; 0]);
}

#[test]
fn an_answer_cut_short_is_gone_on_with() {
    let (repository, into) = (small(), tempfile::tempdir().unwrap());
    let hub = LocalHub::over(repository.path());
    hub.spoil(GRAPH, &[Fault::Short(200_000)]);
    fetch(&hub, into.path()).unwrap();
    assert_same(repository.path(), into.path());
    let asked = hub.asked(GRAPH);
    assert!(asked == [0, 200_000], "{asked:?}");
}

#[test]
fn the_next_try_goes_on_where_the_last_one_stopped() {
    let (repository, into) = (small(), tempfile::tempdir().unwrap());
    let hub = LocalHub::over(repository.path());
    hub.spoil(GRAPH, &[Fault::Stall(200_000), Fault::Stall(0), Fault::Stall(0), Fault::Stall(0)]);
    let error = fetch(&hub, into.path()).unwrap_err();
    assert!(error.to_string().contains("what has arrived is kept"), "{error}");
    assert!(!into.path().join(GRAPH).exists() && parts(into.path()).len() == 1);
    assert!(!into.path().join("config.json").exists(), "a half model looks whole");
    let before = hub.asked(GRAPH).len();
    fetch(&hub, into.path()).unwrap();
    assert_same(repository.path(), into.path());
    let again = hub.asked(GRAPH).split_off(before);
    assert!(again.len() == 1 && again[0] > 0, "{again:?}");
    // What is there is not asked for again.
    let all = hub.asked(GRAPH).len();
    fetch(&hub, into.path()).unwrap();
    assert_eq!(hub.asked(GRAPH).len(), all);
}

#[test]
fn bytes_of_another_hash_are_thrown_away() {
    for file in [GRAPH, "tokenizer.json"] {
        let (repository, into) = (small(), tempfile::tempdir().unwrap());
        let hub = LocalHub::over(repository.path());
        hub.spoil(file, &[Fault::Damage]);
        let error = fetch(&hub, into.path()).unwrap_err();
        assert!(matches!(&error, HubError::Hash { path } if path == file), "{error}");
        assert!(!into.path().join(file).exists() && parts(into.path()).is_empty());
        fetch(&hub, into.path()).unwrap();
        assert_same(repository.path(), into.path());
    }
}

#[test]
fn a_listing_cannot_write_outside_of_its_folder() {
    let (repository, into) = (small(), tempfile::tempdir().unwrap());
    let hub = LocalHub::over(repository.path());
    let evil = format!("{GRAPH}_data/../../../evil");
    hub.list_also(&evil);
    let error = fetch(&hub, &into.path().join("model")).unwrap_err();
    assert!(matches!(&error, HubError::Path { path } if *path == evil), "{error}");
    assert!(!into.path().join("evil").exists());
}

/// `clipsight model pull` from the hub, with its exit code and what it said.
fn pull(endpoint: &str, words: &[&str]) -> (Option<i32>, Value, String) {
    let output = program()
        .args(["model", "pull", "--json"])
        .args(words)
        .env("HF_ENDPOINT", endpoint)
        .output()
        .unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), answer, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_public_model_is_fetched_checked_and_served_by_one_line() {
    let into = tempfile::tempdir().unwrap();
    let into = into.path().join("a model").display().to_string();
    let hub = LocalHub::over(&starter());
    let (code, answer, said) = pull(&hub.endpoint, &["test/model", "--into", &into]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(answer["precision"], "int8");
    assert_eq!(answer["commit"], "c0ffee");
    assert_eq!(answer["license"], "apache-2.0");
    assert_eq!(answer["dim"], 384);
    assert_eq!(answer["dir"], into.as_str());
    let check = program().args(["model", "check", &into]).output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!((check.status.code(), answer["self_checked"].as_bool()), (Some(0), Some(true)));
    assert!(said.contains("int8") && said.contains("yes"), "{said}");
}

#[test]
fn a_bundle_that_does_not_give_its_answers_is_told_at_once() {
    let (repository, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy(&starter(), repository.path());
    // Another picture under the name of a reference.
    let pictures = std::fs::read_dir(repository.path().join("reference")).unwrap();
    let mut pictures: Vec<_> = pictures.map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    std::fs::copy(&pictures[1], &pictures[0]).unwrap();
    let hub = LocalHub::over(repository.path());
    let into = into.path().join("model").display().to_string();
    let (code, _, said) = pull(&hub.endpoint, &["test/model", "--into", &into]);
    assert_eq!(code, Some(2));
    assert!(said.contains("does not reproduce its own answers"), "{said}");
}

#[test]
fn every_arrangement_of_public_models_is_fetched_and_runs() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures");
    for (folder, layout, dim) in [
        ("siglip", "Hugging Face", 16),
        ("siglip2_joint", "Hugging Face, joint", 16),
        ("clip_joint", "Hugging Face, joint", 12),
        ("immich", "immich", 12),
        ("open_clip", "open_clip", 12),
        ("rclip", "rclip", 12),
        ("jina_clip", "Hugging Face, joint", 16),
    ] {
        let into = tempfile::tempdir().unwrap();
        let into = into.path().join("model").display().to_string();
        let hub = LocalHub::over(&fixtures.join("layouts").join(folder));
        let (code, answer, said) = pull(&hub.endpoint, &["test/model", "--into", &into]);
        assert_eq!(code, Some(0), "{folder}: {said}");
        assert_eq!((answer["layout"].as_str(), answer["dim"].as_u64()), (Some(layout), Some(dim)));
        assert_eq!(answer["self_checked"], false);
        let check = program().args(["model", "check", "--json", &into]).output().unwrap();
        let check: Value = serde_json::from_slice(&check.stdout).unwrap();
        let reason = check["checks"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("it runs, but has no manifest.json"), "{folder}: {reason}");
        assert_eq!(check["understood"]["layout"], layout);
        assert!(check["checks"][0]["text"].as_str().unwrap().contains("->"), "{check}");
    }
}

/// By what `transformers` answered: the sigmoid of scale times cosine plus bias, each label alone.
#[test]
fn labels_of_a_siglip_stand_for_themselves() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures");
    let recorded = std::fs::read(fixtures.join("layouts.json")).unwrap();
    let recorded = serde_json::from_slice::<Value>(&recorded).unwrap()["siglip2_joint"].take();
    let row = |answer: &Value| {
        let row = answer["embedding"].as_array().unwrap().iter();
        clip::Embedding::new(row.map(|x| x.as_f64().unwrap() as f32).collect()).unwrap()
    };
    let picture = row(&recorded["pictures"][0]);
    let number = |key: &str| recorded["logits"][key].as_f64().unwrap() as f32;
    let (scale, bias) = (number("logit_scale").exp(), number("logit_bias"));
    let texts: Vec<&str> =
        [0, 1].map(|at| recorded["texts"][at]["text"].as_str().unwrap()).to_vec();
    let labels = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(labels.path(), texts.join("\n")).unwrap();
    let output = program()
        .arg("classify")
        .arg(fixtures.join("hf_clip").join(recorded["pictures"][0]["picture"].as_str().unwrap()))
        .args(["--template", "{}", "--json", "--labels-file"])
        .arg(labels.path())
        .arg("--model")
        .arg(fixtures.join("layouts/siglip2_joint"))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (at, text) in texts.iter().enumerate() {
        let logit = scale * row(&recorded["texts"][at]).cosine(&picture) + bias;
        let expected = 1.0 / (1.0 + (-logit).exp());
        let found = answer["labels"].as_array().unwrap().iter();
        let found = found.into_iter().find(|label| label["label"] == *text).unwrap();
        let found = found["probability"].as_f64().unwrap() as f32;
        assert!((found / expected - 1.0).abs() < 0.02, "{text}: {found}, not {expected}");
    }
}

#[test]
fn what_the_hub_does_not_have_is_told_with_the_way_out() {
    let repository = small();
    let hub = LocalHub::over(repository.path());
    let says = |words: &[&str], expected: &[&str]| {
        let (code, _, said) = pull(&hub.endpoint, words);
        assert_eq!(code, Some(2), "{said}");
        for word in expected {
            assert!(said.contains(word), "{said} does not say {word}");
        }
    };
    says(&["test/other"], &["test/other", "404", "HF_TOKEN"]);
    says(&["test/model", "--revision", "v2"], &["test/model", "404"]);
    says(&["model"], &["ORG/NAME"]);
    says(&["test/model", "--precision", "fp16"], &["fp16", "int8"]);
    let (code, _, said) = pull("http://127.0.0.1:9", &["test/model"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("127.0.0.1:9") && said.contains("HF_ENDPOINT"), "{said}");
}
