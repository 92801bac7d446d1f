//! Which pages come into the working set, by which instruction of which thread. Windows: `InitializeProcessForWsWatch`,
//! `GetWsChanges`.
//!
//! One record for each page that a fault brings in, of all spaces of the process:
//!
//! * the inline engine's fault handler writes them itself into a buffer of [`CAPACITY`] records, without a lock, an allocation or a
//!   wait. Pages come in one by one meanwhile; those that are read from the disk together have a record each;
//! * faults that the kernel answers (the other engines') come from its software events, where this process may open them
//!   ([`Coverage`]). What the kernel maps around a fault on its own, or
//!   puts into a huge page, is not told.
//!
//! A full buffer takes no more until it is emptied by [`take`], as Windows'. Faults of the kernel itself, inside system
//! calls, are not recorded.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

use pagekeeper_sys::perf::FaultSamples;
use pagekeeper_sys::thread;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::fork;
use crate::registry::Reading;

/// Records that the buffer of the fault handler holds.
pub const CAPACITY: usize = 1 << 14;

/// A page that came into the working set. Windows: `PSAPI_WS_WATCH_INFORMATION_EX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchedFault {
    /// Address of the instruction that touched the page, or one that the page came in with.
    pub instruction: u64,
    /// The address that was touched; of a page that came in with it, its first byte.
    pub address: u64,
    /// Number of the thread (`gettid`).
    pub thread: u32,
    /// Whether it was read from a disk: a hard fault.
    pub read_disk: bool,
}

/// Whose faults are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Those of every engine.
    AllEngines,
    /// Those of the inline engine only.
    InlineOnly {
        /// Why the kernel does not tell of the others.
        reason: String,
    },
}

/// Why there are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultWatchError {
    /// [`start`] was not called.
    #[error("faults are not watched: call fault_watch::start first")]
    NotStarted,
    /// This is a forked child of the process whose faults are answered here.
    #[error("a forked child has no faults of its own to watch: start it with exec")]
    ForkedChild,
    /// Another thread is starting, stopping or taking records at this moment.
    #[error(
        "another thread is at the records at this moment: try again, though it may have taken them"
    )]
    Busy,
    /// There are more records than were asked for; all stay where they are.
    #[error("there are {records} records: take that many")]
    TooMany {
        /// How many there are.
        records: usize,
    },
}

/// A record in the buffer. Its instruction is written last.
struct Record {
    instruction: AtomicU64,
    address: AtomicU64,
    /// The thread's number, and [`READ_DISK`].
    thread: AtomicU64,
}

const READ_DISK: u64 = 1 << 32;

/// Whether the fault handler writes records. It looks at this alone where nobody watches.
static RECORDING: AtomicBool = AtomicBool::new(false);
/// Handlers that are writing at this moment.
static WRITERS: AtomicUsize = AtomicUsize::new(0);
/// Records written; may run past the end of the buffer.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);
static BUFFER: OnceLock<Box<[Record]>> = OnceLock::new();
/// For one reader at a time.
static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

struct Watch {
    samples: Option<FaultSamples>,
    /// Taken out of the rings, not yet asked for.
    kept: Vec<WatchedFault>,
}

/// Whether faults are watched. For the fault path.
#[inline]
pub(crate) fn is_on() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// `instruction` touched `address`, and so the pages of `arrived` came in. For the fault handler: no lock, no allocation.
#[cold]
pub(crate) fn record(instruction: u64, address: u64, arrived: PageRange, read_disk: bool) {
    // SeqCst pairs with the reader's: either it sees us and waits, or we see that it has stopped the recording.
    WRITERS.fetch_add(1, Ordering::SeqCst);
    if RECORDING.load(Ordering::SeqCst)
        && let Some(buffer) = BUFFER.get()
        // Counted up no further than by those who come at the same moment.
        && WRITTEN.load(Ordering::Relaxed) < buffer.len()
    {
        let thread = u64::from(thread::number()) | if read_disk { READ_DISK } else { 0 };
        let touched = PageNumber::containing(address);
        let count = arrived.count().as_usize();
        let first = WRITTEN.fetch_add(count, Ordering::Relaxed);
        for (place, page) in (first..first.saturating_add(count)).zip(arrived.pages()) {
            let Some(record) = buffer.get(place) else {
                break;
            };
            let address = if page == touched {
                address
            } else {
                page.address()
            };
            record.address.store(address, Ordering::Relaxed);
            record.thread.store(thread, Ordering::Relaxed);
            record.instruction.store(instruction, Ordering::Relaxed);
        }
    }
    WRITERS.fetch_sub(1, Ordering::Release);
}

/// No records are written any more when it returns. Handlers do not wait for anything while they write, so neither does this
/// for long.
fn stop_recording() {
    RECORDING.store(false, Ordering::SeqCst);
    while WRITERS.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// Begins to watch, with an empty buffer; so it does when called again. Says whose faults will be told.
/// Windows: `InitializeProcessForWsWatch`.
///
/// # Errors
/// [`FaultWatchError::ForkedChild`]; [`FaultWatchError::Busy`].
pub fn start() -> Result<Coverage, FaultWatchError> {
    check_process()?;
    let mut watch = try_lock()?;
    stop_recording();
    WRITTEN.store(0, Ordering::Relaxed);
    // The old descriptors go before the new ones come: a user's rings are limited.
    *watch = None;
    BUFFER.get_or_init(|| {
        let empty = || Record {
            instruction: AtomicU64::new(0),
            address: AtomicU64::new(0),
            thread: AtomicU64::new(0),
        };
        (0..CAPACITY).map(|_| empty()).collect()
    });
    let (samples, coverage) = match FaultSamples::open() {
        Ok(samples) => (Some(samples), Coverage::AllEngines),
        Err(errno) => {
            let reason = format!("perf_event_open: {errno}");
            (None, Coverage::InlineOnly { reason })
        }
    };
    *watch = Some(Watch {
        samples,
        kept: Vec::new(),
    });
    RECORDING.store(true, Ordering::SeqCst);
    Ok(coverage)
}

/// Before any lock is asked for: a thread that only the parent has may hold it.
fn check_process() -> Result<(), FaultWatchError> {
    if fork::is_child() {
        return Err(FaultWatchError::ForkedChild);
    }
    Ok(())
}

/// The one reader; nobody waits for another.
fn try_lock() -> Result<MutexGuard<'static, Option<Watch>>, FaultWatchError> {
    match WATCH.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(FaultWatchError::Busy),
    }
}

/// In a forked child that is about to own memory itself: what the parent watched is the parent's.
pub(crate) fn forget_all() {
    RECORDING.store(false, Ordering::Relaxed);
    WRITERS.store(0, Ordering::Relaxed);
    WRITTEN.store(0, Ordering::Relaxed);
    if let Ok(mut watch) = try_lock()
        && let Some(Watch { samples, .. }) = watch.take()
    {
        // The descriptors are here, the rings are not.
        core::mem::forget(samples);
    }
}

/// Ends watching. Windows has no call for it.
///
/// # Errors
/// As [`start`].
pub fn stop() -> Result<(), FaultWatchError> {
    check_process()?;
    let mut watch = try_lock()?;
    stop_recording();
    *watch = None;
    Ok(())
}

/// The records since the last time, at most `most` of them, which are gone then; those of one engine in the order in which they were
/// made. Faults that happen while it runs are not recorded. Windows: `GetWsChanges`.
///
/// # Errors
/// [`FaultWatchError::NotStarted`]; [`FaultWatchError::ForkedChild`]; [`FaultWatchError::Busy`]; [`FaultWatchError::TooMany`],
/// and all of them stay.
pub fn take(most: usize) -> Result<Vec<WatchedFault>, FaultWatchError> {
    check_process()?;
    let mut guard = try_lock()?;
    let watch = guard.as_mut().ok_or(FaultWatchError::NotStarted)?;
    stop_recording();
    let result = watch.empty(most);
    RECORDING.store(true, Ordering::SeqCst);
    result
}

impl Watch {
    fn empty(&mut self, most: usize) -> Result<Vec<WatchedFault>, FaultWatchError> {
        let Self { samples, kept, .. } = self;
        if let Some(samples) = samples {
            // What was lost is not made up for: as where Windows' own buffer is full.
            samples.take(|sample| {
                let fault = WatchedFault {
                    instruction: sample.instruction,
                    address: sample.address,
                    thread: sample.thread,
                    read_disk: sample.read_disk,
                };
                if kept.len() < CAPACITY && is_ours(sample.address) {
                    kept.push(fault);
                }
            });
        }
        let buffer = BUFFER.get().map_or(&[][..], |buffer| buffer);
        let written = WRITTEN.load(Ordering::Relaxed).min(buffer.len());
        let records = written + kept.len();
        if records > most {
            return Err(FaultWatchError::TooMany { records });
        }
        let own = buffer.iter().take(written).map(|record| {
            let thread = record.thread.load(Ordering::Relaxed);
            WatchedFault {
                instruction: record.instruction.load(Ordering::Relaxed),
                address: record.address.load(Ordering::Relaxed),
                thread: thread as u32,
                read_disk: thread & READ_DISK != 0,
            }
        });
        let all = own.chain(kept.drain(..)).collect();
        WRITTEN.store(0, Ordering::Relaxed);
        Ok(all)
    }
}

/// Whether the address lies in memory of ours that the kernel pages.
fn is_ours(address: u64) -> bool {
    let reading = Reading::begin();
    let found = reading.find(PageNumber::containing(address));
    found.is_some_and(|arena| arena.inline.is_none())
}

/// The pages that came in with a fault, as the fault path notes it for its handler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) pages: PageRange,
    pub(crate) read_disk: bool,
}

impl Arrived {
    /// `count` pages from the faulting one up.
    pub(crate) fn from(page: PageNumber, count: u64, read_disk: bool) -> Self {
        Self {
            pages: PageRange::new(page, PageCount::new(count)),
            read_disk,
        }
    }
}
