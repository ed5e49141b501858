//! What a step looks at: pairs behind the towers.

use tch::Tensor;

use super::MethodError;
use crate::encoder::Encoder;
use crate::objectives::Related;

/// Pictures of one step, as the towers answer them, with what is known of them.
#[derive(Debug)]
pub struct Batch {
    /// The image tower's answers `[B, hidden]` to each view.
    pub views: Vec<Tensor>,
    /// Those of the momentum encoder, without gradients, of a method that has one.
    pub targets: Vec<Tensor>,
    /// What is said of them, for a method that reads it.
    pub words: Option<Words>,
    /// One a picture, equal for the same picture; below zero for what no picture shows.
    pub picture_keys: Vec<i64>,
    /// One a picture, equal for the same class, for a method that reads classes.
    pub class_keys: Vec<i64>,
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
    /// Exactly `N` views, `[B, hidden]` each.
    ///
    /// # Errors
    /// [`MethodError::Views`].
    pub fn views<const N: usize>(&self) -> Result<&[Tensor; N], MethodError> {
        exactly(&self.views)
    }

    /// Exactly `N` views as the momentum encoder answers them, `[B, hidden]` each.
    ///
    /// # Errors
    /// [`MethodError::Views`].
    pub fn targets<const N: usize>(&self) -> Result<&[Tensor; N], MethodError> {
        exactly(&self.targets)
    }

    /// Which samples show the same picture, which may come several times in an epoch.
    ///
    /// # Errors
    /// [`MethodError::Encoder`] where the device has no room.
    pub fn same_picture(&self, encoder: &Encoder) -> Result<Related, MethodError> {
        Ok(Related::by(&[&encoder.moved(&Tensor::from_slice(&self.picture_keys))?]))
    }
}

fn exactly<const N: usize>(views: &[Tensor]) -> Result<&[Tensor; N], MethodError> {
    views.try_into().map_err(|_| MethodError::Views { wanted: N, found: views.len() })
}

impl Words {
    /// What of all texts `[B + N, …]` belongs to the captions of `pairs` pictures, and what to the
    /// negatives.
    pub fn part(texts: &Tensor, pairs: usize) -> (Tensor, Tensor) {
        let (pairs, all) = (pairs as i64, texts.size()[0]);
        (texts.narrow(0, 0, pairs), texts.narrow(0, pairs, all - pairs))
    }
}
