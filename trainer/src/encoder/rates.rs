//! Which weights are learned, and how fast.

use std::collections::{BTreeMap, BTreeSet};

use super::EncoderError;
use crate::model::lora::learned_names;
use crate::model::{DualEncoder, Parameter, Side};
use crate::recipe::ModelSection;

/// Endings of weights that are measured, never learned.
const STATISTICS: [&str; 4] = ["running_mean", "running_var", "input_mean", "input_std"];

/// The step size of every weight at the top of the schedule.
#[derive(Debug, Clone)]
pub struct Rates {
    of: BTreeMap<String, f64>,
    adapted: BTreeSet<String>,
    image_locked: bool,
    text_locked: bool,
    locked_image_blocks: usize,
}

impl Rates {
    /// The rates of `section` for the weights of `model`, of which `adapted` have adapters.
    ///
    /// A tower's last block and what comes after it learn at the tower's rate, each block before
    /// `layer_decay` times as fast as the next, and what comes before the first block again so (the
    /// layer-wise decay of Clark et al. 2020, section 3.1). In a tower with adapters these learn so in the
    /// place of their weights, and nothing else does. `learning_rates` goes before all that.
    ///
    /// # Errors
    /// [`EncoderError::Rate`] where a beginning of names fits none, [`EncoderError::AdaptedRate`] where it
    /// fits what has an adapter, [`EncoderError::NothingLearns`] where all are 0.
    pub fn new(
        model: &DualEncoder,
        section: &ModelSection,
        adapted: BTreeSet<String>,
    ) -> Result<Self, EncoderError> {
        let (image, text) = (&section.image, &section.text);
        let head = section.projection.learning_rate;
        let mut of = BTreeMap::new();
        tower(
            &mut of,
            &model.tower_parameters(Side::Image),
            image.learning_rate,
            image.layer_decay,
        );
        tower(&mut of, &model.tower_parameters(Side::Text), text.learning_rate, text.layer_decay);
        let adapters = adapters(&of, &adapted);
        for (side, lora) in [(Side::Image, &image.lora), (Side::Text, &text.lora)] {
            if lora.is_some() {
                of.extend(model.tower_parameters(side).into_iter().map(|p| (p.name, 0.0)));
            }
        }
        of.extend(model.head_parameters().into_iter().map(|parameter| (parameter.name, head)));
        // Longer ones later, so that they win.
        let mut prefixes: Vec<(&String, &f64)> = section.learning_rates.iter().collect();
        prefixes.sort_by_key(|(prefix, _)| prefix.len());
        for (prefix, rate) in prefixes {
            if let Some(name) = adapted.iter().find(|name| begins_with(name, prefix)) {
                let (prefix, name) = (prefix.clone(), name.clone());
                return Err(EncoderError::AdaptedRate { prefix, name });
            }
            let mut found = false;
            for (_, of) in of.iter_mut().filter(|(name, _)| begins_with(name, prefix)) {
                (*of, found) = (*rate, true);
            }
            if !found {
                let there = nearest(of.keys(), prefix);
                return Err(EncoderError::Rate { prefix: prefix.clone(), there });
            }
        }
        of.extend(adapters);
        of.retain(|name, _| !STATISTICS.iter().any(|ending| name.ends_with(ending)));
        if of.values().all(|rate| *rate == 0.0) {
            return Err(EncoderError::NothingLearns);
        }
        let changes = |weight: &Parameter| {
            adapted.contains(&weight.name) || of.get(&weight.name).is_some_and(|rate| *rate > 0.0)
        };
        let locked = |side| !model.tower_parameters(side).iter().any(changes);
        let (image_locked, text_locked) = (locked(Side::Image), locked(Side::Text));
        let locked_image_blocks = locked_blocks(&model.tower_parameters(Side::Image), changes);
        Ok(Self { of, adapted, image_locked, text_locked, locked_image_blocks })
    }

    /// The rate of a weight; 0 for what is not learned.
    #[must_use]
    pub fn of(&self, name: &str) -> f64 {
        self.of.get(name).copied().unwrap_or(0.0)
    }

    /// Whether the weight `name` has an adapter, or had one before it was merged.
    #[must_use]
    pub fn adapts(&self, name: &str) -> bool {
        self.adapted.contains(name)
    }

    /// Whether the model computes with another weight `name` after a step: it learns, or its adapter does.
    #[must_use]
    pub fn changes(&self, name: &str) -> bool {
        self.of(name) > 0.0 || self.adapts(name)
    }

    /// Lets the weight `name`, which is none of the model's, learn at `rate`.
    pub(crate) fn learn(&mut self, name: String, rate: f64) {
        self.of.insert(name, rate);
    }

    /// Lets the weight `name` stay as it is, whatever the recipe says.
    pub(super) fn lock(&mut self, name: &str) {
        self.of.remove(name);
    }

    /// Whether no weight of the tower is learned, so that it answers the same in every epoch.
    #[must_use]
    pub fn is_locked(&self, side: Side) -> bool {
        match side {
            Side::Image => self.image_locked,
            Side::Text => self.text_locked,
        }
    }

    /// Blocks of the image tower before the first weight that is learned; 0 where that comes before
    /// all blocks.
    #[must_use]
    pub fn locked_image_blocks(&self) -> usize {
        self.locked_image_blocks
    }

    /// The highest of all.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.of.values().copied().fold(0.0, f64::max)
    }
}

/// Adds the rates of a tower, whose weights stand in the order in which they are used.
fn tower(of: &mut BTreeMap<String, f64>, weights: &[Parameter], rate: f64, decay: f64) {
    let blocks = weights.iter().filter_map(|weight| block(&weight.name)).max().map_or(0, |n| n + 1);
    let mut depth = 0;
    for weight in weights {
        depth = block(&weight.name).map_or(depth, |block| block + 1);
        let below = i32::try_from(blocks - depth).unwrap_or(i32::MAX);
        of.insert(weight.name.clone(), rate * decay.powi(below));
    }
}

/// What adapters learn at: the rates of their weights.
fn adapters(of: &BTreeMap<String, f64>, adapted: &BTreeSet<String>) -> BTreeMap<String, f64> {
    let rates = adapted.iter().filter_map(|name| {
        let rate = of.get(name).copied().unwrap_or_default();
        Some(learned_names(name)?.map(|name| (name, rate)))
    });
    rates.flatten().collect()
}

/// Blocks before the first weight that changes, of a tower whose weights stand in the order in which
/// they are used.
fn locked_blocks(weights: &[Parameter], changes: impl Fn(&Parameter) -> bool) -> usize {
    let mut passed = 0;
    for weight in weights {
        if changes(weight) {
            return block(&weight.name).unwrap_or(passed);
        }
        passed = block(&weight.name).map_or(passed, |block| block + 1);
    }
    passed
}

/// The number of the block that a weight belongs to: the first part of its name that is a number.
pub(super) fn block(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// Up to a dot: `layers.1` begins `layers.1.x`, not `layers.10.x`.
pub(super) fn begins_with(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What there is in place of `prefix`: names that share as many of its parts as any does.
pub(super) fn nearest<'a>(names: impl Iterator<Item = &'a String> + Clone, prefix: &str) -> String {
    let mut known = String::new();
    for part in prefix.split('.') {
        let longer = if known.is_empty() { part.to_owned() } else { format!("{known}.{part}") };
        if !names.clone().any(|name| begins_with(name, &longer)) {
            break;
        }
        known = longer;
    }
    let start = if known.is_empty() { 0 } else { known.len() + 1 };
    let there: BTreeSet<&str> = names
        .filter(|name| known.is_empty() || begins_with(name, &known))
        .filter_map(|name| Some(&name[..start + name.get(start..)?.split('.').next()?.len()]))
        .collect();
    there.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(names: &[&str]) -> Vec<Parameter> {
        let weight = |name: &&str| Parameter {
            name: (*name).to_owned(),
            shape: vec![1],
            init: crate::model::Init::Constant(0.0),
        };
        names.iter().map(weight).collect()
    }

    #[test]
    fn each_block_before_the_last_and_what_feeds_the_first_learn_slower() {
        let mut of = BTreeMap::new();
        let names = ["embeddings.word", "layers.0.a", "layers.1.a", "layers.1.b", "norm"];
        tower(&mut of, &weights(&names), 8.0, 0.5);
        assert_eq!(names.map(|name| of[name]), [2.0, 4.0, 8.0, 8.0, 8.0]);
    }

    #[test]
    fn a_beginning_ends_at_a_dot() {
        assert!(begins_with("layers.1.weight", "layers.1") && begins_with("scale", "scale"));
        assert!(!begins_with("layers.10.weight", "layers.1"));
    }

    #[test]
    fn what_there_is_instead_is_told_from_the_part_that_does_not_fit() {
        let names = ["a.layers.0.w", "a.layers.1.w", "a.norm", "b"].map(str::to_owned);
        assert_eq!(nearest(names.iter(), "a.layers.7"), "a.layers.0, a.layers.1");
        assert_eq!(nearest(names.iter(), "a.x"), "a.layers, a.norm");
        assert_eq!(nearest(names.iter(), "c"), "a, b");
        assert_eq!(nearest(names.iter(), "b.x"), "");
    }
}
