//! The life signs of a group: each process counts up a number of its own in the store; process 0 looks
//! whether all numbers grow, and all others whether its own does and whether the store, which it
//! serves, answers.
//!
//! That goes on a thread with a connection of its own, since the process computes or waits meanwhile.
//! The first end that is noticed is written into the store, so that all tell the same.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::ffi::Store;

/// Where the first end is told.
const END: &str = "end";

/// How often a life sign is given, where patience is not shorter than some of these.
const BEAT: Duration = Duration::from_secs(1);

/// Life signs within a patience, at least.
const BEATS: u32 = 6;

/// The life signs of this process and of the others.
#[derive(Debug)]
pub(crate) struct Pulse {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rank: usize,
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How each process is called.
    names: Vec<String>,
    /// When the store answered last.
    answered: Instant,
    /// Why there is no going on.
    verdict: Option<Error>,
    /// What this process wants to be told of its end.
    farewell: Option<String>,
    /// No more life signs are wanted.
    over: bool,
}

impl Pulse {
    /// Begins to give life signs over `store`, a connection of its own, and to look for those of the
    /// others, called `names`; whoever gives none for longer than `patience` is lost.
    pub(crate) fn begin(
        store: Store,
        rank: usize,
        names: Vec<String>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let answered = Instant::now();
        let state = State { names, answered, verdict: None, farewell: None, over: false };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { rank, patience, state, changed });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("pulse".to_owned());
        thread
            .spawn(move || own.beat(&store))
            .map_err(|source| Error::Torch { reason: format!("no thread: {source}") })?;
        Ok(Self { shared })
    }

    /// Calls the processes by these names from now on.
    pub(crate) fn rename(&self, names: Vec<String>) {
        self.shared.state().names = names;
    }

    /// How process `rank` is called.
    pub(crate) fn name(&self, rank: usize) -> String {
        self.shared.state().names.get(rank).cloned().unwrap_or_default()
    }

    /// Why there is no going on; none while all live.
    pub(crate) fn verdict(&self) -> Option<Error> {
        let state = self.shared.state();
        if state.verdict.is_some() {
            return state.verdict.clone();
        }
        let silent = state.answered.elapsed();
        // Process 0 has its own store, which answers.
        (self.shared.rank > 0 && silent > self.shared.patience)
            .then(|| lost(&state.names, 0, silent_for(silent)))
    }

    /// The verdict, once there is one: for an operation that has failed, since then some process has
    /// ended. None where all live after all.
    pub(crate) fn awaited_verdict(&self) -> Option<Error> {
        let deadline = Instant::now() + self.shared.patience + 3 * self.shared.beat_every();
        loop {
            let verdict = self.verdict();
            if verdict.is_some() || Instant::now() > deadline {
                return verdict;
            }
            thread::sleep(self.shared.beat_every() / 4);
        }
    }

    /// Tells all others that this process ends, and why. Process 0, with which the store ends, waits
    /// until they could read it.
    pub(crate) fn tell_end(&self, reason: &str) {
        let every = self.shared.beat_every();
        let mut state = self.shared.state();
        if state.verdict.is_none() {
            state.farewell = Some(reason.to_owned());
            self.shared.changed.notify_all();
            let waiting = |state: &mut State| state.farewell.is_some();
            drop(self.shared.changed.wait_timeout_while(state, 3 * every, waiting));
        } else {
            drop(state);
        }
        if self.shared.rank == 0 {
            thread::sleep(3 * every);
        }
    }

    /// No more life signs are given or looked for.
    pub(crate) fn end(&self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat_every(&self) -> Duration {
        BEAT.min(self.patience / BEATS)
    }

    /// Until the end.
    fn beat(&self, store: &Store) {
        let size = self.state().names.len();
        let mut seen: Vec<Option<(i64, Instant)>> = vec![None; size];
        loop {
            let looked = self.look(store, &mut seen);
            let mut state = self.state();
            match looked {
                Ok(None) => state.answered = Instant::now(),
                Ok(verdict) => state.verdict = state.verdict.take().or(verdict),
                Err(error) => {
                    let how = format!("closed the connection ({error})");
                    state.verdict = state.verdict.take().or(Some(lost(&state.names, 0, how)));
                    state.farewell = None;
                }
            }
            self.changed.notify_all();
            if state.over || state.verdict.is_some() && state.farewell.is_none() {
                return;
            }
            if state.farewell.is_none() {
                let still = |state: &mut State| !state.over && state.farewell.is_none();
                let waited = self.changed.wait_timeout_while(state, self.beat_every(), still);
                drop(waited);
            }
        }
    }

    /// Gives a life sign, tells an end, and looks for those of others.
    fn look(
        &self,
        store: &Store,
        seen: &mut [Option<(i64, Instant)>],
    ) -> Result<Option<Error>, Error> {
        store.add(&format!("beat/{}", self.rank), 1)?;
        let farewell = self.state().farewell.clone();
        if let Some(reason) = farewell {
            tell(store, "ended", self.rank, &reason)?;
            self.state().farewell = None;
        }
        let watched = if self.rank == 0 { 1..seen.len() } else { 0..1 };
        for (rank, seen) in seen.iter_mut().enumerate().take(watched.end).skip(watched.start) {
            let count = store.add(&format!("beat/{rank}"), 0)?;
            let silent = match seen {
                Some((before, at)) if *before == count => at.elapsed(),
                // One that never came is missed by whoever waits for it.
                _ if count == 0 => Duration::ZERO,
                _ => {
                    *seen = Some((count, Instant::now()));
                    Duration::ZERO
                }
            };
            if silent > self.patience {
                tell(store, "lost", rank, &silent_for(silent))?;
            }
        }
        if !store.has(END)? {
            return Ok(None);
        }
        let told = String::from_utf8_lossy(&store.get(END)?).into_owned();
        Ok(self.understood(&told))
    }

    /// What was told of an end, but for one's own.
    fn understood(&self, told: &str) -> Option<Error> {
        let (kind, rest) = told.split_once('\n')?;
        let (rank, words) = rest.split_once('\n')?;
        let rank: usize = rank.parse().ok()?;
        let state = self.state();
        match kind {
            "lost" => Some(lost(&state.names, rank, words.to_owned())),
            _ if rank == self.rank => None,
            _ => Some(Error::Ended { who: called(&state.names, rank), reason: words.to_owned() }),
        }
    }
}

/// The first end is the cause of all others.
fn tell(store: &Store, kind: &str, rank: usize, words: &str) -> Result<(), Error> {
    if store.add("ends", 1)? == 1 {
        store.set(END, format!("{kind}\n{rank}\n{words}").as_bytes())?;
    }
    Ok(())
}

fn silent_for(time: Duration) -> String {
    format!("has not answered for {} s", time.as_secs())
}

fn called(names: &[String], rank: usize) -> String {
    names.get(rank).cloned().unwrap_or_else(|| format!("process {rank}"))
}

fn lost(names: &[String], rank: usize, how: String) -> Error {
    Error::Lost { who: called(names, rank), how }
}
