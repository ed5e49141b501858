//! Tests of the parsed configuration of a model.

use super::*;

const STARTER: &str = r#"{
    "model_type": "dual-encoder", "projection_dim": 384, "projection_bias": true,
    "vision_config": {"model_type": "efficientnet-lite", "variant": "lite2",
                      "image_size": 260, "hidden_size": 1280},
    "text_config": {"model_type": "bert", "vocab_size": 30522, "hidden_size": 384,
                    "num_hidden_layers": 6, "num_attention_heads": 12,
                    "intermediate_size": 1536, "max_position_embeddings": 512,
                    "pooling": "mean", "torch_dtype": "float32"}
}"#;

#[test]
fn a_dual_encoder_round_trips() {
    let config: ModelConfig = serde_json::from_str(STARTER).unwrap();
    assert_eq!(config.vision_config.hidden_size(), 1280);
    assert_eq!(config.text_config.max_position_embeddings(), 512);
    assert_eq!(config.logit_scale_init_value, LOGIT_SCALE_INIT);
    let again = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(config, again);
}

#[test]
fn an_unknown_tower_is_named() {
    let text = STARTER.replace("\"bert\"", "\"mamba\"");
    let error = serde_json::from_str::<ModelConfig>(&text).unwrap_err().to_string();
    assert!(error.contains("mamba"), "{error}");
}

fn read(text: &str) -> Result<ModelConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    ModelConfig::from_file(&path)
}

fn clip_towers(config: ModelConfig) -> (ClipVisionConfig, ClipTextConfig) {
    match (config.vision_config, config.text_config) {
        (VisionConfig::ClipVision(vision), TextConfig::ClipText(text)) => (vision, text),
        towers => panic!("{towers:?}"),
    }
}

#[test]
fn a_clip_whose_towers_do_not_say_what_they_are_is_clip() {
    let config = read(
        r#"{"model_type": "clip", "projection_dim": 768, "logit_scale_init_value": 2.6592,
            "vision_config": {"hidden_size": 1024, "patch_size": 14, "dropout": 0.0},
            "text_config": {"hidden_size": 768, "num_attention_heads": 12, "eos_token_id": 2}}"#,
    );
    let config = config.unwrap();
    assert_eq!((config.model_type, config.projection_dim), (ModelType::Clip, 768));
    assert!(!config.projection_bias);
    assert_eq!((config.text_config.pad_token_id(), config.vision_config.image_size()), (0, 224));
    let again = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(config, again);
    let (vision, text) = clip_towers(config);
    assert_eq!((vision.hidden_size, vision.patch_size, vision.num_hidden_layers), (1024, 14, 12));
    assert_eq!((text.hidden_size, text.eos_token_id), (768, 2));
}

#[test]
fn absent_towers_are_those_of_vit_b_32() {
    for text in [r#"{"model_type": "clip"}"#, r#"{"model_type": "clip", "text_config": null}"#] {
        let config = read(text).unwrap();
        assert_eq!(config.projection_dim, 512);
        let towers = clip_towers(config);
        assert_eq!(towers, (ClipVisionConfig::default(), ClipTextConfig::default()));
    }
}

#[test]
fn the_older_keys_of_a_tower_go_before_the_newer() {
    let config = read(
        r#"{"model_type": "clip", "vision_config_dict": null,
            "text_config": {"hidden_size": 64, "hidden_act": "quick_gelu"},
            "text_config_dict": {"hidden_act": "gelu"}}"#,
    );
    let (vision, text) = clip_towers(config.unwrap());
    assert_eq!((text.hidden_size, text.hidden_act), (64, HiddenAct::Gelu));
    assert_eq!(vision.hidden_act, HiddenAct::QuickGelu);
}

#[test]
fn what_is_no_configuration_is_refused_with_its_reason() {
    for (text, reason) in [
        ("[1]", "invalid type"),
        (r#"{"model_type": "clip", "vision_config": 3}"#, "expected internally tagged enum"),
        (r#"{"model_type": "clip", "text_config": {"hidden_act": "swish"}}"#, "swish"),
        (r#"{"model_type": "siglip"}"#, "siglip"),
        (r#"{"model_type": "clip", "text_config": {"hidden_size": -1}}"#, "-1"),
    ] {
        let error = read(text).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(reason), "{text}: {source}");
    }
}

#[test]
fn constants_are_the_logarithms_they_claim() {
    assert!((LOGIT_SCALE_INIT - (1f32 / 0.07).ln()).abs() < 1e-5);
    assert!((LOGIT_SCALE_MAX - 100f32.ln()).abs() < 1e-5);
}
