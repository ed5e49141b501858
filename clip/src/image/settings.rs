//! The several ways in which public models write down how their pictures are prepared.

use serde::Deserialize;
use serde_json::Value;

use super::processor::{ImageProcessorConfig, Resample, Size};

/// Where the corner of a central crop lies when the margins cannot be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Corner {
    /// Half of the margin, rounded down (`transformers`).
    Floored,
    /// Half of the margin, rounded to the even number (torchvision, which `open_clip` uses).
    Rounded,
}

impl Corner {
    /// The margin before a crop, where `margin` pixels stand on both sides together.
    pub(super) fn before(self, margin: u32) -> u32 {
        match self {
            Self::Floored => margin / 2,
            Self::Rounded => margin / 2 + u32::from(margin % 4 == 3),
        }
    }
}

/// `open_clip`'s `preprocess_cfg`; an absent key means what it means there. Keys that say how pictures
/// are opened are passed over.
#[derive(Deserialize)]
#[serde(default)]
struct PreprocessCfg {
    size: Option<Side>,
    mean: Channels,
    std: Channels,
    interpolation: String,
    resize_mode: String,
}

impl Default for PreprocessCfg {
    fn default() -> Self {
        let clip = ImageProcessorConfig::default();
        Self {
            size: None,
            mean: Channels::Each(clip.image_mean),
            std: Channels::Each(clip.image_std),
            interpolation: "bicubic".to_owned(),
            resize_mode: "shortest".to_owned(),
        }
    }
}

/// Pixels of a side, or of height and width.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Side {
    One(u32),
    Both([u32; 2]),
}

/// A number for all channels, or for each.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Channels {
    All(f32),
    Each([f32; 3]),
}

impl Channels {
    fn each(self) -> [f32; 3] {
        match self {
            Self::All(value) => [value; 3],
            Self::Each(values) => values,
        }
    }
}

/// Hugging Face's switches; each is on where absent.
#[derive(Deserialize)]
#[serde(default)]
struct Switches {
    do_resize: bool,
    do_rescale: bool,
    do_normalize: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { do_resize: true, do_rescale: true, do_normalize: true }
    }
}

/// What a file says, in the one way that we compute by.
///
/// # Errors
/// In words, what cannot be done; serde's words where a key has another type.
pub(super) fn understand(file: Value) -> Result<(ImageProcessorConfig, Corner), String> {
    // open_clip's own file holds the model's description beside it, which may say the size.
    let described = &file["model_cfg"]["vision_cfg"]["image_size"];
    let own = file.get("preprocess_cfg").unwrap_or(&file);
    let of_open_clip =
        ["interpolation", "resize_mode", "mean"].iter().any(|key| own.get(key).is_some());
    if of_open_clip || file.get("preprocess_cfg").is_some() {
        let cfg: PreprocessCfg = parse(own.clone())?;
        let described = match described {
            Value::Null => None,
            size => Some(parse(size.clone())?),
        };
        return Ok((open_clip(&cfg, described)?, Corner::Rounded));
    }
    Ok((hugging_face(file)?, Corner::Floored))
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn open_clip(cfg: &PreprocessCfg, described: Option<Side>) -> Result<ImageProcessorConfig, String> {
    let (height, width) = match cfg.size.or(described) {
        Some(Side::One(side)) => (side, side),
        Some(Side::Both([height, width])) => (height, width),
        None => return Err("no size".to_owned()),
    };
    let squash = match cfg.resize_mode.as_str() {
        "squash" => true,
        "shortest" if height == width => false,
        mode => return Err(format!("the resize_mode {mode:?} to {width}×{height} pixels")),
    };
    let resample = match cfg.interpolation.as_str() {
        "bilinear" => Resample::Bilinear,
        // "random" is for training; open_clip takes bicubic at inference.
        "bicubic" | "random" => Resample::Bicubic,
        other => return Err(format!("the interpolation {other:?}")),
    };
    Ok(ImageProcessorConfig {
        size: if squash {
            Size::Rectangle { height, width }
        } else {
            Size::Shortest { shortest_edge: height }
        },
        resample,
        do_center_crop: !squash,
        image_mean: cfg.mean.each(),
        image_std: cfg.std.each(),
        ..ImageProcessorConfig::default()
    })
}

fn hugging_face(mut file: Value) -> Result<ImageProcessorConfig, String> {
    let switches: Switches = parse(file.clone())?;
    if !switches.do_resize {
        return Err("pictures that are not resized (do_resize)".to_owned());
    }
    let kind = file["image_processor_type"].as_str();
    let kind = kind.or_else(|| file["feature_extractor_type"].as_str()).unwrap_or_default();
    if let (true, Value::Object(keys)) = (kind.starts_with("Siglip"), &mut file) {
        for (key, value) in siglip() {
            keys.entry(key).or_insert(value);
        }
    }
    let mut config: ImageProcessorConfig = parse(file)?;
    if !switches.do_rescale {
        config.rescale_factor = 1.0;
    }
    if !switches.do_normalize {
        (config.image_mean, config.image_std) = ([0.0; 3], [1.0; 3]);
    }
    Ok(config)
}

/// What absent keys mean in `transformers`' `SiglipImageProcessor`.
fn siglip() -> [(&'static str, Value); 4] {
    [
        ("size", serde_json::json!({"height": 224, "width": 224})),
        ("do_center_crop", false.into()),
        ("image_mean", vec![0.5; 3].into()),
        ("image_std", vec![0.5; 3].into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(ImageProcessorConfig, Corner), String> {
        understand(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_missing_resize_mode_means_the_shorter_side() {
        let (config, corner) = read(
            r#"{"size": [224, 224], "mode": "RGB", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1],
                "interpolation": "bicubic", "fill_color": 0}"#,
        )
        .unwrap();
        assert_eq!(config.size, Size::Shortest { shortest_edge: 224 });
        assert_eq!((config.resample, config.do_center_crop), (Resample::Bicubic, true));
        assert_eq!((config.image_mean, corner), ([0.1, 0.2, 0.3], Corner::Rounded));
    }

    #[test]
    fn the_size_may_stand_with_the_model() {
        let (config, _) = read(
            r#"{"model_cfg": {"vision_cfg": {"image_size": 384}},
                "preprocess_cfg": {"mean": 0.5, "std": 0.5, "resize_mode": "squash",
                                   "interpolation": "bilinear"}}"#,
        )
        .unwrap();
        assert_eq!(config.size, Size::Rectangle { height: 384, width: 384 });
        assert_eq!((config.resample, config.do_center_crop), (Resample::Bilinear, false));
        assert_eq!(config.image_std, [0.5; 3]);
        for (wrong, reason) in [
            (r#"{"resize_mode": "longest", "size": 9}"#, "longest"),
            (r#"{"resize_mode": "shortest", "size": [8, 9]}"#, "9×8"),
            (r#"{"interpolation": "bicubic"}"#, "no size"),
            (r#"{"interpolation": "nearest", "size": 9}"#, "nearest"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn switches_and_defaults_of_hugging_face_are_kept() {
        let mobile = r#"{"do_normalize": false, "resample": 2, "size": {"shortest_edge": 256}}"#;
        let (mobile, corner) = read(mobile).unwrap();
        assert_eq!((mobile.image_mean, mobile.image_std), ([0.0; 3], [1.0; 3]));
        assert_eq!(corner, Corner::Floored);
        let siglip = read(r#"{"image_processor_type": "SiglipImageProcessor"}"#).unwrap().0;
        assert_eq!(siglip.size, Size::Rectangle { height: 224, width: 224 });
        assert_eq!((siglip.image_mean, siglip.do_center_crop), ([0.5; 3], false));
        assert!(read(r#"{"do_resize": false}"#).unwrap_err().contains("do_resize"));
    }

    #[test]
    fn corners_are_halves_of_the_margin() {
        let before = |corner: Corner| [0, 1, 2, 3, 4, 5, 7].map(|margin| corner.before(margin));
        assert_eq!(before(Corner::Floored), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(before(Corner::Rounded), [0, 0, 1, 2, 2, 2, 4]);
    }
}
