//! Runs that must not begin, and files that are named.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clip::{Embedding, ModelId};
use clipsight::catalog::{ContentHash, NewPicture, Origin, Writer};

use super::*;

#[test]
fn second_writer_is_told_who_holds_the_folder() {
    let (_temp, pictures, data) = pictures(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _writer = runtime.block_on(Writer::open(data.clone(), "clipsight serve")).unwrap();
    let output = index(&pictures, &data).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("in use by clipsight serve (process "), "{told}");
}

#[test]
fn missing_and_empty_folders_end_with_2_and_remove_nothing() {
    let (temp, pictures, data) = pictures(2);
    assert_eq!(report(&index(&pictures, &data).output().unwrap()).1, 0);
    let away = temp.path().join("away");
    std::fs::rename(&pictures, &away).unwrap();
    let missing = index(&pictures, &data).output().unwrap();
    std::fs::create_dir(&pictures).unwrap();
    let empty = index(&pictures, &data).output().unwrap();
    for (output, word) in [(missing, "cannot read"), (empty, "no pictures in")] {
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(word) && told.contains("pictures"), "{told}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(counts(&runtime, &data).pictures, 2);
}

#[test]
fn bad_files_are_in_the_report_and_the_code_is_1() {
    let (_temp, pictures, data) = pictures(3);
    let some = std::fs::read_dir(&pictures).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(some).unwrap();
    std::fs::write(pictures.join("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(pictures.join("empty.jpg"), b"").unwrap();
    let (report, code) = report(&index(&pictures, &data).output().unwrap());
    assert_eq!(code, 1, "{report}");
    assert_eq!((&report["indexed"], &report["removed"]), (&3.into(), &0.into()));
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{report}");
    for (failure, name, word) in
        [(&failed[0], "cut.jpg", "cut off"), (&failed[1], "empty.jpg", "empty")]
    {
        let (path, reason) = (failure["path"].as_str(), failure["reason"].as_str());
        assert!(path.unwrap().ends_with(name) && reason.unwrap().contains(word), "{failure}");
    }
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn names_that_are_not_utf_8_are_taken_and_told_lossily() {
    let (_temp, pictures, data) = pictures(1);
    let some = std::fs::read_dir(&pictures).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(some, pictures.join(OsStr::from_bytes(b"caf\xe9.jpg"))).unwrap();
    std::fs::write(pictures.join(OsStr::from_bytes(b"\xff.jpg")), b"words").unwrap();
    let (report, code) = report(&index(&pictures, &data).output().unwrap());
    assert_eq!((code, &report["indexed"]), (1, &1.into()), "{report}");
    let path = report["failed"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("pictures/\u{fffd}.jpg"), "{path}");
}

#[test]
fn collection_of_another_model_is_refused_with_the_way_out_and_reembedded_on_demand() {
    let (_temp, pictures, data) = pictures(2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let writer = Writer::open(data.clone(), "test").await.unwrap();
        let model = ModelId("another".to_owned());
        writer.use_model(&model, 3).await.unwrap();
        let picture = NewPicture {
            hash: ContentHash([7; 32]),
            width: 1,
            height: 1,
            format: "png",
            size_bytes: 1,
            origin: Origin::Upload("lost.png".to_owned()),
            embedding: Embedding::new(vec![1.0, 2.0, 3.0]).unwrap(),
        };
        writer.add(&model, "fp32", &[picture]).await.unwrap();
        writer.close().await;
    });
    let output = index(&pictures, &data).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("clipsight index --reembed"), "{told}");
    let (report, code) = report(&index(&pictures, &data).arg("--reembed").output().unwrap());
    // The upload's original was never there, which is told.
    assert_eq!((code, &report["indexed"]), (1, &2.into()), "{report}");
    assert_eq!(report["failed"][0]["path"], "lost.png");
    assert_eq!(counts(&runtime, &data).embedded, 2);
}
