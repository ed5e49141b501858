//! Which files of a repository make a model that this machine serves well.

use std::collections::BTreeMap;

use super::{HubError, Listing, RemoteFile};

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The precision whose graphs are taken.
    pub precision: String,
    /// The files; the configuration last, so that a folder which has it is complete.
    pub files: Vec<RemoteFile>,
}

impl Plan {
    /// All bytes together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// What a folder needs beside its graphs.
const NEEDED: [&str; 3] = ["tokenizer.json", "preprocessor_config.json", "config.json"];
/// What is taken along where it is there: the card, for its terms.
const WELCOME: &str = "README.md";
/// Weights that a trainer reads.
const WEIGHTS: [&str; 3] =
    ["model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin"];
/// How many files an error names.
const SHOWN: usize = 8;

/// Chooses the files: the graphs of `wanted`, else of the precision that is best here by
/// `preference` (names, best first), and what they need.
///
/// # Errors
/// [`HubError::WeightsOnly`], [`HubError::NoGraphs`], [`HubError::Incomplete`] and
/// [`HubError::Precision`] say what was found instead.
pub fn plan(
    listing: &Listing,
    wanted: Option<&str>,
    preference: &[&str],
) -> Result<Plan, HubError> {
    let name = listing.name.as_str().to_owned();
    let suffixes = pairs(listing);
    if suffixes.is_empty() {
        return Err(nothing_to_serve(name, listing));
    }
    let precision = match wanted {
        Some(wanted) if suffixes.contains_key(wanted) => wanted.to_owned(),
        Some(wanted) => {
            let there = suffixes.into_keys().collect::<Vec<_>>().join(", ");
            return Err(HubError::Precision { name, wanted: wanted.to_owned(), there });
        }
        None => preference
            .iter()
            .find(|precision| suffixes.contains_key(**precision))
            .map(|precision| (*precision).to_owned())
            .or_else(|| suffixes.keys().next().cloned())
            .unwrap_or_default(),
    };
    let suffix = &suffixes[&precision];
    let graphs = ["vision_model", "text_model"].map(|tower| format!("onnx/{tower}{suffix}.onnx"));
    // Large graphs keep their weights in files beside them: model.onnx_data, model.onnx_data_1 …
    let of_graphs = |file: &&RemoteFile| graphs.iter().any(|g| belongs_to(&file.path, g));
    let mut files: Vec<RemoteFile> = listing.files.iter().filter(of_graphs).cloned().collect();
    files.extend(listing.file(WELCOME).cloned());
    for file in NEEDED {
        let Some(found) = listing.file(file) else {
            return Err(HubError::Incomplete { name, file });
        };
        files.push(found.clone());
    }
    Ok(Plan { precision, files })
}

/// Whether a file is this graph or holds weights of it.
fn belongs_to(path: &str, graph: &str) -> bool {
    path.strip_prefix(graph).is_some_and(|rest| rest.is_empty() || rest.starts_with("_data"))
}

/// The suffix of each precision of which both towers are there.
fn pairs(listing: &Listing) -> BTreeMap<String, String> {
    let suffix_of = |file: &RemoteFile| {
        let suffix = file.path.strip_prefix("onnx/vision_model")?.strip_suffix(".onnx")?;
        let both = listing.file(&format!("onnx/text_model{suffix}.onnx")).is_some();
        both.then(|| suffix.to_owned())
    };
    let named = |suffix: String| match suffix.strip_prefix('_') {
        Some(precision) => Some((precision.to_owned(), suffix)),
        None => suffix.is_empty().then(|| ("fp32".to_owned(), suffix)),
    };
    listing.files.iter().filter_map(suffix_of).filter_map(named).collect()
}

fn nothing_to_serve(name: String, listing: &Listing) -> HubError {
    let weights = WEIGHTS.iter().find(|weights| listing.file(weights).is_some());
    if let Some(weights) = weights {
        return HubError::WeightsOnly { name, weights: (*weights).to_owned() };
    }
    let mut found: Vec<&str> =
        listing.files.iter().take(SHOWN).map(|file| file.path.as_str()).collect();
    if listing.files.len() > SHOWN {
        found.push("…");
    }
    HubError::NoGraphs { name, found: found.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::{Digest, RepoName};
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let file = |path: &&str| RemoteFile {
            path: (*path).to_owned(),
            size_bytes: 1,
            digest: Digest::GitBlob(String::new()),
        };
        let files = paths.iter().map(file).collect();
        let name = RepoName::new("a/b").unwrap();
        Listing { name, commit: "c".to_owned(), license: None, files }
    }

    const WHOLE: [&str; 10] = [
        "README.md",
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "onnx/vision_model.onnx",
        "onnx/vision_model.onnx_data",
        "onnx/text_model.onnx",
        "onnx/vision_model_int8.onnx",
        "onnx/text_model_int8.onnx",
        "onnx/vision_model_q4.onnx",
    ];

    fn planned(paths: &[&str], wanted: Option<&str>, preference: &[&str]) -> Result<Plan, String> {
        plan(&listing(paths), wanted, preference).map_err(|error| error.to_string())
    }

    fn paths(plan: &Plan) -> Vec<&str> {
        plan.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn the_best_precision_is_taken_with_what_it_needs_and_the_configuration_last() {
        let plan = planned(&WHOLE, None, &["fp16", "int8", "fp32"]).unwrap();
        assert_eq!(plan.precision, "int8");
        let expected = [
            "onnx/vision_model_int8.onnx",
            "onnx/text_model_int8.onnx",
            "README.md",
            "tokenizer.json",
            "preprocessor_config.json",
            "config.json",
        ];
        assert_eq!(paths(&plan), expected);
        let exact = planned(&WHOLE, Some("fp32"), &[]).unwrap();
        assert!(paths(&exact).contains(&"onnx/vision_model.onnx_data"));
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_what_was_found() {
        let half = planned(&WHOLE, Some("q4"), &[]).unwrap_err();
        assert!(half.contains("q4") && half.contains("fp32, int8"), "{half}");
        let weights = planned(&["config.json", "model.safetensors"], None, &[]).unwrap_err();
        assert!(weights.contains("model.safetensors") && weights.contains("export"), "{weights}");
        let other = planned(&["model.gguf"], None, &[]).unwrap_err();
        assert!(other.contains("model.gguf"), "{other}");
        let incomplete: Vec<&str> =
            WHOLE.into_iter().filter(|path| *path != "tokenizer.json").collect();
        let incomplete = planned(&incomplete, None, &[]).unwrap_err();
        assert!(incomplete.contains("tokenizer.json"), "{incomplete}");
    }
}
