//! What the loop draws from: the sets, the locked towers' outputs over them, and the keys that say
//! which pairs are no negatives to each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clip::TokenIds;
use clip::image::PixelValues;
use tch::{Kind, Tensor};

use super::{Surroundings, TrainError, pass};
use crate::data::augment::Views;
use crate::data::decode::{Job, Pictures, augmented};
use crate::data::mixture::{Draw, Shape, batches};
use crate::data::{BadSample, DataError, Dataset, Pair};
use crate::encoder::{Encoder, EncoderError};
use crate::model::Side;
use crate::recipe::Recipe;
use crate::run::Run;

/// A deviation below this is a constant, which standardizing would blow up.
const FLAT: f64 = 1e-6;

/// Everything that can be drawn.
pub(super) struct Material {
    /// What the plan of an epoch needs to know.
    pub(super) shapes: Vec<Shape>,
    sets: Vec<Arc<Dataset>>,
    images: Images,
    texts: Texts,
    /// Row of each set's first pair in a numbering over all sets.
    first_pair: Vec<usize>,
    broken: usize,
}

enum Images {
    /// A locked tower's outputs `[R, hidden]`, and the row of each pair over all sets.
    Pooled { pooled: Tensor, rows: Vec<i64> },
    /// The tower is learned: pictures are decoded as they are drawn.
    Live,
}

struct Texts {
    /// Text row and meaning of each caption, by pair over all sets.
    captions: Vec<Vec<(i64, i64)>>,
    input: TextInput,
}

enum TextInput {
    /// A locked tower's outputs `[N, hidden]`.
    Pooled(Tensor),
    /// The tower is learned.
    Live(Vec<TokenIds>),
}

/// The pairs of one step.
pub(super) struct Batch {
    /// Pooled images `[B, hidden]`.
    pub(super) images: Tensor,
    /// Pooled texts `[B, hidden]`.
    pub(super) texts: Tensor,
    /// Equal for the same picture.
    pub(super) picture_keys: Vec<i64>,
    /// Equal for the same caption.
    pub(super) caption_keys: Vec<i64>,
    /// What was left out because its picture is broken.
    pub(super) bad: Vec<BadSample>,
}

/// The held-out sets, opened before the first step so that a wrong path shows at once.
pub struct HeldOut {
    /// `eval.captions`.
    pub captions: Option<Arc<Dataset>>,
    /// `eval.labels`.
    pub labels: Option<Arc<Dataset>>,
}

impl HeldOut {
    /// Opens what `[eval]` names.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn open(recipe: &Recipe) -> Result<Self, DataError> {
        let open = |path| Dataset::open(path, &recipe.templates()).map(Arc::new);
        let captions = recipe.eval.captions.as_deref().map(open).transpose()?;
        let labels = recipe.eval.labels.as_deref().map(open).transpose()?;
        Ok(Self { captions, labels })
    }

    /// Whether there is nothing to measure on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.captions.is_none() && self.labels.is_none()
    }
}

impl Material {
    /// Opens the sets, runs the locked towers over them and standardizes their outputs.
    pub(super) fn prepare(
        run: &Run,
        encoder: &mut Encoder,
        around: &mut Surroundings<'_>,
    ) -> Result<Self, TrainError> {
        let recipe = &run.recipe;
        let mut sets = Vec::new();
        for data in &recipe.data {
            sets.push(Arc::new(Dataset::open(&data.path, &data.templates)?));
        }
        let mut first_pair = vec![0];
        for set in &sets {
            first_pair.push(first_pair[first_pair.len() - 1] + set.pairs.len());
            tell_bad(set, &set.bad, around);
        }
        let images = prepare_images(run, encoder, &sets, around)?;
        let texts = prepare_texts(run, encoder, &sets, around)?;
        let usable = |row: usize| match &images {
            Images::Pooled { rows, .. } => rows[row] >= 0,
            Images::Live => true,
        };
        let shapes = sets.iter().zip(&recipe.data).zip(&first_pair).map(|((set, data), first)| {
            let count = |(i, pair): (usize, &Pair)| {
                if usable(first + i) { pair.captions.len() } else { 0 }
            };
            let captions = set.pairs.iter().enumerate().map(count).collect();
            Shape { captions, weight: data.weight }
        });
        let shapes: Vec<Shape> = shapes.collect();
        let broken = shapes.iter().flat_map(|s| &s.captions).filter(|&&n| n == 0).count();
        Ok(Self { shapes, sets, images, texts, first_pair, broken })
    }

    /// Samples that no epoch draws.
    pub(super) fn unusable(&self) -> usize {
        self.broken + self.sets.iter().map(|set| set.bad.len()).sum::<usize>()
    }

    /// Full batches in an epoch.
    pub(super) fn steps_per_epoch(&self, recipe: &Recipe) -> Result<u64, TrainError> {
        let draws = crate::data::mixture::plan(&self.shapes, recipe.train.seed, 0).len();
        if draws < 2 {
            return Err(TrainError::TooFew { draws });
        }
        Ok(batches(draws, recipe.train.batch_size) as u64)
    }

    /// Begins to serve `draws` in their order; where the image tower is learned, decodes ahead and
    /// shows each picture as `views` look at it.
    pub(super) fn batches(
        &self,
        draws: &[Draw],
        views: Views,
        encoder: &Encoder,
        threads: usize,
    ) -> Batches {
        let decoded = match self.images {
            Images::Pooled { .. } => None,
            Images::Live => {
                let job = |d: &Draw| Job { set: Arc::clone(&self.sets[d.set]), pair: d.pair };
                let jobs = draws.iter().map(|draw| (job(draw), *draw)).collect();
                Some(augmented(jobs, views, &encoder.processor, threads))
            }
        };
        Batches { draws: draws.to_vec(), next: 0, decoded }
    }

    fn pair(&self, draw: Draw) -> usize {
        self.first_pair[draw.set] + draw.pair
    }
}

/// The draws of an epoch, being served.
pub(super) struct Batches {
    draws: Vec<Draw>,
    next: usize,
    decoded: Option<Pictures>,
}

impl Batches {
    /// How long was waited for decoded pictures so far.
    pub(super) fn waited(&self) -> Duration {
        self.decoded.as_ref().map_or(Duration::ZERO, Pictures::waited)
    }

    /// The next `size` pairs, fewer where pictures are broken.
    pub(super) fn next(
        &mut self,
        material: &Material,
        encoder: &Encoder,
        size: usize,
    ) -> Result<Batch, TrainError> {
        let end = (self.next + size).min(self.draws.len());
        let drawn = &self.draws[self.next..end];
        self.next = end;
        let (mut draws, mut bad) = (Vec::with_capacity(drawn.len()), Vec::new());
        let images = match (&material.images, &mut self.decoded) {
            (Images::Pooled { pooled, rows }, _) => {
                draws.extend_from_slice(drawn);
                let rows: Vec<i64> = drawn.iter().map(|&d| rows[material.pair(d)]).collect();
                pooled.f_index_select(0, &encoder.moved(&Tensor::from_slice(&rows))?)?
            }
            (Images::Live, decoded) => {
                let results = decoded.iter_mut().flatten().take(drawn.len());
                let mut pixels: Vec<PixelValues> = Vec::with_capacity(drawn.len());
                for (&draw, result) in drawn.iter().zip(results) {
                    match result {
                        Ok(image) => {
                            pixels.push(image);
                            draws.push(draw);
                        }
                        Err(sample) => bad.push(sample),
                    }
                }
                if let (true, Some(first)) = (pixels.is_empty(), bad.first()) {
                    let (set, first) = (material.sets[drawn[0].set].name(), first.clone());
                    return Err(EncoderError::NoPicture { set, first }.into());
                }
                encoder.pooled_pixels(&pixels)?
            }
        };
        let captions: Vec<(i64, i64)> =
            draws.iter().map(|&d| material.texts.captions[material.pair(d)][d.caption]).collect();
        let rows: Vec<i64> = captions.iter().map(|(row, _)| *row).collect();
        let texts = match &material.texts.input {
            TextInput::Pooled(pooled) => {
                pooled.f_index_select(0, &encoder.moved(&Tensor::from_slice(&rows))?)?
            }
            TextInput::Live(tokens) => {
                let batch: Vec<&TokenIds> = rows.iter().map(|&row| &tokens[row as usize]).collect();
                encoder.pooled_tokens(&batch)?
            }
        };
        let picture_keys = draws.iter().map(|&d| material.pair(d) as i64).collect();
        let caption_keys = captions.iter().map(|(_, meaning)| *meaning).collect();
        Ok(Batch { images, texts, picture_keys, caption_keys, bad })
    }
}

fn prepare_images(
    run: &Run,
    encoder: &mut Encoder,
    sets: &[Arc<Dataset>],
    around: &mut Surroundings<'_>,
) -> Result<Images, TrainError> {
    if !encoder.rates.is_locked(Side::Image) {
        return Ok(Images::Live);
    }
    around.watch.say(
        "the image tower is locked: its outputs are computed once, by the evaluation transform, \
         and cached",
    );
    let cache = run.cache();
    let (mut parts, mut rows, mut next) = (Vec::new(), Vec::new(), 0);
    for set in sets {
        let all = pass(encoder, &cache, around).pictures(set)?;
        tell_bad(set, &all.bad, around);
        rows.extend(all.rows.iter().map(|row| row.map_or(-1, |row| next + row)));
        next += all.pooled.size()[0];
        parts.push(all.pooled);
    }
    let pooled = Tensor::f_cat(&parts, 0)?;
    standardize(encoder, Side::Image, &pooled)?;
    Ok(Images::Pooled { pooled, rows })
}

fn prepare_texts(
    run: &Run,
    encoder: &mut Encoder,
    sets: &[Arc<Dataset>],
    around: &mut Surroundings<'_>,
) -> Result<Texts, TrainError> {
    let mut texts: Vec<Arc<str>> = Vec::new();
    let mut row_of: HashMap<Arc<str>, i64> = HashMap::new();
    let mut meaning_of: HashMap<Arc<str>, i64> = HashMap::new();
    let mut captions = Vec::new();
    for pair in sets.iter().flat_map(|set| &set.pairs) {
        let mut of_pair = Vec::with_capacity(pair.captions.len());
        for caption in &pair.captions {
            let row = *row_of.entry(Arc::clone(&caption.text)).or_insert_with(|| {
                texts.push(Arc::clone(&caption.text));
                texts.len() as i64 - 1
            });
            let count = meaning_of.len() as i64;
            let meaning = *meaning_of.entry(Arc::clone(&caption.meaning)).or_insert(count);
            of_pair.push((row, meaning));
        }
        captions.push(of_pair);
    }
    if !encoder.rates.is_locked(Side::Text) {
        let encode = |text: &Arc<str>| encoder.tokenizer.encode(text).map_err(EncoderError::from);
        let tokens = texts.iter().map(encode).collect::<Result<_, _>>()?;
        return Ok(Texts { captions, input: TextInput::Live(tokens) });
    }
    around.watch.say("the text tower is locked: its outputs are computed once and cached");
    let cache = run.cache();
    let pooled = pass(encoder, &cache, around).texts(&texts)?;
    standardize(encoder, Side::Text, &pooled)?;
    Ok(Texts { captions, input: TextInput::Pooled(pooled) })
}

/// Gives the projection the mean and the deviation of what a locked tower feeds it, so that it
/// begins with inputs of one scale. Export folds them into weight and bias. A projection without a
/// bias, CLIP's, could not take up the mean, and a trained one knows its inputs: nothing happens.
fn standardize(encoder: &mut Encoder, side: Side, pooled: &Tensor) -> Result<(), TrainError> {
    if !encoder.model.config.projection_bias {
        return Ok(());
    }
    let mean = pooled.f_mean_dim([0i64].as_slice(), false, Kind::Float)?; // [hidden]
    let std = pooled.f_std_dim([0i64].as_slice(), false, false)?; // [hidden]
    let flat = std.f_lt(FLAT)?;
    let std = std.f_masked_fill(&flat, 1.0)?;
    let name = encoder.model.projection(side).name.clone();
    encoder.weights.insert(format!("{name}.input_mean"), mean);
    encoder.weights.insert(format!("{name}.input_std"), std);
    Ok(())
}

/// Bad samples that are named one by one; the rest is counted.
const NAMED: usize = 5;

fn tell_bad(set: &Dataset, bad: &[BadSample], around: &mut Surroundings<'_>) {
    for sample in bad.iter().take(NAMED) {
        around.watch.say(&format!("{}: {} left out: {}", set.name(), sample.key, sample.reason));
    }
    if bad.len() > NAMED {
        let more = bad.len() - NAMED;
        around.watch.say(&format!("{}: {more} more samples left out", set.name()));
    }
}
