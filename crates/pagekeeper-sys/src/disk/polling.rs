//! Waiting for one read without going to sleep.
//!
//! A thread that sleeps for a read of some tens of microseconds lets its processor go idle. Behind a hypervisor that costs
//! more than ten microseconds a time, a quarter of the whole read (`docs/decisions/0021-reads-are-watched-for.md`). So the
//! reader stays awake and looks, and yields to whoever else wants the processor between two looks. Where somebody else did
//! (the yield took long) or the disk is slow, the next reads sleep as usual: more of them each time that it happens again.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::time::monotonic_nanoseconds;

/// No read is watched for longer: by then sleeping costs little in comparison.
const LONGEST_NS: u64 = 150_000;
/// Between two looks the processor was given to somebody else.
const GAP_NS: u64 = 30_000;
/// Reads that sleep after one that was disturbed or slow: the first time, and at most.
const FEWEST_ASLEEP: u32 = 2;
const MOST_ASLEEP: u32 = 8192;

/// What was learned from the last reads. Racing notes may lose one another: it is an estimate.
#[derive(Debug)]
pub(super) struct Polling {
    on: bool,
    /// Reads to come that sleep.
    asleep: AtomicU32,
    /// How many sleep after the next disturbance.
    penalty: AtomicU32,
}

/// How watching for a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Seen,
    Disturbed,
    TooSlow,
}

impl Polling {
    pub(super) const fn new(on: bool) -> Self {
        Self {
            on,
            asleep: AtomicU32::new(0),
            penalty: AtomicU32::new(FEWEST_ASLEEP),
        }
    }

    /// Whether the next read should be watched for.
    #[inline]
    pub(super) fn is_worth_it(&self) -> bool {
        if !self.on {
            return false;
        }
        let asleep = self.asleep.load(Ordering::Relaxed);
        if asleep > 0 {
            self.asleep.store(asleep - 1, Ordering::Relaxed);
        }
        asleep == 0
    }

    /// Looks until `is_there`, or until sleeping is better. Whoever gave up sleeps.
    pub(super) fn watch(&self, is_there: impl FnMut() -> bool) {
        let end = watch(is_there, monotonic_nanoseconds, rustix::thread::sched_yield);
        self.note(end);
    }

    fn note(&self, end: End) {
        let penalty = self.penalty.load(Ordering::Relaxed);
        if end == End::Seen {
            // As fast down as up: what counts is whether most reads are left in peace.
            if penalty > FEWEST_ASLEEP {
                self.penalty.store(penalty / 2, Ordering::Relaxed);
            }
            return;
        }
        self.asleep.store(penalty, Ordering::Relaxed);
        self.penalty
            .store((penalty * 2).min(MOST_ASLEEP), Ordering::Relaxed);
    }
}

/// The loop, apart from the clock and the kernel.
fn watch(
    mut is_there: impl FnMut() -> bool,
    mut now: impl FnMut() -> u64,
    mut give_way: impl FnMut(),
) -> End {
    let began = now();
    let mut last = began;
    loop {
        if is_there() {
            return End::Seen;
        }
        // Runs the completion's work on this thread too: the kernel leaves it to the next entry.
        give_way();
        let at = now();
        if is_there() {
            // Good, however long it took: nobody was kept waiting.
            let disturbed = at.saturating_sub(last) > GAP_NS;
            return if disturbed { End::Disturbed } else { End::Seen };
        }
        if at.saturating_sub(last) > GAP_NS {
            return End::Disturbed;
        }
        if at.saturating_sub(began) > LONGEST_NS {
            return End::TooSlow;
        }
        last = at;
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A read that is there after `looks`, on a machine where one look takes `step_ns`.
    fn read(looks: u32, step_ns: u64) -> End {
        let (seen, clock) = (Cell::new(0), Cell::new(0));
        let is_there = || seen.replace(seen.get() + 1) >= looks;
        let now = || clock.replace(clock.get() + step_ns);
        watch(is_there, now, || {})
    }

    #[test]
    fn a_read_is_watched_for_until_it_is_there_or_too_slow_or_somebody_else_runs() {
        assert_eq!(read(0, 500), End::Seen);
        assert_eq!(read(100, 500), End::Seen);
        assert_eq!(read(100_000, 500), End::TooSlow);
        assert_eq!(read(10, GAP_NS + 1), End::Disturbed);
        assert_eq!(read(1, GAP_NS + 1), End::Disturbed);
    }

    #[test]
    fn who_disturbs_others_sleeps_longer_each_time_and_never_for_good() {
        let polling = Polling::new(true);
        let asleep = |end| {
            polling.note(end);
            let mut count = 0;
            while !polling.is_worth_it() {
                count += 1;
            }
            count
        };
        assert_eq!(asleep(End::Seen), 0);
        assert_eq!(asleep(End::Disturbed), FEWEST_ASLEEP);
        assert_eq!(asleep(End::TooSlow), 2 * FEWEST_ASLEEP);
        for _ in 0..40 {
            polling.note(End::Disturbed);
        }
        assert_eq!(asleep(End::Disturbed), MOST_ASLEEP);
        for _ in 0..20 {
            assert_eq!(asleep(End::Seen), 0);
        }
        assert_eq!(asleep(End::Disturbed), FEWEST_ASLEEP);
    }

    #[test]
    fn switched_off_every_read_sleeps() {
        let polling = Polling::new(false);
        assert!((0..100).all(|_| !polling.is_worth_it()));
    }
}
