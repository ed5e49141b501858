//! From the recipe's objective to the loss of a batch, and what it demands of the sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tch::Tensor;

use super::TrainError;
use crate::data::Dataset;
use crate::model::{LOGIT_BIAS, ModelError};
use crate::objectives::{
    Pairs, Triplets, dcl, info_nce, info_nce_with_negative_texts, margin_in_batch, nt_xent,
    sigmoid, sup_con_pairs, triplet, triplet_in_batch,
};
use crate::recipe::Objective;

impl Objective {
    /// What a batch loses: a scalar, f32.
    ///
    /// # Errors
    /// [`ModelError::Missing`] for a sigmoid loss without a `logit_bias`.
    pub(super) fn loss(&self, pairs: &Pairs<'_>) -> Result<Tensor, ModelError> {
        let &Pairs { images, texts, logit_scale, logit_bias, related, negatives } = pairs;
        Ok(match *self {
            Self::InfoNce { .. } => match negatives {
                None => info_nce(images, texts, logit_scale, related),
                Some(negatives) => {
                    info_nce_with_negative_texts(images, texts, logit_scale, related, negatives)
                }
            },
            Self::NtXent {} => nt_xent(images, texts, logit_scale, related),
            Self::Dcl {} => dcl(images, texts, logit_scale, related),
            Self::SupCon {} => sup_con_pairs(images, texts, logit_scale, related),
            Self::Sigmoid { .. } => {
                let absent = || ModelError::Missing { name: LOGIT_BIAS.to_owned() };
                sigmoid(images, texts, logit_scale, logit_bias.ok_or_else(absent)?, related)
            }
            Self::Triplet { margin, mining, distance, .. } => match negatives {
                None => {
                    triplet_in_batch(images, texts, related, Triplets { margin, distance, mining })
                }
                Some(negatives) => triplet(images, texts, negatives.texts, margin, distance),
            },
            Self::Margin { margin, mining } => {
                margin_in_batch(images, texts, related, margin, mining)
            }
        })
    }
}

/// Refuses sets from which `objective` cannot learn.
///
/// # Errors
/// [`TrainError::NoNegatives`] where all pairs say the same or show the same,
/// [`TrainError::NoneGiven`] where negatives are to be given and are not,
/// [`TrainError::LoneClass`] for supervised contrastive where a class has a single picture.
pub(super) fn check(objective: &Objective, sets: &[Arc<Dataset>]) -> Result<(), TrainError> {
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
