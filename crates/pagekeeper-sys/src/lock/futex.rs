//! What the words in `words` need of the kernel and of the processor.
//!
//! Errors are not told: each caller looks at its word again, and waking cannot fail in a way that could be repaired.

pub(super) use core::hint::spin_loop;
use core::num::NonZeroU32;
pub(super) use core::sync::atomic::AtomicU32;
use core::time::Duration;

use rustix::thread::futex::{self, Flags};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Looks at the word before sleeping: a critical section here is some hundred nanoseconds, a sleep and a
/// wake-up on a virtual machine up to 50 µs.
pub(super) const SPINS: u32 = 100;

/// Wakes one thread that sleeps on the word.
pub(super) fn wake_one(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::PRIVATE, 1);
}

/// Wakes every thread that sleeps on the word.
pub(super) fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::PRIVATE, i32::MAX as u32);
}

/// The moment on the monotonic clock that lies `after` from now.
pub(crate) fn deadline_after(after: Duration) -> Timespec {
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = now.tv_nsec + i64::from(after.subsec_nanos());
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    Timespec {
        tv_sec: now
            .tv_sec
            .saturating_add(seconds)
            .saturating_add(nanoseconds / 1_000_000_000),
        tv_nsec: nanoseconds % 1_000_000_000,
    }
}

/// Sleeps while `word` holds `value`; returns whether the deadline has passed. An absolute deadline, so
/// that a signal that interrupts the sleep does not lengthen it.
pub(super) fn sleep(word: &AtomicU32, value: u32, deadline: Option<&Timespec>) -> bool {
    let result = futex::wait_bitset(word, Flags::PRIVATE, value, deadline, NonZeroU32::MAX);
    result == Err(rustix::io::Errno::TIMEDOUT)
}
