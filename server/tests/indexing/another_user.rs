//! Folders without read permission, as somebody whom permissions stop.
use std::os::unix::fs::PermissionsExt;

use super::*;

/// What a user who is not root needs to run the program, copied to where everybody may read.
struct Stage {
    _temp: tempfile::TempDir,
    root: PathBuf,
    pictures: PathBuf,
    data: DataFolder,
}

impl Stage {
    fn new() -> Self {
        let (temp, pictures, data) = pictures(4);
        let root = temp.path().to_owned();
        std::fs::copy(env!("CARGO_BIN_EXE_clipsight"), root.join("clipsight")).unwrap();
        let capi = checkout().join(".runtime/onnxruntime/onnxruntime/capi");
        let mut files = std::fs::read_dir(capi).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.to_string_lossy().contains("/libonnxruntime.so");
        std::fs::copy(files.find(named).unwrap(), root.join("libonnxruntime.so")).unwrap();
        copy_model(&root.join("model"));
        std::fs::create_dir(data.path()).unwrap();
        for (path, mode) in [(&root, 0o755), (&data.path().to_owned(), 0o777)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        Self { _temp: temp, root, pictures, data }
    }

    /// A program run by nobody, where this is run by root; by the same user otherwise, whom
    /// permissions stop too.
    fn command(&self, program: &Path) -> Command {
        let is_root = std::fs::metadata("/proc/self")
            .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        if !is_root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
        command
    }

    fn index(&self) -> (serde_json::Value, i32) {
        let mut command = self.command(&self.root.join("clipsight"));
        command.arg("index").arg(&self.pictures).arg("--json");
        command.arg("--data").arg(self.data.path()).arg("--model").arg(self.root.join("model"));
        command.arg("--onnxruntime").arg(self.root.join("libonnxruntime.so"));
        report(&command.current_dir(&self.root).output().unwrap())
    }
}

/// Copies the model that the program would take.
fn copy_model(to: &Path) {
    let named = std::env::var_os("CLIPSIGHT_MODEL").map(PathBuf::from);
    let starter = checkout().join("models/starter");
    let all = [named.unwrap_or_default(), starter.clone(), starter.join("bundle")];
    let from = all.iter().find(|folder| folder.join("config.json").is_file()).unwrap();
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn folder_and_file_that_may_not_be_read_are_named_and_lose_nothing() {
    let stage = Stage::new();
    let (folder, file) = (stage.pictures.join("private"), stage.pictures.join("private.jpg"));
    std::fs::create_dir(&folder).unwrap();
    let mut there = std::fs::read_dir(&stage.pictures).unwrap().map(|entry| entry.unwrap().path());
    let some = there.find(|path| path.is_file()).unwrap();
    let mut bytes = std::fs::read(some).unwrap();
    for path in [&folder.join("inner.jpg"), &file] {
        bytes.push(0); // another content each time; what follows the end of a JPEG is ignored
        std::fs::write(path, &bytes).unwrap();
    }
    let (report, code) = stage.index();
    assert_eq!((code, &report["indexed"]), (0, &6.into()), "{report}");

    // Touched, so that it would have to be read again.
    let touched = std::fs::File::options().write(true).open(&file).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    for path in [&folder, &file] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
        let denied = stage.command(Path::new("ls")).arg(path.join(".")).output().unwrap();
        assert!(!denied.status.success(), "permissions do not stop this user");
    }
    let (report, code) = stage.index();
    assert_eq!(code, 1, "{report}");
    assert_eq!((&report["unchanged"], &report["removed"]), (&4.into(), &0.into()), "{report}");
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{report}");
    for (failure, path) in failed.iter().zip([&folder, &file]) {
        assert_eq!(failure["path"], path.canonicalize().unwrap().display().to_string());
        assert!(failure["reason"].as_str().unwrap().contains("Permission denied"), "{failure}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(counts(&runtime, &stage.data).pictures, 6);
    // Let the temporary folder go.
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
}
