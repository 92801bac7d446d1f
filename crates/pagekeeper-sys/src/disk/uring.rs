//! Batches by io_uring: many requests in flight at once.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a ring is used by whoever won its flag; requests outlive the wait"
)]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsFd, BorrowedFd};

use super::polling::Polling;
use super::ring::{Completion, Ring, Waiting};
use super::{BlockIo, Direction, MAX_BUFFERS, Positioned, Request};
use crate::Errno;
use crate::handle::Handle;

/// Single reads up to this size are watched for.
const WATCHED_BYTES: u64 = 64 << 10;

/// Block I/O with a fixed set of rings.
///
/// A call takes a ring that nobody uses; when all are in use it does without one rather than wait.
/// A single read is watched for on a ring where that pays (see [`Uring::watching`]); other single requests never take one:
/// a plain system call is cheaper. What a ring does not finish (short transfers, a kernel short of memory) is finished by
/// plain system calls.
#[derive(Debug)]
pub struct Uring {
    rings: Vec<Guarded>,
    file: Positioned<Handle>,
    polling: Polling,
}

/// A ring and the flag that says whether somebody has it.
#[derive(Debug)]
pub(super) struct Guarded {
    taken: AtomicBool,
    ring: UnsafeCell<Ring>,
}

// SAFETY: The ring is only reached by whoever changed `taken` from false to true.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Gives the ring to `use_it`, unless somebody has it or it is broken.
    fn with<R>(&self, use_it: impl FnOnce(&mut Ring) -> R) -> Option<R> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: The flag was false, so nobody else is in here.
        let ring = unsafe { &mut *self.ring.get() };
        let result = (!ring.is_broken()).then(|| use_it(ring));
        self.taken.store(false, Ordering::Release);
        result
    }
}

impl Uring {
    /// Sets `rings` rings of `entries` entries up, and turns each once.
    ///
    /// # Errors
    /// `ENOSYS`, `EPERM` where io_uring is switched off (a container, `kernel.io_uring_disabled`),
    /// `ENOMEM`, `EMFILE`; `EINVAL` for no rings or no entries.
    pub fn new(file: impl Into<Handle>, rings: usize, entries: u32) -> Result<Self, Errno> {
        let file = file.into();
        let rings = set_up(&file, rings, entries)?;
        Ok(Self::with_rings(file, rings))
    }

    pub(super) fn with_rings(file: Handle, rings: Vec<Guarded>) -> Self {
        Self {
            rings,
            file: Positioned::new(file),
            polling: Polling::new(false),
        }
    }

    /// Whether a thread that waits for a single read stays awake and looks (at most 150 µs, and only while nobody else
    /// wants its processor): faster by what it costs to put a processor to sleep and wake it, for processor time.
    #[must_use]
    pub fn watching(mut self, on: bool) -> Self {
        self.polling = Polling::new(on);
        self
    }

    /// Keeps the file's and the rings' descriptors safe from the program: lost ones are taken back.
    ///
    /// # Errors
    /// `EMFILE`; some may be kept then.
    pub fn keep(&mut self) -> Result<(), Errno> {
        self.file.file_mut().keep()?;
        self.rings
            .iter_mut()
            .try_for_each(|guarded| guarded.ring.get_mut().keep())
    }

    /// Puts something else under the rings' descriptor numbers, as a careless program might.
    #[cfg(test)]
    pub(super) fn replace_ring_descriptor_for_test(&self) {
        for guarded in &self.rings {
            guarded.with(Ring::replace_descriptor_for_test);
        }
    }

    /// Every descriptor number in use.
    #[cfg(test)]
    pub(super) fn numbers_for_test(&self) -> Vec<std::os::fd::RawFd> {
        use std::os::fd::AsRawFd;
        let file = self.file.as_fd().as_raw_fd();
        let rings = self
            .rings
            .iter()
            .filter_map(|guarded| guarded.with(|ring| ring.number_for_test()));
        rings.chain([file]).collect()
    }

    /// Carries out a batch on `ring`.
    fn by_ring(&self, ring: &mut Ring, requests: &mut [Request<'_>], waiting: Waiting<'_>) {
        for batch in requests.chunks_mut(ring.capacity()) {
            let mut pushed = 0;
            for request in batch.iter() {
                // SAFETY: The requests stay borrowed until submit_and_wait below has taken every
                // completion, or taken back what the kernel did not take.
                if ring.is_broken() || !unsafe { ring.push(request, pushed) } {
                    break;
                }
                pushed += 1;
            }
            let mut taken = 0;
            if pushed > 0 {
                taken =
                    ring.submit_and_wait(waiting, |completion| self.complete(batch, completion));
            }
            for request in batch.iter_mut().skip(taken as usize) {
                self.file.finish(request, 0);
            }
        }
    }

    /// Larger reads take so long that going to sleep costs little in comparison.
    fn is_watched_for(&self, request: &Request<'_>) -> bool {
        request.direction() == Direction::Read
            && request.length_bytes() <= WATCHED_BYTES
            && self.polling.is_worth_it()
    }

    fn complete(&self, batch: &mut [Request<'_>], completion: Completion) {
        let Some(request) = batch.get_mut(completion.number as usize) else {
            return;
        };
        match completion.result {
            Ok(count) if count as u64 == request.length_bytes() => request.set_result(Ok(())),
            Ok(count) => self.file.finish(request, count),
            // The kernel could not do it that way just now.
            Err(Errno::INTR | Errno::AGAIN | Errno::CANCELED | Errno::NOMEM) => {
                self.file.finish(request, 0);
            }
            Err(errno) => request.set_result(Err(errno)),
        }
    }
}

/// The rings for [`Uring::with_rings`].
pub(super) fn set_up(file: &Handle, rings: usize, entries: u32) -> Result<Vec<Guarded>, Errno> {
    if rings == 0 || entries == 0 {
        return Err(Errno::INVAL);
    }
    (0..rings)
        .map(|_| {
            let mut ring = Ring::new(entries, file.as_fd())?;
            turn_once(&mut ring)?;
            Ok(Guarded {
                taken: AtomicBool::new(false),
                ring: UnsafeCell::new(ring),
            })
        })
        .collect()
}

/// Sets a ring up and reads through it, to see whether this process may.
///
/// # Errors
/// As [`Uring::new`]; `EIO` when a ring claims success and did nothing.
pub fn probe_ring() -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let zeros = rustix::fs::open("/dev/zero", flags, rustix::fs::Mode::empty())?;
    let mut ring = Ring::new(2, zeros.as_fd())?;
    turn_once(&mut ring)?;
    let mut bytes = [1; 64];
    let request = Request::read(0, &mut bytes);
    let mut seen = None;
    // SAFETY: The request lives until its completion was taken, right below.
    unsafe { ring.push(&request, 1) };
    ring.submit_and_wait(Waiting::Asleep, |completion| seen = Some(completion.result));
    seen.unwrap_or(Err(Errno::IO))?;
    if bytes == [0; 64] {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Puts nothing in and waits for it: a ring that was set up may still be refused at entering.
fn turn_once(ring: &mut Ring) -> Result<(), Errno> {
    const NUMBER: u64 = 0x7075_7267;
    let mut seen = None;
    ring.push_nothing(NUMBER);
    ring.submit_and_wait(Waiting::Asleep, |completion| seen = Some(completion));
    match seen {
        Some(completion) if completion.number == NUMBER => completion.result.map(|_| ()),
        _ => Err(Errno::NOSYS),
    }
}

impl BlockIo for Uring {
    fn submit_and_wait(&self, requests: &mut [Request<'_>]) {
        let oversized = |request: &Request<'_>| request.raw_buffers().len() > MAX_BUFFERS;
        let waiting = match &*requests {
            [one] if self.is_watched_for(one) => Some(Waiting::Awake(&self.polling)),
            [] | [_] => None,
            several if several.iter().any(oversized) => None,
            _ => Some(Waiting::Asleep),
        };
        if let Some(waiting) = waiting {
            for guarded in &self.rings {
                let by_ring = |ring: &mut Ring| self.by_ring(ring, requests, waiting);
                if guarded.with(by_ring).is_some() {
                    return;
                }
            }
        }
        self.file.submit_and_wait(requests);
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
