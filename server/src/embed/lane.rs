//! One tower's queue: a bounded channel, and the one thread that owns the session and makes batches.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::load::{BatchSizes, TowerLoad};
use super::{EmbedError, TowerError};

/// A bounded queue in front of one worker thread.
///
/// At most `queue` jobs wait, each of at most `batch` inputs, so memory is bounded.
/// The thread ends when the lane is dropped, after the jobs that were let in.
pub(super) struct Lane<I, O> {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Job<I, O>>>,
    worker: Option<JoinHandle<()>>,
    batch: usize,
    sizes: Arc<BatchSizes>,
}

/// Inputs of one caller, and where the outputs go.
struct Job<I, O> {
    inputs: Vec<I>,
    reply: oneshot::Sender<Result<Vec<O>, Arc<TowerError>>>,
}

/// A place in the queue, asked for before any work is done for it.
pub(super) struct Place<I, O>(mpsc::OwnedPermit<Job<I, O>>);

impl<I: Send + 'static, O: Send + 'static> Place<I, O> {
    /// Sends the inputs into the place and waits for their outputs.
    pub(super) async fn run(self, inputs: Vec<I>) -> Result<Vec<O>, EmbedError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job { inputs, reply });
        received(answer.await)
    }
}

impl<I: Send + 'static, O: Send + 'static> Lane<I, O> {
    /// Starts the thread `name` that answers each batch by `run`.
    pub(super) fn start<F>(name: &str, size: LaneSize, run: F) -> Result<Self, EmbedError>
    where
        F: FnMut(&[I]) -> Result<Vec<O>, TowerError> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(size.queue);
        let sizes = Arc::new(BatchSizes::default());
        let run = counted(run, Arc::clone(&sizes));
        let worker = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(receiver, size.batch, run))
            .map_err(EmbedError::Thread)?;
        Ok(Self { queue: Some(sender), worker: Some(worker), batch: size.batch, sizes })
    }

    /// How busy it is.
    pub(super) fn load(&self) -> TowerLoad {
        let places = |queue: &mpsc::Sender<_>| (queue.max_capacity(), queue.capacity());
        let (most, free) = self.queue.as_ref().map_or((0, 0), places);
        TowerLoad {
            waiting: most.saturating_sub(free),
            most_waiting: most,
            batches: self.sizes.read(),
        }
    }

    /// A place in the queue, or at once [`EmbedError::Overloaded`] when it is full.
    pub(super) fn reserve(&self) -> Result<Place<I, O>, EmbedError> {
        match self.sender()?.clone().try_reserve_owned() {
            Ok(permit) => Ok(Place(permit)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(EmbedError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(EmbedError::Stopped),
        }
    }

    /// Runs any number of inputs, a batch at a time: the first is refused when the queue is full,
    /// the rest of an admitted request waits for its turn.
    pub(super) async fn run(&self, inputs: Vec<I>) -> Result<Vec<O>, EmbedError> {
        let mut outputs = Vec::with_capacity(inputs.len());
        let mut place = Some(self.reserve()?);
        for chunk in chunks(inputs, self.batch) {
            let place = match place.take() {
                Some(place) => place,
                None => {
                    let sender = self.sender()?.clone();
                    Place(sender.reserve_owned().await.map_err(|_| EmbedError::Stopped)?)
                }
            };
            outputs.extend(place.run(chunk).await?);
        }
        Ok(outputs)
    }

    /// As [`Lane::run`] for callers on threads of their own, who wait for room instead of being
    /// refused: a slow model slows the stages before it.
    pub(super) fn run_blocking(&self, inputs: Vec<I>) -> Result<Vec<O>, EmbedError> {
        let mut outputs = Vec::with_capacity(inputs.len());
        for inputs in chunks(inputs, self.batch) {
            let (reply, answer) = oneshot::channel();
            let sent = self.sender()?.blocking_send(Job { inputs, reply });
            sent.map_err(|_| EmbedError::Stopped)?;
            outputs.extend(received(answer.blocking_recv())?);
        }
        Ok(outputs)
    }

    /// Whether the worker still takes jobs.
    pub(super) fn is_alive(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_closed())
    }

    fn sender(&self) -> Result<&mpsc::Sender<Job<I, O>>, EmbedError> {
        self.queue.as_ref().ok_or(EmbedError::Stopped)
    }
}

/// How much a lane holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneSize {
    /// Most jobs that wait.
    pub(super) queue: usize,
    /// Most inputs in one run of the model.
    pub(super) batch: usize,
}

impl<I, O> Drop for Lane<I, O> {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(Err(_)) = self.worker.take().map(JoinHandle::join) {
            tracing::error!("a thread of the model ended by a panic");
        }
    }
}

/// `run`, with the size of each batch noted.
fn counted<I, O>(
    mut run: impl FnMut(&[I]) -> Result<Vec<O>, TowerError>,
    sizes: Arc<BatchSizes>,
) -> impl FnMut(&[I]) -> Result<Vec<O>, TowerError> {
    move |inputs| {
        sizes.note(inputs.len());
        run(inputs)
    }
}

/// The loop of the worker: the first job that waits, and as many more as fit into a batch.
fn work<I, O, F>(mut queue: mpsc::Receiver<Job<I, O>>, batch: usize, mut run: F)
where
    F: FnMut(&[I]) -> Result<Vec<O>, TowerError>,
{
    let mut left_over = None;
    while let Some(first) = left_over.take().or_else(|| queue.blocking_recv()) {
        let mut size = first.inputs.len();
        let mut jobs = vec![first];
        while size < batch {
            let Ok(job) = queue.try_recv() else { break };
            if size + job.inputs.len() > batch {
                left_over = Some(job);
                break;
            }
            size += job.inputs.len();
            jobs.push(job);
        }
        // Whoever hung up while waiting costs no work.
        jobs.retain(|job| !job.reply.is_closed());
        answer(jobs, &mut run);
    }
}

/// Runs the inputs of all jobs at once and gives each its share of the outputs.
fn answer<I, O, F>(jobs: Vec<Job<I, O>>, run: &mut F)
where
    F: FnMut(&[I]) -> Result<Vec<O>, TowerError>,
{
    let (mut inputs, mut replies) = (Vec::new(), Vec::new());
    for job in jobs {
        replies.push((job.inputs.len(), job.reply));
        inputs.extend(job.inputs);
    }
    if inputs.is_empty() {
        return;
    }
    match run(&inputs) {
        Ok(outputs) => {
            let mut outputs = outputs.into_iter();
            for (len, reply) in replies {
                // A send fails only when the caller is gone, and then nobody misses the answer.
                let _ = reply.send(Ok(outputs.by_ref().take(len).collect()));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for (_, reply) in replies {
                let _ = reply.send(Err(Arc::clone(&error)));
            }
        }
    }
}

fn received<O>(
    answer: Result<Result<Vec<O>, Arc<TowerError>>, oneshot::error::RecvError>,
) -> Result<Vec<O>, EmbedError> {
    match answer {
        Ok(Ok(outputs)) => Ok(outputs),
        Ok(Err(error)) => Err(EmbedError::Tower(error)),
        Err(_) => Err(EmbedError::Stopped),
    }
}

/// The inputs in pieces of at most `size`, without cloning them.
fn chunks<I>(inputs: Vec<I>, size: usize) -> impl Iterator<Item = Vec<I>> {
    let mut rest = inputs.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<I> = rest.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::super::load::Batches;
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const SIZE: LaneSize = LaneSize { queue: 2, batch: 4 };

    /// A lane that doubles numbers, says how many each run held, and waits at a gate before each.
    fn gated() -> (Lane<u32, u32>, Sender<()>, Receiver<usize>) {
        let (open, gate) = channel::<()>();
        let (say, sizes) = channel();
        let lane = Lane::start("test", SIZE, move |inputs: &[u32]| {
            say.send(inputs.len()).unwrap();
            gate.recv().unwrap();
            Ok(inputs.iter().map(|n| n * 2).collect())
        });
        (lane.unwrap(), open, sizes)
    }

    #[tokio::test]
    async fn what_waits_is_run_together_and_each_gets_its_own() {
        let (lane, open, sizes) = gated();
        let first = lane.reserve().unwrap();
        let first = tokio::spawn(first.run(vec![1]));
        // The worker is inside its first run now, so the next two wait together.
        let sizes = tokio::task::spawn_blocking(move || {
            assert_eq!(sizes.recv().unwrap(), 1);
            sizes
        });
        let sizes = sizes.await.unwrap();
        let second = tokio::spawn(lane.reserve().unwrap().run(vec![2, 3]));
        let third = tokio::spawn(lane.reserve().unwrap().run(vec![4]));
        tokio::task::yield_now().await;
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), [2]);
        assert_eq!(second.await.unwrap().unwrap(), [4, 6]);
        assert_eq!(third.await.unwrap().unwrap(), [8]);
        assert_eq!(sizes.recv().unwrap(), 3);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_before_any_work() {
        let (lane, _open, _sizes) = gated();
        let places: Vec<_> = (0..SIZE.queue).map(|_| lane.reserve().unwrap()).collect();
        assert!(matches!(lane.reserve(), Err(EmbedError::Overloaded)));
        assert_eq!((lane.load().waiting, lane.load().most_waiting), (SIZE.queue, SIZE.queue));
        drop(places);
        assert_eq!(lane.load().waiting, 0);
        assert!(lane.reserve().is_ok());
    }

    #[test]
    fn a_long_request_is_run_in_pieces_and_keeps_its_order() {
        let (lane, open, sizes) = gated();
        (0..3).for_each(|_| open.send(()).unwrap());
        let outputs = lane.run_blocking((0..10).collect()).unwrap();
        assert_eq!(outputs, (0..10).map(|n| n * 2).collect::<Vec<u32>>());
        let Batches { within, count, sum } = lane.load().batches;
        assert_eq!((&within[..4], count, sum), (&[0, 1, 2, 0][..], 3, 10));
        drop(lane);
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [4, 4, 2]);
    }

    #[test]
    fn a_panic_in_the_tower_is_an_error_for_all_who_come_after() {
        let lane: Lane<u32, u32> = Lane::start("test", SIZE, |_: &[u32]| panic!("tower")).unwrap();
        assert!(matches!(lane.run_blocking(vec![1]), Err(EmbedError::Stopped)));
        assert!(matches!(lane.run_blocking(vec![1]), Err(EmbedError::Stopped)));
    }
}
