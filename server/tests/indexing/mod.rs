//! `clipsight index` as a process of its own, with the model that comes with the checkout: killed,
//! interrupted, kept out, and run by somebody who may not read everything.

mod another_user;
mod killed;
mod no_room;
mod refused;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clipsight::catalog::{Counts, DataFolder, Reader};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The program, run from the checkout.
fn clipsight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipsight"));
    command.current_dir(checkout()).stdin(Stdio::null());
    command
}

/// A folder with the first `count` pictures of the demo, and an empty one for the data.
fn pictures(count: usize) -> (tempfile::TempDir, PathBuf, DataFolder) {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("pictures");
    std::fs::create_dir(&folder).unwrap();
    let demo = walkdir::WalkDir::new(checkout().join("demo")).sort_by_file_name();
    let jpegs = demo.into_iter().map(|entry| entry.unwrap().into_path());
    for jpeg in jpegs.filter(|path| path.extension().is_some_and(|e| e == "jpg")).take(count) {
        std::fs::copy(&jpeg, folder.join(jpeg.file_name().unwrap())).unwrap();
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), count);
    let data = DataFolder::new(temp.path().join("data"));
    (temp, folder, data)
}

fn index(pictures: &Path, data: &DataFolder) -> Command {
    let mut command = clipsight();
    command.arg("index").arg(pictures).arg("--json").arg("--data").arg(data.path());
    command
}

/// The report on standard output, and the exit code.
fn report(output: &Output) -> (serde_json::Value, i32) {
    let json = serde_json::from_slice(&output.stdout);
    (json.unwrap_or_else(|e| panic!("{e}: {output:?}")), output.status.code().unwrap())
}

/// What a reader beside the program counts; nothing before there is a catalog.
fn counts(runtime: &tokio::runtime::Runtime, data: &DataFolder) -> Counts {
    runtime.block_on(async {
        match Reader::open(data).await {
            Ok(reader) => {
                let counts = reader.counts().await.unwrap();
                reader.close().await;
                counts
            }
            Err(clipsight::catalog::CatalogError::Missing { .. }) => Counts::default(),
            Err(error) => panic!("{error:?}"),
        }
    })
}
