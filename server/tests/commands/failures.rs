//! What the commands say when something is missing or wrong.

use super::*;
use crate::serving::starter;

#[test]
fn searching_before_indexing_names_the_way_out() {
    let temp = tempfile::tempdir().unwrap();
    for words in [&["search", "a dog"][..], &["status"]] {
        let said = refused(&run(temp.path(), words));
        assert!(said.contains("clipsight index"), "{said}");
    }
    assert!(!temp.path().join("data").exists(), "a reader made a data folder");
}

#[test]
fn indexing_a_mistyped_path_leaves_nothing_behind() {
    let temp = photographs();
    let (good, typo) = (temp.path().join("pictures"), temp.path().join("pitcures"));
    let said =
        refused(&run(temp.path(), &["index", good.to_str().unwrap(), typo.to_str().unwrap()]));
    assert!(said.contains("pitcures") && said.contains("nothing was changed"), "{said}");
    assert!(!temp.path().join("data").exists(), "a data folder was made for nothing");
}

#[test]
fn a_search_for_nothing_says_what_to_give() {
    let temp = tempfile::tempdir().unwrap();
    assert!(refused(&run(temp.path(), &["search"])).contains("--image"));
    assert!(refused(&run(temp.path(), &["search", ""])).contains("empty"));
    let long = "x".repeat(100_000);
    assert!(refused(&run(temp.path(), &["search", &long])).contains("8192"));
    assert!(refused(&run(temp.path(), &["search", "a", "--limit", "0"])).contains("limit"));
    let said = refused(&run(temp.path(), &["search", "--image", "/nowhere/a.jpg"]));
    assert!(said.contains("/nowhere/a.jpg"), "{said}");
}

#[test]
fn a_missing_onnx_runtime_comes_with_the_cure() {
    let temp = indexed();
    let none = temp.path().join("libonnxruntime.so");
    let flag = ["search", "a dog", "--onnxruntime", none.to_str().unwrap()];
    let said = refused(&run(temp.path(), &flag));
    assert!(said.contains("make onnxruntime") && said.contains("--onnxruntime"), "{said}");
    std::fs::write(&none, "not a library").unwrap();
    let said = refused(&run(temp.path(), &flag));
    assert!(said.contains(none.to_str().unwrap()), "{said}");
    assert!(said.contains("make onnxruntime"), "{said}");
    let shared = program()
        .args(["search", "a dog", "--data"])
        .arg(temp.path().join("data"))
        .env("ORT_DYLIB_PATH", &none)
        .output()
        .unwrap();
    assert!(refused(&shared).contains(none.to_str().unwrap()));
}

#[test]
fn a_library_that_is_no_onnx_runtime_is_told_so() {
    let temp = indexed();
    // Any shared library will do; the C library is on every Linux that runs this.
    let other =
        ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
    let other = other.into_iter().find(|path| Path::new(path).exists()).unwrap();
    let said = refused(&run(temp.path(), &["search", "a dog", "--onnxruntime", other]));
    assert!(said.contains(other) && said.contains("--onnxruntime"), "{said}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let temp = indexed();
    let said = refused(&run(temp.path(), &["search", "a dog", "--model", "/nowhere/model"]));
    assert!(said.contains("/nowhere/model") && said.contains("--model"), "{said}");
    let empty = temp.path().join("pictures");
    let said = refused(&run(temp.path(), &["search", "a dog", "--model", empty.to_str().unwrap()]));
    assert!(said.contains("config.json"), "{said}");
    let said = refused(&run(temp.path(), &["search", "a dog", "--precision", "int1"]));
    assert!(said.contains("int1"), "{said}");
}

#[test]
fn a_model_that_does_not_reproduce_its_answers_is_refused() {
    let temp = indexed();
    let copy = temp.path().join("model");
    copy_folder(&starter(), &copy);
    let path = copy.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (_, answers) in manifest["reference"]["embeddings"].as_object_mut().unwrap() {
        answers["texts"][0].as_array_mut().unwrap().reverse();
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
    let model = copy.to_str().unwrap();
    let said = refused(&run(temp.path(), &["search", "a dog", "--model", model]));
    assert!(said.contains("does not reproduce"), "{said}");
    let checked = program().args(["model", "check", model, "--json"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(json(&checked)["checks"][0]["passed"], false);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn classify_names_what_is_wrong_with_its_labels_and_its_picture() {
    let temp = photographs();
    let picture = temp.path().join("pictures/sunflower_image_0036.jpg");
    let picture = picture.to_str().unwrap();
    let classify = |words: &[&str]| program().arg("classify").args(words).output().unwrap();
    let same = refused(&classify(&[picture, "--labels", "a,b,a"]));
    assert!(same.contains("\"a\" is there twice"), "{same}");
    let template = refused(&classify(&[picture, "--labels", "a", "--template", "none"]));
    assert!(template.contains("{}"), "{template}");
    let none = refused(&classify(&[picture, "--labels-file", "/nowhere/labels"]));
    assert!(none.contains("/nowhere/labels"), "{none}");
    let list = temp.path().join("labels.txt");
    let listed = |text: String| {
        std::fs::write(&list, text).unwrap();
        refused(&classify(&[picture, "--labels-file", list.to_str().unwrap()]))
    };
    let empty = listed("\n \n".to_owned());
    assert!(empty.contains("at least one label is needed"), "{empty}");
    let many = listed((0..10_000).map(|n| format!("label {n}\n")).collect());
    assert!(many.contains("at most 2000 labels are accepted, found 10000"), "{many}");
    std::fs::write(temp.path().join("words.jpg"), "words").unwrap();
    let words = temp.path().join("words.jpg");
    let words = refused(&classify(&[words.to_str().unwrap(), "--labels", "a"]));
    assert!(words.contains("words.jpg") && words.contains("not a picture"), "{words}");
}

#[test]
fn a_reader_that_closes_early_is_no_failure() {
    let temp = indexed();
    let mut child = program()
        .args(["search", "a dog", "--data"])
        .arg(temp.path().join("data"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert!(!error(&output).contains("panicked"), "{}", error(&output));
}
