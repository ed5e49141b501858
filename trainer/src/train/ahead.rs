//! Batches of pictures made ready on a thread of their own: decoded, looked at, in one tensor, and page-locked
//! where a GPU fetches them. The loop takes them as they are.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use tch::{Device, Kind, TchError, Tensor};

use super::TrainError;
use crate::data::augment::Look;
use crate::data::decode::{Job, Pictures, augmented};
use crate::data::mixture::Draw;
use crate::data::{BadSample, Dataset, DecodedCache};
use crate::device::page_locked;
use crate::model::{ModelError, picture, picture_batch};

/// How much is ready before it is asked for.
struct Lead {
    /// Batches that wait for the loop, beside the one that is being made.
    batches: usize,
    /// Decoded pictures that wait to become part of one; some do in any case.
    pictures: usize,
}

impl Lead {
    /// A GPU is faster than whoever decodes for it, and so a batch's worth and more is made ready while it
    /// computes. On a CPU nothing is gained, and the memory is wanted for the batch itself.
    fn for_device(device: Device, batch: usize) -> Self {
        if device.is_cuda() {
            return Self { batches: 1, pictures: batch };
        }
        Self { batches: 0, pictures: 0 }
    }
}

/// The pictures of one batch that are this process's.
pub(super) struct Prepared {
    /// Each view, `[R, 3, H, W]`; none has rows where all pictures are broken.
    pub(super) views: Vec<Tensor>,
    /// Broken pictures, by their places in the batch.
    pub(super) left_out: Vec<(usize, BadSample)>,
}

/// The batches of an epoch in their order. Dropping it stops its threads.
pub(super) struct Ahead {
    /// None once it is dropped.
    prepared: Option<Receiver<Result<Prepared, ModelError>>>,
    thread: Option<JoinHandle<()>>,
    waited: Duration,
}

impl Ahead {
    /// Begins with the pictures of `draws` from `sets`, of which `shares` are this process's: a stretch of
    /// each batch, and where in `draws` the batch begins.
    pub(super) fn begin(
        draws: &[Draw],
        sets: &[Arc<Dataset>],
        shares: Vec<(usize, Range<usize>)>,
        (looks, cache): (Vec<Look>, Arc<DecodedCache>),
        (threads, device): (usize, Device),
    ) -> Self {
        let job = |draw: &Draw| Job { set: Arc::clone(&sets[draw.set]), pair: draw.pair };
        let own = shares.iter().flat_map(|(start, share)| {
            draws[start + share.start..start + share.end].iter().map(|draw| (job(draw), *draw))
        });
        let most = shares.iter().map(|(_, share)| share.len()).max().unwrap_or_default();
        let (lead, view_count) = (Lead::for_device(device, most), looks.len());
        let threads = (threads, lead.pictures);
        let decoded = augmented(own.collect(), looks, |pixels| picture(&pixels), cache, threads);
        let (sender, prepared) = bounded(lead.batches);
        let work = move || {
            let mut decoded = decoded;
            let mut maker = Maker { device, buffer: None };
            for (_, share) in shares {
                let next = next(&mut decoded, share, view_count, &mut maker);
                if sender.send(next).is_err() {
                    return;
                }
            }
        };
        let thread = Some(std::thread::spawn(work));
        Self { prepared: Some(prepared), thread, waited: Duration::ZERO }
    }

    /// The next batch.
    ///
    /// # Errors
    /// [`TrainError`] where its pictures make no tensor.
    pub(super) fn next(&mut self) -> Result<Prepared, TrainError> {
        let began = Instant::now();
        let next = self.prepared.as_ref().and_then(|prepared| prepared.recv().ok());
        self.waited += began.elapsed();
        next.map_or(Err(TrainError::Unprepared), |prepared| Ok(prepared?))
    }

    /// How long the loop has waited for batches so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        drop(self.prepared.take());
        if let Some(thread) = self.thread.take() {
            // Had it panicked, the loop would have been told so by the batch that is missing.
            let _ = thread.join();
        }
    }
}

/// The pictures at the places `share` of a batch.
fn next(
    decoded: &mut Pictures<Vec<Result<Tensor, ModelError>>>,
    share: Range<usize>,
    view_count: usize,
    maker: &mut Maker,
) -> Result<Prepared, ModelError> {
    let mut pictures: Vec<Vec<Tensor>> = (0..view_count).map(|_| Vec::new()).collect(); // by view, then by place
    let mut left_out = Vec::new();
    for (place, seen) in share.clone().zip(decoded.by_ref().take(share.len())) {
        match seen {
            Ok(seen) => {
                let seen = seen.into_iter().collect::<Result<Vec<_>, _>>()?;
                pictures.iter_mut().zip(seen).for_each(|(all, one)| all.push(one));
            }
            Err(sample) => left_out.push((place, sample)),
        }
    }
    let view = |pictures: &Vec<Tensor>| match pictures.as_slice() {
        [] => Ok(Tensor::zeros([0, 0], (Kind::Float, Device::Cpu))),
        pictures => maker.batch(pictures),
    };
    Ok(Prepared { views: pictures.iter().map(view).collect::<Result<_, _>>()?, left_out })
}

/// Makes one tensor of many pictures.
struct Maker {
    device: Device,
    /// Where batches for a GPU come together before they are copied to page-locked memory. A new one for
    /// each would be so much memory that the system clears it anew each time, which takes seven times as
    /// long as filling it.
    buffer: Option<Tensor>,
}

impl Maker {
    /// Pictures `[H, W, 3]` of one size → `[R, 3, H, W]`.
    fn batch(&mut self, pictures: &[Tensor]) -> Result<Tensor, ModelError> {
        if !self.device.is_cuda() {
            return picture_batch(pictures);
        }
        let refused = |source: TchError| ModelError::Torch {
            operation: "pin_memory",
            name: "pictures".to_owned(),
            source,
        };
        self.for_gpu(pictures).map_err(refused)
    }

    fn for_gpu(&mut self, pictures: &[Tensor]) -> Result<Tensor, TchError> {
        let (height, width, channels) = pictures[0].size3()?;
        let size = [pictures.len() as i64, height, width, channels];
        let fits = |buffer: &Tensor| buffer.size()[0] >= size[0] && buffer.size()[1..] == size[1..];
        let buffer = match self.buffer.take().filter(fits) {
            Some(buffer) => buffer,
            None => Tensor::f_empty(size, (Kind::Float, Device::Cpu))?,
        };
        let batch = Tensor::f_stack_out(&buffer.f_narrow(0, 0, size[0])?, pictures, 0)?;
        self.buffer = Some(buffer);
        page_locked(&batch.f_permute([0, 3, 1, 2])?, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_for_a_gpu_are_those_for_a_cpu_whatever_came_before() {
        let pictures: Vec<Tensor> = (0..5)
            .map(|n| Tensor::arange(24, (Kind::Float, Device::Cpu)).view([2, 4, 3]) + n)
            .collect();
        let mut maker = Maker { device: Device::Cpu, buffer: None };
        for some in [&pictures[..4], &pictures[3..], &pictures[..5], &pictures[1..2]] {
            let batch = maker.for_gpu(some).unwrap();
            assert_eq!(batch, picture_batch(some).unwrap());
            assert_eq!(batch.stride(), picture_batch(some).unwrap().stride());
        }
        let wide = [Tensor::zeros([3, 2, 3], (Kind::Float, Device::Cpu))];
        assert_eq!(maker.for_gpu(&wide).unwrap().size(), [1, 3, 3, 2]);
    }
}
