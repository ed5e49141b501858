//! Named tensors of f32 or f16 with a few words beside them in one safetensors file, written whole or not at
//! all.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use tch::{Device, Kind, Tensor};

/// What a file holds.
#[derive(Debug, Default)]
pub struct TensorFile {
    /// Tensors by name; f16 stays f16, everything else is written as f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// Words by key.
    pub words: BTreeMap<String, String>,
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The system refused.
    #[error("cannot {verb} {}", path.display())]
    System {
        /// "read" or "write".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The content is not what we wrote.
    #[error("{} is damaged; delete it and try again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// libtorch refused.
    #[error("cannot copy the tensors of {}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// libtorch's words.
        source: tch::TchError,
    },
}

impl TensorFile {
    /// Reads a file that [`TensorFile::write`] wrote.
    ///
    /// # Errors
    /// [`TensorFileError`], naming the file.
    pub fn read(path: &Path) -> Result<Self, TensorFileError> {
        let system =
            |source| TensorFileError::System { verb: "read", path: path.to_owned(), source };
        let format = |source| TensorFileError::Format { path: path.to_owned(), source };
        let torch = |source| TensorFileError::Torch { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(system)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let words = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(format)?.tensors() {
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            let kind = if view.dtype() == Dtype::F16 { Kind::Half } else { Kind::Float };
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(torch)?;
            tensors.insert(name, tensor);
        }
        Ok(Self { tensors, words })
    }

    /// Writes the file beside its place, then moves it there: a reader finds the old one or the
    /// whole new one, whenever the power fails.
    ///
    /// # Errors
    /// [`TensorFileError`], naming the file.
    pub fn write(&self, path: &Path) -> Result<(), TensorFileError> {
        let torch = |source| TensorFileError::Torch { path: path.to_owned(), source };
        let format = |source| TensorFileError::Format { path: path.to_owned(), source };
        let mut bytes = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let dtype = if tensor.kind() == Kind::Half { Dtype::F16 } else { Dtype::F32 };
            bytes.insert(name.as_str(), (dtype, sizes(tensor), raw(tensor).map_err(torch)?));
        }
        let mut views = Vec::new();
        for (name, (dtype, shape, data)) in &bytes {
            let view = TensorView::new(*dtype, shape.clone(), data).map_err(format)?;
            views.push((*name, view));
        }
        let words: HashMap<String, String> = self.words.clone().into_iter().collect();
        let whole = safetensors::serialize(views, Some(words)).map_err(format)?;
        write_atomically(path, &whole).map_err(|source| TensorFileError::System {
            verb: "write",
            path: path.to_owned(),
            source,
        })
    }
}

fn sizes(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&n| n as usize).collect()
}

/// Row-major, in the order of bytes of the machine, which is little-endian wherever libtorch comes as a wheel.
fn raw(tensor: &Tensor) -> Result<Vec<u8>, tch::TchError> {
    let kind = if tensor.kind() == Kind::Half { Kind::Half } else { Kind::Float };
    let flat =
        tensor.detach().f_to_device(Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?.f_view([-1])?;
    let mut bytes = vec![0; flat.numel() * kind.elt_size_in_bytes()];
    flat.f_copy_data_u8(&mut bytes, flat.numel())?;
    Ok(bytes)
}

/// Writes `bytes` into a temporary file of the same folder, syncs it, renames it to `path` and
/// syncs the folder.
///
/// # Errors
/// Those of the system.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A temporary file is its owner's alone; a finished one is whoever's the system allows.
    let mut builder = tempfile::Builder::new();
    let mut file =
        builder.prefix(".writing-").permissions(Permissions::from_mode(0o666)).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let tensor = Tensor::from_slice(&[1f32, -2.5, 3.0, 0.0, 5.0, 6.0]).view([2, 3]);
        let scalar = Tensor::from(7f32);
        let narrow = tensor.to_kind(Kind::Half);
        let file = TensorFile {
            tensors: [
                ("a".to_owned(), tensor.tr()),
                ("h".to_owned(), narrow.shallow_clone()),
                ("s".to_owned(), scalar),
            ]
            .into(),
            words: [("step".to_owned(), "12".to_owned())].into(),
        };
        file.write(&path).unwrap();
        let again = TensorFile::read(&path).unwrap();
        assert_eq!(again.words, file.words);
        assert_eq!(again.tensors["a"], tensor.tr().contiguous());
        assert_eq!((again.tensors["h"].kind(), &again.tensors["h"]), (Kind::Half, &narrow));
        assert_eq!(again.tensors["s"].size(), [0i64; 0]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        std::fs::write(&path, b"not a tensor").unwrap();
        let error = TensorFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("x.safetensors is damaged"), "{error}");
    }
}
