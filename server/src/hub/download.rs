//! One file, in pieces that can be gone on with, and nothing under its name but what was promised.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::listing::{Digest, RemoteFile};
use super::{Hub, HubError};

/// Bytes asked for at a time. A hub that is silent is noticed within one of these.
const PIECE: u64 = 8 << 20;
/// Tries in a row that bring nothing before we give up.
const TRIES: u32 = 3;
const BUFFER: usize = 64 << 10;

/// Brings `file` from `address` to the path `there`, going on with what an earlier try left.
pub(super) fn fetch(
    hub: &Hub,
    address: &str,
    file: &RemoteFile,
    there: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HubError> {
    let write = |source| HubError::Write { path: there.to_owned(), source };
    if length(there).map_err(write)? == Some(file.size_bytes) && matches(there, file)? {
        progress(file.size_bytes);
        return Ok(());
    }
    if let Some(folder) = there.parent() {
        std::fs::create_dir_all(folder).map_err(write)?;
    }
    let part = part_of(there, &file.digest);
    receive(hub, address, file, &part, progress)?;
    if !matches(&part, file)? {
        std::fs::remove_file(&part).map_err(write)?;
        return Err(HubError::Hash { path: file.path.clone() });
    }
    std::fs::rename(&part, there).map_err(write)
}

/// Where the bytes gather; another version of the file gathers elsewhere.
fn part_of(there: &Path, digest: &Digest) -> PathBuf {
    let mut name = there.file_name().unwrap_or_default().to_owned();
    let hex = digest.hex();
    name.push(format!(".{}.part", hex.get(..12).unwrap_or(hex)));
    there.with_file_name(name)
}

/// Asks for piece after piece until all of the file is in `part`.
fn receive(
    hub: &Hub,
    address: &str,
    file: &RemoteFile,
    part: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HubError> {
    let write = |source| HubError::Write { path: part.to_owned(), source };
    let mut done = length(part).map_err(write)?.unwrap_or(0);
    let mut failures = 0;
    while failures < TRIES && (done < file.size_bytes || length(part).map_err(write)?.is_none()) {
        progress(done);
        let end = file.size_bytes.min(done + PIECE);
        let came = piece(hub, address, part, done..end, progress);
        let now = length(part).map_err(write)?.unwrap_or(0);
        failures = if now > done { 0 } else { failures + 1 };
        done = now;
        match came {
            Err(error) if failures == TRIES || is_final(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    progress(done);
    if done == file.size_bytes {
        return Ok(());
    }
    std::fs::remove_file(part).map_err(write)?;
    Err(HubError::Size { path: file.path.clone(), expected: file.size_bytes, found: done })
}

/// Whether another try would come to the same.
fn is_final(error: &HubError) -> bool {
    matches!(error, HubError::Write { .. } | HubError::Status { status: ..500, .. })
}

/// Appends one piece to `part`.
fn piece(
    hub: &Hub,
    address: &str,
    part: &Path,
    wanted: std::ops::Range<u64>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HubError> {
    let write = |source| HubError::Write { path: part.to_owned(), source };
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true);
    if wanted.is_empty() {
        options.open(part).map_err(write)?;
        return Ok(());
    }
    let range = format!("bytes={}-{}", wanted.start, wanted.end - 1);
    let mut response = hub.get(address, Some(&range))?;
    let mut done = match response.status().as_u16() {
        206 => wanted.start,
        // A server without ranges sends all of it, so what was there is of no use.
        200 => 0,
        status => return Err(HubError::Status { address: address.to_owned(), status }),
    };
    let mut out = options.open(part).map_err(write)?;
    out.set_len(done).map_err(write)?;
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(HubError::Stalled { address: address.to_owned(), source }),
        };
        out.write_all(&buffer[..read]).map_err(write)?;
        done += read as u64;
        progress(done);
    }
}

/// The length of a file, none where there is none.
fn length(path: &Path) -> Result<Option<u64>, std::io::Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file has the bytes that the hub told of.
fn matches(path: &Path, file: &RemoteFile) -> Result<bool, HubError> {
    let hash = || match &file.digest {
        Digest::Sha256(hex) => Ok(*hex == hex_of(hashed(path, Sha256::new())?)),
        Digest::GitBlob(hex) => {
            let start = Sha1::new_with_prefix(format!("blob {}\0", file.size_bytes));
            Ok(*hex == hex_of(hashed(path, start)?))
        }
    };
    hash().map_err(|source| HubError::Write { path: path.to_owned(), source })
}

fn hashed<D: sha2::Digest>(path: &Path, mut hasher: D) -> Result<Vec<u8>, std::io::Error> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_vec()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex_of(bytes: Vec<u8>) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
