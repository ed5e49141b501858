//! How a model wants its texts prepared and its scores read: by the rules of its family and by what
//! the files beside its graphs say.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{ConfigError, ModelConfig, read_json};
use crate::layout::Layout;
use crate::learned::{ModelExtras, logits_of_weights};
use crate::tokenize::{Cleaning, Padding, PaddingSide, TextRules};
use crate::zero_shot::Logits;

/// What is known of a model before its graphs are opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// `model_type` of its configuration, or `open_clip`.
    pub family: String,
    /// Dimension of the embeddings where a file says it; the graphs say it too.
    pub dim: Option<usize>,
    /// How texts are prepared.
    pub text: TextRules,
    /// Whether `pooler_output` is the embedding, for want of a projection behind it.
    pub pooled_is_projected: bool,
    /// Whether the model was trained with a sigmoid, so that a softmax over its scores is only an
    /// estimate.
    pub sigmoid: bool,
    /// Learned scale and bias where a file says them.
    pub logits: Option<Logits>,
}

/// What the models of a `model_type` have in common.
struct Family {
    model_type: &'static str,
    /// The longest text where no file says it.
    context_length: Option<usize>,
    padding: Padding,
    /// Whether the model never sees what a text is filled up with.
    blind_to_padding: bool,
    /// Whether it was trained without a mask.
    unmasked: bool,
    cleaning: Cleaning,
    pooled_is_projected: bool,
    sigmoid: bool,
}

/// The families of Hugging Face's `model_type` that are served. `clip` and our own `dual-encoder`
/// have a typed configuration, which says more.
const FAMILIES: [Family; 4] = [
    family("clip", Some(77)),
    family("dual-encoder", None),
    // Trained on texts that were always filled up, without a mask (Zhai et al. 2023).
    Family {
        padding: Padding::Full(PaddingSide::Right),
        blind_to_padding: false,
        unmasked: true,
        cleaning: Cleaning::Lower,
        pooled_is_projected: true,
        sigmoid: true,
        ..family("siglip", Some(64))
    },
    // Its graph makes its own mask of what is no pad token.
    Family { blind_to_padding: false, ..family("jina_clip", None) },
];

const fn family(model_type: &'static str, context_length: Option<usize>) -> Family {
    Family {
        model_type,
        context_length,
        padding: Padding::Longest,
        blind_to_padding: true,
        unmasked: false,
        cleaning: Cleaning::None,
        pooled_is_projected: false,
        sigmoid: false,
    }
}

/// Context length of `open_clip`'s text towers where their configuration leaves it out.
const OPEN_CLIP_CONTEXT: usize = 77;

/// What NLLB wants before an English text, as immich puts it there.
const NLLB_ENGLISH: &str = "eng_Latn";

impl Rules {
    /// Reads the rules of the model in `dir`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and what it lacks.
    pub fn read(dir: &Path, layout: &Layout) -> Result<Self, ConfigError> {
        let beside = Beside::read(dir, layout)?;
        let mut rules = match (&layout.config, layout.assumed) {
            (None, Some(assumed)) => beside.of_family(known(assumed), &Value::Null)?,
            (config, _) => {
                let path = dir.join(config.as_deref().unwrap_or("config.json"));
                let config = read_json(&path)?;
                match open_clip(&config) {
                    Some(model) => beside.of_open_clip(model)?,
                    None => beside.of_hugging_face(&path, &config)?,
                }
            }
        };
        if beside.extras.tokenizer_needs_lowercase {
            rules.text.cleaning = rules.text.cleaning.and_lower();
        }
        let weights = layout.weights.as_ref().map(|weights| dir.join(weights));
        let of_weights = || weights.as_deref().and_then(logits_of_weights);
        rules.logits = beside.extras.logits().or_else(of_weights);
        Ok(rules)
    }
}

/// The part of a configuration of `open_clip` that describes the model, if it is one.
fn open_clip(config: &Value) -> Option<&Value> {
    let model = config.get("model_cfg").unwrap_or(config);
    (model.get("text_cfg").is_some() && model.get("vision_cfg").is_some()).then_some(model)
}

/// The family of a name that stands in [`FAMILIES`].
fn known(model_type: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.model_type == model_type).unwrap_or(&FAMILIES[0])
}

/// The files beside the configuration.
struct Beside {
    dir: PathBuf,
    extras: ModelExtras,
    tokenizer_config: Value,
    /// `tokenizer.json`; null where there is none, which whoever opens it says better.
    tokenizer: Value,
}

impl Beside {
    fn read(dir: &Path, layout: &Layout) -> Result<Self, ConfigError> {
        let read = |path: &Option<String>| match path {
            Some(path) => read_json(&dir.join(path)),
            None => Ok(Value::Null),
        };
        let extras = match &layout.model_config {
            Some(path) => ModelExtras::read(&dir.join(path))?,
            None => ModelExtras::default(),
        };
        Ok(Self {
            dir: dir.to_owned(),
            extras,
            tokenizer_config: read(&layout.tokenizer_config)?,
            tokenizer: read(&layout.tokenizer).unwrap_or(Value::Null),
        })
    }

    fn of_hugging_face(&self, path: &Path, config: &Value) -> Result<Rules, ConfigError> {
        let model_type = config["model_type"].as_str();
        let found = FAMILIES.iter().find(|family| model_type == Some(family.model_type));
        let Some(family) = found else {
            return Err(ConfigError::Family {
                path: path.to_owned(),
                found: match model_type {
                    Some(name) => format!("a model of the model_type {name:?}"),
                    None => "no model_type".to_owned(),
                },
                known: FAMILIES.map(|family| format!("{:?}", family.model_type)).join(", "),
            });
        };
        if ["clip", "dual-encoder"].contains(&family.model_type) {
            return Ok(typed(family, &ModelConfig::from_file(path)?));
        }
        self.of_family(family, config)
    }

    /// The rules of a family without a typed configuration.
    fn of_family(&self, family: &Family, config: &Value) -> Result<Rules, ConfigError> {
        let told = &config["text_config"]["max_position_embeddings"];
        let context_length = length(told).or_else(|| self.context_length());
        let context_length = context_length
            .or(family.context_length)
            .ok_or_else(|| ConfigError::ContextLength { dir: self.dir.clone() })?;
        let pad_id = if family.blind_to_padding {
            0
        } else {
            self.pad_id(&config["text_config"]["pad_token_id"])?
        };
        let mut cleaning = family.cleaning;
        if self.tokenizer_config["tokenizer_class"] == "SiglipTokenizer" {
            cleaning = Cleaning::Siglip;
        }
        let padding = match (family.padding, self.tokenizer_config["padding_side"].as_str()) {
            (Padding::Full(_), Some("left")) => Padding::Full(PaddingSide::Left),
            (padding, _) => padding,
        };
        Ok(Rules {
            family: family.model_type.to_owned(),
            dim: None,
            text: TextRules {
                context_length,
                pad_id,
                padding,
                unmasked: family.unmasked,
                cleaning,
                prefix: None,
            },
            pooled_is_projected: family.pooled_is_projected,
            sigmoid: family.sigmoid,
            logits: None,
        })
    }

    /// The rules of a configuration of `open_clip`. Its tokenizers always fill up; only its own causal
    /// towers, pooled at the end token, never see it.
    fn of_open_clip(&self, model: &Value) -> Result<Rules, ConfigError> {
        let text = &model["text_cfg"];
        let is_set = |key: &str| text[key].as_bool().unwrap_or(false);
        let hugging_face = text["hf_model_name"].is_string();
        let pooled_at_end = matches!(text["pool_type"].as_str(), None | Some("argmax" | "eos"));
        let blind =
            !hugging_face && !is_set("no_causal_mask") && !is_set("embed_cls") && pooled_at_end;
        let pad_id = if blind { 0 } else { self.pad_id(&text["pad_id"])? };
        let nllb = text["hf_model_name"].as_str().is_some_and(|name| name.contains("nllb"));
        let clean = text["tokenizer_kwargs"]["clean"].as_str();
        let cleaning = match (clean, text["hf_tokenizer_name"].is_string()) {
            (Some("canonicalize"), _) => Cleaning::OpenClip,
            (Some("lower"), _) | (None, false) => Cleaning::Whitespace.and_lower(),
            _ => Cleaning::Whitespace,
        };
        Ok(Rules {
            family: "open_clip".to_owned(),
            dim: length(&model["embed_dim"]),
            text: TextRules {
                context_length: length(&text["context_length"]).unwrap_or(OPEN_CLIP_CONTEXT),
                pad_id,
                unmasked: false,
                padding: if blind { Padding::Longest } else { Padding::Full(PaddingSide::Right) },
                cleaning,
                prefix: nllb.then(|| NLLB_ENGLISH.to_owned()),
            },
            pooled_is_projected: false,
            sigmoid: model.get("init_logit_bias").is_some_and(|bias| !bias.is_null()),
            logits: None,
        })
    }

    /// What the tokenizer's files say of the longest text. Some write 10³⁰ for "no bound".
    fn context_length(&self) -> Option<usize> {
        length(&self.tokenizer_config["model_max_length"])
            .or_else(|| length(&self.tokenizer["truncation"]["max_length"]))
    }

    /// What texts are filled up with: as the exporter says, else as the tokenizer's files, else as
    /// the configuration.
    fn pad_id(&self, configured: &Value) -> Result<i64, ConfigError> {
        let named = &self.tokenizer_config["pad_token"];
        let named = named.as_str().or_else(|| named["content"].as_str());
        self.extras
            .pad_id
            .or_else(|| self.id_of(named?))
            .or_else(|| self.tokenizer["padding"]["pad_id"].as_i64())
            .or_else(|| configured.as_i64())
            .ok_or_else(|| ConfigError::PadToken { dir: self.dir.clone() })
    }

    /// The id of a token in `tokenizer.json`, whose vocabulary is a map or a list of pairs.
    fn id_of(&self, token: &str) -> Option<i64> {
        let mut added = self.tokenizer["added_tokens"].as_array().into_iter().flatten();
        let added = added.find(|added| added["content"] == token);
        let vocabulary = &self.tokenizer["model"]["vocab"];
        let listed = || vocabulary.as_array()?.iter().position(|pair| pair[0] == token);
        added
            .and_then(|added| added["id"].as_i64())
            .or_else(|| vocabulary.get(token)?.as_i64())
            .or_else(|| i64::try_from(listed()?).ok())
    }
}

/// The rules of a model whose configuration we know key by key.
fn typed(family: &Family, config: &ModelConfig) -> Rules {
    Rules {
        family: family.model_type.to_owned(),
        dim: Some(config.projection_dim),
        text: TextRules {
            context_length: config.text_config.max_position_embeddings(),
            pad_id: config.text_config.pad_token_id(),
            padding: family.padding,
            unmasked: family.unmasked,
            cleaning: family.cleaning,
            prefix: None,
        },
        pooled_is_projected: family.pooled_is_projected,
        sigmoid: family.sigmoid,
        logits: None,
    }
}

/// A length that a model can have.
fn length(value: &Value) -> Option<usize> {
    const MOST: u64 = 1 << 20;
    value.as_u64().filter(|length| (1..=MOST).contains(length)).map(|length| length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of a folder with these files.
    fn read(files: &[(&str, &str)]) -> Result<Rules, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Rules::read(dir.path(), &Layout::of_folder(dir.path()).unwrap())
    }

    const SIGLIP: (&str, &str) =
        ("config.json", r#"{"model_type": "siglip", "text_config": {"hidden_size": 16}}"#);
    const PADDED: (&str, &str) = ("tokenizer.json", r#"{"padding": {"pad_id": 7}}"#);

    #[test]
    fn siglip_is_filled_up_with_the_token_that_its_tokenizer_names() {
        let rules = read(&[SIGLIP, PADDED]).unwrap();
        assert_eq!((rules.text.context_length, rules.text.pad_id), (64, 7));
        assert_eq!(rules.text.padding, Padding::Full(PaddingSide::Right));
        assert_eq!(rules.text.cleaning, Cleaning::Lower);
        assert!(
            rules.text.unmasked
                && rules.pooled_is_projected
                && rules.sigmoid
                && rules.dim.is_none()
        );
        let vocabulary =
            ("tokenizer.json", r#"{"model": {"vocab": [["<unk>", 0], ["</s>", -1]]}}"#);
        let class = r#"{"tokenizer_class": "SiglipTokenizer", "pad_token": {"content": "</s>"},
            "model_max_length": 32, "padding_side": "left"}"#;
        let rules = read(&[SIGLIP, vocabulary, ("tokenizer_config.json", class)]).unwrap();
        assert_eq!((rules.text.context_length, rules.text.pad_id), (32, 1));
        assert_eq!(rules.text.padding, Padding::Full(PaddingSide::Left));
        assert_eq!(rules.text.cleaning, Cleaning::Siglip);
        let error = read(&[SIGLIP]).unwrap_err().to_string();
        assert!(error.contains("pad_token") && error.contains("tokenizer_config.json"), "{error}");
    }

    #[test]
    fn a_causal_tower_of_open_clip_needs_no_padding_and_others_do() {
        let causal = r#"{"embed_dim": 512, "vision_cfg": {}, "text_cfg": {"context_length": 76}}"#;
        let rules = read(&[("config.json", causal)]).unwrap();
        assert_eq!((rules.dim, rules.text.context_length), (Some(512), 76));
        assert_eq!((rules.text.padding, rules.text.pad_id), (Padding::Longest, 0));
        assert!(!rules.sigmoid);
        let siglip = r#"{"model_cfg": {"init_logit_bias": -10, "vision_cfg": {}, "text_cfg": {
            "no_causal_mask": true, "pool_type": "last", "hf_tokenizer_name": "x",
            "tokenizer_kwargs": {"clean": "canonicalize"}}}}"#;
        let extras = r#"{"logit_scale": 100.0, "logit_bias": -10.0, "pad_id": 1,
            "activation_function": "sigmoid", "tokenizer_needs_lowercase": true}"#;
        let files = [("visual.onnx", ""), ("text.onnx", ""), ("open_clip_config.json", siglip)];
        let files = files.into_iter().chain([("model_config.json", extras)]).collect::<Vec<_>>();
        let rules = read(&files).unwrap();
        assert_eq!(rules.text.padding, Padding::Full(PaddingSide::Right));
        assert_eq!((rules.text.pad_id, rules.text.cleaning), (1, Cleaning::OpenClip));
        assert!(rules.sigmoid);
        assert_eq!(rules.logits.unwrap().logit_bias, Some(-10.0));
    }

    #[test]
    fn nllb_is_told_the_language() {
        let nllb = r#"{"vision_cfg": {}, "text_cfg": {"hf_model_name": "facebook/nllb-200",
            "hf_tokenizer_name": "facebook/nllb-200"}}"#;
        let rules = read(&[("config.json", nllb), PADDED]).unwrap();
        assert_eq!(rules.text.prefix.as_deref(), Some("eng_Latn"));
        assert_eq!((rules.text.pad_id, rules.text.cleaning), (7, Cleaning::Whitespace));
    }

    #[test]
    fn what_the_configuration_does_not_say_is_not_guessed() {
        let other = read(&[("config.json", r#"{"model_type": "blip"}"#)]).unwrap_err().to_string();
        assert!(other.contains("\"blip\"") && other.contains("\"siglip\""), "{other}");
        let nothing = read(&[("config.json", "{}")]).unwrap_err().to_string();
        assert!(nothing.contains("no model_type"), "{nothing}");
        let jina = ("config.json", r#"{"model_type": "jina_clip"}"#);
        let unbounded = ("tokenizer_config.json", r#"{"model_max_length": 1e30}"#);
        let error = read(&[jina, unbounded]).unwrap_err().to_string();
        assert!(error.contains("model_max_length"), "{error}");
        let missing = read(&[("visual.onnx", ""), ("text.onnx", "")]).unwrap_err().to_string();
        assert!(missing.contains("config.json"), "{missing}");
    }

    #[test]
    fn an_arrangement_of_clip_alone_needs_no_configuration() {
        let truncation = ("tokenizer.json", r#"{"truncation": {"max_length": 20}}"#);
        let rules = read(&[("visual.onnx", ""), ("textual.onnx", ""), truncation]).unwrap();
        assert_eq!((rules.family.as_str(), rules.text.context_length), ("clip", 20));
    }
}
