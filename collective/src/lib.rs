//! Several processes that compute as one: libtorch's own c10d (a store over TCP, collective operations
//! by Gloo, and by NCCL between GPUs) behind a safe interface.
//!
//! [`Place`] is where a process stands, as `torchrun` says it; [`Group`] is all of them, joined. What a
//! process waits for, it waits for no longer than the others live: each tells the store that it does,
//! and [`Error::Lost`] names the one that no longer tells.
//! This crate knows nothing of models, data or training.
//! Invariant: no exception of C++ and no panic comes out of it, and every process of a group gets the
//! same numbers, to the bit.

mod engine;
mod error;
mod ffi;
mod group;
mod meeting;
mod nccl;
mod place;
mod pulse;

pub use engine::Engine;
pub use error::Error;
pub use group::{Group, Patience};
pub use place::{Place, PlaceError};

/// The versions of libtorch that the shim was compiled with and that is loaded.
///
/// # Errors
/// [`Error::Versions`] where they are not the same, [`Error::Torch`] where libtorch does not tell.
pub fn version() -> Result<String, Error> {
    let (compiled, told) = ffi::versions()?;
    let loaded = told.split_once("TORCH_VERSION=").map(|(_, rest)| rest);
    let loaded = loaded.and_then(|rest| rest.split([',', ' ', '\n']).next()).unwrap_or_default();
    // "+cu130" and the like say how it was built, not what it is.
    let number = |version: &str| version.split('+').next().unwrap_or_default().to_owned();
    if number(&compiled) == number(loaded) {
        return Ok(compiled);
    }
    Err(Error::Versions { compiled, loaded: loaded.to_owned() })
}
