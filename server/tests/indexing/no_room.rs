//! A disk that takes no more: here a limit on the size of files, which needs no disk of its own.
use super::*;

/// Bytes that a file may have: the empty catalog fits, the vectors of all pictures do not.
const LIMIT: u64 = 200_000;
const PICTURES: usize = 160;

/// Indexes with the limit; what it says.
fn limited(pictures: &Path, data: &DataFolder) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={LIMIT}")).arg(env!("CARGO_BIN_EXE_clipsight"));
    command.arg("index").arg(pictures).arg("--json").arg("--data").arg(data.path());
    command.current_dir(checkout()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn full_disk_is_named_loses_nothing_and_the_run_goes_on_when_there_is_room() {
    let (_temp, pictures, data) = pictures(PICTURES);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stored = 0;
    for _ in 0..2 {
        let output = limited(&pictures, &data);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("no room left") && told.contains("nothing stored"), "{told}");
        assert!(output.stdout.is_empty());
        let now = counts(&runtime, &data);
        assert!(now.pictures >= stored, "{now:?} after {stored}");
        assert_eq!((now.places, now.embedded), (now.pictures, now.pictures));
        stored = now.pictures;
    }
    assert!(stored < PICTURES as u64);
    let (report, code) = report(&index(&pictures, &data).output().unwrap());
    let total = PICTURES as u64;
    assert_eq!((code, &report["indexed"]), (0, &(total - stored).into()), "{report}");
    let end = counts(&runtime, &data);
    assert_eq!((end.pictures, end.places, end.embedded), (total, total, total));
}
