//! The shim of `shim/`, made safe: pointers have owners, and what was thrown is an error.
#![expect(unsafe_code, reason = "the shim is C++, which Rust cannot look into")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null_mut, slice_from_raw_parts};
use std::time::Duration;

use tch::Tensor;

use crate::Error;

unsafe extern "C" {
    fn collective_free(memory: *mut c_void);
    fn collective_versions(compiled: *mut *mut c_char, loaded: *mut *mut c_char) -> *mut c_char;
    fn collective_store_open(
        host: *const c_char,
        port: u16,
        serves: bool,
        timeout_ms: i64,
        opened: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_store_close(store: *mut c_void);
    fn collective_store_set(
        store: *mut c_void,
        key: *const c_char,
        bytes: *const u8,
        count: usize,
    ) -> *mut c_char;
    fn collective_store_has(store: *mut c_void, key: *const c_char, has: *mut bool) -> *mut c_char;
    fn collective_store_get(
        store: *mut c_void,
        key: *const c_char,
        bytes: *mut *mut u8,
        count: *mut usize,
    ) -> *mut c_char;
    fn collective_store_add(
        store: *mut c_void,
        key: *const c_char,
        more: i64,
        sum: *mut i64,
    ) -> *mut c_char;
    fn collective_backend_open(
        store: *mut c_void,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        timeout_ms: i64,
        opened: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_gpu_id(device: c_int, id: *mut *mut c_char) -> *mut c_char;
    fn collective_nccl_open(
        store: *mut c_void,
        rank: c_int,
        size: c_int,
        opened: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_nccl_connect(backend: *mut c_void, device: c_int) -> *mut c_char;
    fn collective_backend_shut_down(backend: *mut c_void) -> *mut c_char;
    fn collective_backend_abort(backend: *mut c_void) -> *mut c_char;
    fn collective_backend_close(backend: *mut c_void);
    fn collective_all_reduce(
        backend: *mut c_void,
        tensor: *const c_void,
        running: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_broadcast(
        backend: *mut c_void,
        tensor: *const c_void,
        root: c_int,
        running: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_all_gather(
        backend: *mut c_void,
        own: *const c_void,
        all: *const c_void,
        running: *mut *mut c_void,
    ) -> *mut c_char;
    fn collective_wait(running: *mut c_void, timeout_ms: i64, done: *mut bool) -> *mut c_char;
    fn collective_running_close(running: *mut c_void);
}

/// Takes over words that the shim allocated.
fn taken(words: *mut c_char) -> String {
    // SAFETY: the shim answers C strings made by `strdup`, which are nobody else's.
    unsafe {
        let text = CStr::from_ptr(words).to_string_lossy().into_owned();
        collective_free(words.cast());
        text
    }
}

fn told(words: *mut c_char) -> Result<(), Error> {
    if words.is_null() {
        return Ok(());
    }
    let reason = taken(words);
    Err(Error::Torch { reason: reason.lines().next().unwrap_or_default().to_owned() })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Torch { reason: format!("{text:?} holds a zero byte") })
}

/// The version whose headers the shim was compiled with, and what the loaded libtorch says of itself.
pub(crate) fn versions() -> Result<(String, String), Error> {
    let (mut compiled, mut loaded) = (null_mut(), null_mut());
    // SAFETY: both places live through the call; the shim fills both or says why not.
    told(unsafe { collective_versions(&raw mut compiled, &raw mut loaded) })?;
    Ok((taken(compiled), taken(loaded)))
}

/// What tells GPU `device` of this machine from all others anywhere.
pub(crate) fn gpu_id(device: usize) -> Result<String, Error> {
    let mut id = null_mut();
    // SAFETY: the place lives through the call; the shim fills it or says why not.
    told(unsafe { collective_gpu_id(device as c_int, &raw mut id) })?;
    Ok(taken(id))
}

/// A connection to the store; process 0 serves it too.
#[derive(Debug)]
pub(crate) struct Store(*mut c_void);

// SAFETY: c10d's stores lock themselves; no thread owns one.
unsafe impl Send for Store {}

impl Store {
    /// Connects to `host`, serving first where `serves`.
    pub(crate) fn open(
        host: &str,
        port: u16,
        serves: bool,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let host = c_string(host)?;
        let mut pointer = null_mut();
        // SAFETY: the places live through the call.
        told(unsafe {
            collective_store_open(host.as_ptr(), port, serves, millis(timeout), &raw mut pointer)
        })?;
        Ok(Self(pointer))
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let key = c_string(key)?;
        // SAFETY: the store is open; the shim copies key and bytes.
        told(unsafe { collective_store_set(self.0, key.as_ptr(), value.as_ptr(), value.len()) })
    }

    pub(crate) fn has(&self, key: &str) -> Result<bool, Error> {
        let key = c_string(key)?;
        let mut has = false;
        // SAFETY: the store is open; the places live through the call.
        told(unsafe { collective_store_has(self.0, key.as_ptr(), &raw mut has) })?;
        Ok(has)
    }

    /// The value of a key that is there; waits for one that is not.
    pub(crate) fn get(&self, key: &str) -> Result<Vec<u8>, Error> {
        let key = c_string(key)?;
        let (mut bytes, mut count) = (null_mut(), 0);
        // SAFETY: the store is open; what it answers are `count` bytes that are this function's.
        unsafe {
            let (at, length) = (&raw mut bytes, &raw mut count);
            told(collective_store_get(self.0, key.as_ptr(), at, length))?;
            let value = (*slice_from_raw_parts(bytes, count)).to_vec();
            collective_free(bytes.cast());
            Ok(value)
        }
    }

    /// Adds to a number, 0 before, and answers the sum.
    pub(crate) fn add(&self, key: &str, more: i64) -> Result<i64, Error> {
        let key = c_string(key)?;
        let mut sum = 0;
        // SAFETY: the store is open; the places live through the call.
        told(unsafe { collective_store_add(self.0, key.as_ptr(), more, &raw mut sum) })?;
        Ok(sum)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: it was open until now.
        unsafe { collective_store_close(self.0) }
    }
}

/// Gloo or NCCL, joined with all others. Gloo's operations want tensors on the CPU, NCCL's on a GPU.
#[derive(Debug)]
pub(crate) struct Backend(*mut c_void);

// SAFETY: c10d's backends have threads and locks of their own.
unsafe impl Send for Backend {}

impl Backend {
    /// Gloo: joins the others over `store`; `address` is what they reach this machine by. Waits for all.
    pub(crate) fn gloo(
        store: &Store,
        (rank, size): (usize, usize),
        address: &str,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let address = c_string(address)?;
        let mut pointer = null_mut();
        let (rank, size) = (rank as c_int, size as c_int);
        // SAFETY: the store is open, and the backend keeps a share of it; the places live.
        let words = unsafe {
            let (address, timeout) = (address.as_ptr(), millis(timeout));
            let at = &raw mut pointer;
            collective_backend_open(store.0, rank, size, address, timeout, at)
        };
        told(words)?;
        Ok(Self(pointer))
    }

    /// NCCL, with no connection yet.
    pub(crate) fn nccl(store: &Store, (rank, size): (usize, usize)) -> Result<Self, Error> {
        let mut pointer = null_mut();
        let (rank, size) = (rank as c_int, size as c_int);
        // SAFETY: the store is open, and the backend keeps a share of it; the place lives.
        told(unsafe { collective_nccl_open(store.0, rank, size, &raw mut pointer) })?;
        Ok(Self(pointer))
    }

    /// Connects GPU `device` with those of all others by NCCL; waits for them as long as it takes.
    pub(crate) fn connect(&self, device: usize) -> Result<(), Error> {
        // SAFETY: the backend is open.
        told(unsafe { collective_nccl_connect(self.0, device as c_int) })
    }

    /// Ends what is under way on a GPU, also where it waits for a lost process.
    pub(crate) fn abort(&self) -> Result<(), Error> {
        // SAFETY: the backend is open.
        told(unsafe { collective_backend_abort(self.0) })
    }

    /// Leaves together with all others, before the backend is dropped.
    pub(crate) fn shut_down(&self) -> Result<(), Error> {
        // SAFETY: the backend is open.
        told(unsafe { collective_backend_shut_down(self.0) })
    }

    /// Begins to sum `tensor` over all processes, in place.
    pub(crate) fn all_reduce(&self, tensor: &Tensor) -> Result<Running, Error> {
        let mut running = null_mut();
        let tensor = tensor.as_ptr().cast();
        // SAFETY: the backend is open; the operation keeps a share of the tensor.
        told(unsafe { collective_all_reduce(self.0, tensor, &raw mut running) })?;
        Ok(Running(running))
    }

    /// Begins to fill `tensor` with what `root` has in its.
    pub(crate) fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Running, Error> {
        let mut running = null_mut();
        let tensor = tensor.as_ptr().cast();
        // SAFETY: as above.
        told(unsafe { collective_broadcast(self.0, tensor, root as c_int, &raw mut running) })?;
        Ok(Running(running))
    }

    /// Begins to fill `all` with the `own` of every process, one behind the other.
    pub(crate) fn all_gather(&self, own: &Tensor, all: &Tensor) -> Result<Running, Error> {
        let mut running = null_mut();
        let (own, all) = (own.as_ptr().cast(), all.as_ptr().cast());
        // SAFETY: as above.
        told(unsafe { collective_all_gather(self.0, own, all, &raw mut running) })?;
        Ok(Running(running))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: it was open until now.
        unsafe { collective_backend_close(self.0) }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Running(*mut c_void);

impl Running {
    /// Waits for a while; whether it has ended. One on a GPU has then ended there.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<bool, Error> {
        let mut done = false;
        // SAFETY: the operation is there until it is dropped.
        told(unsafe { collective_wait(self.0, millis(at_most), &raw mut done) })?;
        Ok(done)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: it was there until now; one that is under way keeps what it needs.
        unsafe { collective_running_close(self.0) }
    }
}
