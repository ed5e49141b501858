//! In which precisions a bundle can be run, and which of them is best for this machine.

use std::collections::BTreeMap;

use clip::{GraphFiles, ModelBundle};

use crate::Provider;
use crate::library::has_cuda;

/// The precisions of a bundle by name: those that its manifest lists, or that the names of its files
/// tell. A bundle may have been fetched in one of its precisions alone, so those without files are
/// left out, unless nothing is there.
#[must_use]
pub fn precisions(bundle: &ModelBundle) -> BTreeMap<String, GraphFiles> {
    let Some(manifest) = &bundle.manifest else { return bundle.layout.graphs.clone() };
    let files = manifest.precisions.iter().map(|(name, files)| {
        (name.clone(), GraphFiles { vision: files.vision.clone(), text: files.text.clone() })
    });
    let listed: BTreeMap<String, GraphFiles> = files.collect();
    let there = |graph: &str| bundle.dir.join(graph).is_file();
    let mut found = listed.clone();
    found.retain(|_, files| there(&files.vision) && there(&files.text));
    if found.is_empty() { listed } else { found }
}

/// The names of precisions by how well this machine runs them, best first. ONNX Runtime must be
/// loaded: what it can do decides for [`Provider::Auto`].
#[must_use]
pub fn precision_order(provider: Provider) -> &'static [&'static str] {
    let cuda = match provider {
        Provider::Auto => has_cuda().is_ok(),
        Provider::Cpu => false,
        Provider::Cuda => true,
    };
    preference(cuda, fast_int8())
}

/// The names to try when none is asked for, best first.
///
/// CUDA is fastest in 16 bits. A CPU gains nothing by those; int8 is fastest where the processor
/// multiplies bytes with signed weights, and elsewhere it is slower or saturates, so that only
/// unsigned weights are taken, after f32.
pub(crate) fn preference(cuda: bool, fast_int8: bool) -> &'static [&'static str] {
    match (cuda, fast_int8) {
        (true, _) => &["fp16", "fp32", "int8", "quantized", "uint8"],
        (false, true) => &["int8", "fp32", "quantized", "uint8", "fp16"],
        (false, false) => &["fp32", "uint8", "quantized", "int8", "fp16"],
    }
}

/// Whether this processor multiplies bytes much faster than f32 (VNNI; every processor with AMX
/// has it; the dot product on Arm).
pub(crate) fn fast_int8() -> bool {
    #[cfg(target_arch = "x86_64")]
    let fast = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(target_arch = "aarch64")]
    let fast = std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    fast
}

/// Whether products of bytes in this precision can overflow on a processor that has no fast ones: an
/// x86 without VNNI adds two products of an unsigned and a signed byte in 16 bits (`vpmaddubsw`).
/// Unsigned weights are multiplied another way.
pub(crate) fn may_overflow(precision: &str, fast_int8: bool) -> bool {
    cfg!(target_arch = "x86_64") && !fast_int8 && !["uint8", "quantized"].contains(&precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn signed_bytes_may_overflow_where_they_are_not_fast() {
        assert!(may_overflow("int8", false) && may_overflow("mine", false));
        assert!(!may_overflow("int8", true) && !may_overflow("uint8", false));
    }

    #[test]
    fn bytes_are_preferred_where_they_are_fast() {
        assert_eq!(preference(true, true)[0], "fp16");
        assert_eq!(preference(false, true)[0], "int8");
        assert_eq!(preference(false, false)[0], "fp32");
    }
}
