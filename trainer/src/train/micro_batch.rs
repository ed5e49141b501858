//! How many pairs go through the towers at once: as a recipe says, or as many as the free memory holds.

use std::fs;

use tch::{Device, Kind, Tensor};

use crate::device::free_cuda_memory;
use crate::memory::{self, kilobytes};
use crate::model::Side;
use crate::recipe::{MicroBatch, Recipe};
use crate::towers::{Inputs, Towers, TowersError};
use crate::watch::Watch;

/// Pairs of the first trial; each further one has twice as many.
const TRIAL: usize = 8;

/// Bytes by which peaks may differ though no pair is the reason.
const NOISE: u64 = 8 << 20;

/// What of the free memory is planned with.
const SHARE: f64 = 0.8;

/// Further copies of what learns, which only a whole step makes: two that an optimizer remembers, and the
/// sums of gradients.
const COPIES: usize = 3;

/// The towers of a recipe that keep the inputs of blocks in place of a graph.
pub(super) fn checkpointed(recipe: &Recipe) -> Vec<Side> {
    let model = &recipe.model;
    let keys = [
        (Side::Image, model.image.gradient_checkpointing),
        (Side::Text, model.text.gradient_checkpointing),
    ];
    keys.into_iter().filter_map(|(side, wanted)| wanted.then_some(side)).collect()
}

/// Pairs at once, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum AtOnce {
    /// Some; all of a batch where it is none.
    Known(Option<usize>),
    /// As many as turn out to fit, of a batch of so many.
    Auto(usize),
}

impl AtOnce {
    pub(super) fn of(recipe: &Recipe, watch: &mut dyn Watch) -> Self {
        let batch = recipe.train.batch_size;
        match recipe.train.micro_batch {
            None => Self::Known(None),
            Some(MicroBatch::Auto(_)) => Self::Auto(batch),
            Some(MicroBatch::Pairs(pairs)) if pairs >= batch => {
                watch.say(&format!(
                    "train.micro_batch = {pairs} is not less than train.batch_size = {batch}: batches go \
                     through the towers at once"
                ));
                Self::Known(None)
            }
            Some(MicroBatch::Pairs(pairs)) => Self::Known(Some(pairs)),
        }
    }

    /// What is known, or found out from the pairs of `inputs` and told: the way of some and of twice as many
    /// through the towers and back is measured. Where too few of the batch can be used to measure anything,
    /// they go at once, and the next batch tells.
    ///
    /// # Errors
    /// [`TowersError`] where not even a trial fits.
    pub(super) fn settled(
        &mut self,
        inputs: &Inputs,
        towers: &Towers<'_>,
        learned: &[&Tensor],
        watch: &mut dyn Watch,
    ) -> Result<Option<usize>, TowersError> {
        let batch = match *self {
            Self::Known(known) => return Ok(known),
            Self::Auto(batch) if batch > 2 * TRIAL && inputs.pairs() <= 2 * TRIAL => {
                return Ok(None);
            }
            Self::Auto(batch) => batch,
        };
        let found = Some(found(batch, inputs, (towers, learned), watch)?);
        *self = Self::Known(found);
        Ok(found)
    }
}

fn found(
    batch: usize,
    inputs: &Inputs,
    (towers, learned): (&Towers<'_>, &[&Tensor]),
    watch: &mut dyn Watch,
) -> Result<usize, TowersError> {
    let device = towers.encoder.device;
    if batch <= 2 * TRIAL {
        watch.say(&format!("a batch of {batch} pairs goes through the towers at once"));
        return Ok(batch);
    }
    let Some(free) = free(device) else {
        watch.say(&format!(
            "how much memory is free cannot be told here; micro-batches of {TRIAL} pairs (train.micro_batch \
             sets another number)"
        ));
        return Ok(TRIAL);
    };
    let peak = |pairs: usize| {
        let before = Memory::now(device, free);
        there_and_back(inputs.first(pairs), towers, learned)?;
        Ok::<u64, TowersError>(before.peak(device))
    };
    peak(TRIAL)?; // what libraries set up at the first call is no pair's
    let peaks = told_apart(inputs.pairs(), peak)?;
    let copies =
        COPIES * learned.iter().map(|weight| weight.numel() * size_of::<f32>()).sum::<usize>();
    let pairs = peaks.fitting(free.saturating_sub(copies as u64), batch);
    let (each, free) = (peaks.each() / 1e6, free as f64 / 1e9);
    let at_once = if pairs < batch {
        format!("{pairs} of {batch} pairs at a time")
    } else {
        format!("all {batch} pairs at once")
    };
    watch.say(&format!(
        "train.micro_batch: {at_once}; {free:.1} GB are free, and a pair takes {each:.1} MB on its way \
         through the towers and back"
    ));
    Ok(pairs)
}

/// Takes pairs through the towers and back as a step does.
fn there_and_back(
    inputs: Inputs,
    towers: &Towers<'_>,
    learned: &[&Tensor],
) -> Result<(), TowersError> {
    let (batch, tape) = towers.forward(inputs)?;
    let pooled = batch.views.iter().chain(batch.words.iter().map(|words| &words.pooled));
    let learning = pooled.filter(|pooled| pooled.requires_grad());
    let sums = learning.map(|pooled| pooled.f_sum(Kind::Float)).collect::<Result<Vec<_>, _>>()?;
    if !sums.is_empty() {
        let loss = Tensor::f_stack(&sums, 0)?.f_sum(Kind::Float)?;
        drop(tape.backward(&loss, &batch, learned, towers)?);
    }
    Ok(())
}

/// Most bytes that some pairs took, and twice as many.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Peaks {
    pairs: usize,
    once: u64,
    twice: u64,
}

/// The first peaks, from [`TRIAL`] pairs on, that differ: few pairs may find room in memory that was taken
/// before, and tell nothing. The last ones where none differ, of more than half of `most` pairs.
fn told_apart<E>(most: usize, mut peak: impl FnMut(usize) -> Result<u64, E>) -> Result<Peaks, E> {
    let (mut pairs, mut once) = (TRIAL, peak(TRIAL)?);
    loop {
        let twice = peak(2 * pairs)?;
        if twice > once + NOISE || 4 * pairs > most {
            return Ok(Peaks { pairs, once, twice });
        }
        (pairs, once) = (2 * pairs, twice);
    }
}

impl Peaks {
    /// Bytes of a pair; nothing where the peaks do not tell.
    fn each(&self) -> f64 {
        self.twice.saturating_sub(self.once) as f64 / self.pairs as f64
    }

    /// The most pairs, at least one and at most a `batch`, that fit into the planned share of `free` bytes,
    /// by the line through both. Where more than half of a batch took no more than less of it did, all of
    /// it.
    fn fitting(&self, free: u64, batch: usize) -> usize {
        let each = self.each();
        if each <= 0.0 {
            return batch;
        }
        let fixed = (self.once as f64 - each * self.pairs as f64).max(0.0);
        let pairs = (free as f64 * SHARE - fixed) / each;
        (pairs.max(1.0) as usize).min(batch)
    }
}

/// Bytes that are free where the towers compute.
fn free(device: Device) -> Option<u64> {
    if device.is_cuda() { free_cuda_memory() } else { memory::free() }
}

/// Bytes in use when a trial begins.
struct Memory {
    in_use: u64,
    free: u64,
}

impl Memory {
    /// `free` is what was free before the first trial: on a GPU libtorch keeps what it has once taken, so
    /// that its peak shows afterwards. On a CPU the system is asked to forget the highest so far.
    fn now(device: Device, free: u64) -> Self {
        if !device.is_cuda() {
            // Where this is refused, the peak may be one from before: fewer pairs than would fit.
            let _ = fs::write("/proc/self/clear_refs", "5");
        }
        Self { in_use: kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0), free }
    }

    /// Bytes that were taken beyond these at most.
    fn peak(&self, device: Device) -> u64 {
        if device.is_cuda() {
            return self.free.saturating_sub(free(device).unwrap_or(0));
        }
        kilobytes("/proc/self/status", "VmHWM:").unwrap_or(0).saturating_sub(self.in_use)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_fit_as_the_line_through_two_peaks_says() {
        // 100 bytes whatever the batch, and 10 a pair: 0.8 · 1000 bytes hold 70.
        let peaks = Peaks { pairs: 8, once: 180, twice: 260 };
        assert_eq!(peaks.fitting(1000, 512), 70);
        assert_eq!(peaks.fitting(1000, 64), 64);
        assert_eq!(peaks.fitting(50, 512), 1);
        // Peaks that tell no pairs apart are those of a model that is small beside all else.
        assert_eq!(Peaks { twice: 180, ..peaks }.fitting(1000, 512), 512);
    }

    #[test]
    fn trials_grow_until_they_tell_pairs_apart() {
        let room = 100 << 20; // taken before, and free for the first pairs
        let mut tried = Vec::new();
        let peak = |pairs: usize| {
            tried.push(pairs);
            Ok::<u64, ()>((pairs as u64 * (2 << 20)).saturating_sub(room))
        };
        let peaks = told_apart(1000, peak).unwrap();
        assert_eq!(peaks, Peaks { pairs: 32, once: 0, twice: 28 << 20 });
        assert_eq!(tried, [8, 16, 32, 64]);
        let mut tried = Vec::new();
        let flat = |pairs: usize| {
            tried.push(pairs);
            Ok::<u64, ()>(5)
        };
        assert!(told_apart(100, flat).unwrap().each() <= 0.0);
        assert_eq!(tried, [8, 16, 32, 64]);
    }

    #[test]
    fn the_system_tells_what_is_free_and_what_a_peak_was() {
        let free = free(Device::Cpu).unwrap();
        let before = Memory::now(Device::Cpu, free);
        let taken = 64 << 20;
        drop(std::hint::black_box(vec![1u8; taken]));
        let peak = before.peak(Device::Cpu);
        assert!(free > 0 && peak >= taken as u64 / 2, "{free}, {peak}");
    }
}
