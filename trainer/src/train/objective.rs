//! What a recipe's method and objective demand of the sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TrainError;
use crate::data::Dataset;
use crate::recipe::{Objective, Reads, Recipe};

/// Refuses sets from which the recipe's method cannot learn.
///
/// # Errors
/// [`TrainError::NoClasses`] and [`TrainError::OneClass`] for a method that reads classes, and those of
/// the objective for one that reads captions.
pub(super) fn check(recipe: &Recipe, sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
    match recipe.train.method.reads() {
        Reads::Captions => pairs(&recipe.train.objective, sets),
        Reads::Classes => several_classes(recipe.train.method.name(), sets),
        Reads::Nothing => Ok(()),
    }
}

fn several_classes(method: &'static str, sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
    let unlabelled = |set: &&Arc<Dataset>| set.pairs.iter().any(|pair| pair.class.is_none());
    if let Some(set) = sets.iter().find(unlabelled) {
        return Err(TrainError::NoClasses { method, set: set.name() });
    }
    let shown = |set: &'_ Arc<Dataset>| {
        let classes = set.pairs.iter().filter_map(|pair| pair.class);
        classes.map(|class| set.classes[class].clone()).collect::<Vec<_>>()
    };
    let mut classes: Vec<String> = sets.iter().flat_map(shown).collect();
    classes.dedup();
    match classes.as_slice() {
        [class] => Err(TrainError::OneClass { method, class: class.clone() }),
        _ => Ok(()),
    }
}

/// # Errors
/// [`TrainError::NoNegatives`] where all pairs say the same or show the same,
/// [`TrainError::NoneGiven`] where negatives are to be given and are not,
/// [`TrainError::LoneClass`] for supervised contrastive where a class has a single picture.
fn pairs(objective: &Objective, sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
    if objective.takes_given_negatives() {
        given(objective, sets)?;
    }
    let pairs = || sets.iter().flat_map(|set| &set.pairs);
    let mut meanings = pairs().flat_map(|pair| &pair.captions).map(|caption| &caption.meaning);
    let first = meanings.next();
    if pairs().nth(1).is_none() || meanings.all(|meaning| Some(meaning) == first) {
        return Err(TrainError::NoNegatives);
    }
    match objective {
        Objective::SupCon {} => lone_class(sets),
        _ => Ok(()),
    }
}

/// Of a triplet each pair is the anchor and the positive; beside a batch's negatives a few given ones
/// are worth something.
fn given(objective: &Objective, sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
    let pairs = || sets.iter().flat_map(|set| set.pairs.iter().map(move |pair| (set, pair)));
    let mut without = pairs().filter(|(_, pair)| pair.negatives.is_empty());
    let Some((set, pair)) = without.next() else { return Ok(()) };
    let (count, all) = (1 + without.count(), pairs().count());
    if count < all && !matches!(objective, Objective::Triplet { .. }) {
        return Ok(());
    }
    Err(TrainError::NoneGiven { count, all, key: pair.key.clone(), set: set.name() })
}

/// What is said of given negatives that the objective does not look at.
pub(super) fn passed_over(objective: &Objective, sets: &[Arc<Dataset>]) -> Option<String> {
    let count = sets.iter().flat_map(|set| &set.pairs).filter(|p| !p.negatives.is_empty()).count();
    (count > 0 && !objective.takes_given_negatives()).then(|| {
        format!(
            "the negatives of {count} pictures are passed over; \
             train.objective = {{ name = \"info_nce\", negatives = \"given\" }} looks at them"
        )
    })
}

/// Classes go by their names, in whichever sets their pictures are.
fn lone_class(sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
    let mut pictures: BTreeMap<&str, (usize, &Dataset)> = BTreeMap::new();
    for set in sets {
        for class in set.pairs.iter().filter_map(|pair| pair.class) {
            pictures.entry(&set.classes[class]).or_insert((0, set.as_ref())).0 += 1;
        }
    }
    match pictures.into_iter().find(|(_, (count, _))| *count == 1) {
        Some((class, (_, set))) => {
            Err(TrainError::LoneClass { class: class.to_owned(), set: set.name() })
        }
        None => Ok(()),
    }
}
