//! Which files of a folder make a model: its graphs by precision, and what stands beside them.
//!
//! Looks at paths alone, so that a folder and the listing of a repository are read by the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The two graphs of one precision, relative to the folder. They are the same file where one graph
/// holds both towers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphFiles {
    /// The image tower.
    pub vision: String,
    /// The text tower.
    pub text: String,
}

impl GraphFiles {
    /// Whether one graph holds both towers.
    #[must_use]
    pub fn joint(&self) -> bool {
        self.vision == self.text
    }
}

/// The files of a model, relative to its folder. What is `None` is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What the arrangement is called.
    pub name: &'static str,
    /// The `model_type` of such a folder where no configuration says it.
    pub assumed: Option<&'static str>,
    /// The graphs by the name of their precision; empty where no known arrangement was found.
    pub graphs: BTreeMap<String, GraphFiles>,
    /// What the model is: `config.json` of Hugging Face, or `open_clip`'s configuration.
    pub config: Option<String>,
    /// `tokenizer.json`
    pub tokenizer: Option<String>,
    /// Names the pad token and the tokenizer's class.
    pub tokenizer_config: Option<String>,
    /// How pictures are prepared; may be the same file as `config`.
    pub processor: Option<String>,
    /// Learned scale and bias, pad id and lower case, as `open_clip_inference` writes them.
    pub model_config: Option<String>,
    /// Weights that a trainer reads; the learned scale and bias may stand in them.
    pub weights: Option<String>,
}

/// An arrangement of graphs: how their paths begin.
struct Pattern {
    name: &'static str,
    vision: &'static str,
    text: &'static str,
    configs: &'static [&'static str],
    /// What a folder without a configuration holds; `None` where that could be anything.
    assumed: Option<&'static str>,
}

const HUGGING_FACE: &[&str] = &["config.json", "onnx/config.json"];
const OPEN_CLIP: &[&str] = &["open_clip_config.json", "config.json"];

/// The arrangements, in the order in which they are looked for: graphs of one tower each go before
/// a joint one, which runs both towers for every answer.
const PATTERNS: [Pattern; 8] = [
    pattern("Hugging Face", "onnx/vision_model", "onnx/text_model", HUGGING_FACE),
    pattern("Hugging Face", "vision_model", "text_model", HUGGING_FACE),
    pattern("immich", "visual/model", "textual/model", OPEN_CLIP),
    pattern("open_clip", "visual", "text", OPEN_CLIP),
    // These programs know no other models than those of OpenAI's kind.
    Pattern { assumed: Some("clip"), ..pattern("rclip", "visual", "textual", OPEN_CLIP) },
    pattern("Hugging Face, joint", "onnx/model", "onnx/model", HUGGING_FACE),
    pattern("Hugging Face, joint", "model", "model", HUGGING_FACE),
    pattern("open_clip", "onnx/visual", "onnx/text", OPEN_CLIP),
];

const fn pattern(
    name: &'static str,
    vision: &'static str,
    text: &'static str,
    configs: &'static [&'static str],
) -> Pattern {
    Pattern { name, vision, text, configs, assumed: None }
}

/// Where each file beside the graphs may lie, first choice first.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "textual/tokenizer.json", "onnx/tokenizer.json"];
const TOKENIZER_CONFIGS: [&str; 3] =
    ["tokenizer_config.json", "textual/tokenizer_config.json", "onnx/tokenizer_config.json"];
const PROCESSORS: [&str; 5] = [
    "preprocessor_config.json",
    "visual/preprocess_cfg.json",
    "preprocess_cfg.json",
    "onnx/preprocessor_config.json",
    "open_clip_config.json",
];
const MODEL_CONFIG: [&str; 1] = ["model_config.json"];
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
];

/// The name of the precision of a graph without a suffix.
pub const FULL_PRECISION: &str = "fp32";

impl Layout {
    /// Sorts out files by their paths, relative to the folder and with forward slashes.
    ///
    /// `STEM_NAME.onnx` is the precision NAME and `STEM.onnx` is `fp32`; a precision that only one
    /// of the two towers has is passed over.
    #[must_use]
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let paths: BTreeSet<&str> = paths.into_iter().collect();
        let first = |candidates: &[&str]| {
            candidates.iter().find(|path| paths.contains(**path)).map(|path| (*path).to_owned())
        };
        let found = PATTERNS.iter().find_map(|pattern| {
            let graphs = pattern.graphs(&paths);
            (!graphs.is_empty()).then_some((pattern, graphs))
        });
        let (pattern, graphs) = found.unwrap_or((&PATTERNS[0], BTreeMap::new()));
        Self {
            name: pattern.name,
            assumed: pattern.assumed,
            graphs,
            config: first(pattern.configs),
            tokenizer: first(&TOKENIZERS),
            tokenizer_config: first(&TOKENIZER_CONFIGS),
            processor: first(&PROCESSORS),
            model_config: first(&MODEL_CONFIG),
            weights: first(&WEIGHTS),
        }
    }

    /// Looks into a folder and those right below it.
    ///
    /// # Errors
    /// Those of reading the folders.
    pub fn of_folder(dir: &Path) -> std::io::Result<Self> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_file() {
                paths.push(relative(dir, &path));
            } else if path.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    paths.push(relative(dir, &entry?.path()));
                }
            }
        }
        Ok(Self::of(paths.iter().map(String::as_str)))
    }

    /// The files beside the graphs that a model of this arrangement is read from, the configuration
    /// last. Weights are left out: graphs hold their own.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        let config = self.config.as_deref();
        [&self.tokenizer, &self.tokenizer_config, &self.processor, &self.model_config]
            .into_iter()
            .filter_map(Option::as_deref)
            .filter(move |path| Some(*path) != config)
            .chain(config)
    }
}

impl Pattern {
    /// The precisions of which both graphs are there.
    fn graphs(&self, paths: &BTreeSet<&str>) -> BTreeMap<String, GraphFiles> {
        let suffixes = paths.iter().filter_map(|path| suffix_of(path, self.vision));
        let graphs = suffixes.filter_map(|suffix| {
            let vision = format!("{}{suffix}.onnx", self.vision);
            let text = format!("{}{suffix}.onnx", self.text);
            let precision = match suffix.strip_prefix('_') {
                Some(precision) => precision.to_owned(),
                None => FULL_PRECISION.to_owned(),
            };
            paths.contains(text.as_str()).then_some((precision, GraphFiles { vision, text }))
        });
        graphs.collect()
    }
}

/// `_int8` of `onnx/vision_model_int8.onnx`, whose stem is `onnx/vision_model`.
fn suffix_of<'a>(path: &'a str, stem: &str) -> Option<&'a str> {
    let suffix = path.strip_prefix(stem)?.strip_suffix(".onnx")?;
    let named = suffix.starts_with('_') && suffix.len() > 1 && !suffix.contains('/');
    (suffix.is_empty() || named).then_some(suffix)
}

/// Whether a file is this graph or holds weights of it: large graphs keep them beside, as
/// `model.onnx_data`, `model.onnx_data_1` or `model.onnx.data`.
#[must_use]
pub fn belongs_to(path: &str, graph: &str) -> bool {
    path.strip_prefix(graph).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with("_data") || rest.starts_with(".data")
    })
}

/// A path below `dir` with forward slashes.
fn relative(dir: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(dir).unwrap_or(path).components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_names_the_precision() {
        let stem = "onnx/vision_model";
        assert_eq!(suffix_of("onnx/vision_model.onnx", stem), Some(""));
        assert_eq!(suffix_of("onnx/vision_model_q4f16.onnx", stem), Some("_q4f16"));
        for other in ["onnx/vision_models.onnx", "onnx/vision_model.onnx_data", "x.onnx"] {
            assert_eq!(suffix_of(other, stem), None, "{other}");
        }
    }

    fn graphs<'a>(layout: &'a Layout, precision: &str) -> (&'a str, &'a str) {
        let files = &layout.graphs[precision];
        (&files.vision, &files.text)
    }

    #[test]
    fn towers_of_their_own_go_before_a_joint_graph() {
        let all = [
            "onnx/model.onnx",
            "onnx/vision_model.onnx",
            "onnx/text_model.onnx",
            "onnx/vision_model_int8.onnx",
            "onnx/text_model_int8.onnx",
            "onnx/text_model_q4.onnx",
        ];
        let layout = Layout::of(all);
        assert_eq!(layout.graphs.keys().collect::<Vec<_>>(), ["fp32", "int8"]);
        assert_eq!(graphs(&layout, "fp32"), ("onnx/vision_model.onnx", "onnx/text_model.onnx"));
        let joint = Layout::of(["onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data"]);
        assert!(joint.graphs["fp16"].joint() && joint.graphs.len() == 1);
    }

    #[test]
    fn every_arrangement_finds_its_files() {
        let immich = Layout::of([
            "config.json",
            "textual/model.onnx",
            "textual/tokenizer.json",
            "textual/tokenizer_config.json",
            "visual/model.onnx",
            "visual/preprocess_cfg.json",
        ]);
        assert_eq!(immich.name, "immich");
        assert_eq!(graphs(&immich, "fp32"), ("visual/model.onnx", "textual/model.onnx"));
        assert_eq!(immich.processor.as_deref(), Some("visual/preprocess_cfg.json"));
        assert_eq!(immich.settings().last(), Some("config.json"));
        let names = ["open_clip_config.json", "visual.onnx", "text.onnx", "tokenizer.json"];
        let open_clip = Layout::of(names.into_iter().chain(["model_config.json", "config.json"]));
        assert_eq!(open_clip.name, "open_clip");
        assert_eq!(open_clip.config, open_clip.processor);
        let settings: Vec<&str> = open_clip.settings().collect();
        assert_eq!(settings, ["tokenizer.json", "model_config.json", "open_clip_config.json"]);
        assert_eq!(graphs(&Layout::of(["visual.onnx", "textual.onnx"]), "fp32").1, "textual.onnx");
        assert!(Layout::of(["model.gguf", "text.onnx"]).graphs.is_empty());
    }

    #[test]
    fn weights_beside_a_graph_belong_to_it() {
        for path in ["m.onnx", "m.onnx_data", "m.onnx_data_1", "m.onnx.data"] {
            assert!(belongs_to(path, "m.onnx"), "{path}");
        }
        assert!(!belongs_to("m_int8.onnx", "m.onnx"));
    }
}
