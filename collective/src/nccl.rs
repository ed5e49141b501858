//! NCCL between the GPUs of a group. Where a process is lost, NCCL waits for it without an end: it is
//! opened, and left behind, on threads of their own, so that this process can tell who is lost.

use std::mem::forget;
use std::sync::mpsc::{RecvTimeoutError, SendError, sync_channel};
use std::thread;
use std::time::Duration;

use tch::Device;

use crate::Error;
use crate::ffi::{Backend, Store};
use crate::group::LOOK;
use crate::pulse::Pulse;

/// How long the end of what is under way is waited for, where a group is left without the others.
const PARTING: Duration = Duration::from_secs(5);

/// NCCL's backend, connected with that of all others.
#[derive(Debug)]
pub(crate) struct Nccl {
    /// None once it is closed.
    backend: Option<Backend>,
    /// The GPU's number on this machine.
    number: usize,
}

impl Nccl {
    /// Connects GPU `number` of this machine with those of all others, as long as all live.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Ended`] where a process does not come along, [`Error::Nccl`] where
    /// there is no way from GPU to GPU.
    pub(crate) fn open(
        store: &Store,
        place: (usize, usize),
        number: usize,
        pulse: &Pulse,
    ) -> Result<Self, Error> {
        let failed = |error: Error| Error::Nccl { reason: error.to_string() };
        let backend = Backend::nccl(store, place).map_err(failed)?;
        let (sender, connected) = sync_channel(1);
        let connect = move || {
            let answer = backend.connect(number);
            if let Err(SendError((backend, _))) = sender.send((backend, answer)) {
                // Nobody waits any more; closing would wait for a lost process.
                forget(backend);
            }
        };
        let thread = thread::Builder::new().name("nccl".to_owned());
        thread.spawn(connect).map_err(|source| Error::Nccl { reason: source.to_string() })?;
        loop {
            match connected.recv_timeout(LOOK) {
                Ok((backend, Ok(()))) => return Ok(Self { backend: Some(backend), number }),
                Ok((backend, Err(error))) => {
                    forget(backend);
                    return Err(pulse.awaited_verdict().unwrap_or_else(|| failed(error)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(verdict) = pulse.verdict() {
                        return Err(verdict);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Nccl { reason: "its thread has ended".to_owned() });
                }
            }
        }
    }

    /// Where tensors have to lie.
    pub(crate) fn device(&self) -> Device {
        Device::Cuda(self.number)
    }

    /// What operations are begun with.
    pub(crate) fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }

    /// Leaves together with all others.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        let Some(backend) = self.backend.take() else { return Ok(()) };
        let shut_down = backend.shut_down();
        if shut_down.is_err() {
            forget(backend);
        }
        shut_down
    }
}

impl Drop for Nccl {
    /// Ends what is under way, which would keep the GPU busy and, at the program's end, wait for a lost
    /// process.
    fn drop(&mut self) {
        let Some(backend) = self.backend.take() else { return };
        let (sender, ended) = sync_channel(1);
        let abort = move || {
            // There is nobody to tell, and no other way to end it.
            let _ = backend.abort();
            forget(backend);
            let _ = sender.send(());
        };
        if thread::Builder::new().name("nccl".to_owned()).spawn(abort).is_ok() {
            let _ = ended.recv_timeout(PARTING);
        }
    }
}
