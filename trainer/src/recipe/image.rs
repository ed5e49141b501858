//! `[image]`: how a picture becomes the image tower's input.

use serde::{Deserialize, Serialize};

use super::{RecipeError, wrong};

/// `[image]`: the picture as the image tower sees it, in training and ever after.
///
/// Two towers that never met need the first four keys; a CLIP's stand in the
/// `preprocessor_config.json` beside its weights, and a key here goes before them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSection {
    /// Edge of the square input in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How a picture that is not square becomes square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize_mode: Option<ResizeMode>,
    /// Subtracted from each channel, in units of the pixel range 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Divides each channel, in units of the pixel range 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<[f32; 3]>,
}

/// How a picture becomes square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// The whole picture, its shape given up.
    Squash,
    /// The shorter side to `size`, then the middle square.
    Shortest,
}

impl ImageSection {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        if self.size.is_some_and(|size| !(8..=4096).contains(&size)) {
            return wrong("image.size", "must lie between 8 and 4096 pixels");
        }
        if self.std.iter().flatten().any(|&s| !s.is_finite() || s <= 0.0) {
            return wrong("image.std", "must be three finite numbers above 0");
        }
        if self.mean.iter().flatten().any(|m| !m.is_finite()) {
            return wrong("image.mean", "must be three finite numbers");
        }
        Ok(())
    }

    /// Refuses an `[image]` that leaves something to a `preprocessor_config.json`; `why` says why it
    /// must not.
    ///
    /// # Errors
    /// [`RecipeError::Value`] names the first key that is missing.
    pub fn whole(&self, why: &str) -> Result<(), RecipeError> {
        for (key, given) in [
            ("image.size", self.size.is_some()),
            ("image.resize_mode", self.resize_mode.is_some()),
            ("image.mean", self.mean.is_some()),
            ("image.std", self.std.is_some()),
        ] {
            if !given {
                return wrong(key, &format!("is missing; {why}"));
            }
        }
        Ok(())
    }
}
