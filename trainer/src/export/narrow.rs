//! How narrow each tower of a precision may be: by its cosines to libtorch's answers, and by what it
//! finds where there are held-out sets.

use std::fmt;

use runtime::{Model, RuntimeError};

use super::draft::Draft;
use super::forms::{Forms, Precision, name};
use super::samples::{worst_cosine, worst_difference};
use super::trial::{Lost, Trial};
use super::{ExportError, Subject};
use crate::model::Side;

/// Largest difference of a normalized embedding's number between libtorch and ONNX Runtime, in f32.
pub const EXACT: f32 = 1e-4;

/// Lowest cosine to libtorch's embedding that a tower may have; less is damage that small sets may
/// not show.
pub const LEAST_COSINE: f32 = 0.99;

/// The larger batch that answers are judged in.
pub(super) const BATCH: usize = 8;

/// Batches that the f32 graphs are compared in; of 3, so that the last one is not full.
const EXACT_BATCHES: [usize; 3] = [1, 3, BATCH];

/// How many times the difference seen between batches a reader's machine may show.
pub(super) const MARGIN: f32 = 4.0;

/// Why a tower needs a wider form.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    Cosine(f32),
    Found(Lost),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosine(cosine) => write!(f, "keeps a cosine of only {cosine:.4}"),
            Self::Found(Lost { what, points }) => write!(f, "loses {points:.2} points of {what}"),
        }
    }
}

/// The f32 graphs, compared with libtorch number by number, one by one and in batches.
pub(super) fn add_exact(draft: &mut Draft, subject: &Subject<'_>) -> Result<(), ExportError> {
    let forms = Forms::narrowest(Precision::Fp32, &subject.model.config);
    draft.add_graphs(Precision::Fp32, subject, &forms)?;
    let mut model = draft.open_model(Precision::Fp32.name(), 1)?;
    for batch in EXACT_BATCHES {
        for side in [Side::Image, Side::Text] {
            let expected = subject.samples.expected(side);
            let found = subject.samples.inputs.answers(side, &mut model, batch)?;
            let difference = worst_difference(&found, expected);
            if difference.is_nan() || difference > EXACT {
                return Err(ExportError::Differs { tower: name(side), difference });
            }
            draft.checks.push(format!(
                "{}: f32 in ONNX Runtime equals libtorch within {difference:.1e} ({} samples, \
                 batches of {batch})",
                name(side),
                expected.len()
            ));
        }
    }
    Ok(())
}

/// The graphs of a narrower precision, each tower in the narrowest form that loses little.
pub(super) fn add(
    draft: &mut Draft,
    precision: Precision,
    subject: &Subject<'_>,
    mut trial: Option<&mut Trial<'_, '_>>,
) -> Result<(), ExportError> {
    let mut forms = Forms::narrowest(precision, &subject.model.config);
    loop {
        draft.add_graphs(precision, subject, &forms)?;
        let mut lost = cosines(draft, precision, subject)?;
        if let (None, Some(trial)) = (&lost, &mut trial) {
            lost = recall(draft, precision, trial)?;
        }
        let Some((side, loss)) = lost else { return Ok(()) };
        let other = if side == Side::Image { Side::Text } else { Side::Image };
        let words = loss.to_string();
        // The blamed tower, or the other one where recall fell and the blamed is at its widest.
        let found = matches!(loss, Loss::Found(_));
        let widened = if forms.of(side).widen(&words) {
            side
        } else if found && forms.of(other).widen(&words) {
            other
        } else {
            return Err(refusal(precision, side, loss));
        };
        let (precision, now) = (precision.name(), forms.of(widened).words());
        draft.checks.push(format!("{precision}: the {} tower becomes {now}", name(widened)));
    }
}

fn refusal(precision: Precision, side: Side, loss: Loss) -> ExportError {
    let precision = precision.name();
    match loss {
        Loss::Cosine(cosine) => ExportError::Coarse { precision, tower: name(side), cosine },
        Loss::Found(Lost { what, points }) => ExportError::Forgets { precision, what, points },
    }
}

/// The first tower whose answers to the samples fall below [`LEAST_COSINE`], alone or in a batch. Where none
/// does, the tolerance of the precision is set by how much the answers depend on their batch.
fn cosines(
    draft: &mut Draft,
    precision: Precision,
    subject: &Subject<'_>,
) -> Result<Option<(Side, Loss)>, ExportError> {
    let mut spread = 0f32;
    let mut checks = Vec::new();
    let mut model = match draft.open_model(precision.name(), 1) {
        Ok(model) => model,
        Err(error) => return overflown(draft, precision, error),
    };
    for side in [Side::Image, Side::Text] {
        let expected = subject.samples.expected(side);
        let (alone, together) = match both(subject, side, &mut model) {
            Ok(answers) => answers,
            Err(error) => return overflown(draft, precision, error),
        };
        let cosines = [worst_cosine(&alone, expected), worst_cosine(&together, expected)];
        let cosine = cosines[0].min(cosines[1]);
        if cosine < LEAST_COSINE {
            return Ok(Some((side, Loss::Cosine(cosine))));
        }
        spread = spread.max(1.0 - worst_cosine(&alone, &together));
        checks.push(format!(
            "{}, {}: cosine to f32 {:.5} at worst, in batches of {BATCH} {:.5}",
            precision.name(),
            name(side),
            cosines[0],
            cosines[1]
        ));
    }
    draft.checks.extend(checks);
    draft.tolerate(precision.name(), spread);
    Ok(None)
}

type Answers = Vec<clip::Embedding>;

fn both(
    subject: &Subject<'_>,
    side: Side,
    model: &mut Model,
) -> Result<(Answers, Answers), ExportError> {
    let alone = subject.samples.inputs.answers(side, model, 1)?;
    Ok((alone, subject.samples.inputs.answers(side, model, BATCH)?))
}

/// Numbers beyond the range of f16 end as no embedding at all: then that tower is lost.
fn overflown(
    draft: &Draft,
    precision: Precision,
    error: ExportError,
) -> Result<Option<(Side, Loss)>, ExportError> {
    match &error {
        ExportError::Runtime(RuntimeError::Embedding { path, .. }) => {
            let image = draft.manifest.precisions.get(precision.name());
            let image = image.is_some_and(|stored| path.ends_with(&stored.vision));
            Ok(Some((if image { Side::Image } else { Side::Text }, Loss::Cosine(0.0))))
        }
        _ => Err(error),
    }
}

/// The figures of the f32 graphs, which must be those of the trained model.
pub(super) fn add_figures(draft: &mut Draft, trial: &mut Trial<'_, '_>) -> Result<(), ExportError> {
    match recall(draft, Precision::Fp32, trial)? {
        None => Ok(()),
        Some((side, loss)) => Err(refusal(Precision::Fp32, side, loss)),
    }
}

/// The tower by which a precision finds noticeably less than the trained model, if it does; else
/// its figures are kept.
fn recall(
    draft: &mut Draft,
    precision: Precision,
    trial: &mut Trial<'_, '_>,
) -> Result<Option<(Side, Loss)>, ExportError> {
    let served = trial.figures(draft, precision.name())?;
    let Some(lost) = trial.lost(&served) else {
        draft.keep_figures(precision, &served)?;
        return Ok(None);
    };
    // The image tower alone, beside the text tower in f32.
    let alone = draft.with_text_of_f32(precision, |draft, mixed| trial.figures(draft, mixed))?;
    let side = if trial.lost(&alone).is_some() { Side::Image } else { Side::Text };
    Ok(Some((side, Loss::Found(lost))))
}
