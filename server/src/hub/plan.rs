//! Which files of a repository make a model that this machine serves well.

use std::collections::BTreeMap;

use clip::bundle::MANIFEST;
use clip::layout::belongs_to;
use clip::{GraphFiles, Layout, Manifest};

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

/// What is taken along where it is there: the card, for its terms.
const WELCOME: &str = "README.md";
/// How many files an error names.
const SHOWN: usize = 8;

/// Chooses the files: the graphs of `wanted`, else of the precision that is best here by
/// `preference` (names, best first), and what they need. Which files are which is told by the
/// `manifest` of a bundle of our own, else by their names, as for a folder.
///
/// # Errors
/// [`HubError::WeightsOnly`], [`HubError::NoGraphs`], [`HubError::Incomplete`] and
/// [`HubError::Precision`] say what was found instead.
pub fn plan(
    listing: &Listing,
    manifest: Option<&Manifest>,
    wanted: Option<&str>,
    preference: &[&str],
) -> Result<Plan, HubError> {
    let layout = Layout::of(listing.files.iter().map(|file| file.path.as_str()));
    let graphs = match manifest {
        Some(manifest) => graphs_of(manifest),
        None => layout.graphs.clone(),
    };
    if graphs.is_empty() {
        return Err(nothing_to_serve(listing, &layout));
    }
    let (precision, graphs) = choose(listing, graphs, wanted, preference)?;
    let mut files = of_graphs(listing, &graphs)?;
    files.extend(listing.file(WELCOME).cloned());
    if let Some(manifest) = manifest {
        let beside = manifest.reference.pictures.iter().map(String::as_str).chain([MANIFEST]);
        let beside: Result<Vec<_>, _> = beside.map(|path| needed(listing, path)).collect();
        files.extend(beside?.into_iter().cloned());
    }
    let known = [
        (layout.tokenizer.is_some(), "tokenizer.json"),
        (layout.processor.is_some(), "preprocessor_config.json"),
        (layout.config.is_some() || layout.assumed.is_some(), "config.json"),
    ];
    if let Some((_, missing)) = known.iter().find(|(there, _)| !there) {
        return Err(incomplete(listing, missing));
    }
    // The configuration comes last.
    files.extend(layout.settings().filter_map(|path| listing.file(path).cloned()));
    Ok(Plan { precision, files })
}

/// The graphs that a bundle says it has.
fn graphs_of(manifest: &Manifest) -> BTreeMap<String, GraphFiles> {
    let graphs = manifest.precisions.iter().map(|(name, files)| {
        (name.clone(), GraphFiles { vision: files.vision.clone(), text: files.text.clone() })
    });
    graphs.collect()
}

/// The precision that was asked for, else the best that is there.
fn choose(
    listing: &Listing,
    mut graphs: BTreeMap<String, GraphFiles>,
    wanted: Option<&str>,
    preference: &[&str],
) -> Result<(String, GraphFiles), HubError> {
    let best = || preference.iter().find(|name| graphs.contains_key(**name)).copied();
    let first = || graphs.keys().next().map(String::as_str).unwrap_or_default();
    let precision = wanted.or_else(best).unwrap_or_else(first).to_owned();
    match graphs.remove(&precision) {
        Some(files) => Ok((precision, files)),
        None => Err(HubError::Precision {
            name: listing.name.as_str().to_owned(),
            wanted: precision,
            there: graphs.into_keys().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The graphs with the weights that large ones keep beside them.
fn of_graphs(listing: &Listing, graphs: &GraphFiles) -> Result<Vec<RemoteFile>, HubError> {
    let mut names = vec![graphs.vision.as_str()];
    if !graphs.joint() {
        names.push(&graphs.text);
    }
    for name in &names {
        needed(listing, name)?;
    }
    let belongs = |file: &&RemoteFile| names.iter().any(|name| belongs_to(&file.path, name));
    Ok(listing.files.iter().filter(belongs).cloned().collect())
}

/// A file without which the model cannot be used.
fn needed<'a>(listing: &'a Listing, path: &str) -> Result<&'a RemoteFile, HubError> {
    listing.file(path).ok_or_else(|| incomplete(listing, path))
}

fn incomplete(listing: &Listing, file: &str) -> HubError {
    HubError::Incomplete { name: listing.name.as_str().to_owned(), file: file.to_owned() }
}

fn nothing_to_serve(listing: &Listing, layout: &Layout) -> HubError {
    let name = listing.name.as_str().to_owned();
    if let Some(weights) = layout.weights.clone() {
        return HubError::WeightsOnly { name, weights };
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
        plan(&listing(paths), None, wanted, preference).map_err(|error| error.to_string())
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
    fn other_arrangements_are_taken_whole() {
        let immich = [
            "config.json",
            "textual/model.onnx",
            "textual/tokenizer.json",
            "textual/tokenizer_config.json",
            "visual/fp16/model.armnn",
            "visual/model.onnx",
            "visual/preprocess_cfg.json",
        ];
        let plan = planned(&immich, None, &["int8", "fp32"]).unwrap();
        assert_eq!(plan.precision, "fp32");
        let expected = [
            "textual/model.onnx",
            "visual/model.onnx",
            "textual/tokenizer.json",
            "textual/tokenizer_config.json",
            "visual/preprocess_cfg.json",
            "config.json",
        ];
        assert_eq!(paths(&plan), expected);
        let joint = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx"];
        let joint: Vec<&str> = joint.into_iter().chain(WHOLE[1..4].iter().copied()).collect();
        let plan = planned(&joint, None, &["fp32"]).unwrap();
        assert_eq!(paths(&plan)[..2], ["onnx/model.onnx", "onnx/model.onnx_data"]);
        assert_eq!(plan.files.len(), 5);
    }

    #[test]
    fn a_bundle_is_taken_by_its_manifest() {
        let manifest = r#"{"id": "ab", "logit_scale": 4.6, "context_length": 77, "made_by": "x",
            "precisions": {"int8": {"vision": "onnx/v8.onnx", "text": "onnx/t8.onnx",
                                    "weights": "int8", "tolerance": 0.99}},
            "reference": {"texts": [], "pictures": ["reference/a.png"], "embeddings": {}}}"#;
        let manifest: Manifest = serde_json::from_str(manifest).unwrap();
        let files = ["onnx/v8.onnx", "onnx/t8.onnx", "reference/a.png", MANIFEST];
        let files: Vec<&str> = WHOLE[..4].iter().copied().chain(files).collect();
        let planned = |files: &[&str]| plan(&listing(files), Some(&manifest), None, &["fp32"]);
        let whole = planned(&files).unwrap();
        let found = paths(&whole);
        assert_eq!((whole.precision.as_str(), found.len()), ("int8", 8));
        assert_eq!(found[7], "config.json");
        let without: Vec<&str> = files.into_iter().filter(|path| !path.ends_with("png")).collect();
        let error = planned(&without).unwrap_err().to_string();
        assert!(error.contains("reference/a.png"), "{error}");
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
