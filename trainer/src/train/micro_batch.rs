//! How many pairs go through the towers at once: as a recipe says, or as many as the free memory holds.

use std::fs;

use tch::{Device, Kind, Tensor};

use crate::device::free_cuda_memory;
use crate::model::Side;
use crate::recipe::{MicroBatch, Recipe};
use crate::towers::{Inputs, Towers, TowersError};
use crate::watch::Watch;

/// Pairs of the first trial; the second has twice as many.
const TRIAL: usize = 8;

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
    /// As many as turn out to fit.
    Auto,
}

impl AtOnce {
    pub(super) fn of(recipe: &Recipe, watch: &mut dyn Watch) -> Self {
        let batch = recipe.train.batch_size;
        match recipe.train.micro_batch {
            None => Self::Known(None),
            Some(MicroBatch::Auto(_)) => Self::Auto,
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

    /// What is known, or found out from the first pairs of `inputs` and told: their way through the towers
    /// and back is measured twice, with as many and with twice as many pairs.
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
        if let Self::Known(known) = self {
            return Ok(*known);
        }
        let found = found(inputs, towers, learned, watch)?;
        *self = Self::Known(found);
        Ok(found)
    }
}

fn found(
    inputs: &Inputs,
    towers: &Towers<'_>,
    learned: &[&Tensor],
    watch: &mut dyn Watch,
) -> Result<Option<usize>, TowersError> {
    let (batch, device) = (inputs.pairs(), towers.encoder.device);
    if batch <= 2 * TRIAL {
        watch.say(&format!("a batch of {batch} pairs goes through the towers at once"));
        return Ok(None);
    }
    let Some(free) = free(device) else {
        watch.say(&format!(
            "how much memory is free cannot be told here; micro-batches of {TRIAL} pairs (train.micro_batch \
             sets another number)"
        ));
        return Ok(Some(TRIAL));
    };
    let peak = |pairs: usize| {
        let before = Memory::now(device, free);
        let (batch, tape) = towers.forward(inputs.first(pairs))?;
        let pooled = batch.views.iter().chain(batch.words.iter().map(|words| &words.pooled));
        let learning = pooled.filter(|pooled| pooled.requires_grad());
        let sums =
            learning.map(|pooled| pooled.f_sum(Kind::Float)).collect::<Result<Vec<_>, _>>()?;
        if !sums.is_empty() {
            let loss = Tensor::f_stack(&sums, 0)?.f_sum(Kind::Float)?;
            drop(tape.backward(&loss, &batch, learned, towers)?);
        }
        Ok::<u64, TowersError>(before.peak(device))
    };
    peak(TRIAL)?; // what libraries set up at the first call is no pair's
    let peaks = [peak(TRIAL)?, peak(2 * TRIAL)?];
    let copies =
        COPIES * learned.iter().map(|weight| weight.numel() * size_of::<f32>()).sum::<usize>();
    let pairs = fitting(free.saturating_sub(copies as u64), peaks, batch);
    let each = peaks[1].saturating_sub(peaks[0]) as f64 / TRIAL as f64 / 1e6;
    let free = free as f64 / 1e9;
    let at_once = if pairs < batch {
        format!("{pairs} of {batch} pairs at a time")
    } else {
        format!("all {batch} pairs at once")
    };
    watch.say(&format!(
        "train.micro_batch: {at_once}; {free:.1} GB are free, and a pair takes {each:.1} MB on its way \
         through the towers and back"
    ));
    Ok((pairs < batch).then_some(pairs))
}

/// The most pairs, at least one and at most a `batch`, that fit into the planned share of `free` bytes, by
/// the line through the peaks of [`TRIAL`] and twice as many.
fn fitting(free: u64, [once, twice]: [u64; 2], batch: usize) -> usize {
    let (once, twice) = (once as f64, twice as f64);
    let each = (twice - once) / TRIAL as f64;
    if each <= 0.0 {
        return batch;
    }
    let fixed = (once - each * TRIAL as f64).max(0.0);
    let pairs = (free as f64 * SHARE - fixed) / each;
    (pairs.max(1.0) as usize).min(batch)
}

/// Bytes that are free where the towers compute.
fn free(device: Device) -> Option<u64> {
    if device.is_cuda() { free_cuda_memory() } else { kilobytes("/proc/meminfo", "MemAvailable:") }
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

/// A line of a file of the system's that tells kilobytes, in bytes.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_fit_as_the_line_through_two_peaks_says() {
        // 100 bytes whatever the batch, and 10 a pair: 0.8 · 1000 bytes hold 70.
        let peaks = [180, 260];
        assert_eq!(fitting(1000, peaks, 512), 70);
        assert_eq!(fitting(1000, peaks, 64), 64);
        assert_eq!(fitting(50, peaks, 512), 1);
        // Peaks that tell no pairs apart are those of a model that is small beside all else.
        assert_eq!(fitting(1000, [180, 180], 512), 512);
    }

    #[test]
    fn the_system_tells_what_is_free_and_what_a_peak_was() {
        let free = free(Device::Cpu).unwrap();
        let before = Memory::now(Device::Cpu, free);
        let taken = 64 << 20;
        drop(std::hint::black_box(vec![1u8; taken]));
        let peak = before.peak(Device::Cpu);
        assert!(free > 0 && peak >= taken as u64 / 2, "{free}, {peak}");
        assert_eq!(kilobytes("/proc/meminfo", "NoSuchLine:"), None);
    }
}
