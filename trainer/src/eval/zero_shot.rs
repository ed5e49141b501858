//! Pictures against classes that are known by their names alone.

use std::sync::Arc;

use clip::Embedding;
use clip::metrics::{Classification, rank};
use clip::zero_shot::{class_embedding, fill_template};

use super::calibration::Scores;
use super::{Embedder, EvalError, LabelFigures, usable};
use crate::data::{BadSample, Dataset};

/// The pictures of a labelled set with their cosines to its classes.
pub(super) struct Classified {
    /// The pictures that can be used.
    pub(super) images: Vec<Embedding>,
    /// Their cosines to all classes, and what they show.
    pub(super) scores: Scores,
    /// The rank from 1 of each picture's class.
    pub(super) ranks: Vec<usize>,
    /// Samples that cannot be used.
    pub(super) bad: Vec<BadSample>,
}

impl Classified {
    /// Embeds a set's pictures, and its classes by `templates`.
    ///
    /// # Errors
    /// [`EvalError::WrongKind`] for a set without labels, others where the model cannot run.
    pub(super) fn of(
        embedder: &mut dyn Embedder,
        set: &Arc<Dataset>,
        templates: &[String],
    ) -> Result<Self, EvalError> {
        labels_of(set)?;
        let found = usable(embedder.pictures(set)?, set)?;
        let truth: Vec<usize> =
            found.pairs.iter().filter_map(|&pair| set.pairs[pair].class).collect();
        let classes = class_vectors(embedder, set, templates)?;
        let row = |image: &Embedding| classes.iter().map(|class| image.cosine(class)).collect();
        let rows: Vec<Vec<f32>> = found.images.iter().map(row).collect();
        let ranks = rows.iter().zip(&truth).map(|(row, &class)| rank(row, &[class])).collect();
        Ok(Self { images: found.images, scores: Scores { rows, truth }, ranks, bad: found.bad })
    }

    /// The class that each picture is taken for: the one with the highest cosine.
    pub(super) fn guesses(&self) -> Vec<usize> {
        let best = |row: &Vec<f32>| {
            let places = row.iter().enumerate();
            places.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class)
        };
        self.scores.rows.iter().map(best).collect()
    }

    /// The figures of all pictures.
    pub(super) fn figures(&self, set: &Dataset, templates: &[String]) -> LabelFigures {
        LabelFigures {
            set: set.name(),
            pictures: self.images.len(),
            classes: set.classes.len(),
            templates: templates.to_vec(),
            unusable: self.bad.clone(),
            classification: Classification::of_ranks(&self.ranks),
        }
    }
}

/// The classes of a labelled set.
///
/// # Errors
/// [`EvalError::WrongKind`] where it has none.
pub(super) fn labels_of(set: &Dataset) -> Result<&[String], EvalError> {
    if set.classes.is_empty() {
        let (wanted, flag) = ("labels", "--captions");
        return Err(EvalError::WrongKind { set: set.name(), wanted, flag });
    }
    Ok(&set.classes)
}

/// One vector a class: the mean of its filled templates.
fn class_vectors(
    embedder: &mut dyn Embedder,
    set: &Dataset,
    templates: &[String],
) -> Result<Vec<Embedding>, EvalError> {
    let mut texts: Vec<Arc<str>> = Vec::new();
    for class in &set.classes {
        for template in templates {
            texts.push(fill_template(template, class)?.into());
        }
    }
    let prompts = embedder.texts(&texts)?;
    set.classes
        .iter()
        .zip(prompts.chunks(templates.len().max(1)))
        .map(|(class, prompts)| {
            class_embedding(prompts)
                .map_err(|source| EvalError::Class { class: class.clone(), source })
        })
        .collect()
}
