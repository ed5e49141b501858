//! `[image]`: how a picture becomes the image tower's input.

use serde::{Deserialize, Serialize};

use super::{RecipeError, wrong};

/// `[image]`: the picture as the image tower sees it, in training and ever after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSection {
    /// Edge of the square input in pixels.
    pub size: u32,
    /// How a picture that is not square becomes square.
    pub resize_mode: ResizeMode,
    /// Subtracted from each channel, in units of the pixel range 0 to 1.
    pub mean: [f32; 3],
    /// Divides each channel, in units of the pixel range 0 to 1.
    pub std: [f32; 3],
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
        if !(8..=4096).contains(&self.size) {
            return wrong("image.size", "must lie between 8 and 4096 pixels");
        }
        if self.std.iter().any(|&s| !s.is_finite() || s <= 0.0) {
            return wrong("image.std", "must be three finite numbers above 0");
        }
        if self.mean.iter().any(|m| !m.is_finite()) {
            return wrong("image.mean", "must be three finite numbers");
        }
        Ok(())
    }
}
