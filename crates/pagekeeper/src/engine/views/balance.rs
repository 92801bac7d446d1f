//! The thread that keeps what views have in the page table within their share of the RAM budget.
//!
//! Faults are answered by the kernel without asking us, so pages are counted from time to time: as often as the distance
//! to the limit and the speed of faults make it necessary, and no more than a fifth of the thread's time.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::{Event, WaitWord};
use pagekeeper_units::PageNumber;

use super::Core;
use super::look::Counts;
use super::move_out::Stopped;
use super::trim::Step;
use crate::engine::lateness::Lateness;
use crate::error::EngineError;
use crate::statistics::Counter;

/// The largest slack, in pages (32 MiB).
const SLACK_MAX: u64 = 8192;
/// How fast faults bring in pages at least, a millisecond: those that the page cache has already come by the dozen.
const FASTEST_PAGES_PER_MS: u64 = 1200;
/// In how many looks most of what was faster is forgotten.
const FORGETTING: u64 = 64;
/// The shortest sleep: others want the processor, too.
const SHORTEST_SLEEP: Duration = Duration::from_micros(300);
/// The longest sleep while there are views, and while there are none.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
const IDLE_SLEEP: Duration = Duration::from_millis(500);
/// How long pages are taken out before they are counted again.
const LONGEST_TRIM: Duration = Duration::from_millis(20);
/// For how many turns copied pages that could not move are left alone.
const PAUSE_TURNS: u32 = 20;
/// How long a new budget is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many pages may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Levels {
    /// Where trimming begins.
    high: u64,
    /// To where it goes.
    low: u64,
    /// Copies beyond this move out.
    copies: u64,
    /// What is never to be passed: the share and its slack.
    limit: u64,
}

impl Levels {
    /// What a share of so many pages leaves, with a reserve for delays, which takes half of it at most.
    fn of(ram: u64, reserve: u64) -> Self {
        let slack = ram.min(SLACK_MAX);
        // Some of the slack is spent before it is needed: between two looks faults go on.
        let high = ram - (slack / 8).max(1).min(ram / 2);
        let high = high - reserve.min(high / 2);
        let low = high - (high / 8).max(1);
        Self {
            high,
            low,
            copies: low / 2,
            limit: ram + slack,
        }
    }
}

/// What the thread and everybody else know of each other.
#[derive(Debug, Default)]
pub(super) struct Balance {
    wake: Event,
    /// Moves at the end of each turn.
    turns: WaitWord,
    lateness: Lateness,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    /// The first failed write, as an error number; 0 while all is well. Reported; other files go on.
    failure: AtomicI32,
    there: AtomicU64,
    peak: AtomicU64,
    pub(super) pages_out: Counter,
    pub(super) clean_drops: Counter,
}

impl Balance {
    pub(super) fn health(&self) -> Result<(), EngineError> {
        match self.failure.load(Ordering::Acquire) {
            0 => Ok(()),
            number => Err(EngineError::PagingStopped(Errno::from_raw_os_error(number))),
        }
    }

    fn fail(&self, errno: Errno) {
        let number = errno.raw_os_error();
        let _ = self
            .failure
            .compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake.set();
        self.turns.wake_all();
    }

    /// The most pages that were there at any look.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts what a step did.
    pub(super) fn note_step(&self, step: Step) {
        self.pages_out.add(step.moved);
        self.clean_drops.add(step.left - step.moved);
        if let Some(Stopped::Failed(errno)) = step.stopped {
            self.fail(errno);
        }
    }

    /// Takes note of how the writing of pages ended.
    pub(super) fn note_finish(&self, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.fail(errno);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn note_count(&self, counts: Counts) {
        self.there.store(counts.sum(), Ordering::Relaxed);
        self.peak.fetch_max(counts.sum(), Ordering::Relaxed);
    }
}

impl Core {
    /// Starts the thread with the first view, and lets it look at a new one soon.
    pub(super) fn start_balancing(self: &Arc<Self>) {
        if self.balance.is_running.swap(true, Ordering::AcqRel) {
            self.balance.wake.set();
            return;
        }
        let (core, own) = (Arc::clone(self), Arc::clone(self));
        let finisher = move || own.finisher.run(&own);
        // Both have the files; the second may wait for disks.
        if !self
            .threads
            .start_apart("pagekeeper-vwr", 128 << 10, finisher)
            || !self
                .threads
                .start_apart("pagekeeper-vws", 256 << 10, move || {
                    Watcher::default().run(&core)
                })
        {
            // No threads to be had now: the next view tries again.
            self.balance.is_running.store(false, Ordering::Release);
        }
    }

    /// Lets the thread work off a smaller budget, and waits for it.
    pub(super) fn balance_now(&self) {
        let deadline = Instant::now() + PATIENCE;
        let balance = &self.balance;
        while balance.is_running.load(Ordering::Acquire)
            && !balance.is_stopping()
            && balance.there.load(Ordering::Relaxed) > self.levels().limit
            && Instant::now() < deadline
        {
            let turn = balance.turns.current();
            balance.wake.set();
            balance.turns.wait(turn, Some(Duration::from_millis(100)));
        }
    }

    fn levels(&self) -> Levels {
        Levels::of(
            self.book().ram,
            self.balance.lateness.reserve(FASTEST_PAGES_PER_MS),
        )
    }
}

/// The thread's own state.
#[derive(Debug, Default)]
struct Watcher {
    /// So many turns more copied pages are not asked to move: they could not.
    pause_copies: u32,
    /// Where the next trim begins: of pages of files, and of copies.
    hands: [PageNumber; 2],
    /// When pages were counted last, and how many were left then.
    counted: Option<(Instant, u64)>,
    /// How fast they came in, lately, a millisecond.
    fastest: u64,
}

impl Watcher {
    fn run(&mut self, core: &Core) {
        let balance = &core.balance;
        let mut sleep = Duration::from_millis(1);
        loop {
            let slept = Instant::now();
            balance.wake.wait(Some(sleep));
            balance.lateness.note(slept.elapsed().saturating_sub(sleep));
            if balance.is_stopping() {
                return;
            }
            sleep = match self.turn(core) {
                Ok(sleep) => sleep,
                Err(errno) => {
                    // The page table cannot be read: perhaps no descriptor was free.
                    balance.fail(errno);
                    LONGEST_SLEEP
                }
            };
            balance.turns.wake_all();
        }
    }

    /// One look, and what follows from it. Says how long nothing can go wrong.
    fn turn(&mut self, core: &Core) -> Result<Duration, Errno> {
        let balance = &core.balance;
        if core.book().views.is_empty() {
            balance.there.store(0, Ordering::Relaxed);
            return Ok(IDLE_SLEEP);
        }
        let levels = core.levels();
        let started = Instant::now();
        let present = core.book().present()?;
        let took = started.elapsed();
        let counts = present.counts;
        balance.note_count(counts);
        self.note_speed(counts.sum());
        let mut there = counts.sum();
        let mut left = 0;
        let with_copies = counts.copied > levels.copies && self.pause_copies == 0;
        if there > levels.high {
            // Counting takes time in proportion to what is there: it is not to be most of the work.
            let time = LONGEST_TRIM.max(took * 4);
            let over = there.saturating_sub(levels.low);
            left = self.trim(core, &present.of_file, false, over, time);
            if with_copies {
                let over = counts.copied - levels.copies;
                left += self.trim(core, &present.copied, true, over, time / 4);
            }
            there = there.saturating_sub(left);
        }
        self.counted = Some((Instant::now(), there));
        self.pause_copies = self.pause_copies.saturating_sub(1);
        if there > levels.high {
            // Not done yet: a moment for others who want the book. Or nothing more can leave.
            return Ok(match left {
                0 => LONGEST_SLEEP,
                _ => Duration::from_micros(100),
            });
        }
        let room = (levels.high + (levels.limit - levels.high) / 2).saturating_sub(there);
        let sleep = Duration::from_micros(room * 1000 / self.speed() / 2);
        Ok(sleep.clamp(SHORTEST_SLEEP, LONGEST_SLEEP))
    }

    /// Pages that are to be reckoned with, a millisecond.
    fn speed(&self) -> u64 {
        self.fastest.max(FASTEST_PAGES_PER_MS)
    }

    /// Takes note of how fast pages came in since the last look. Believed at once, forgotten slowly.
    fn note_speed(&mut self, there: u64) {
        let Some((when, then)) = self.counted else {
            return;
        };
        let micros = (when.elapsed().as_micros() as u64).max(100);
        let speed = there.saturating_sub(then) * 1000 / micros;
        self.fastest = speed.max(self.fastest - self.fastest.div_ceil(FORGETTING));
    }

    /// Takes pages out of `units`, from where the last trim ended, once round at most, until so many have left or the time is
    /// over. Says how many left.
    fn trim(
        &mut self,
        core: &Core,
        units: &[PageNumber],
        with_copies: bool,
        wanted: u64,
        time: Duration,
    ) -> u64 {
        let deadline = Instant::now() + time;
        let hand = self.hands[usize::from(with_copies)];
        let from = units.partition_point(|unit| *unit < hand);
        let (below, above) = units.split_at(from);
        let mut left = 0;
        for &unit in above.iter().chain(below) {
            if left >= wanted || Instant::now() > deadline {
                self.hands[usize::from(with_copies)] = unit;
                break;
            }
            let step = core.trim_step(unit, with_copies);
            left += step.left;
            if step.stopped.is_some() {
                // They may find room when views have gone.
                self.pause_copies = PAUSE_TURNS;
                break;
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_lie_below_the_share_and_the_slack_above_it() {
        for ram in [64, 256, 1024, 16_384, 1 << 20] {
            let levels = Levels::of(ram, 0);
            assert!(0 < levels.copies && levels.copies < levels.low, "{ram}");
            assert!(levels.low < levels.high && levels.high < ram, "{ram}");
            assert!(levels.limit <= ram * 2 && levels.limit <= ram + SLACK_MAX);
        }
    }
}
