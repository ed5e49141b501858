//! All processes, joined.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::engine::{self, Engine, Seat};
use crate::ffi::{Backend, Running, Store};
use crate::meeting::{self, Meeting};
use crate::nccl::Nccl;
use crate::pulse::Pulse;
use crate::{Error, Place};

/// How long an operation is waited for before the pulse is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// How often process 0 looks whether all others have left.
const GLANCE: Duration = Duration::from_millis(20);

/// Numbers that are summed at once, at most, unless one tensor has more: what is copied to be summed
/// stays small beside what is learned.
const TOGETHER: usize = 1 << 24;

/// Kinds that rows can have.
const KINDS: [Kind; 6] =
    [Kind::Float, Kind::Half, Kind::BFloat16, Kind::Double, Kind::Int64, Kind::Uint8];

/// Dimensions that rows can have, with that of the rows.
const DIMENSIONS: usize = 6;

/// Numbers in a [`header`].
const HEADER: usize = 3 + DIMENSIONS;

/// Letters of a value that an error shows.
const SHOWN: usize = 120;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For all processes to come.
    pub joining: Duration,
    /// For a life sign of one that has come.
    pub silence: Duration,
}

impl Default for Patience {
    /// Five minutes to start everything by hand, and half a minute of silence.
    fn default() -> Self {
        Self { joining: Duration::from_secs(300), silence: Duration::from_secs(30) }
    }
}

/// All processes, joined. Every operation is called by all of them, in the same order.
///
/// A group that is dropped without [`Group::close`] leaves its connections to the system, which closes
/// them with the process: an operation that waits for a lost process cannot be called back.
#[derive(Debug)]
pub struct Group {
    rank: usize,
    size: usize,
    local_rank: usize,
    /// All none once they are closed; NCCL also where GPUs are not used, or not by it.
    nccl: Option<Nccl>,
    gloo: Option<Backend>,
    store: Option<Store>,
    engine: Engine,
    pulse: Pulse,
    patience: Patience,
}

impl Group {
    /// Joins all processes; process 0 serves at its address and port. Then some operations are tried
    /// whose answers are known.
    ///
    /// # Errors
    /// [`Error`], naming the address that cannot be used, the processes that have not come, how they
    /// were started differently, or what libtorch computed wrongly.
    pub fn join(place: &Place, patience: Patience) -> Result<Self, Error> {
        let version = crate::version()?;
        let Meeting { store, pulse, gloo } = meeting::meet(place, patience)?;
        let Place { rank, world_size: size, local_rank, .. } = *place;
        let (nccl, gloo, store) = (None, Some(gloo), Some(store));
        let engine = Engine::Gloo { reason: "no GPU was named".to_owned() };
        let group = Self { rank, size, local_rank, nccl, gloo, store, engine, pulse, patience };
        group.agree("libtorch", &version)?;
        group.try_out(version, Device::Cpu)?;
        Ok(group)
    }

    /// Says where this process computes; called once by all. From then on tensors on GPUs go from one to
    /// the other by NCCL, where the program was built with it and every process has a GPU of its own;
    /// else, and before, they go over the memory of the hosts. NCCL is tried out as [`Group::join`] does.
    ///
    /// # Errors
    /// As [`Group::sums`]; [`Error::Nccl`] where there is no way from GPU to GPU, and
    /// [`Error::SelfTest`] with what NCCL computed wrongly.
    pub fn compute_on(&mut self, device: Device) -> Result<(), Error> {
        let told = self.gather_bytes(Seat::of(device)?.written().as_bytes())?;
        let seats = told.iter().map(|words| Seat::read(words)).collect::<Result<Vec<_>, _>>()?;
        self.engine = engine::chosen(&seats, |rank| self.name(rank));
        if let (Engine::Nccl, Device::Cuda(number), Some(store)) =
            (&self.engine, device, &self.store)
        {
            let place = (self.rank, self.size);
            self.nccl = Some(Nccl::open(store, place, number, &self.pulse)?);
            self.try_out(crate::version()?, device)?;
        }
        Ok(())
    }

    /// What moves tensors on GPUs, and why.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// This process's number, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How a process is called, with its machine.
    #[must_use]
    pub fn name(&self, rank: usize) -> String {
        self.pulse.name(rank)
    }

    /// Which of `count` things are process `rank`'s: a stretch of them, as long as the others' or one
    /// longer.
    #[must_use]
    pub fn share(&self, count: usize, rank: usize) -> Range<usize> {
        count * rank / self.size..count * (rank + 1) / self.size
    }

    /// This process's number among those of its machine.
    #[must_use]
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// The sums of `tensors` over all processes, the same to the bit everywhere; any shapes, one kind
    /// (f32, f64 or i64), equally many of equal shapes in each process, on its GPU in all or in none.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Ended`] where a process is not there any more, [`Error::Torch`]
    /// for a kind that cannot be summed.
    pub fn sums(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let mut sums = Vec::with_capacity(tensors.len());
        let mut rest = tensors;
        while !rest.is_empty() {
            let mut elements = 0;
            let fits = |tensor: &&Tensor| {
                elements += tensor.numel();
                elements <= TOGETHER
            };
            let (some, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let on_gpu = some.iter().all(|tensor| self.is_on_gpu(tensor));
            let device = self.way(on_gpu);
            let flat = some.iter().map(|tensor| Ok(staged(tensor, device)?.f_view([-1])?));
            // A copy even of one.
            let flat = Tensor::f_cat(&flat.collect::<Result<Vec<_>, Error>>()?, 0)?;
            self.finish(self.backend(device)?.all_reduce(&flat)?)?;
            let mut start = 0;
            for tensor in some {
                let sum = flat.f_narrow(0, start, tensor.numel() as i64)?;
                start += tensor.numel() as i64;
                let sum = sum.f_view(tensor.size().as_slice())?;
                sums.push(sum.f_to_device(tensor.device())?);
            }
            rest = behind;
        }
        Ok(sums)
    }

    /// The rows of all processes in their order, `[R, …]` each → `[Σ R, …]`, and how many each has; f32,
    /// f16, bf16, f64, i64 or u8. A process without rows need not know the rest of the shape.
    ///
    /// # Errors
    /// As [`Group::sums`], and [`Error::Torch`] for rows of other shapes.
    pub fn gather_rows(&self, own: &Tensor) -> Result<(Tensor, Vec<usize>), Error> {
        let header = header(own, self.is_on_gpu(own))?.f_unsqueeze(0)?;
        let headers = self.equal_rows(&header)?; // [processes, HEADER]
        let headers = Vec::<i64>::try_from(headers.f_view([-1])?)?;
        let headers: Vec<&[i64]> = headers.chunks_exact(HEADER).collect();
        let counts: Vec<usize> = headers.iter().map(|header| header[0] as usize).collect();
        let Some(model) = headers.iter().find(|header| header[0] > 0) else {
            return Ok((own.shallow_clone(), counts));
        };
        let mut those_with_rows = headers.iter().filter(|header| header[0] > 0);
        // Where they lie (header[1]) may differ; then they go over the memory of the hosts.
        let device = self.way(those_with_rows.clone().all(|header| header[1] == 1));
        if those_with_rows.any(|header| header[2..] != model[2..]) {
            let reason = format!("the processes have rows of other shapes: {headers:?}");
            return Err(Error::Torch { reason });
        }
        let kind = KINDS.get(model[2] as usize).copied().unwrap_or(Kind::Uint8);
        let mut shape = vec![counts.iter().copied().max().unwrap_or_default() as i64];
        shape.extend(&model[4..4 + model[3] as usize]);
        // Operations want equally many rows of everybody, and know few kinds: bytes are one.
        let padded = Tensor::f_zeros(shape.as_slice(), (kind, device))?;
        let rows = counts[self.rank] as i64;
        if rows > 0 {
            padded.f_narrow(0, 0, rows)?.f_copy_(&staged(own, device)?)?;
        }
        let padded = padded.f_view([shape[0], -1])?.f_view_dtype(Kind::Uint8)?; // [longest, bytes]
        let all = self.equal_rows(&padded)?; // [processes · longest, bytes]
        let part =
            |(rank, &count): (usize, &usize)| all.f_narrow(0, rank as i64 * shape[0], count as i64);
        let parts = counts.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
        let rows = Tensor::f_cat(&parts, 0)?.f_view_dtype(kind)?;
        shape[0] = rows.size()[0];
        Ok((rows.f_view(shape.as_slice())?.f_to_device(own.device())?, counts))
    }

    /// What each process has to say, in their order.
    ///
    /// # Errors
    /// As [`Group::sums`].
    pub fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let (all, counts) = self.gather_rows(&Tensor::from_slice(own))?;
        let all = Vec::<u8>::try_from(all)?;
        let mut rest = all.as_slice();
        let next = |&count: &usize| {
            let (one, behind) = rest.split_at(count.min(rest.len()));
            rest = behind;
            one.to_vec()
        };
        Ok(counts.iter().map(next).collect())
    }

    /// What process 0 says; of the others `own` is not looked at.
    ///
    /// # Errors
    /// As [`Group::sums`].
    pub fn from_first(&self, own: &[u8]) -> Result<Vec<u8>, Error> {
        let length = Tensor::from_slice(&[own.len() as i64]);
        self.finish(self.backend(Device::Cpu)?.broadcast(&length, 0)?)?;
        let length = length.f_int64_value(&[0])?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let bytes = if self.rank == 0 {
            Tensor::from_slice(own)
        } else {
            Tensor::f_zeros([length], (Kind::Uint8, Device::Cpu))?
        };
        self.finish(self.backend(Device::Cpu)?.broadcast(&bytes, 0)?)?;
        Ok(Vec::<u8>::try_from(bytes)?)
    }

    /// Whether any process says yes.
    ///
    /// # Errors
    /// As [`Group::sums`].
    pub fn any(&self, own: bool) -> Result<bool, Error> {
        let sums = self.sums(&[Tensor::from_slice(&[i64::from(own)])])?;
        Ok(sums[0].f_int64_value(&[0])? > 0)
    }

    /// Refuses to go on where `value` is not the same everywhere; `what` names it.
    ///
    /// # Errors
    /// [`Error::Disagree`] with the first line that differs, and who differs from process 0.
    pub fn agree(&self, what: &str, value: &str) -> Result<(), Error> {
        let all = self.gather_bytes(value.as_bytes())?;
        let Some(rank) = all.iter().position(|other| *other != all[0]) else { return Ok(()) };
        let text = |rank: usize| String::from_utf8_lossy(&all[rank]).into_owned();
        let (first, theirs) = first_difference(&text(0), &text(rank));
        Err(Error::Disagree { who: self.name(rank), what: what.to_owned(), first, theirs })
    }

    /// Tells all others that this process ends, and why, so that they need not find out.
    pub fn tell_end(&self, reason: &str) {
        self.pulse.tell_end(reason);
    }

    /// Leaves together with all others.
    ///
    /// # Errors
    /// As [`Group::sums`], where a process has not come to its end.
    pub fn close(mut self) -> Result<(), Error> {
        self.any(false)?;
        self.pulse.end();
        // First what speaks over the store, and the store of process 0 once nobody else needs it.
        self.nccl.take().map_or(Ok(()), Nccl::close)?;
        drop(self.gloo.take());
        let Some(store) = self.store.take() else { return Ok(()) };
        let mut gone = store.add("left", i64::from(self.rank > 0))?;
        let deadline = Instant::now() + self.patience.silence;
        while self.rank == 0 && gone + 1 < self.size as i64 && Instant::now() < deadline {
            thread::sleep(GLANCE);
            gone = store.add("left", 0)?;
        }
        Ok(())
    }

    /// Whether NCCL can read a tensor where it lies.
    fn is_on_gpu(&self, tensor: &Tensor) -> bool {
        self.nccl.as_ref().is_some_and(|nccl| nccl.device() == tensor.device())
    }

    /// Where tensors have to lie to be moved: this process's GPU, where those of all lie on theirs and
    /// NCCL is open, else the memory of the host.
    fn way(&self, on_gpu: bool) -> Device {
        match &self.nccl {
            Some(nccl) if on_gpu => nccl.device(),
            _ => Device::Cpu,
        }
    }

    /// The rows of all processes, equally many of each.
    fn equal_rows(&self, own: &Tensor) -> Result<Tensor, Error> {
        let mut shape = own.size();
        shape[0] *= self.size as i64;
        let all = Tensor::f_zeros(shape.as_slice(), (own.kind(), own.device()))?;
        self.finish(self.backend(own.device())?.all_gather(own, &all)?)?;
        Ok(all)
    }

    /// What moves tensors that lie on `device`.
    fn backend(&self, device: Device) -> Result<&Backend, Error> {
        let backend = match device {
            Device::Cuda(_) => self.nccl.as_ref().and_then(Nccl::backend),
            Device::Cpu | Device::Mps | Device::Vulkan => self.gloo.as_ref(),
        };
        backend.ok_or_else(|| Error::Torch { reason: "the group is closed".to_owned() })
    }

    /// Waits for an operation as long as all live.
    fn finish(&self, running: Running) -> Result<(), Error> {
        loop {
            match running.wait(LOOK) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    if let Some(verdict) = self.pulse.verdict() {
                        return Err(verdict);
                    }
                }
                Err(error) => return Err(self.pulse.awaited_verdict().unwrap_or(error)),
            }
        }
    }

    /// Operations with known answers: whoever computes with another libtorch than the shim was made
    /// for finds out here, not in a training.
    fn try_out(&self, version: String, device: Device) -> Result<(), Error> {
        let by = if device.is_cuda() { "NCCL" } else { "Gloo" };
        let wrong = |what: &str, found: &Tensor, expected: &Tensor| Error::SelfTest {
            version: version.clone(),
            what: format!("{what} by {by}"),
            found: format!("{found:?}"),
            expected: format!("{expected:?}"),
        };
        let size = self.size as i64;
        let own = Tensor::from_slice(&[self.rank as f32, 0.5]).f_to_device(device)?;
        let expected = Tensor::from_slice(&[(size * (size - 1) / 2) as f32, size as f32 * 0.5]);
        let found = self.sums(&[own])?.remove(0).f_to_device(Device::Cpu)?;
        if found != expected {
            return Err(wrong("a sum", &found, &expected));
        }
        // Process r has r + 1 rows of r.
        let rows = vec![self.rank as i64; self.rank + 1];
        let expected: Vec<i64> = (0..size).flat_map(|rank| (0..=rank).map(move |_| rank)).collect();
        let expected = Tensor::from_slice(&expected);
        let (found, _) = self.gather_rows(&Tensor::from_slice(&rows).f_to_device(device)?)?;
        let found = found.f_to_device(Device::Cpu)?;
        if found != expected {
            return Err(wrong("gathering", &found, &expected));
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Closing would wait for operations that wait for a lost process; those on GPUs are ended.
        drop(self.nccl.take());
        std::mem::forget(self.gloo.take());
        std::mem::forget(self.store.take());
    }
}

/// A tensor that operations can read: in one piece, on `device`.
fn staged(tensor: &Tensor, device: Device) -> Result<Tensor, Error> {
    Ok(tensor.f_detach()?.f_to_device(device)?.f_contiguous()?)
}

/// Rows, whether they lie where NCCL reads them, kind, number of further dimensions and these: i64
/// `[HEADER]`.
fn header(rows: &Tensor, on_gpu: bool) -> Result<Tensor, Error> {
    let (shape, kind) = (rows.size(), rows.kind());
    let place = KINDS.iter().position(|known| *known == kind);
    let (Some(place), 1..=DIMENSIONS) = (place, shape.len()) else {
        return Err(Error::Torch { reason: format!("cannot gather rows of {rows:?}") });
    };
    let mut header = vec![shape[0], i64::from(on_gpu), place as i64, shape.len() as i64 - 1];
    header.extend(&shape[1..]);
    header.resize(HEADER, 0);
    Ok(Tensor::from_slice(&header))
}

/// The first lines that differ.
fn first_difference(first: &str, theirs: &str) -> (String, String) {
    let shown = |line: Option<&str>| match line {
        Some(line) => format!("\"{}\"", line.trim().chars().take(SHOWN).collect::<String>()),
        None => "nothing".to_owned(),
    };
    let (mut a, mut b) = (first.lines(), theirs.lines());
    loop {
        let lines = (a.next(), b.next());
        if lines.0 != lines.1 || lines.0.is_none() {
            return (shown(lines.0), shown(lines.1));
        }
    }
}
