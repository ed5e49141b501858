//! Where a run stood: all that is learned, its average, the optimizer's state and the step, in one
//! file.
//!
//! Locked towers are not in it: the recipe names their files, and their digest is kept so that
//! other weights under the same name are noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::Tensor;

use crate::tensor_file::{TensorFile, TensorFileError};

/// The state after a step.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Steps made.
    pub step: u64,
    /// Learned weights and what was measured for them, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's state, by its own names.
    pub optimizer: BTreeMap<String, Tensor>,
    /// The average of the learned weights, by name; empty where the recipe asks for none.
    pub average: BTreeMap<String, Tensor>,
    /// The copies of the momentum encoder, by name; empty for a method without one.
    pub momentum: BTreeMap<String, Tensor>,
    /// sha-256 over the files of both towers.
    pub towers: String,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The disk is full, or files may not grow so large.
    #[error(
        "there is no room for another checkpoint; those before it are whole and stay; make room and go \
         on with train --resume"
    )]
    NoRoom {
        /// The file, and the system's reason.
        source: TensorFileError,
    },
    /// The folder of checkpoints.
    #[error("cannot open the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is none.
    #[error("{} holds no checkpoint yet; train it first", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// The file lacks a key that we always write.
    #[error("{} does not say its {key}; it is no checkpoint", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
}

impl Checkpoint {
    /// Writes the checkpoint into `folder` and removes all but the newest `kept`, of which it is one.
    ///
    /// # Errors
    /// [`CheckpointError::NoRoom`] where there is none, others where the folder refuses; the
    /// older checkpoints are then still there, and nothing of the new one.
    pub fn save(&self, folder: &Path, kept: usize) -> Result<PathBuf, CheckpointError> {
        let error = |source| CheckpointError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(error)?;
        let path = folder.join(format!("step-{:08}.safetensors", self.step));
        let mut file = TensorFile::default();
        for (kind, tensors) in [
            ("weights", &self.weights),
            ("optimizer", &self.optimizer),
            ("average", &self.average),
            ("momentum", &self.momentum),
        ] {
            for (name, tensor) in tensors {
                file.tensors.insert(format!("{kind}/{name}"), tensor.shallow_clone());
            }
        }
        file.words.insert("step".to_owned(), self.step.to_string());
        file.words.insert("towers".to_owned(), self.towers.clone());
        file.write(&path).map_err(not_written)?;
        let all = list(folder)?;
        for old in &all[..all.len().saturating_sub(kept.max(1))] {
            std::fs::remove_file(old).map_err(error)?;
        }
        Ok(path)
    }

    /// The files of all checkpoints of `folder`, oldest first; none where there is no folder.
    ///
    /// # Errors
    /// [`CheckpointError::Folder`] where it cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        list(folder)
    }

    /// The file of the newest checkpoint of `folder`, none where there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError::Folder`] where the folder cannot be read.
    pub fn newest_file(folder: &Path) -> Result<Option<PathBuf>, CheckpointError> {
        Ok(list(folder)?.pop())
    }

    /// Reads the newest checkpoint of `folder`.
    ///
    /// # Errors
    /// [`CheckpointError::None`] when there is none, others when it cannot be read.
    pub fn newest(folder: &Path) -> Result<Self, CheckpointError> {
        let none = || CheckpointError::None { path: folder.to_owned() };
        Self::read(&Self::newest_file(folder)?.ok_or_else(none)?)
    }

    /// Reads a checkpoint's file.
    ///
    /// # Errors
    /// [`CheckpointError`] when it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let file = TensorFile::read(path)?;
        let mut checkpoint = Self::default();
        for (name, tensor) in file.tensors {
            if let Some(name) = name.strip_prefix("weights/") {
                checkpoint.weights.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("optimizer/") {
                checkpoint.optimizer.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("average/") {
                checkpoint.average.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("momentum/") {
                checkpoint.momentum.insert(name.to_owned(), tensor);
            }
        }
        let word = |key: &'static str| {
            let absent = CheckpointError::Key { path: path.to_owned(), key };
            file.words.get(key).cloned().ok_or(absent)
        };
        checkpoint.towers = word("towers")?;
        checkpoint.step = word("step")?
            .parse()
            .map_err(|_| CheckpointError::Key { path: path.to_owned(), key: "step" })?;
        Ok(checkpoint)
    }
}

/// Tells a full disk from what more room would not help.
fn not_written(source: TensorFileError) -> CheckpointError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match &source {
        TensorFileError::System { source: system, .. }
            if [FileTooLarge, QuotaExceeded, StorageFull].contains(&system.kind()) =>
        {
            CheckpointError::NoRoom { source }
        }
        _ => CheckpointError::File(source),
    }
}

/// All checkpoints of a folder, oldest first; none where there is no folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let error = |source| CheckpointError::Folder { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(error)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64) -> Checkpoint {
        Checkpoint {
            step,
            weights: [("p.weight".to_owned(), Tensor::from_slice(&[step as f32]))].into(),
            optimizer: [("first.p.weight".to_owned(), Tensor::from_slice(&[0.5f32]))].into(),
            average: [("p.weight".to_owned(), Tensor::from_slice(&[0.25f32]))].into(),
            momentum: [("p.weight".to_owned(), Tensor::from_slice(&[0.75f32]))].into(),
            towers: "abc".to_owned(),
        }
    }

    #[test]
    fn the_newest_is_read_back_and_as_many_as_asked_for_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("checkpoints");
        for step in [8, 9, 10] {
            at(step).save(&folder, 2).unwrap();
        }
        assert_eq!(list(&folder).unwrap().len(), 2);
        at(10).save(&folder, 3).unwrap();
        assert_eq!(Checkpoint::files(&folder).unwrap().len(), 2);
        let newest = Checkpoint::newest(&folder).unwrap();
        assert_eq!((newest.step, newest.towers.as_str()), (10, "abc"));
        assert_eq!(newest.weights["p.weight"], Tensor::from_slice(&[10f32]));
        assert_eq!(newest.optimizer.keys().collect::<Vec<_>>(), ["first.p.weight"]);
        assert_eq!(newest.average["p.weight"], Tensor::from_slice(&[0.25f32]));
        assert_eq!(newest.momentum["p.weight"], Tensor::from_slice(&[0.75f32]));
    }

    #[test]
    fn a_run_without_a_checkpoint_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Checkpoint::newest(&dir.path().join("checkpoints")).unwrap_err();
        assert!(error.to_string().contains("no checkpoint yet"));
    }
}
