//! A world small enough to train in seconds: pictures of one color each, captions that name it, and
//! two random towers.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use clip::config::{
    BertConfig, EfficientNetLiteConfig, HiddenAct, LiteVariant, ModelConfig, ModelType, Pooling,
    TextConfig, VisionConfig,
};
use clip::image::{ImageFormat, RgbImage};
use clipsight_trainer::model::{DualEncoder, Side, Weights};
use clipsight_trainer::recipe::{Recipe, load};
use serde_json::json;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

pub(crate) const COLORS: [(&str, [u8; 3]); 6] = [
    ("red", [220, 30, 30]),
    ("green", [30, 200, 40]),
    ("blue", [30, 40, 220]),
    ("yellow", [230, 220, 40]),
    ("black", [10, 10, 10]),
    ("white", [245, 245, 245]),
];

/// Pictures of each color in a set.
const EACH: u32 = 4;

/// A folder with sets, towers and a recipe.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        world.write_towers();
        let captions = world.at("captions.tar");
        write_tar(
            &captions,
            COLORS.iter().enumerate().flat_map(|(i, (name, color))| {
                (0..EACH).flat_map(move |n| {
                    let text = format!("a {name} picture\nthis is {name}\n");
                    [
                        (format!("{i}-{n}.png"), png(*color, n)),
                        (format!("{i}-{n}.txt"), text.into_bytes()),
                    ]
                })
            }),
        );
        let names: Vec<&str> = COLORS.iter().map(|(name, _)| *name).collect();
        std::fs::write(world.at("classes.txt"), names.join("\n")).unwrap();
        write_tar(
            &world.at("labels.tar"),
            COLORS.iter().enumerate().flat_map(|(i, (_, color))| {
                (0..EACH).flat_map(move |n| {
                    [
                        (format!("{i}-{n}.png"), png(*color, n + 10)),
                        (format!("{i}-{n}.cls"), i.to_string().into_bytes()),
                    ]
                })
            }),
        );
        std::fs::write(world.at("recipe.toml"), RECIPE).unwrap();
        world
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn recipe(&self, sets: &[&str]) -> Recipe {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        load(&self.at("recipe.toml"), &sets).unwrap()
    }

    /// The caption set with one picture that is cut off and one that is no picture.
    pub(crate) fn break_pictures(&self) {
        let whole = png([1, 2, 3], 0);
        let text = || b"a black picture".to_vec();
        let good = (0..8).flat_map(|n| {
            [(format!("good{n}.png"), png([25 * n, 0, 90], 1)), (format!("good{n}.txt"), text())]
        });
        let bad = [
            ("cut.png".to_owned(), whole[..whole.len() / 2].to_vec()),
            ("cut.txt".to_owned(), text()),
            ("words.jpg".to_owned(), b"no picture at all".to_vec()),
            ("words.txt".to_owned(), text()),
        ];
        write_tar(&self.at("captions.tar"), good.chain(bad));
    }

    fn write_towers(&self) {
        let words =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "this", "is", "picture", "photo", "of"];
        let vocabulary: Vec<&str> =
            words.into_iter().chain(COLORS.iter().map(|(name, _)| *name)).collect();
        let bert = BertConfig {
            vocab_size: vocabulary.len(),
            hidden_size: 24,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 32,
            max_position_embeddings: 40,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: HiddenAct::Gelu,
            pad_token_id: 0,
            pooling: Pooling::Mean,
        };
        let model = DualEncoder::new(ModelConfig {
            model_type: ModelType::DualEncoder,
            projection_dim: 8,
            projection_bias: true,
            projection_hidden_size: None,
            logit_scale_init_value: 2.6,
            vision_config: VisionConfig::EfficientnetLite(EfficientNetLiteConfig {
                variant: LiteVariant::Lite0,
                image_size: 32,
                hidden_size: 1280,
                batch_norm_eps: 1e-3,
                num_labels: None,
            }),
            text_config: TextConfig::Bert(bert.clone()),
        })
        .unwrap();
        for (side, prefix, folder) in
            [(Side::Image, "vision_model.", "image"), (Side::Text, "text_model.", "text")]
        {
            let mut plain = Weights::new();
            for (name, tensor) in Weights::random(&model.tower_parameters(side), 11).iter() {
                plain.insert(name.strip_prefix(prefix).unwrap(), tensor.shallow_clone());
            }
            if side == Side::Image {
                let labels = COLORS.len() as i64;
                let rows = Tensor::arange(labels * 1280, (Kind::Float, Device::Cpu)) * 0.7;
                plain.insert("_fc.weight", rows.sin().view([labels, 1280]));
                plain.insert("_fc.bias", Tensor::zeros([labels], (Kind::Float, Device::Cpu)));
            }
            std::fs::create_dir(self.at(folder)).unwrap();
            plain.save(&self.at(folder).join("model.safetensors")).unwrap();
        }
        let config = serde_json::to_vec(&bert).unwrap();
        std::fs::write(self.at("text/config.json"), config).unwrap();
        let tokenizer = serde_json::to_vec(&tokenizer(&vocabulary)).unwrap();
        std::fs::write(self.at("text/tokenizer.json"), tokenizer).unwrap();
    }
}

const RECIPE: &str = r#"
[model]
model_type = "dual-encoder"
image = { encoder = "efficientnet-lite0", weights = "image" }
text = { encoder = "bert", weights = "text" }
projection = { dim = 8, learning_rate = 1e-2 }

[image]
size = 32
resize_mode = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[[data]]
path = "captions.tar"
weight = 1.5

[[data]]
path = "labels.tar"
templates = ["a photo of {}", "this is {}"]

[train]
batch_size = 20
epochs = 4
warmup_steps = 2
weight_decay = 0.1
seed = 3

[eval]
captions = "captions.tar"
labels = "labels.tar"
every_epochs = 2
"#;

/// A picture of one color with a darker bar, `n` wide.
pub(crate) fn png(color: [u8; 3], n: u32) -> Vec<u8> {
    let picture =
        RgbImage::from_fn(48, 36, |x, _| (if x < n { color.map(|c| c / 2) } else { color }).into());
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub(crate) fn write_tar(path: &Path, members: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let mut builder = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.finish().unwrap();
}

/// A WordPiece tokenizer as BERT has it.
fn tokenizer(vocabulary: &[&str]) -> serde_json::Value {
    let ids: serde_json::Map<String, serde_json::Value> =
        vocabulary.iter().enumerate().map(|(i, word)| ((*word).to_owned(), json!(i))).collect();
    let special = |id: usize| {
        json!({ "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true })
    };
    let token = |word: &str| json!({ "SpecialToken": { "id": word, "type_id": 0 } });
    let part = |id: usize| json!({ "id": vocabulary[id], "ids": [id], "tokens": [vocabulary[id]] });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null,
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, token("[SEP]")],
            "pair": [token("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, token("[SEP]"),
                     { "Sequence": { "id": "B", "type_id": 1 } }, token("[SEP]")],
            "special_tokens": { "[CLS]": part(2), "[SEP]": part(3) },
        },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": ids },
    })
}
