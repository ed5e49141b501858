//! Pictures to pixel values on a bounded pool, in order.
//!
//! Each worker owns a bounded channel and every n-th job, and the reader takes from the workers in
//! turn: the order is that of the jobs, and never more pictures wait than the channels hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clip::image::{DecodeError, DecodeLimits, ImageProcessor, PixelValues, RgbImage, decode};
use crossbeam_channel::{Receiver, bounded};

use super::augment::{Look, PictureView};
use super::mixture::Draw;
use super::{BadSample, Dataset, DecodedCache, Pair};

/// Decoded pictures that may wait for the reader at least, for each worker.
const WAITING: usize = 16;

/// One picture to decode.
#[derive(Debug, Clone)]
pub struct Job {
    /// The set.
    pub set: Arc<Dataset>,
    /// Index of the pair in the set.
    pub pair: usize,
}

impl Job {
    fn pair(&self) -> &Pair {
        &self.set.pairs[self.pair]
    }
}

/// What became of one job: a picture as it is looked at, or as it is looked at in several ways.
pub type Decoded<T> = Result<T, BadSample>;

/// The results of a list of jobs, in its order. Dropping it stops the workers.
#[derive(Debug)]
pub struct Pictures<T = PixelValues> {
    workers: Vec<(Receiver<Decoded<T>>, JoinHandle<()>)>,
    next: usize,
    total: usize,
    waited: Duration,
}

impl<T> Pictures<T> {
    /// How long the reader has waited for pictures so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// Starts decoding `jobs` on `threads` threads (at least one), as evaluation looks at them.
#[must_use]
pub fn pictures(jobs: Vec<Job>, processor: &ImageProcessor, threads: usize) -> Pictures {
    let (processor, limits) = (processor.clone(), DecodeLimits::default());
    let plain = move |picture: &RgbImage| PictureView::default().of(picture, &processor);
    start(jobs, move |job| with_pixels(job.pair(), &limits, &plain), (threads, 0))
}

/// The same, each once for every one of `looks` at its draw, as `finished` makes it on the threads that
/// decode; `ahead` pictures wait for the reader. What `cache` keeps is not decoded again.
#[must_use]
pub fn augmented<T: Send + 'static>(
    jobs: Vec<(Job, Draw)>,
    looks: Vec<Look>,
    finished: fn(PixelValues) -> T,
    cache: Arc<DecodedCache>,
    (threads, ahead): (usize, usize),
) -> Pictures<Vec<T>> {
    let usual = DecodeLimits::default();
    let drawing_side = wanted_side(&looks).min(usual.drawing_side);
    let limits = DecodeLimits { drawing_side, ..usual };
    let look = move |(job, draw): &(Job, Draw)| {
        let seen = |picture: &RgbImage| {
            let looks = looks.iter().enumerate();
            looks.map(|(which, look)| finished(look.of(picture, draw, which))).collect()
        };
        if let Some(picture) = cache.get(draw) {
            return surviving(job.pair(), || Ok(seen(&picture)));
        }
        with_pixels(job.pair(), &limits, |picture| {
            let picture = cache.fitted(picture);
            let seen = seen(&picture);
            cache.keep(draw, picture);
            seen
        })
    };
    start(jobs, look, (threads, ahead))
}

/// Shorter side in pixels of a picture of which none of `looks` shows more.
#[must_use]
pub fn wanted_side(looks: &[Look]) -> u32 {
    looks.iter().map(Look::wanted_side).max().unwrap_or_default()
}

/// Hands `look` each of `jobs`, on threads of its own, which go ahead of the reader.
fn start<J: Send + Sync + 'static, T: Send + 'static>(
    jobs: Vec<J>,
    look: impl Fn(&J) -> Decoded<T> + Send + Sync + 'static,
    (threads, ahead): (usize, usize),
) -> Pictures<T> {
    let total = jobs.len();
    let threads = threads.clamp(1, total.max(1));
    let waiting = ahead.div_ceil(threads).max(WAITING);
    let shared = Arc::new((jobs, look));
    let workers = (0..threads).map(|worker| {
        let (sender, receiver) = bounded(waiting);
        let shared = Arc::clone(&shared);
        let work = move || {
            let (jobs, look) = &*shared;
            for job in jobs.iter().skip(worker).step_by(threads) {
                if sender.send(look(job)).is_err() {
                    return;
                }
            }
        };
        (receiver, std::thread::spawn(work))
    });
    Pictures { workers: workers.collect(), next: 0, total, waited: Duration::ZERO }
}

/// What `of` makes of a pair's picture, upright and at its own size.
///
/// A decoder that panics on a picture costs that picture, not the ones behind it.
///
/// # Errors
/// [`BadSample`] with the reason for which there is no picture.
pub fn with_pixels<T>(
    pair: &Pair,
    limits: &DecodeLimits,
    of: impl FnOnce(&RgbImage) -> T,
) -> Decoded<T> {
    surviving(pair, || {
        let bytes = pair.picture.read().map_err(|e| format!("cannot be read: {e}"))?;
        match decode(&bytes, limits) {
            Ok(picture) => Ok(of(&picture.pixels)),
            Err(DecodeError::TooLarge { width, height, max_pixels }) => {
                Err(format!("{width}×{height} pixels are more than the limit of {max_pixels}"))
            }
            Err(error) => Err(reasons(&error)),
        }
    })
}

/// What `work` makes of a pair's picture. Should it panic, that costs this picture alone.
fn surviving<T>(pair: &Pair, work: impl FnOnce() -> Result<T, String>) -> Decoded<T> {
    let died = |_| Err("the decoder died on it".to_owned());
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(died);
    result.map_err(|reason| BadSample { key: pair.key.clone(), reason })
}

/// An error with what caused it, in one line.
fn reasons(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", reasons(source)),
        None => error.to_string(),
    }
}

impl<T> Iterator for Pictures<T> {
    type Item = Decoded<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.total {
            return None;
        }
        let worker = self.next % self.workers.len();
        self.next += 1;
        let lost = |_| {
            let reason = "the thread that decodes it is gone".to_owned();
            Err(BadSample { key: format!("picture {}", self.next), reason })
        };
        let began = Instant::now();
        let result = self.workers[worker].0.recv().unwrap_or_else(lost);
        self.waited += began.elapsed();
        Some(result)
    }
}

impl<T> Drop for Pictures<T> {
    fn drop(&mut self) {
        for (receiver, thread) in self.workers.drain(..) {
            drop(receiver);
            // A worker that panicked has told so on standard error and shows as a bad sample.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Place;

    #[test]
    fn a_panic_costs_the_picture_that_it_is_over() {
        let picture = Place { file: Arc::from(std::path::Path::new("none")), offset: 0, len: 0 };
        let (key, captions, negatives) = ("red".to_owned(), Vec::new(), Vec::new());
        let pair = Pair { key, picture, captions, negatives, class: None };
        let over = surviving::<()>(&pair, || panic!("on purpose")).unwrap_err();
        assert_eq!((over.key.as_str(), over.reason.as_str()), ("red", "the decoder died on it"));
        assert_eq!(surviving(&pair, || Ok(3)).unwrap(), 3);
    }
}
