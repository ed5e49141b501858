//! What can be learned from frozen embeddings: a linear probe and the nearest neighbors, both from
//! one training set.

use std::collections::BTreeMap;
use std::sync::Arc;

use clip::Embedding;
use serde::Serialize;
use tch::{TchError, Tensor};

use super::bootstrap::{Bootstrap, Interval, mean};
use super::confusion::Confusion;
use super::labelled::several_classes;
use super::nearest::by_neighbors;
use super::probe::{Features, Probe};
use super::{Embedder, EvalError, usable};
use crate::data::{BadSample, Dataset};

/// Classes that are named one by one; the rest is counted.
const NAMED: usize = 3;

/// What a training set teaches of another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LearnedFigures {
    /// The training set's name.
    pub set: String,
    /// Its pictures.
    pub pictures: usize,
    /// Samples of it that could not be used.
    pub unusable: Vec<BadSample>,
    /// Share of the measured pictures that the linear probe classifies rightly.
    pub linear_probe: f64,
    /// The strength of its penalty, 1 / C of scikit-learn.
    pub penalty: f64,
    /// The same of the 20 nearest neighbors.
    pub nearest_neighbors: f64,
    /// Where 95 % of the bootstrap's draws lie.
    pub intervals: BTreeMap<&'static str, Interval>,
    /// What the probe took for what, for a picture.
    #[serde(skip)]
    pub confusion: Confusion,
}

/// A training set, embedded.
pub(super) struct Training {
    set: String,
    features: Features,
    bad: Vec<BadSample>,
    classes: Vec<String>,
}

impl Training {
    /// Embeds `training`, whose classes have to be those of `measured`, in whatever order.
    ///
    /// # Errors
    /// [`EvalError::OtherClasses`] and [`EvalError::NothingToLearn`] where it does not fit,
    /// [`EvalError::WrongKind`] where it has no labels, others where the model cannot run.
    pub(super) fn of(
        embedder: &mut dyn Embedder,
        training: &Arc<Dataset>,
        measured: &Dataset,
    ) -> Result<Self, EvalError> {
        several_classes(training)?;
        same_classes(training, measured)?;
        let found = usable(embedder.pictures(training)?, training)?;
        let place = |class: usize| {
            measured.classes.iter().position(|known| *known == training.classes[class])
        };
        let truth: Vec<usize> = found
            .pairs
            .iter()
            .filter_map(|&pair| training.pairs[pair].class.and_then(place))
            .collect();
        let mut taught = vec![false; measured.classes.len()];
        truth.iter().for_each(|&class| taught[class] = true);
        let untaught = measured.classes.iter().zip(&taught).filter(|(_, taught)| !**taught);
        let untaught: Vec<String> = untaught.map(|(class, _)| class.clone()).collect();
        if !untaught.is_empty() {
            let (set, classes) = (training.name(), some_of(&untaught));
            return Err(EvalError::NothingToLearn { set, classes });
        }
        Ok(Self {
            set: training.name(),
            features: features(&found.images, &truth, measured.classes.len())?,
            bad: found.bad,
            classes: measured.classes.clone(),
        })
    }

    /// Learns from the training set and classifies `images`, which show the classes `truth`.
    ///
    /// # Errors
    /// [`EvalError::Torch`] where memory is short.
    pub(super) fn judge(
        self,
        images: &[Embedding],
        truth: &[usize],
        seed: u64,
    ) -> Result<LearnedFigures, EvalError> {
        let measured = features(images, truth, self.classes.len())?;
        let probe = Probe::choose(&self.features, seed)?;
        let by_probe = guesses(&probe.classify(&measured)?)?;
        let by_neighbors = guesses(&by_neighbors(&self.features, &measured)?)?;
        let right = |guesses: &[usize]| -> Vec<f64> {
            guesses.iter().zip(truth).map(|(a, b)| f64::from(u8::from(a == b))).collect()
        };
        let [probed, neighbors] = [right(&by_probe), right(&by_neighbors)];
        let intervals = Bootstrap::new(truth.len(), seed)
            .intervals(|times| [mean(&probed, times), mean(&neighbors, times)]);
        let once = vec![1.0; truth.len()];
        Ok(LearnedFigures {
            set: self.set,
            pictures: self.features.count(),
            unusable: self.bad,
            linear_probe: mean(&probed, &once),
            penalty: probe.strength,
            nearest_neighbors: mean(&neighbors, &once),
            intervals: ["linear_probe", "nearest_neighbors"].into_iter().zip(intervals).collect(),
            confusion: Confusion::of(&self.classes, truth, &by_probe),
        })
    }
}

fn features(images: &[Embedding], truth: &[usize], classes: usize) -> Result<Features, TchError> {
    let rows: Vec<&[f32]> = images.iter().map(Embedding::as_slice).collect();
    Features::new(&rows, truth, classes)
}

fn guesses(classes: &Tensor) -> Result<Vec<usize>, TchError> {
    let classes = Vec::<i64>::try_from(classes)?;
    Ok(classes.into_iter().map(|class| class as usize).collect())
}

fn same_classes(training: &Dataset, measured: &Dataset) -> Result<(), EvalError> {
    let lacking = |from: &Dataset, of: &Dataset| -> Vec<String> {
        of.classes.iter().filter(|class| !from.classes.contains(class)).cloned().collect()
    };
    let parts = [(training, measured), (measured, training)].map(|(here, there)| {
        let names = lacking(there, here);
        let only = || format!("only {} has {}", here.name(), some_of(&names));
        (!names.is_empty()).then(only)
    });
    let differences: Vec<String> = parts.into_iter().flatten().collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(EvalError::OtherClasses { differences: differences.join("; ") })
}

/// The first names, in quotes, and how many more there are.
fn some_of(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(NAMED).map(|name| format!("\"{name}\"")).collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    some.join(", ") + &more
}
