//! Finding and loading ONNX Runtime, once per process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ort::environment::Environment;

use crate::RuntimeError;

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// The library's file, or the name under which the loader knows it.
static LOADED: OnceLock<PathBuf> = OnceLock::new();

/// The part of ONNX Runtime that runs graphs on NVIDIA's devices, beside the library.
const CUDA_PART: &str = "libonnxruntime_providers_cuda.so";

/// Where `make onnxruntime` leaves the library, below a checkout.
const BELOW_CHECKOUT: &str = ".runtime/onnxruntime/onnxruntime/capi";

/// How far above the binary a checkout may begin: `target/debug/deps/NAME` is the deepest.
const ANCESTORS: usize = 4;

/// Loads ONNX Runtime, if this process has not done so: from `explicit`, else from `.runtime`
/// beside the working folder or the binary, else from the loader's path.
///
/// # Errors
/// [`RuntimeError::LibraryMissing`] and [`RuntimeError::LibraryUnusable`], both with the cure.
pub fn load(explicit: Option<&Path>) -> Result<(), RuntimeError> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOADING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if ENVIRONMENT.get().is_some() {
        return Ok(());
    }
    let path = find(explicit)?;
    let environment = open(&path)?;
    LOADED.get_or_init(|| path);
    ENVIRONMENT.get_or_init(|| environment);
    Ok(())
}

pub(crate) fn environment() -> Result<&'static Environment, RuntimeError> {
    ENVIRONMENT.get().ok_or(RuntimeError::NotLoaded)
}

/// Whether the loaded library can be asked for CUDA at all; else why not.
pub(crate) fn has_cuda() -> Result<(), String> {
    let loaded = LOADED.get().map(PathBuf::as_path).unwrap_or(Path::new(""));
    match loaded.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if folder.join(CUDA_PART).is_file() => Ok(()),
        // Found by name alone: only the loader knows what lies beside it.
        None => Ok(()),
        Some(folder) => Err(format!(
            "this ONNX Runtime is built without CUDA ({CUDA_PART} is not in {})",
            folder.display()
        )),
    }
}

fn open(path: &Path) -> Result<Environment, RuntimeError> {
    let unusable = |reason: String| RuntimeError::LibraryUnusable { path: path.to_owned(), reason };
    ort::init_from(path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("clipsight")
        // Too late for what is written at loading (`environment`), in time for what is sent.
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.to_string()))
}

fn find(explicit: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    if let Some(file) = explicit {
        let missing = || RuntimeError::LibraryMissing { looked_at: file.display().to_string() };
        return file.canonicalize().map_err(|_| missing());
    }
    let folders: Vec<PathBuf> = checkouts().map(|root| root.join(BELOW_CHECKOUT)).collect();
    if let Some(file) = folders.iter().find_map(|folder| library_in(folder)) {
        return Ok(file);
    }
    // The loader knows more places than we do, so ask it by name.
    for name in ["libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.dylib"] {
        if open(Path::new(name)).is_ok() {
            return Ok(PathBuf::from(name));
        }
    }
    let mut looked_at: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    looked_at.dedup();
    looked_at.push("the loader's path".to_owned());
    Err(RuntimeError::LibraryMissing { looked_at: looked_at.join(", ") })
}

/// Folders that may be a checkout: the working folder, and those above the binary.
fn checkouts() -> impl Iterator<Item = PathBuf> {
    let above_binary = std::env::current_exe()
        .map(|exe| exe.ancestors().skip(1).take(ANCESTORS).map(Path::to_owned).collect())
        .unwrap_or_else(|_| Vec::new());
    std::env::current_dir().into_iter().chain(above_binary)
}

/// The wheel holds `libonnxruntime.so.1.32.0` and no plain `.so`; the newest name wins.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib"
            })
        })
        .collect();
    found.sort();
    found.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_the_cure() {
        let error = find(Some(Path::new("no/such/libonnxruntime.so"))).unwrap_err().to_string();
        assert!(error.contains("no/such/libonnxruntime.so"), "{error}");
        assert!(error.contains("make onnxruntime"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let dir = std::env::temp_dir().join(format!("clipsight-runtime-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("libonnxruntime.so.9");
        std::fs::write(&file, "not a library").unwrap();
        let result = open(&file);
        std::fs::remove_dir_all(&dir).unwrap();
        let error = result.err().unwrap().to_string();
        assert!(error.contains("--onnxruntime FILE"), "{error}");
    }
}
