//! Which graphs a folder holds, and in which precision: by its manifest, or by the names that
//! public folders on Hugging Face use.

use std::collections::BTreeMap;

use clip::ModelBundle;

use crate::library::has_cuda;
use crate::{Provider, RuntimeError};

/// The two graphs of one precision, relative to the folder of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphFiles {
    /// The image tower.
    pub vision: String,
    /// The text tower.
    pub text: String,
}

/// Where public folders keep their graphs.
const FOLDER: &str = "onnx";

/// The precisions of a bundle by name.
///
/// Without a manifest they are found by the names of the files: `onnx/vision_model_NAME.onnx` with
/// `onnx/text_model_NAME.onnx` is the precision NAME, and no suffix is `fp32`. A suffix that only
/// one of the two has is passed over.
///
/// # Errors
/// [`RuntimeError::Graph`] for a folder that cannot be read.
pub fn precisions(bundle: &ModelBundle) -> Result<BTreeMap<String, GraphFiles>, RuntimeError> {
    if let Some(manifest) = &bundle.manifest {
        let files = manifest.precisions.iter().map(|(name, files)| {
            (name.clone(), GraphFiles { vision: files.vision.clone(), text: files.text.clone() })
        });
        return Ok(files.collect());
    }
    let folder = bundle.dir.join(FOLDER);
    let failed = |error: std::io::Error| RuntimeError::Graph {
        path: folder.clone(),
        reason: error.to_string(),
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(suffix) = name.to_str().and_then(suffix_of) else { continue };
        let text = format!("text_model{suffix}.onnx");
        if folder.join(&text).is_file() {
            let precision = match suffix.strip_prefix('_') {
                Some(precision) => precision.to_owned(),
                None => "fp32".to_owned(),
            };
            let vision = format!("{FOLDER}/vision_model{suffix}.onnx");
            found.insert(precision, GraphFiles { vision, text: format!("{FOLDER}/{text}") });
        }
    }
    Ok(found)
}

/// `_int8` of `vision_model_int8.onnx`.
fn suffix_of(name: &str) -> Option<&str> {
    let suffix = name.strip_prefix("vision_model")?.strip_suffix(".onnx")?;
    (suffix.is_empty() || suffix.starts_with('_')).then_some(suffix)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_names_the_precision() {
        assert_eq!(suffix_of("vision_model.onnx"), Some(""));
        assert_eq!(suffix_of("vision_model_q4f16.onnx"), Some("_q4f16"));
        assert_eq!(suffix_of("vision_models.onnx"), None);
        assert_eq!(suffix_of("vision_model.onnx_data"), None);
        assert_eq!(suffix_of("text_model.onnx"), None);
    }

    #[test]
    fn bytes_are_preferred_where_they_are_fast() {
        assert_eq!(preference(true, true)[0], "fp16");
        assert_eq!(preference(false, true)[0], "int8");
        assert_eq!(preference(false, false)[0], "fp32");
    }
}
