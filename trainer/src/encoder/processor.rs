//! From a picture to pixel values: the recipe's `[image]` over what stands beside the weights.

use std::path::Path;

use clip::image::{ImageProcessor, ImageProcessorConfig, Size};
use serde_json::{Value, json};

use super::EncoderError;
use crate::recipe::{ImageSection, ResizeMode};

/// The processor of an image tower that takes pictures of `edge` by `edge` pixels. What `[image]`
/// leaves out is read from `file`, a `preprocessor_config.json`.
pub(super) fn processor(
    image: &ImageSection,
    file: Option<&Path>,
    edge: u32,
) -> Result<ImageProcessor, EncoderError> {
    let mut config = match file {
        Some(path) => ImageProcessor::from_file(path)?.config().clone(),
        None => ImageProcessorConfig::default(),
    };
    if let Some(size) = image.size
        && size != edge
    {
        return Err(EncoderError::Edge { key: "image.size".to_owned(), found: size, edge });
    }
    match image.resize_mode {
        Some(ResizeMode::Squash) => {
            config.size = Size::Rectangle { height: edge, width: edge };
            (config.do_center_crop, config.crop_size) = (false, None);
        }
        Some(ResizeMode::Shortest) => {
            config.size = Size::Shortest { shortest_edge: edge };
            config.do_center_crop = true;
            config.crop_size = Some(Size::Rectangle { height: edge, width: edge });
        }
        None => {}
    }
    config.image_mean = image.mean.unwrap_or(config.image_mean);
    config.image_std = image.std.unwrap_or(config.image_std);
    let processor = ImageProcessor::new(config)?;
    for found in [processor.height(), processor.width()] {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found != edge {
            let key = file.map(|path| path.display().to_string()).unwrap_or_default();
            return Err(EncoderError::Edge { key, found, edge });
        }
    }
    Ok(processor)
}

/// The `preprocessor_config.json` of a processor, in Hugging Face's keys.
#[must_use]
pub fn processor_config(config: &ImageProcessorConfig) -> Value {
    let square = |side: u32| json!({ "height": side, "width": side });
    let mut keys = json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": match config.size {
            Size::Rectangle { height, width } => json!({ "height": height, "width": width }),
            Size::Shortest { shortest_edge: side } | Size::Side(side) => json!({ "shortest_edge": side }),
        },
        "resample": u8::from(config.resample),
        "do_center_crop": config.do_center_crop,
        "do_rescale": true,
        "rescale_factor": config.rescale_factor,
        "do_normalize": true,
        "image_mean": config.image_mean,
        "image_std": config.image_std,
    });
    if config.do_center_crop {
        match config.crop_size {
            Some(Size::Rectangle { height, width }) => {
                keys["crop_size"] = json!({ "height": height, "width": width });
            }
            Some(Size::Shortest { shortest_edge: side } | Size::Side(side)) => {
                keys["crop_size"] = square(side);
            }
            None => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_processor_reads_back_as_it_was() {
        for resize_mode in [ResizeMode::Squash, ResizeMode::Shortest] {
            let (size, mean) = (Some(48), Some([0.1, 0.2, 0.3]));
            let image =
                ImageSection { size, resize_mode: Some(resize_mode), mean, ..Default::default() };
            let made = processor(&image, None, 48).unwrap();
            let again = serde_json::from_value(processor_config(made.config())).unwrap();
            assert_eq!(made.config(), &again);
        }
    }

    #[test]
    fn pictures_of_another_size_than_the_tower_takes_are_refused_by_their_source() {
        let image = ImageSection { size: Some(48), ..Default::default() };
        let error = processor(&image, None, 32).unwrap_err().to_string();
        assert!(error.contains("image.size") && error.contains("32"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("preprocessor_config.json");
        std::fs::write(&file, r#"{"size": 64, "do_center_crop": true, "crop_size": 64}"#).unwrap();
        let error = processor(&ImageSection::default(), Some(&file), 32).unwrap_err().to_string();
        assert!(error.contains("preprocessor_config.json") && error.contains("64"), "{error}");
    }
}
