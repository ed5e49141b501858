//! Runs that end by a signal.
use std::process::Child;

use super::*;

/// Enough that the end is far when a signal lands.
const PICTURES: usize = 96;

/// Starts indexing and returns when `enough` pictures are stored, with what was counted.
fn started(pictures: &Path, data: &DataFolder, enough: u64) -> (Child, Counts) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut command = index(pictures, data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        let counts = counts(&runtime, data);
        if counts.pictures >= enough {
            return (child, counts);
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended with {status} at {counts:?}");
        }
    }
}

#[test]
fn kill_loses_nothing_that_was_stored_and_nothing_stands_twice() {
    let (_temp, pictures, data) = pictures(PICTURES);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stored = 0;
    // Each time a little further: before the first batch, between batches, inside them.
    for enough in [0, 1, 17, 33, 49] {
        let (mut child, seen) = started(&pictures, &data, enough);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = counts(&runtime, &data);
        assert!(now.pictures >= seen.pictures.max(stored), "{now:?} after {seen:?}, {stored}");
        assert_eq!((now.places, now.embedded), (now.pictures, now.pictures));
        stored = now.pictures;
    }
    let output = index(&pictures, &data).output().unwrap();
    let (report, code) = report(&output);
    assert_eq!(code, 0);
    let total = PICTURES as u64;
    assert_eq!(report["indexed"], total - stored, "{report}");
    assert_eq!(report["unchanged"], stored);
    let end = counts(&runtime, &data);
    assert_eq!((end.pictures, end.places, end.embedded), (total, total, total));
}

#[test]
fn ctrl_c_ends_cleanly_and_the_same_command_goes_on() {
    let (_temp, pictures, data) = pictures(PICTURES);
    let (child, _) = started(&pictures, &data, 1);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let (first, code) = report(&child.wait_with_output().unwrap());
    assert_eq!(code, 1, "{first}");
    let indexed = first["indexed"].as_u64().unwrap();
    assert!((1..PICTURES as u64).contains(&indexed), "{first}");
    let (second, code) = report(&index(&pictures, &data).output().unwrap());
    assert_eq!(code, 0);
    assert_eq!(second["unchanged"], indexed);
    assert_eq!(second["indexed"], PICTURES as u64 - indexed);
}
