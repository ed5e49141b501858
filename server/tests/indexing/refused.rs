//! Runs that must not begin, and files that are named.
use clipsight::catalog::Writer;

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
