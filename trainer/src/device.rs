//! Where training computes, and in which arithmetic.
//!
//! The linker drops libtorch's CUDA half, which nothing names unless the build has NCCL; opened by hand
//! before anything else asks libtorch for a device, it registers itself, so one program serves machines
//! with and without a GPU.

use std::fmt;
use std::sync::Once;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device, Kind, TchError, Tensor};

use crate::recipe::Precision;

/// libtorch's CUDA half; it lies beside the other half.
const CUDA_HALF: &str = "libtorch_cuda.so";

/// A device, and the kind of the matrix products on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Where.
    pub device: Device,
    /// f32 or bf16; weights and sums are f32 either way.
    pub kind: Kind,
}

impl Placement {
    /// The first CUDA device where there is one, else the CPU; bf16 on CUDA and f32 elsewhere
    /// unless `precision` says otherwise.
    #[must_use]
    pub fn choose(precision: Option<Precision>) -> Self {
        open_cuda();
        let device = Device::cuda_if_available();
        let kind = match (precision, device.is_cuda()) {
            (Some(Precision::Bf16), _) | (None, true) => Kind::BFloat16,
            (Some(Precision::F32), _) | (None, false) => Kind::Float,
        };
        Self { device, kind }
    }

    /// As [`Placement::choose`] for the process of number `local_rank` on this machine: processes share
    /// its GPUs in turn.
    #[must_use]
    pub fn of_process(local_rank: usize, precision: Option<Precision>) -> Self {
        let place = Self::choose(precision);
        let gpus = usize::try_from(Cuda::device_count()).unwrap_or(0);
        match place.device {
            Device::Cuda(_) if gpus > 0 => {
                Self { device: Device::Cuda(local_rank % gpus), ..place }
            }
            _ => place,
        }
    }

    /// What speaks against this arithmetic here.
    #[must_use]
    pub fn caution(self) -> Option<&'static str> {
        let slow =
            !self.device.is_cuda() && self.kind == Kind::BFloat16 && !processor_multiplies_bf16();
        slow.then_some(
            "this processor has no products of bf16 (AVX-512 BF16, or Arm's BF16), so that f32 is \
             faster: leave train.precision out",
        )
    }

    /// Its arithmetic, as a recipe says it.
    #[must_use]
    pub fn precision(self) -> Precision {
        if self.kind == Kind::BFloat16 { Precision::Bf16 } else { Precision::F32 }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Device::Cuda(number) => {
                write!(f, "on CUDA device {number} (of {})", Cuda::device_count())?;
            }
            Device::Cpu | Device::Mps | Device::Vulkan => f.write_str("on the CPU")?,
        }
        f.write_str(match self.precision() {
            Precision::F32 => " in f32",
            Precision::Bf16 => " in bf16",
        })
    }
}

/// Whether the processor multiplies bf16 by itself. On one that does not (AMD EPYC without AVX-512) libtorch
/// goes through an EfficientNet number by number, a step in ten times what it takes in f32.
fn processor_multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// `tensor` on `device`. To a GPU it goes from page-locked memory, which the GPU fetches by itself:
/// from any other the program would wait until all that it has handed over is computed.
///
/// # Errors
/// libtorch's, where there is no room.
pub fn moved(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    if !device.is_cuda() || tensor.device() == device {
        return tensor.f_to_device(device);
    }
    fetched(&page_locked(tensor, device)?, device)
}

/// `tensor` on `device`, which fetches by itself what is [`page_locked`]; for anything else the program waits.
///
/// # Errors
/// libtorch's, where there is no room.
pub fn fetched(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    tensor.f_to_device_(device, tensor.kind(), true, false)
}

/// A copy of a tensor of the CPU where `device` can fetch it by itself; the tensor itself for a CPU.
///
/// # Errors
/// libtorch's, where there is no room.
pub fn page_locked(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    if !device.is_cuda() {
        return Ok(tensor.shallow_clone());
    }
    // The public form warns at each call, since tch names the device.
    tensor.f_internal_pin_memory(device)
}

/// Opens libtorch's CUDA half where it and a driver are there; where not, the CPU remains.
pub fn open_cuda() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(unsafe_code, reason = "its constructors only register kernels with libtorch")]
        // SAFETY: the file is part of the libtorch that this program is linked against.
        let opened = unsafe { Library::open(Some(CUDA_HALF), RTLD_NOW | RTLD_GLOBAL) };
        if let Ok(library) = opened {
            // Never closed: what it registered points into it.
            let _ = library.into_raw();
        }
    });
}

/// Bytes that are free on the CUDA device in use, as its driver says; none where there is no device.
#[must_use]
pub fn free_cuda_memory() -> Option<u64> {
    let (mut free, mut total) = (0usize, 0usize);
    #[expect(
        unsafe_code,
        reason = "libtorch tells it to no one, and the runtime that it brings does"
    )]
    // SAFETY: CUDA's own declaration, `cudaError_t cudaMemGetInfo(size_t *free, size_t *total)`.
    let answer = unsafe {
        let told = Library::this();
        let asked =
            told.get::<unsafe extern "C" fn(*mut usize, *mut usize) -> i32>(b"cudaMemGetInfo\0");
        asked.ok()?(&raw mut free, &raw mut total)
    };
    (answer == 0).then_some(free as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_decides_the_arithmetic_and_the_device_does_where_it_says_nothing() {
        let of = |precision| Placement::choose(precision).kind;
        assert_eq!(of(Some(Precision::Bf16)), Kind::BFloat16);
        assert_eq!(of(Some(Precision::F32)), Kind::Float);
        let silent = Placement::choose(None);
        assert_eq!(silent.kind == Kind::BFloat16, silent.device.is_cuda());
        let words = if silent.device.is_cuda() { "on CUDA device 0" } else { "on the CPU in f32" };
        assert!(silent.to_string().starts_with(words), "{silent}");
    }

    #[test]
    fn bf16_on_a_processor_without_it_is_cautioned_against() {
        let on_cpu = |kind| Placement { device: Device::Cpu, kind };
        assert_eq!(on_cpu(Kind::BFloat16).caution().is_none(), processor_multiplies_bf16());
        assert_eq!(on_cpu(Kind::Float).caution(), None);
        assert_eq!(Placement { device: Device::Cuda(0), kind: Kind::BFloat16 }.caution(), None);
    }

    #[test]
    fn the_free_memory_of_a_gpu_is_known_where_there_is_one() {
        let device = Placement::choose(None).device;
        assert_eq!(free_cuda_memory().is_some_and(|free| free > 0), device.is_cuda());
    }
}
