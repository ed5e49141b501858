//! `[[data]]`: where the pairs come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RecipeError, one, wrong};

/// One `[[data]]`: a set of pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// A tar, several by braces, a table, or a folder; its layout is seen by the path.
    pub path: PathBuf,
    /// How often each picture of the set comes in an epoch: 1 once, 2 twice, 0.5 every other epoch.
    #[serde(default = "one")]
    pub weight: f64,
    /// Captions for a labelled set, `{}` where the class goes.
    #[serde(default = "default_templates")]
    pub templates: Vec<String>,
}

/// The largest weight of a set; a typing error above it would fill the memory.
const MOST: f64 = 1000.0;

fn default_templates() -> Vec<String> {
    vec![clip::zero_shot::DEFAULT_TEMPLATE.to_owned()]
}

impl DataSection {
    /// `place` is its number among the `[[data]]`, from 0.
    pub(super) fn validate(&self, place: usize) -> Result<(), RecipeError> {
        let key = |name: &str| format!("data.{place}.{name}");
        if !(self.weight > 0.0 && self.weight <= MOST) {
            return wrong(&key("weight"), "must lie above 0 and be at most 1000");
        }
        if self.templates.is_empty() {
            return wrong(&key("templates"), "is empty; leave it out for the usual");
        }
        if let Some(bad) = self.templates.iter().find(|t| !t.contains("{}")) {
            let reason = format!("holds \"{bad}\", which has no {{}} where the class goes");
            return wrong(&key("templates"), &reason);
        }
        Ok(())
    }
}
