//! The data folder: what lies where, and the lock that keeps it to one writer.
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::CatalogError;

/// Where a collection keeps its own files. The pictures of the owner lie elsewhere.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Names a data folder; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The SQLite file, the truth of the collection.
    pub fn catalog(&self) -> PathBuf {
        self.0.join("catalog.sqlite")
    }

    /// Snapshots of indexes; may be deleted at any time.
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// Uploaded files as they came.
    pub fn originals(&self) -> PathBuf {
        self.0.join("originals")
    }

    /// Small copies for the page; may be deleted at any time.
    pub fn thumbnails(&self) -> PathBuf {
        self.0.join("thumbnails")
    }

    /// The file that a writer locks.
    pub fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Bytes that the folder's own files take on disk; what cannot be read counts nothing.
    pub fn size_bytes(&self) -> u64 {
        walkdir::WalkDir::new(&self.0)
            .into_iter()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len())
            .sum()
    }

    /// Makes the folder and what belongs in it, where it is missing.
    ///
    /// # Errors
    /// [`CatalogError::File`] naming the folder that could not be made.
    pub fn create(&self) -> Result<(), CatalogError> {
        for path in [self.0.clone(), self.index(), self.originals(), self.thumbnails()] {
            std::fs::create_dir_all(&path).map_err(|source| CatalogError::File {
                doing: "create",
                path,
                source,
            })?;
        }
        Ok(())
    }

    /// Takes the folder for one writer, until the returned lock is dropped or the process ends,
    /// however it ends. `holder` is what a second writer is told, for example "clipsight serve".
    ///
    /// # Errors
    /// [`CatalogError::Locked`] with the holder's words if another process has it.
    pub fn lock(&self, holder: &str) -> Result<DataLock, CatalogError> {
        let path = self.lock_file();
        let fail = |doing, source| CatalogError::File { doing, path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| fail("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CatalogError::Locked {
                    folder: self.0.clone(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(fail("lock", e)),
        }
        let line = format!("{holder} (process {})\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(|e| fail("write", e))?;
        Ok(DataLock { _file: file })
    }
}

/// Proof that this process alone writes to the data folder.
#[derive(Debug)]
pub struct DataLock {
    /// The system lets go of the lock when this closes.
    _file: File,
}

/// What the holder wrote; it may be between locking and writing, so emptiness is no error.
fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another clipsight".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_writer_is_told_who_holds_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(temp.path().join("data"));
        folder.create().unwrap();
        let first = folder.lock("clipsight serve").unwrap();
        let error = folder.lock("clipsight index").unwrap_err().to_string();
        assert!(error.contains("clipsight serve (process "), "{error}");
        drop(first);
        folder.lock("clipsight index").unwrap();
    }
}
