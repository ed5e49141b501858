//! Where a picture's bytes lie: a stretch of a file, which may be all of it.
//!
//! Files are opened for each read, so a set may have more of them than a process may hold open.

use std::fs::{File, Metadata};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl Place {
    /// The bytes.
    ///
    /// # Errors
    /// Those of opening and reading the file; one that has become shorter is an error too.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        let file = File::open(&self.file)?;
        let mut bytes = vec![0; self.len as usize];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Names a file as it is now: path, length and time of change in nanoseconds.
pub(super) fn stamp(path: &Path, metadata: &Metadata) -> String {
    let changed = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let changed_ns = changed.map_or(0, |d| d.as_nanos());
    format!("{}:{}:{changed_ns}", path.display(), metadata.len())
}
