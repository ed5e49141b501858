//! The batches of an epoch, one after the other: what a step is given.

use std::collections::BTreeMap;
use std::time::Duration;

use clip::image::ProcessorError;
use tch::Tensor;

use super::TrainError;
use super::ahead::{Ahead, Prepared};
use super::images::Images;
use super::material::Material;
use super::texts::Wording;
use crate::data::BadSample;
use crate::data::augment::picture::of_side;
use crate::data::augment::{Look, Views};
use crate::data::mixture::Draw;
use crate::encoder::{Encoder, EncoderError};
use crate::methods::View;
use crate::processes::Processes;
use crate::towers::{self, Inputs};

/// What a batch is made of.
pub(super) struct Served {
    /// The pairs of the sets, by their numbers over all sets; class pictures are none of them.
    pub(super) pictures: Vec<i64>,
    /// What was left out because its picture is broken.
    pub(super) bad: Vec<BadSample>,
}

/// The draws of an epoch, being served.
pub(super) struct Batches<'a> {
    pub(super) draws: Vec<Draw>,
    pub(super) next: usize,
    pub(super) batch_size: usize,
    pub(super) ahead: Option<Ahead>,
    pub(super) views: Views,
    pub(super) wording: Wording,
    pub(super) processes: Processes<'a>,
}

impl Batches<'_> {
    /// How long was waited for pictures so far.
    pub(super) fn waited(&self) -> Duration {
        self.ahead.as_ref().map_or(Duration::ZERO, Ahead::waited)
    }

    /// The next batch, smaller where pictures are broken, and the class pictures of the step after `step`.
    pub(super) fn next(
        &mut self,
        material: &Material,
        encoder: &Encoder,
        step: u64,
    ) -> Result<(Inputs, Served), TrainError> {
        let end = (self.next + self.batch_size).min(self.draws.len());
        let drawn = self.draws[self.next..end].to_vec();
        self.next = end;
        let (images, draws, bad) = self.seen(&drawn, material, encoder)?;
        let pairs: Vec<usize> = draws.iter().map(|&d| material.pair(d)).collect();
        let pictures: Vec<i64> = pairs.iter().map(|&pair| pair as i64).collect();
        let mut picture_keys = pictures.clone();
        let (mut class_pictures, mut of_classes) = (None, Vec::new());
        if let Some(classes) = &material.class_pictures {
            let more = classes.draw(encoder, step, material.sets.len())?;
            class_pictures = Some(more.images);
            picture_keys.extend(more.draws.iter().map(|draw| -1 - draw.pair as i64));
            of_classes = more.draws;
        }
        let texts = material.texts.as_ref().map(|texts| -> Result<_, TrainError> {
            let mut drawn = texts.captions(&draws, &pairs);
            drawn.extend(texts.of_classes(&of_classes));
            drawn.extend(texts.negatives(&draws, &pairs, self.wording.epoch));
            let inputs = texts.inputs(&drawn, &self.wording, encoder)?;
            Ok(towers::Texts { inputs, keys: drawn.iter().map(|text| text.meaning).collect() })
        });
        let texts = texts.transpose()?;
        let class = |&pair: &usize| material.classes.get(pair).copied();
        let class_keys = pairs.iter().filter_map(class).collect();
        let inputs = Inputs { images, class_pictures, texts, picture_keys, class_keys };
        Ok((inputs, Served { pictures, bad }))
    }

    /// The pictures of `drawn`, the draws whose pictures can be used, and those that cannot.
    fn seen(
        &mut self,
        drawn: &[Draw],
        material: &Material,
        encoder: &Encoder,
    ) -> Result<(towers::Images, Vec<Draw>, Vec<BadSample>), TrainError> {
        let (mut draws, mut bad) = (Vec::with_capacity(drawn.len()), Vec::new());
        let seen = match (&material.images, &mut self.ahead) {
            (Images::Pooled { pooled, rows }, _) => {
                draws.extend_from_slice(drawn);
                let rows: Vec<i64> = drawn.iter().map(|&d| rows[material.pair(d)]).collect();
                let rows = encoder.moved(&Tensor::from_slice(&rows))?;
                towers::Images::Pooled(pooled.f_index_select(0, &rows)?)
            }
            (Images::Begun { views, rows, blocks }, _) => {
                draws.extend_from_slice(drawn);
                let row = |draw: &Draw| {
                    let mirrored = usize::from(self.views.mirrored(draw, &encoder.processor));
                    views[mirrored].f_get(rows[material.pair(*draw)])
                };
                let own = &drawn[self.processes.share(drawn.len())];
                let rows = own.iter().map(row).collect::<Result<Vec<_>, _>>()?;
                towers::Images::Begun { rows: Tensor::f_stack(&rows, 0)?, blocks: *blocks }
            }
            (Images::Live, ahead) => {
                let Prepared { views, left_out } =
                    ahead.as_mut().ok_or(TrainError::Unprepared)?.next()?;
                let left_out = all_left_out(left_out, self.processes)?;
                let usable = |(place, _): &(usize, &Draw)| !left_out.contains_key(place);
                draws.extend(drawn.iter().enumerate().filter(usable).map(|(_, draw)| *draw));
                bad.extend(left_out.into_values());
                if let (true, Some(first)) = (draws.is_empty(), bad.first()) {
                    let (set, first) = (material.sets[drawn[0].set].name(), first.clone());
                    return Err(EncoderError::NoPicture { set, first }.into());
                }
                towers::Images::Pixels(views)
            }
        };
        Ok((seen, draws, bad))
    }
}

/// The broken pictures of all processes, by their places in a batch.
fn all_left_out(
    own: Vec<(usize, BadSample)>,
    processes: Processes<'_>,
) -> Result<BTreeMap<usize, BadSample>, EncoderError> {
    if processes.count() == 1 {
        return Ok(own.into_iter().collect());
    }
    let words: Vec<(usize, String, String)> =
        own.into_iter().map(|(place, bad)| (place, bad.key, bad.reason)).collect();
    let mut all = BTreeMap::new();
    for told in processes.told(serde_json::json!(words).to_string().into_bytes())? {
        let told: Vec<(usize, String, String)> =
            serde_json::from_slice(&told).map_err(Processes::not_understood)?;
        all.extend(told.into_iter().map(|(at, key, reason)| (at, BadSample { key, reason })));
    }
    Ok(all)
}

/// How `views` look at the pictures of an epoch.
///
/// # Errors
/// [`ProcessorError`] for a size that cannot be shown.
pub(super) fn looks(
    views: &[View],
    encoder: &Encoder,
    seed: u64,
    epoch: u64,
) -> Result<Vec<Look>, ProcessorError> {
    let look = |view: &View| {
        let processor = match view.side {
            Some(side) => of_side(&encoder.processor, side)?,
            None => encoder.processor.clone(),
        };
        let views = Views { augmentation: view.augmentation, seed, epoch };
        Ok(Look { views, processor })
    };
    views.iter().map(look).collect()
}
