//! What a run is measured on.

use std::sync::Arc;

use crate::data::{DataError, Dataset};
use crate::recipe::Recipe;

/// The held-out sets, opened before the first step so that a wrong path shows at once.
pub struct HeldOut {
    /// `eval.captions`.
    pub captions: Option<Arc<Dataset>>,
    /// `eval.labels`.
    pub labels: Option<Arc<Dataset>>,
}

impl HeldOut {
    /// Opens what `[eval]` names.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn open(recipe: &Recipe) -> Result<Self, DataError> {
        let open = |path| Dataset::open(path, &recipe.templates()).map(Arc::new);
        let captions = recipe.eval.captions.as_deref().map(open).transpose()?;
        let labels = recipe.eval.labels.as_deref().map(open).transpose()?;
        Ok(Self { captions, labels })
    }

    /// Whether there is nothing to measure on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.captions.is_none() && self.labels.is_none()
    }
}
