//! What a step looks at.

use tch::Tensor;

use super::MethodError;
use crate::encoder::Encoder;
use crate::objectives::Related;

/// Pictures of one step with what is known of them.
#[derive(Debug)]
pub struct Batch {
    /// How the pictures were seen.
    pub images: Seen,
    /// What is said of them, for a method that reads it.
    pub words: Option<Words>,
    /// One a picture, equal for the same picture; below zero for what no picture shows.
    pub picture_keys: Vec<i64>,
    /// One a picture, equal for the same class, for a method that reads classes.
    pub class_keys: Vec<i64>,
}

/// Pictures on their way through the image tower.
#[derive(Debug)]
pub enum Seen {
    /// Behind it: `[B, hidden]`.
    Pooled(Tensor),
    /// Before it: `[B, 3, H, W]` for each view, on the encoder's device.
    Pixels(Vec<Tensor>),
}

/// Texts behind the text tower.
#[derive(Debug)]
pub struct Words {
    /// `[B + N, hidden]`: a caption of each picture, and behind them what is wrong of some.
    pub pooled: Tensor,
    /// Equal for the same meaning; of all of them, `[B + N]`.
    pub keys: Vec<i64>,
}

impl Batch {
    /// Exactly `N` views, `[B, 3, H, W]` each.
    ///
    /// # Errors
    /// [`MethodError::Views`].
    pub fn views<const N: usize>(&self) -> Result<&[Tensor; N], MethodError> {
        let views = self.all_views();
        let wrong = MethodError::Views { wanted: N, found: views.len() };
        views.try_into().map_err(|_| wrong)
    }

    /// All views, none where the tower was run beforehand.
    pub fn all_views(&self) -> &[Tensor] {
        match &self.images {
            Seen::Pooled(_) => &[],
            Seen::Pixels(views) => views,
        }
    }

    /// Which samples show the same picture, which may come several times in an epoch.
    ///
    /// # Errors
    /// [`MethodError::Encoder`] where the device has no room.
    pub fn same_picture(&self, encoder: &Encoder) -> Result<Related, MethodError> {
        Ok(Related::by(&[&encoder.moved(&Tensor::from_slice(&self.picture_keys))?]))
    }
}

impl Words {
    /// What of all texts `[B + N, …]` belongs to the captions of `pairs` pictures, and what to the
    /// negatives.
    pub fn part(texts: &Tensor, pairs: usize) -> (Tensor, Tensor) {
        let (pairs, all) = (pairs as i64, texts.size()[0]);
        (texts.narrow(0, 0, pairs), texts.narrow(0, pairs, all - pairs))
    }
}
