//! `[image]`: how a picture becomes the image tower's input.

use serde::{Deserialize, Serialize};

use super::{RecipeError, probability, wrong};

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
    /// Least and largest share, in area, of what evaluation shows, that a learning tower is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f64; 2]>,
    /// Least and largest width over height of that, as a share of what evaluation shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_ratio: Option<[f64; 2]>,
    /// How often a learning tower is shown a picture with left and right in each other's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<f64>,
    /// How often a learning tower is shown a picture turned by one, two or three quarters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<f64>,
    /// How much brightness, contrast and saturation may change, as shares, and hue, as a part of the
    /// color circle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<[f64; 4]>,
    /// How often they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter_probability: Option<f64>,
    /// How often a learning tower is shown a picture without its colors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grayscale: Option<f64>,
    /// Whether what the locked first blocks of a learning tower answer is computed once and kept. The
    /// tower then sees every picture whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cache: bool,
    /// How much memory decoded pictures may take that are kept for the epochs to come, in units of 10⁹
    /// bytes; a tenth of what is free where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded_cache_gb: Option<f64>,
    /// How often a learning tower is shown a blurred picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur: Option<f64>,
    /// Least and largest deviation of the blur, in pixels of the tower's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur_sigma: Option<[f64; 2]>,
    /// How often a learning tower is shown a picture whose bright channels are inverted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solarize: Option<f64>,
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
        if self.crop_scale.is_some_and(|[low, high]| !(0.01 <= low && low <= high && high <= 1.0)) {
            return wrong("image.crop_scale", "must be two rising shares between 0.01 and 1");
        }
        if self.decoded_cache_gb.is_some_and(|size| !(0.0..=1e6).contains(&size)) {
            return wrong("image.decoded_cache_gb", "must lie between 0, for none, and 1000000");
        }
        let around_one =
            |[low, high]: [f64; 2]| (0.1..=1.0).contains(&low) && (1.0..=10.0).contains(&high);
        if self.crop_ratio.is_some_and(|ratio| !around_one(ratio)) {
            return wrong(
                "image.crop_ratio",
                "must be two numbers, from 0.1 to 1 and from 1 to 10",
            );
        }
        self.validate_cache()?;
        self.validate_colors()
    }

    fn validate_cache(&self) -> Result<(), RecipeError> {
        if !self.cache {
            return Ok(());
        }
        let cut = self.crop_scale.is_some_and(|scale| scale != [1.0, 1.0]);
        let cut = cut.then_some("image.crop_scale");
        let cut = cut.or(self.crop_ratio.is_some().then_some("image.crop_ratio"));
        match cut.or(self.drawn_keys().first().copied()) {
            Some(key) => wrong(
                key,
                "does not go with image.cache, which keeps one answer for each picture; leave one of \
                 them out (image.flip goes with it)",
            ),
            None => Ok(()),
        }
    }

    /// The keys that are given and change a picture, beside the cut and the mirror, when it is drawn.
    #[must_use]
    pub fn drawn_keys(&self) -> Vec<&'static str> {
        let keys = [
            ("image.turn", self.turn.is_some()),
            ("image.color_jitter", self.color_jitter.is_some()),
            ("image.grayscale", self.grayscale.is_some()),
            ("image.blur", self.blur.is_some()),
            ("image.solarize", self.solarize.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    /// The keys of what changes beside the cut.
    fn validate_colors(&self) -> Result<(), RecipeError> {
        for (key, share) in [
            ("image.flip", self.flip),
            ("image.turn", self.turn),
            ("image.color_jitter_probability", self.color_jitter_probability),
            ("image.grayscale", self.grayscale),
            ("image.blur", self.blur),
            ("image.solarize", self.solarize),
        ] {
            share.map_or(Ok(()), |share| probability(key, share))?;
        }
        let amounts = |[b, c, s, h]: [f64; 4]| {
            [b, c, s].iter().all(|x| (0.0..=10.0).contains(x)) && (0.0..=0.5).contains(&h)
        };
        if self.color_jitter.is_some_and(|jitter| !amounts(jitter)) {
            let reason = "must be four numbers: brightness, contrast and saturation from 0 to 10, \
                          hue from 0 to 0.5";
            return wrong("image.color_jitter", reason);
        }
        if self.color_jitter_probability.is_some() && self.color_jitter.is_none() {
            let reason = "does nothing without image.color_jitter, as in [0.4, 0.4, 0.4, 0.1]";
            return wrong("image.color_jitter_probability", reason);
        }
        if self.blur_sigma.is_some_and(|[low, high]| !(0.05 <= low && low <= high && high <= 50.0))
        {
            return wrong(
                "image.blur_sigma",
                "must be two rising numbers between 0.05 and 50 pixels",
            );
        }
        if self.blur_sigma.is_some() && self.blur.is_none() {
            return wrong("image.blur_sigma", "does nothing without image.blur, as in 0.5");
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
