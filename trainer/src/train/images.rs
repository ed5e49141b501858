//! Pictures as the loop draws them: decoded anew each time, or as what a locked tower, or its locked first
//! blocks, made of them once.

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use super::{Surroundings, TrainError, pass};
use crate::data::{BadSample, Dataset};
use crate::encoder::Encoder;
use crate::model::Side;
use crate::run::Run;

/// A deviation below this is a constant, which standardizing would blow up.
const FLAT: f64 = 1e-6;

/// Pictures of all sets.
pub(super) enum Images {
    /// A locked tower's outputs `[R, hidden]`, and the row of each pair over all sets.
    Pooled { pooled: Tensor, rows: Vec<i64> },
    /// What its locked first blocks made of each picture, f16 `[R, …]`, and where pictures are to be
    /// mirrored, of the mirrored ones too; and the row of each pair over all sets.
    Begun { views: Vec<Tensor>, rows: Vec<i64>, blocks: usize },
    /// The tower is learned: pictures are decoded as they are drawn.
    Live,
}

/// The pictures as the loop draws them, and what the image tower answers for all of them before the first
/// step, `[R, hidden]`, where the tower is locked or class pictures are mixed with it.
pub(super) fn prepare_images(
    run: &Run,
    encoder: &mut Encoder,
    sets: &[Arc<Dataset>],
    around: &mut Surroundings<'_>,
) -> Result<(Images, Option<Tensor>), TrainError> {
    if let Some(blocks) = encoder.kept_blocks {
        return begun_images(run, encoder, sets, blocks, around);
    }
    if !encoder.rates.is_locked(Side::Image) {
        if run.recipe.train.class_pictures == 0 {
            return Ok((Images::Live, None));
        }
        let (pooled, _) = all_pooled(run, encoder, sets, around)?;
        standardize(encoder, Side::Image, &pooled)?;
        return Ok((Images::Live, Some(pooled)));
    }
    around.watch.say(
        "the image tower is locked: its outputs are computed once, by the evaluation transform, \
         and cached",
    );
    let (pooled, rows) = all_pooled(run, encoder, sets, around)?;
    standardize(encoder, Side::Image, &pooled)?;
    let answers = pooled.shallow_clone();
    Ok((Images::Pooled { pooled, rows }, Some(answers)))
}

/// What the image tower, as it is now, makes of all pictures by the evaluation transform, `[R, hidden]`, and
/// the row of each pair, -1 where its picture is broken.
fn all_pooled(
    run: &Run,
    encoder: &Encoder,
    sets: &[Arc<Dataset>],
    around: &mut Surroundings<'_>,
) -> Result<(Tensor, Vec<i64>), TrainError> {
    let cache = run.cache();
    let (mut parts, mut rows, mut next) = (Vec::new(), Vec::new(), 0);
    for set in sets {
        let all = pass(encoder, &cache, around).pictures(set)?;
        tell_bad(set, &all.bad, around);
        rows.extend(all.rows.iter().map(|row| row.map_or(-1, |row| next + row)));
        next += all.pooled.size()[0];
        parts.push(all.pooled);
    }
    Ok((Tensor::f_cat(&parts, 0)?, rows))
}

/// What the locked first blocks of the image tower make of all pictures. The projection is
/// standardized by what the whole tower makes of them before the first step.
fn begun_images(
    run: &Run,
    encoder: &mut Encoder,
    sets: &[Arc<Dataset>],
    blocks: usize,
    around: &mut Surroundings<'_>,
) -> Result<(Images, Option<Tensor>), TrainError> {
    let mirrored = run.recipe.image.flip.is_some_and(|flip| flip > 0.0);
    let cache = run.cache();
    let (mut parts, mut rows, mut next) = (Vec::<Vec<Tensor>>::new(), Vec::new(), 0);
    for set in sets {
        let all = pass(encoder, &cache, around).beginnings(set, blocks, mirrored)?;
        tell_bad(set, &all.bad, around);
        rows.extend(all.rows.iter().map(|row| row.map_or(-1, |row| next + row)));
        next += all.views[0].size()[0];
        parts.resize_with(all.views.len(), Vec::new);
        parts.iter_mut().zip(all.views).for_each(|(part, view)| part.push(view));
    }
    let views: Vec<Tensor> =
        parts.iter().map(|parts| Tensor::f_cat(parts, 0)).collect::<Result<_, _>>()?;
    let mut answers = None;
    if standardizes(encoder) || run.recipe.train.class_pictures > 0 {
        let pooled = pass(encoder, &cache, around).rest(&views[0], blocks)?;
        standardize(encoder, Side::Image, &pooled)?;
        answers = Some(pooled);
    }
    let bytes: usize = views.iter().map(|view| view.numel() * 2).sum();
    around.watch.say(&format!(
        "the first {blocks} blocks of the image tower are locked: their outputs are computed once, by \
         the evaluation transform, and kept ({} MB)",
        bytes / 1_000_000
    ));
    Ok((Images::Begun { views, rows, blocks }, answers))
}

/// Whether projections are given inputs of one scale. One without a bias, CLIP's, could not take up
/// the mean, and a trained one knows its inputs.
fn standardizes(encoder: &Encoder) -> bool {
    encoder.model.config.projection_bias && encoder.projections_begin
}

/// Gives a projection that begins anew the mean and the deviation of what the tower feeds it, so that it
/// begins with inputs of one scale. Export folds them into weight and bias.
pub(super) fn standardize(
    encoder: &mut Encoder,
    side: Side,
    pooled: &Tensor,
) -> Result<(), TrainError> {
    if !standardizes(encoder) {
        return Ok(());
    }
    let pooled = encoder.own_part(side, pooled)?; // [N, hidden]
    let [mean_name, std_name] = encoder.model.projection(side).measured();
    let [mean, std] = mean_and_deviation(&pooled)?;
    encoder.weights.insert(mean_name, mean);
    encoder.weights.insert(std_name, std);
    Ok(())
}

/// Of pooled `[N, hidden]`, `[hidden]` each; a deviation of nothing counts as 1.
pub(super) fn mean_and_deviation(pooled: &Tensor) -> Result<[Tensor; 2], TchError> {
    let mean = pooled.f_mean_dim([0i64].as_slice(), false, Kind::Float)?;
    let std = pooled.f_std_dim([0i64].as_slice(), false, false)?;
    let flat = std.f_lt(FLAT)?;
    Ok([mean, std.f_masked_fill(&flat, 1.0)?])
}

/// Bad samples that are named one by one; the rest is counted.
const NAMED: usize = 5;

/// Says which samples are left out, and why.
pub(super) fn tell_bad(set: &Dataset, bad: &[BadSample], around: &mut Surroundings<'_>) {
    for sample in bad.iter().take(NAMED) {
        around.watch.say(&format!("{}: {} left out: {}", set.name(), sample.key, sample.reason));
    }
    if bad.len() > NAMED {
        let more = bad.len() - NAMED;
        around.watch.say(&format!("{}: {more} more samples left out", set.name()));
    }
}
