//! What the loop draws from: the sets, the locked towers' outputs over them, and the keys that say
//! which pairs are no negatives to each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use clip::image::ProcessorError;
use tch::{Device, Kind, Tensor};

use super::ahead::{Ahead, Prepared};
use super::class_pictures::ClassPictures;
use super::texts::{self, Texts, Wording};
use super::{Surroundings, TrainError, micro_batch, objective, pass, together};
use crate::data::augment::picture::of_side;
use crate::data::augment::text::back_translation;
use crate::data::augment::{Look, Views};
use crate::data::mixture::{Draw, Shape, batches};
use crate::data::{BadSample, DataError, Dataset, Pair};
use crate::encoder::{Encoder, EncoderError};
use crate::methods::View;
use crate::model::Side;
use crate::processes::Processes;
use crate::recipe::{DataSection, Method, Reads, Recipe};
use crate::run::Run;
use crate::towers::{self, Inputs};

/// A deviation below this is a constant, which standardizing would blow up.
const FLAT: f64 = 1e-6;

/// Everything that can be drawn.
pub(super) struct Material {
    /// What the plan of an epoch needs to know.
    pub(super) shapes: Vec<Shape>,
    sets: Vec<Arc<Dataset>>,
    images: Images,
    /// What is said of the pictures, for a method that reads it.
    texts: Option<Texts>,
    class_pictures: Option<ClassPictures>,
    /// One a pair over all sets, equal for the same class, for a method that reads classes.
    classes: Vec<i64>,
    /// Row of each set's first pair in a numbering over all sets.
    first_pair: Vec<usize>,
    broken: usize,
    /// Where batches are computed.
    device: Device,
}

enum Images {
    /// A locked tower's outputs `[R, hidden]`, and the row of each pair over all sets.
    Pooled { pooled: Tensor, rows: Vec<i64> },
    /// What its locked first blocks made of each picture, f16 `[R, …]`, and where pictures are to be
    /// mirrored, of the mirrored ones too; and the row of each pair over all sets.
    Begun { views: Vec<Tensor>, rows: Vec<i64>, blocks: usize },
    /// The tower is learned: pictures are decoded as they are drawn.
    Live,
}

/// What a batch is made of.
pub(super) struct Served {
    /// The pairs of the sets, by their numbers over all sets; class pictures are none of them.
    pub(super) pictures: Vec<i64>,
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
        refuse_unseen(recipe, encoder)?;
        let augmentation = texts::augmentation(recipe)?;
        let sets = open_sets(run, around)?;
        objective::check(recipe, &sets)?;
        let all: String = sets.iter().map(|set| together::described(set)).collect();
        around.processes.agree("set of pairs", &all)?;
        if let Some(words) = objective::passed_over(&recipe.train.objective, &sets) {
            around.watch.say(&words);
        }
        let mut first_pair = vec![0];
        for set in &sets {
            first_pair.push(first_pair[first_pair.len() - 1] + set.pairs.len());
            tell_bad(set, &set.bad, around);
        }
        let (images, pooled) = prepare_images(run, encoder, &sets, around)?;
        let class_pictures = ClassPictures::prepare(recipe, encoder, pooled.as_ref())?;
        let reads = recipe.train.method.reads();
        let texts = (reads == Reads::Captions)
            .then(|| Texts::prepare(run, encoder, &sets, augmentation, around))
            .transpose()?;
        let classes = if reads == Reads::Classes { class_keys(&sets) } else { Vec::new() };
        let usable = |row: usize| match &images {
            Images::Pooled { rows, .. } | Images::Begun { rows, .. } => rows[row] >= 0,
            Images::Live => true,
        };
        let shapes = sets.iter().zip(&recipe.data).zip(&first_pair).map(|((set, data), first)| {
            let count = |(i, pair): (usize, &Pair)| {
                // A picture of which nothing is said is drawn all the same.
                if usable(first + i) { pair.captions.len().max(1) } else { 0 }
            };
            let captions = set.pairs.iter().enumerate().map(count).collect();
            Shape { captions, weight: data.weight }
        });
        let shapes: Vec<Shape> = shapes.collect();
        let broken = shapes.iter().flat_map(|s| &s.captions).filter(|&&n| n == 0).count();
        let device = encoder.device;
        Ok(Self {
            shapes,
            sets,
            images,
            texts,
            class_pictures,
            classes,
            first_pair,
            broken,
            device,
        })
    }

    /// Samples that no epoch draws.
    pub(super) fn unusable(&self) -> usize {
        self.broken + self.sets.iter().map(|set| set.bad.len()).sum::<usize>()
    }

    /// Full batches in an epoch.
    pub(super) fn steps_per_epoch(
        &self,
        recipe: &Recipe,
        processes: Processes<'_>,
    ) -> Result<u64, TrainError> {
        let draws = crate::data::mixture::plan(&self.shapes, recipe.train.seed, 0).len();
        if draws < 2 {
            return Err(TrainError::TooFew { draws });
        }
        together::enough_for_all(processes, recipe.train.batch_size.min(draws))?;
        Ok(batches(draws, recipe.train.batch_size) as u64)
    }

    /// Begins to serve `draws` in their order; where the image tower is learned, decodes ahead and
    /// shows each picture of this process's share as every one of `looks` does.
    pub(super) fn batches<'a>(
        &self,
        draws: &[Draw],
        looks: Vec<Look>,
        batch_size: usize,
        around: &Surroundings<'a>,
    ) -> Batches<'a> {
        let processes = around.processes;
        let views = looks[0].views.clone();
        let wording = Wording { seed: views.seed, epoch: views.epoch };
        let share =
            |(batch, draws): (usize, &[Draw])| (batch * batch_size, processes.share(draws.len()));
        let ahead = matches!(self.images, Images::Live).then(|| {
            let shares = draws.chunks(batch_size).enumerate().map(share).collect();
            Ahead::begin(draws, &self.sets, shares, looks, (around.threads, self.device))
        });
        Batches { draws: draws.to_vec(), next: 0, batch_size, ahead, views, wording, processes }
    }

    fn pair(&self, draw: Draw) -> usize {
        self.first_pair[draw.set] + draw.pair
    }
}

/// The draws of an epoch, being served.
pub(super) struct Batches<'a> {
    draws: Vec<Draw>,
    next: usize,
    batch_size: usize,
    ahead: Option<Ahead>,
    views: Views,
    wording: Wording,
    processes: Processes<'a>,
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

/// Numbers the classes of all sets by their names; one a pair over all sets.
fn class_keys(sets: &[Arc<Dataset>]) -> Vec<i64> {
    let mut known: HashMap<&str, i64> = HashMap::new();
    let mut keys = Vec::new();
    for set in sets {
        for class in set.pairs.iter().filter_map(|pair| pair.class) {
            let next = known.len() as i64;
            keys.push(*known.entry(&set.classes[class]).or_insert(next));
        }
    }
    keys
}

/// Refuses what a recipe wants to vary where a locked tower answers from the cache.
fn refuse_unseen(recipe: &Recipe, encoder: &Encoder) -> Result<(), TrainError> {
    let checkpointed = micro_batch::checkpointed(recipe);
    let checkpointing = |side: Side, key: &'static str| {
        checkpointed.contains(&side).then_some(key).into_iter().collect()
    };
    for (side, tower, keys) in [
        (Side::Image, "image", recipe.image.drawn_keys()),
        (Side::Text, "text", recipe.text.drawn_keys()),
        (Side::Image, "image", checkpointing(Side::Image, "model.image.gradient_checkpointing")),
        (Side::Text, "text", checkpointing(Side::Text, "model.text.gradient_checkpointing")),
    ] {
        if encoder.rates.is_locked(side) && !keys.is_empty() {
            return Err(TrainError::Unseen { keys: keys.join(", "), tower });
        }
    }
    Ok(())
}

/// The recipe's sets, with the further captions that it asks for.
fn open_sets(run: &Run, around: &mut Surroundings<'_>) -> Result<Vec<Arc<Dataset>>, TrainError> {
    let method = &run.recipe.train.method;
    let open = |data: &DataSection| opened(data, method);
    let mut sets = run.recipe.data.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if let Some(section) = &run.recipe.text.back_translation {
        let added = back_translation::add_captions(&mut sets, &section.command, &run.cache())?;
        around.watch.say(&format!("{added} captions added by back translation"));
    }
    Ok(sets.into_iter().map(Arc::new).collect())
}

/// A set with what `method` reads of it.
///
/// # Errors
/// [`TrainError::NothingSaid`] where it has pictures alone, [`TrainError::Data`] where it cannot be
/// opened at all.
pub(super) fn opened(data: &DataSection, method: &Method) -> Result<Dataset, TrainError> {
    if method.reads() == Reads::Nothing {
        return Ok(Dataset::pictures(&data.path)?);
    }
    let told = |source| match Dataset::pictures(&data.path) {
        Ok(set) => TrainError::NothingSaid { method: method.name(), set: set.name(), source },
        Err(_) => source.into(),
    };
    Dataset::open(&data.path, &data.templates).map_err(told)
}

/// The pictures as the loop draws them, and what the image tower answers for all of them before the first
/// step, `[R, hidden]`, where the tower is locked or class pictures are mixed with it.
fn prepare_images(
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
    let mean = pooled.f_mean_dim([0i64].as_slice(), false, Kind::Float)?; // [hidden]
    let std = pooled.f_std_dim([0i64].as_slice(), false, false)?; // [hidden]
    let flat = std.f_lt(FLAT)?;
    let std = std.f_masked_fill(&flat, 1.0)?;
    encoder.weights.insert(mean_name, mean);
    encoder.weights.insert(std_name, std);
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
