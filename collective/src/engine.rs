//! Which way tensors on GPUs go: from GPU to GPU by NCCL, or over the memory of the hosts by Gloo.
//!
//! Each process tells where it computes; all come to the same answer from what all have told.

use std::fmt;

use tch::Device;

use crate::{Error, ffi};

/// What moves tensors that lie on GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// From GPU to GPU.
    Nccl,
    /// Over the memory of the hosts, as it moves all others.
    Gloo {
        /// Why not NCCL.
        reason: String,
    },
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nccl => f.write_str("NCCL"),
            Self::Gloo { reason } => write!(f, "Gloo: {reason}"),
        }
    }
}

/// Where a process computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seat {
    /// On no GPU.
    Cpu,
    /// On a GPU, by a program that was built without NCCL.
    WithoutNccl,
    /// On a GPU that NCCL can use.
    Gpu {
        /// What tells it from all others.
        id: String,
        /// Its number on its machine.
        number: usize,
    },
}

impl Seat {
    /// Of this process, which computes on `device`.
    ///
    /// # Errors
    /// [`Error::Torch`] where there is no such GPU.
    pub(crate) fn of(device: Device) -> Result<Self, Error> {
        match device {
            Device::Cuda(_) if !cfg!(nccl) => Ok(Self::WithoutNccl),
            Device::Cuda(number) => Ok(Self::Gpu { id: ffi::gpu_id(number)?, number }),
            Device::Cpu | Device::Mps | Device::Vulkan => Ok(Self::Cpu),
        }
    }

    /// In words that [`Seat::read`] understands.
    pub(crate) fn written(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::WithoutNccl => "without".to_owned(),
            Self::Gpu { id, number } => format!("gpu {number} {id}"),
        }
    }

    /// What another process has told.
    ///
    /// # Errors
    /// [`Error::Torch`] with words that mean nothing.
    pub(crate) fn read(words: &[u8]) -> Result<Self, Error> {
        let words = String::from_utf8_lossy(words);
        let of_gpu = || {
            let (number, id) = words.strip_prefix("gpu ")?.split_once(' ')?;
            Some(Self::Gpu { id: id.to_owned(), number: number.parse().ok()? })
        };
        match words.as_ref() {
            "cpu" => Ok(Self::Cpu),
            "without" => Ok(Self::WithoutNccl),
            _ => of_gpu().ok_or_else(|| Error::Torch {
                reason: format!("a process computes where this one cannot read: {words:?}"),
            }),
        }
    }
}

/// NCCL where every process has a GPU that NCCL can use, and none shares its with another: NCCL refuses
/// that. `called` are the processes' names.
pub(crate) fn chosen(seats: &[Seat], called: impl Fn(usize) -> String) -> Engine {
    let gloo = |reason| Engine::Gloo { reason };
    if seats.iter().all(|seat| *seat == Seat::Cpu) {
        return gloo("no process computes on a GPU".to_owned());
    }
    for (rank, seat) in seats.iter().enumerate() {
        let Seat::Gpu { id, number } = seat else {
            let what = match seat {
                Seat::Cpu => "computes on its CPU",
                _ => "runs a program that was built without NCCL",
            };
            return gloo(format!("{} {what}", called(rank)));
        };
        let same = |seat: &Seat| matches!(seat, Seat::Gpu { id: other, .. } if other == id);
        if let Some(before) = seats[..rank].iter().position(same) {
            let (before, own) = (called(before), called(rank));
            return gloo(format!("{before} and {own} share a GPU, cuda:{number} of the latter"));
        }
    }
    Engine::Nccl
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(id: &str, number: usize) -> Seat {
        Seat::Gpu { id: id.to_owned(), number }
    }

    fn of(seats: &[Seat]) -> String {
        chosen(seats, |rank| format!("process {rank}")).to_string()
    }

    #[test]
    fn nccl_moves_tensors_between_gpus_that_are_all_different() {
        assert_eq!(of(&[gpu("a", 0)]), "NCCL");
        assert_eq!(of(&[gpu("a", 0), gpu("b", 1)]), "NCCL");
        // The same number on different machines.
        assert_eq!(of(&[gpu("a", 0), gpu("b", 0), gpu("c", 0)]), "NCCL");
    }

    #[test]
    fn what_stands_in_the_way_of_nccl_is_said() {
        let shared = [gpu("a", 0), gpu("b", 1), gpu("a", 0)];
        let words = "Gloo: process 0 and process 2 share a GPU, cuda:0 of the latter";
        assert_eq!(of(&shared), words);
        // One sees a single GPU, which the other counts as its second.
        let (a, b) = (gpu("a", 1), gpu("a", 0));
        assert!(of(&[a, b]).ends_with("share a GPU, cuda:0 of the latter"));
        assert_eq!(of(&[gpu("a", 0), Seat::Cpu]), "Gloo: process 1 computes on its CPU");
        let words = "Gloo: process 0 runs a program that was built without NCCL";
        assert_eq!(of(&[Seat::WithoutNccl, gpu("a", 0)]), words);
        assert_eq!(of(&[Seat::Cpu, Seat::Cpu]), "Gloo: no process computes on a GPU");
    }

    #[test]
    fn what_a_process_tells_is_understood() {
        for seat in [Seat::Cpu, Seat::WithoutNccl, gpu("0123abcd", 7)] {
            assert_eq!(Seat::read(seat.written().as_bytes()).ok(), Some(seat));
        }
        for words in ["", "gpu", "gpu x y", "gpu 1"] {
            assert!(Seat::read(words.as_bytes()).is_err(), "{words}");
        }
    }

    #[test]
    fn a_process_on_its_cpu_has_no_gpu_to_offer() {
        assert_eq!(Seat::of(Device::Cpu).ok(), Some(Seat::Cpu));
    }
}
