//! What a GPU refuses, recognized by libtorch's words: it has no codes for it.

use std::any::Any;
use std::error::Error;

use super::TrainError;
use crate::recipe::{MicroBatch, Precision, Recipe};

/// What is wrong with a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its memory is full.
    OutOfMemory,
    /// It disappeared, or answers no more to this process.
    Gone,
}

/// Beginnings of `what()` of `c10::OutOfMemoryError` (`CUDACachingAllocator.cpp`) and of what CUDA,
/// cuBLAS and cuDNN say where they find no memory of their own (libtorch 2.13, CUDA 13).
const OUT_OF_MEMORY: [&str; 5] = [
    "CUDA out of memory. ",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
];

/// What follows `CUDA error: ` (`c10/cuda/CUDAException.cpp`) after a device was taken away, was
/// reset, or failed so that nothing more runs on it: `cudaGetErrorString`'s words in CUDA 13.
/// What says that a program was wrong (device-side asserts, invalid values) is not among them.
const GONE: [&str; 12] = [
    "CUDA-capable device(s) is/are busy or unavailable",
    "no CUDA-capable device is detected",
    "invalid device ordinal",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected during the execution",
    "Invalid access of peer GPU memory over nvlink or a hardware error",
    "hardware stack error",
    "unspecified launch failure",
    "the launch timed out and was terminated",
    "driver shutting down",
    "initialization error",
    "unknown error",
];

impl Trouble {
    /// What libtorch's words say of a GPU; none where they are about something else.
    pub(super) fn recognized(words: &str) -> Option<Self> {
        if OUT_OF_MEMORY.iter().any(|known| words.contains(known)) {
            return Some(Self::OutOfMemory);
        }
        let told = |known: &&str| words.contains(&format!("CUDA error: {known}"));
        GONE.iter().any(told).then_some(Self::Gone)
    }
}

/// `error`, or what it says of a GPU.
pub(super) fn told(error: TrainError, recipe: &Recipe) -> TrainError {
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(cause) = next {
        if let Some(gpu) = of_words(&cause.to_string(), recipe) {
            return gpu;
        }
        next = cause.source();
    }
    error
}

/// What a panic says of a GPU: those calls of libtorch that answer no `Result` panic with its words.
pub(super) fn of_panic(panic: &(dyn Any + Send), recipe: &Recipe) -> Option<TrainError> {
    let words = panic.downcast_ref::<String>()?;
    of_words(words, recipe)
}

fn of_words(words: &str, recipe: &Recipe) -> Option<TrainError> {
    let reason = first_line(words);
    Some(match Trouble::recognized(words)? {
        Trouble::OutOfMemory => TrainError::OutOfMemory { cures: cures(recipe), reason },
        Trouble::Gone => TrainError::Gone { reason },
    })
}

/// Without the C++ frames that libtorch adds, from the first word that is about CUDA.
fn first_line(words: &str) -> String {
    let words = &words[words.find("CUDA").unwrap_or(0)..];
    let end = words.find("\\n").into_iter().chain(words.find('\n')).min();
    words[..end.unwrap_or(words.len())].trim_end().to_owned()
}

/// What to lower, with what it is now.
fn cures(recipe: &Recipe) -> String {
    let mut cures = vec![format!("train.batch_size (now {})", recipe.train.batch_size)];
    if let Some(size) = recipe.image.size {
        cures.push(format!("image.size (now {size})"));
    }
    if let Some(MicroBatch::Pairs(pairs)) = recipe.train.micro_batch {
        cures.insert(0, format!("train.micro_batch (now {pairs})"));
    }
    let lower = format!("lower {}", cures.join(" or "));
    let lower = match recipe.train.micro_batch {
        None => format!(
            "set train.micro_batch = \"auto\", which keeps the gradient of the whole batch, or {lower}"
        ),
        Some(MicroBatch::Auto(_)) => format!("set train.micro_batch to a number, or {lower}"),
        Some(MicroBatch::Pairs(_)) => lower,
    };
    if recipe.train.precision == Some(Precision::F32) {
        return format!("{lower}, or set train.precision = \"bf16\"");
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::EncoderError;
    use crate::model::ModelError;

    /// As `what()` tells it in libtorch 2.13, with the frames that follow.
    const FULL: &str = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity \
        of 8.00 GiB of which 146.00 MiB is free. Process 71 has 7.80 GiB memory in use.\n\
        Exception raised from malloc at /pytorch/c10/cuda/CUDACachingAllocator.cpp:1577 (most \
        recent call first):\nframe #0: c10::Error::Error";

    #[test]
    fn libtorchs_words_are_recognized() {
        for words in [
            FULL,
            "CUDA out of memory. Tried to allocate more than 1EB memory.",
            "CUDA out of memory. Allocation was preemptively rejected because it would exceed \
             per_process_memory_fraction limit. Requested size: 1.00 GiB",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
            "CUDA driver error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ] {
            assert_eq!(Trouble::recognized(words), Some(Trouble::OutOfMemory), "{words}");
        }
        for known in GONE {
            let words = format!("CUDA error: {known}\nCUDA kernel errors might be asynchronously");
            assert_eq!(Trouble::recognized(&words), Some(Trouble::Gone), "{words}");
        }
        for words in [
            "CUDA error: device-side assert triggered",
            "CUDA error: invalid argument",
            "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
            "unknown error",
            "",
        ] {
            assert_eq!(Trouble::recognized(words), None, "{words}");
        }
    }

    fn recipe(precision: &str) -> Recipe {
        let text = format!(
            "model = {{ model_type = \"clip\", init = \"c\", projection = {{ learning_rate = 1e-4 }} }}\n\
             data = [{{ path = \"d\" }}]\n\
             image = {{ size = 224 }}\n\
             train = {{ batch_size = 512, epochs = 1, precision = \"{precision}\" }}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn an_error_deep_down_or_a_panic_says_what_to_lower() {
        let full = || tch::TchError::Torch(FULL.to_owned());
        let name = "vision_model".to_owned();
        let deep = ModelError::Torch { operation: "linear", name, source: full() };
        let said = told(EncoderError::from(deep).into(), &recipe("f32")).to_string();
        for words in [
            "(CUDA out of memory. Tried to allocate 20.00 GiB.",
            "lower train.batch_size (now 512) or image.size (now 224)",
            "train.precision = \"bf16\"",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("frame #0"), "{said}");
        let panic = format!("called `Result::unwrap()` on an `Err` value: {:?}", full());
        let said = of_panic(&panic, &recipe("bf16")).unwrap().to_string();
        assert!(said.contains("batch_size (now 512)") && !said.contains("bf16"), "{said}");
        assert!(said.contains("set train.micro_batch = \"auto\""), "{said}");
        let mut parts = recipe("bf16");
        parts.train.micro_batch = Some(MicroBatch::Pairs(64));
        let said = of_panic(&panic, &parts).unwrap().to_string();
        let lower = "lower train.micro_batch (now 64) or train.batch_size (now 512)";
        assert!(said.contains(lower) && !said.contains("auto"), "{said}");
        let gone = "CUDA error: unspecified launch failure".to_owned();
        let said = told(tch::TchError::Torch(gone).into(), &recipe("f32")).to_string();
        assert!(said.contains("disappeared") && said.contains("--resume"), "{said}");
        let other = told(TrainError::NoNegatives, &recipe("f32"));
        assert!(matches!(other, TrainError::NoNegatives));
    }

    #[test]
    fn frames_are_left_out_of_errors_and_of_panics() {
        assert!(first_line(FULL).ends_with("7.80 GiB memory in use."));
        let panic = format!("called `Result::unwrap()` on an `Err` value: Torch({FULL:?})");
        let line = first_line(&panic);
        assert!(line.starts_with("CUDA out of memory. Tried"), "{line}");
        assert!(line.ends_with("memory in use."), "{line}");
    }
}
