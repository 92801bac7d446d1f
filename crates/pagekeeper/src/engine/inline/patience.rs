//! How long a fault waits for frames: as long as anything moves, and no longer than its reason to wait justifies.
//!
//! A fault that finds no frames and can throw nothing out looks at the *state*: while other threads get on (faults answered,
//! pages stored, frames in motion) it waits, since its turn comes. When nothing moves any more it asks why:
//!
//! | why | it waits | then |
//! |---|---|---|
//! | the disk refuses writes | 3 s: mending looks every half second at first | in-page error with the disk's error |
//! | the page files are full although commit was refused in time: their disk lost slots | 3 s | in-page error, `ENOSPC` |
//! | everything is pinned for system calls, or locked | 30 s: a call may wait for a peer | in-page error, `ENOMEM` |

use core::time::Duration;

use pagekeeper_sys::Errno;
use pagekeeper_sys::time::{monotonic_nanoseconds, pause};

use super::staging::List;
use super::working_set::WorkingSet;

/// See the module text.
const FOR_THE_DISK: Duration = Duration::from_secs(3);
const FOR_PINS: Duration = Duration::from_secs(30);

/// Why nothing can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// The disk refused the last write.
    Refused(Errno),
    /// No slot is free.
    Full,
    /// Pinned, locked, or at work elsewhere.
    Held,
}

impl Stuck {
    /// What the in-page error says.
    pub(crate) const fn errno(self) -> Errno {
        match self {
            Self::Refused(errno) => errno,
            Self::Full => Errno::NOSPC,
            Self::Held => Errno::NOMEM,
        }
    }

    const fn wait(self) -> Duration {
        match self {
            Self::Refused(_) | Self::Full => FOR_THE_DISK,
            Self::Held => FOR_PINS,
        }
    }
}

/// One fault's.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    rounds: u32,
    /// When something moved last, in nanoseconds; 0 before the first look.
    since: u64,
    seen: u64,
}

impl Patience {
    /// Nothing could be thrown out: waits a moment.
    ///
    /// # Errors
    /// Why waiting longer is of no use.
    pub(crate) fn wait(&mut self, set: &WorkingSet) -> Result<(), Stuck> {
        let now = monotonic_nanoseconds();
        let progress = set.progress();
        if self.since == 0 || progress != self.seen {
            self.seen = progress;
            self.since = now;
            self.rounds = 0;
        }
        self.rounds += 1;
        // Asked for from time to time only: it takes locks.
        if self.rounds.is_multiple_of(64) {
            let stuck = set.why_stuck();
            if now.saturating_sub(self.since) >= stuck.wait().as_nanos() as u64 {
                set.counters().refused.add(1);
                return Err(stuck);
            }
        }
        set.wake_balancer.set();
        pause(Duration::from_micros(u64::from(self.rounds.min(50) * 20)));
        Ok(())
    }
}

impl WorkingSet {
    /// Moves whenever a fault was answered or a page stored, by whichever thread.
    fn progress(&self) -> u64 {
        let counters = self.counters();
        [
            &counters.zero_faults,
            &counters.soft_faults,
            &counters.pool_faults,
            &counters.hard_faults,
            &counters.pages_out,
            &counters.clean_drops,
            &counters.packed_in_place,
        ]
        .iter()
        .fold(self.frames().used().get(), |sum, counter| {
            sum.wrapping_mul(31).wrapping_add(counter.get())
        })
    }

    /// Why nothing can leave, now that nothing does.
    fn why_stuck(&self) -> Stuck {
        if let Some(errno) = self.last_write_error() {
            return Stuck::Refused(errno);
        }
        let waits_for_storage = self.staging().count(List::Modified) > 0;
        if waits_for_storage && self.files().is_full() {
            return Stuck::Full;
        }
        Stuck::Held
    }
}
