//! `train.objective`: what the batch's pairs are pulled toward.

use serde::{Deserialize, Serialize};

use super::{RecipeError, wrong};
use crate::objectives::{Distance, Mining};

/// Unit vectors are at most this far apart, by either distance.
const FARTHEST: f64 = 2.0;

/// Start of `logit_scale` for the sigmoid loss, as a log (Zhai et al. 2023, algorithm 1).
const SIGMOID_SCALE_INIT: f64 = std::f64::consts::LN_10;

/// `train.objective`: a name, or a table with a name and that objective's own keys.
///
/// Those without keys are written with braces all the same, so that a key which they do not have is
/// refused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// Symmetric cross-entropy over the batch's similarities.
    InfoNce {
        /// Whether texts that the sets call wrong stand beside the batch's.
        #[serde(default)]
        negatives: NegativesFrom,
    },
    /// Image and text as two views of a sample, all against all.
    NtXent {},
    /// The same, the positive left out of its own denominator.
    Dcl {},
    /// Related pairs are positives.
    SupCon {},
    /// Each place of the matrix of similarities alone; `logit_bias` is learned as well.
    Sigmoid {
        /// Where `logit_bias` starts.
        #[serde(default = "logit_bias_init")]
        logit_bias_init: f64,
    },
    /// The own caption nearer than others by a margin.
    Triplet {
        /// That margin.
        #[serde(default = "triplet_margin")]
        margin: f64,
        /// Whether an image is held against its own wrong text in place of the batch's texts.
        #[serde(default)]
        negatives: NegativesFrom,
        /// Which negatives of the batch are looked at.
        #[serde(default)]
        mining: Mining,
        /// What is compared with the margin.
        #[serde(default)]
        distance: Distance,
    },
    /// Pairs together, others farther apart than a margin.
    Margin {
        /// That margin, a Euclidean distance.
        #[serde(default = "margin")]
        margin: f64,
        /// Which negatives are looked at.
        #[serde(default = "all")]
        mining: Mining,
    },
}

/// What a pair is held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativesFrom {
    /// The other pairs of the batch.
    #[default]
    Batch,
    /// What the sets call wrong of its picture.
    Given,
}

impl Default for Objective {
    fn default() -> Self {
        Self::InfoNce { negatives: NegativesFrom::Batch }
    }
}

/// As Zhai et al. 2023, algorithm 1.
fn logit_bias_init() -> f64 {
    -10.0
}

/// As Faghri et al. 2018, section 4.
fn triplet_margin() -> f64 {
    0.2
}

fn margin() -> f64 {
    1.0
}

fn all() -> Mining {
    Mining::All
}

impl Objective {
    /// Where `logit_bias` starts, for an objective that learns one.
    #[must_use]
    pub fn logit_bias_init(&self) -> Option<f64> {
        match self {
            Self::Sigmoid { logit_bias_init } => Some(*logit_bias_init),
            _ => None,
        }
    }

    /// Where `logit_scale` starts, for an objective that wants a start of its own; as a log.
    #[must_use]
    pub fn logit_scale_init(&self) -> Option<f64> {
        matches!(self, Self::Sigmoid { .. }).then_some(SIGMOID_SCALE_INIT)
    }

    /// Whether the loss depends on `logit_scale`. Where it does not, nothing is learned of it.
    #[must_use]
    pub fn scales(&self) -> bool {
        !matches!(self, Self::Triplet { .. } | Self::Margin { .. })
    }

    /// Whether the loss looks at what the sets call wrong of their pictures.
    #[must_use]
    pub fn takes_given_negatives(&self) -> bool {
        let given = NegativesFrom::Given;
        matches!(self, Self::InfoNce { negatives } | Self::Triplet { negatives, .. } if *negatives == given)
    }

    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        match self {
            Self::Triplet { margin, .. } | Self::Margin { margin, .. } => {
                if *margin > 0.0 && *margin < FARTHEST {
                    return Ok(());
                }
                let reason =
                    "must lie between 0 and 2, the farthest that two embeddings can be apart";
                wrong("train.objective.margin", reason)
            }
            Self::Sigmoid { logit_bias_init } if !logit_bias_init.is_finite() => {
                wrong("train.objective.logit_bias_init", "must be a finite number, as -10")
            }
            _ => Ok(()),
        }
    }
}
