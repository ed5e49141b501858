//! What processes that train together have to have alike, and what the first one gives to the others.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{HeldOut, TrainError};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::Dataset;
use crate::encoder::hex;
use crate::processes::Processes;
use crate::recipe::MicroBatch;
use crate::run::Run;

/// A set in a line: its name, how many pairs it has, and a digest of their names and of what is said of
/// them. Its place may be another on each machine.
pub(super) fn described(set: &Dataset) -> String {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for pair in &set.pairs {
        part(&pair.key);
        pair.captions.iter().chain(&pair.negatives).for_each(|caption| part(&caption.text));
        part(pair.class.map_or("", |class| set.classes[class].as_str()));
    }
    let name = set.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digest = &hex(&hasher.finalize())[..16];
    format!("{name}: {} pairs, digest {digest}\n", set.pairs.len())
}

/// Refuses more processes than a batch has `pairs`.
///
/// # Errors
/// [`TrainError::TooManyProcesses`].
pub(super) fn enough_for_all(processes: Processes<'_>, pairs: usize) -> Result<(), TrainError> {
    let processes = processes.count();
    if processes > pairs {
        return Err(TrainError::TooManyProcesses { processes, pairs });
    }
    Ok(())
}

/// Refuses what each of several processes would take for itself.
///
/// # Errors
/// [`TrainError::AutoShared`].
pub(super) fn memory_is_shared(
    micro_batch: Option<MicroBatch>,
    processes: Processes<'_>,
) -> Result<(), TrainError> {
    match micro_batch {
        Some(MicroBatch::Auto(_)) if processes.count() > 1 => Err(TrainError::AutoShared),
        _ => Ok(()),
    }
}

/// Refuses held-out sets that are not those of the other processes: each embeds a share of them.
///
/// # Errors
/// [`TrainError::Processes`], naming what differs.
pub(super) fn same_held_out(
    held_out: &HeldOut,
    processes: Processes<'_>,
) -> Result<(), TrainError> {
    let sets = held_out.captions.iter().chain(&held_out.labels);
    let all: String = sets.map(|set| described(set)).collect();
    Ok(processes.agree("held-out set", &all)?)
}

/// The newest checkpoint of the first process, none where there is none yet: the others need not see
/// its folder.
///
/// # Errors
/// [`TrainError`], naming the file that cannot be read.
pub(super) fn resumable(
    run: &Run,
    processes: Processes<'_>,
) -> Result<Option<Checkpoint>, TrainError> {
    let newest = || match Checkpoint::newest(&run.checkpoints()) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(CheckpointError::None { .. }) => Ok(None),
        Err(error) => Err(TrainError::from(error)),
    };
    if processes.count() == 1 {
        return newest();
    }
    let file =
        if processes.is_first() { Checkpoint::newest_file(&run.checkpoints())? } else { None };
    let bytes = file.as_deref().map(read).transpose()?.unwrap_or_default();
    let bytes = processes.told_by_first(bytes)?;
    if processes.is_first() {
        return newest();
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let path = run.folder.join("given.safetensors");
    std::fs::write(&path, bytes).map_err(|source| unreadable("write", &path, source))?;
    let given = Checkpoint::read(&path);
    std::fs::remove_file(&path).map_err(|source| unreadable("remove", &path, source))?;
    Ok(Some(given?))
}

fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(|source| unreadable("read", path, source))
}

fn unreadable(verb: &'static str, path: &Path, source: std::io::Error) -> TrainError {
    crate::run::RunError::System { verb, path: path.to_owned(), source }.into()
}
