//! Starting and ending.

use std::io::Read;

use super::*;

/// Runs `serve` where it cannot start; what it says.
fn refused(arguments: &[&str], data: &Path) -> String {
    let output = program().arg("serve").args(arguments).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    said
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_way_out() {
    let server = Server::empty();
    let other = tempfile::tempdir().unwrap();
    let said = refused(&["--listen", server.address()], other.path());
    assert!(said.contains(server.address()) && said.contains("--listen"), "{said}");
}

#[tokio::test]
async fn a_second_writer_is_told_who_is_the_first() {
    let server = Server::empty();
    let said = refused(&["--listen", "127.0.0.1:0"], &server.temp.path().join("data"));
    assert!(said.contains("clipsight serve"), "{said}");
}

#[tokio::test]
async fn it_ends_cleanly_when_asked_to_and_keeps_what_it_acknowledged() {
    let mut server = Server::empty();
    let bytes = std::fs::read(demo("caltech101/pizza_image_0021.jpg")).unwrap();
    let added = server.form("/v1/pictures", None, &[("pizza.jpg", bytes)]).await;
    assert_eq!(added.status(), 201);
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    server.stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("curl"), "{rest}");
    let searched = program()
        .args(["search", "a pizza", "--json", "--data"])
        .arg(server.temp.path().join("data"))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&searched.stdout).unwrap();
    assert_eq!(names(&answer), ["pizza.jpg"]);
}

#[tokio::test]
async fn whoever_does_not_finish_does_not_hold_up_the_end() {
    let mut server = Server::over(tempfile::tempdir().unwrap(), &["--grace-s", "1"]);
    let _held = guarding::half_an_upload(&server);
    assert_eq!(server.get("/health/live").await.status(), 200);
    let pid = server.child.id().to_string();
    let asked = std::time::Instant::now();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn an_address_that_others_can_reach_is_warned_of() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(temp.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("curl")));
    child.kill().unwrap();
    let said = child.wait_with_output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("no authentication"), "{said}");
}
