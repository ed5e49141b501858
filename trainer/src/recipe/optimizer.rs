//! `train.optimizer` and `train.schedule`: how gradients become changes, and how large these are
//! over the steps.

use serde::{Deserialize, Serialize};

use super::{RecipeError, wrong};

/// `train.optimizer`: a name, or a table with a name and that optimizer's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerSection {
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// Descent with momentum.
    Sgd(Sgd),
    /// The same, each matrix by a length that goes with its own.
    Lars(Lars),
    /// Adam, each matrix by a length that goes with its own.
    Lamb(Lamb),
}

/// Keys of `adamw`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Memory of the gradient's mean.
    pub beta_1: f64,
    /// Memory of its square.
    pub beta_2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
}

/// Keys of `sgd`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// How much of a step the next one repeats.
    pub momentum: f64,
    /// Whether a step looks ahead by one more momentum (Sutskever et al. 2013, equation 4).
    pub nesterov: bool,
}

/// Keys of `lars`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lars {
    /// How much of a step the next one repeats.
    pub momentum: f64,
    /// Length of a matrix's step as a share of the matrix's own, at a learning rate of 1.
    pub trust: f64,
}

/// Keys of `lamb`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lamb {
    /// Memory of the gradient's mean.
    pub beta_1: f64,
    /// Memory of its square.
    pub beta_2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
}

/// `train.schedule`: the learning rates after the warm-up, as a share of their top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// Half a cosine down to zero.
    Cosine {},
    /// The top throughout.
    Constant {},
    /// A straight line down to zero.
    Linear {},
    /// `factor` times as much at each of some moments.
    Step {
        /// The moments, as shares of all steps, rising.
        at: Vec<f64>,
        /// What each multiplies the rates by.
        #[serde(default = "a_tenth")]
        factor: f64,
    },
}

fn a_tenth() -> f64 {
    0.1
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

impl Default for AdamW {
    /// As `torch.optim.AdamW`, but for `beta_2`, which is that of Radford et al. 2021, table 18.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.98, epsilon: 1e-8 }
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

impl Default for Lars {
    /// As `timm.optim.Lars`, but for the momentum, which is 0 there.
    fn default() -> Self {
        Self { momentum: 0.9, trust: 0.001 }
    }
}

impl Default for Lamb {
    /// As `timm.optim.Lamb`.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-6 }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Cosine {}
    }
}

impl OptimizerSection {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        match *self {
            Self::AdamW(AdamW { beta_1, beta_2, epsilon })
            | Self::Lamb(Lamb { beta_1, beta_2, epsilon }) => {
                memory("beta_1", beta_1)?;
                memory("beta_2", beta_2)?;
                positive("epsilon", epsilon)
            }
            Self::Sgd(Sgd { momentum, nesterov }) => {
                memory("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    let reason = "needs a train.optimizer.momentum above 0";
                    return wrong("train.optimizer.nesterov", reason);
                }
                Ok(())
            }
            Self::Lars(Lars { momentum, trust }) => {
                memory("momentum", momentum)?;
                positive("trust", trust)
            }
        }
    }
}

impl Schedule {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        let Self::Step { at, factor } = self else { return Ok(()) };
        let within = at.iter().all(|moment| *moment > 0.0 && *moment < 1.0);
        if at.is_empty() || !within || !at.is_sorted_by(|a, b| a < b) {
            let reason = "must hold shares of all steps between 0 and 1 that rise, as [0.6, 0.8]";
            return wrong("train.schedule.at", reason);
        }
        if !(*factor > 0.0 && *factor <= 1.0) {
            return wrong("train.schedule.factor", "must lie above 0 and be at most 1");
        }
        Ok(())
    }
}

/// What is kept of the past in each step.
fn memory(key: &str, value: f64) -> Result<(), RecipeError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    wrong(&format!("train.optimizer.{key}"), "must be at least 0 and less than 1")
}

fn positive(key: &str, value: f64) -> Result<(), RecipeError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    wrong(&format!("train.optimizer.{key}"), "must be a finite number above 0")
}

#[cfg(test)]
mod tests {
    use super::super::named::named;
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Keys {
        #[serde(default, deserialize_with = "named")]
        optimizer: OptimizerSection,
        #[serde(default, deserialize_with = "named")]
        schedule: Schedule,
    }

    fn keys(text: &str) -> Result<Keys, toml::de::Error> {
        toml::from_str::<toml::Table>(text).unwrap().try_into()
    }

    #[test]
    fn a_name_alone_takes_its_defaults_and_a_table_changes_some() {
        let found = keys("").unwrap();
        assert_eq!(found.optimizer, OptimizerSection::AdamW(AdamW::default()));
        assert_eq!(found.schedule, Schedule::Cosine {});
        let found = keys("optimizer = \"lamb\"\nschedule = \"linear\"").unwrap();
        assert_eq!(found.optimizer, OptimizerSection::Lamb(Lamb::default()));
        assert_eq!(found.schedule, Schedule::Linear {});
        let found = keys("optimizer = { name = \"sgd\", nesterov = true }").unwrap();
        let expected = Sgd { momentum: 0.9, nesterov: true };
        assert_eq!(found.optimizer, OptimizerSection::Sgd(expected));
        let found = keys("schedule = { name = \"step\", at = [0.5] }").unwrap();
        assert_eq!(found.schedule, Schedule::Step { at: vec![0.5], factor: 0.1 });
    }

    #[test]
    fn what_is_unknown_is_told_with_what_there_is() {
        for (text, words) in [
            (
                "optimizer = \"adam\"",
                &["optimizer", "`adam`", "`adamw`, `sgd`, `lars`, `lamb`"][..],
            ),
            ("schedule = \"poly\"", &["schedule", "`poly`", "`cosine`", "`step`"]),
            ("optimizer = { name = \"sgd\", beta_1 = 1 }", &["`beta_1`", "`momentum`"]),
            ("optimizer = { momentum = 0.5 }", &["optimizer", "`name`"]),
            ("optimizer = 3", &["optimizer", "integer", "a name"]),
            ("schedule = { name = \"constant\", at = [0.5] }", &["schedule", "`at`"]),
        ] {
            let message = keys(text).unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "{message:?} does not say {word}");
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_their_key() {
        let optimizer = |text: &str| {
            let found = keys(&format!("optimizer = {text}")).unwrap();
            found.optimizer.validate().unwrap_err().to_string()
        };
        for (text, key) in [
            ("{ name = \"adamw\", beta_2 = 1.0 }", "train.optimizer.beta_2"),
            ("{ name = \"lamb\", epsilon = 0.0 }", "train.optimizer.epsilon"),
            ("{ name = \"sgd\", momentum = -0.1 }", "train.optimizer.momentum"),
            ("{ name = \"lars\", trust = nan }", "train.optimizer.trust"),
        ] {
            assert!(optimizer(text).contains(key), "{}", optimizer(text));
        }
        let nesterov = optimizer("{ name = \"sgd\", momentum = 0.0, nesterov = true }");
        assert!(nesterov.contains("train.optimizer.nesterov needs"), "{nesterov}");
        for (at, factor) in [("[]", 0.1), ("[0.8, 0.6]", 0.1), ("[1.5]", 0.1), ("[0.5]", 0.0)] {
            let text = format!("schedule = {{ name = \"step\", at = {at}, factor = {factor:?} }}");
            let error = keys(&text).unwrap().schedule.validate().unwrap_err().to_string();
            assert!(error.contains("train.schedule."), "{error}");
        }
    }
}
