//! What the loop draws from: the sets, the locked towers' outputs over them, and the keys that say
//! which pairs are no negatives to each other.

use std::collections::HashMap;
use std::sync::Arc;

use tch::Device;

use super::ahead::Ahead;
use super::batches::{Batches, looks};
use super::class_pictures::ClassPictures;
use super::images::{Images, prepare_images, tell_bad};
use super::texts::{self, Texts, Wording};
use super::{Surroundings, TrainError, micro_batch, objective, together};
use crate::data::augment::Look;
use crate::data::augment::text::back_translation;
use crate::data::decode::wanted_side;
use crate::data::mixture::{Draw, Shape, batches};
use crate::data::{Dataset, DecodedCache, Pair};
use crate::encoder::{Encoder, EncoderError};
use crate::memory;
use crate::methods::View;
use crate::model::Side;
use crate::processes::Processes;
use crate::recipe::{DataSection, Method, Reads, Recipe};
use crate::run::Run;

/// Everything that can be drawn.
pub(super) struct Material {
    /// What the plan of an epoch needs to know.
    pub(super) shapes: Vec<Shape>,
    pub(super) sets: Vec<Arc<Dataset>>,
    pub(super) images: Images,
    /// What is said of the pictures, for a method that reads it.
    pub(super) texts: Option<Texts>,
    pub(super) class_pictures: Option<ClassPictures>,
    /// One a pair over all sets, equal for the same class, for a method that reads classes.
    pub(super) classes: Vec<i64>,
    /// Row of each set's first pair in a numbering over all sets.
    first_pair: Vec<usize>,
    broken: usize,
    decoded: Arc<DecodedCache>,
    /// Where batches are computed.
    device: Device,
}

impl Material {
    /// Opens the sets, of which `views` are what a step shows, runs the locked towers over them and
    /// standardizes their outputs.
    pub(super) fn prepare(
        run: &Run,
        encoder: &mut Encoder,
        views: &[View],
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
        let decoded = decoded_cache(recipe, views, encoder, around.processes)?;
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
            decoded,
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
            let looks = (looks, Arc::clone(&self.decoded));
            Ahead::begin(draws, &self.sets, shares, looks, (around.threads, self.device))
        });
        Batches { draws: draws.to_vec(), next: 0, batch_size, ahead, views, wording, processes }
    }

    /// The number of a drawn pair over all sets.
    pub(super) fn pair(&self, draw: Draw) -> usize {
        self.first_pair[draw.set] + draw.pair
    }
}

/// A cache for pictures as `views` show them, as large as the recipe says. By default each process takes
/// its share of a tenth of what is free, which leaves what `train.micro_batch = "auto"` plans with.
fn decoded_cache(
    recipe: &Recipe,
    views: &[View],
    encoder: &Encoder,
    processes: Processes<'_>,
) -> Result<Arc<DecodedCache>, TrainError> {
    let looks = looks(views, encoder, recipe.train.seed, 0).map_err(EncoderError::from)?;
    let room = match recipe.image.decoded_cache_gb {
        Some(gigabytes) => (gigabytes * 1e9) as u64,
        None => memory::free().unwrap_or_default() / 10 / processes.count() as u64,
    };
    let cache = DecodedCache::new(wanted_side(&looks), room).map_err(EncoderError::from)?;
    Ok(Arc::new(cache))
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
