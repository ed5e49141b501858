//! Why processes cannot join, or cannot go on together, in words for who started them.

use std::time::Duration;

/// Why processes cannot join or go on together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error(
        "cannot reach {address} (MASTER_ADDR, MASTER_PORT) from here: {reason}; name the machine of \
         process 0 by an address that all machines reach"
    )]
    Address {
        /// As the environment says it.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// Process 0 cannot serve there.
    #[error(
        "process 0 cannot listen at {address} (MASTER_ADDR, MASTER_PORT): {reason}; name an address of \
         this machine and a port that is free"
    )]
    Listen {
        /// As the environment says it.
        address: String,
        /// libtorch's words.
        reason: String,
    },
    /// Nobody serves there.
    #[error(
        "nobody answers at {address} (MASTER_ADDR, MASTER_PORT) within {} s: {reason}; start process 0 \
         there, and let its port through", waited.as_secs()
    )]
    NobodyAnswers {
        /// As the environment says it.
        address: String,
        /// How long was waited.
        waited: Duration,
        /// The system's words.
        reason: String,
    },
    /// Processes that did not come.
    #[error(
        "{} of {size} processes have not come within {} s: RANK {}; start them too, with the same \
         MASTER_ADDR and MASTER_PORT, or start fewer in all (WORLD_SIZE)",
        missing.len(), waited.as_secs(), listed(missing)
    )]
    Missing {
        /// Their numbers.
        missing: Vec<usize>,
        /// Of all.
        size: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Two processes with one number.
    #[error("there is a process with RANK={rank} already; give each a number of its own")]
    Twice {
        /// The number.
        rank: usize,
    },
    /// Processes that were started differently.
    #[error(
        "{who} was started with another {what} than process 0: {theirs} instead of {first}; start all \
         processes alike"
    )]
    Disagree {
        /// Who differs.
        who: String,
        /// In what.
        what: String,
        /// What process 0 has.
        first: String,
        /// What that one has.
        theirs: String,
    },
    /// A process that is silent or cannot be reached.
    #[error(
        "{who} {how}; this process cannot go on alone; go on from the last checkpoint with train --resume, \
         with as many processes as there are"
    )]
    Lost {
        /// Who.
        who: String,
        /// What was seen of it.
        how: String,
    },
    /// A process that ended with an error of its own.
    #[error("{who} stopped: {reason}")]
    Ended {
        /// Who.
        who: String,
        /// In its own words.
        reason: String,
    },
    /// Wrong answers.
    #[error(
        "libtorch {version} does not compute together as it should ({what} gave {found} instead of \
         {expected}); fetch it anew with make libtorch, and build the trainer with it"
    )]
    SelfTest {
        /// Of the loaded libtorch.
        version: String,
        /// The operation, and what did it.
        what: String,
        /// What it gave.
        found: String,
        /// What it should have given.
        expected: String,
    },
    /// GPUs that are not reached.
    #[error(
        "NCCL does not connect this process's GPU with the others: {reason}; NCCL_DEBUG=INFO tells more"
    )]
    Nccl {
        /// In libtorch's words.
        reason: String,
    },
    /// Another libtorch than at build time.
    #[error(
        "the program was built with libtorch {compiled} and runs with libtorch {loaded:?}; build it \
         again, or let it find the other one"
    )]
    Versions {
        /// At build time.
        compiled: String,
        /// Now.
        loaded: String,
    },
    /// libtorch refused.
    #[error("libtorch's c10d: {reason}")]
    Torch {
        /// Its words.
        reason: String,
    },
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Torch { reason: error.to_string() }
    }
}

fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
