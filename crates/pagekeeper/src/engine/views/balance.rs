//! The thread that keeps what views have in the page table within their share of the RAM budget.
//!
//! Faults are answered by the kernel without asking us, so it is looked up how many pages there are: as often as the distance
//! to the limit and the speed of faults make it necessary. Most looks are estimates, from what the whole process has; counting
//! takes no more than a fifth of the thread's time.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::{Event, WaitWord};
use pagekeeper_units::PageNumber;

use super::Core;
use super::look::Counts;
use super::move_out::Stopped;
use super::trim::{Seen, Step, What};
use crate::engine::lateness::Lateness;
use crate::engine::rss::Rss;
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
/// For how long estimates do, at least.
const RECOUNT: Duration = Duration::from_millis(100);
/// For how long they do at most, however long counting took; and the longest trim.
const BELIEVED: Duration = Duration::from_secs(1);
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

/// What was counted, and what the kernel said of the whole process then: what it says later tells what has come in.
#[derive(Clone, Copy, Debug)]
struct Counted {
    when: Instant,
    took: Duration,
    counts: Counts,
    rss: Rss,
}

impl Counted {
    /// What is there by now, if nothing else in the process has grown or shrunk.
    fn estimate(&self, rss: Rss) -> Counts {
        let since = |counted: u64, now: u64, then: u64| (counted + now).saturating_sub(then);
        Counts {
            of_file: since(self.counts.of_file, rss.of_files, self.rss.of_files),
            copied: since(self.counts.copied, rss.anonymous, self.rss.anonymous),
        }
    }

    /// Whether an estimate will do. One that asks for trimming is confirmed, if counting has not been a twelfth of the time; one that
    /// does not may be wrong as well: others may have shrunk.
    fn will_do(&self, is_much: bool) -> bool {
        let age = self.when.elapsed();
        match is_much {
            true => age < (self.took * 12).min(BELIEVED),
            false => age < (self.took * 20).clamp(RECOUNT, BELIEVED),
        }
    }
}

/// The thread's own state.
#[derive(Debug, Default)]
struct Watcher {
    /// So many turns more copied pages are not asked to move: they could not.
    pause_copies: u32,
    /// Where the next trim begins.
    hand: PageNumber,
    /// Where copies moved out last.
    copies_hand: PageNumber,
    /// Units with copies that were not moved since the last count.
    copied: VecDeque<Seen>,
    counted: Option<Counted>,
    /// When the last turn ended, and how many pages were left then.
    left: Option<(Instant, u64)>,
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
            self.counted = None;
            return Ok(IDLE_SLEEP);
        }
        let levels = core.levels();
        let counts = self.counts(core, levels)?;
        self.note_speed(counts.sum());
        let mut there = counts.sum();
        let mut left = 0;
        if there > levels.high {
            // Counting takes time in proportion to what is there: it is not to be most of the work.
            let counting = self.counted.map_or(Duration::ZERO, |counted| counted.took);
            let time = (counting * 4).clamp(LONGEST_TRIM, BELIEVED);
            let in_a_hurry = there > levels.limit;
            left = self.trim(core, there.saturating_sub(levels.low), time, in_a_hurry)?;
            if counts.copied > levels.copies && self.pause_copies == 0 {
                left += self.trim_copies(core, counts.copied - levels.copies, time / 4);
            }
            there = there.saturating_sub(left);
            balance.there.store(there, Ordering::Relaxed);
        }
        self.left = Some((Instant::now(), there));
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

    /// What is there: estimated, or counted.
    fn counts(&mut self, core: &Core, levels: Levels) -> Result<Counts, Errno> {
        // In this order: what comes in between is counted twice rather than not at all.
        let rss = Rss::now();
        if let Some(counted) = self.counted {
            let estimate = counted.estimate(rss);
            if rss != Rss::default() && counted.will_do(estimate.sum() > levels.high) {
                core.balance.there.store(estimate.sum(), Ordering::Relaxed);
                return Ok(estimate);
            }
        }
        let book = core.book();
        // Who waits for the book does not count.
        let started = Instant::now();
        let (counts, copied) = book.count()?;
        let took = started.elapsed();
        drop(book);
        self.copied = copied;
        // Not always the same ones first.
        let first = self
            .copied
            .partition_point(|unit| unit.first < self.copies_hand);
        self.copied.rotate_left(first);
        self.counted = Some(Counted {
            when: Instant::now(),
            took,
            counts,
            rss,
        });
        core.balance.note_count(counts);
        Ok(counts)
    }

    /// Pages that are to be reckoned with, a millisecond.
    fn speed(&self) -> u64 {
        self.fastest.max(FASTEST_PAGES_PER_MS)
    }

    /// Takes note of how fast pages came in since the last turn. Believed at once, forgotten slowly.
    fn note_speed(&mut self, there: u64) {
        let Some((when, then)) = self.left else {
            return;
        };
        let micros = (when.elapsed().as_micros() as u64).max(100);
        let speed = there.saturating_sub(then) * 1000 / micros;
        self.fastest = speed.max(self.fastest - self.fastest.div_ceil(FORGETTING));
    }

    /// Takes pages of files out, from where the last trim ended, once round at most, until so many have left or the time is over.
    /// Says how many left.
    fn trim(
        &mut self,
        core: &Core,
        wanted: u64,
        time: Duration,
        in_a_hurry: bool,
    ) -> Result<u64, Errno> {
        let deadline = Instant::now() + time;
        let start = self.hand;
        let (mut at, mut is_round) = (start, false);
        let mut left = 0;
        loop {
            let (units, next) = core.book().units_from(at)?;
            for unit in units {
                let is_done = left >= wanted
                    || (is_round && unit.first >= start)
                    || core.balance.is_stopping();
                if is_done || Instant::now() > deadline {
                    self.hand = unit.first;
                    return Ok(left);
                }
                let what = What::OfFile(unit.pages);
                left += core.trim_step(unit.first, what, in_a_hurry).left;
            }
            at = match next {
                Some(next) => next,
                None if is_round => return Ok(left),
                None => {
                    is_round = true;
                    PageNumber::default()
                }
            };
            if is_round && at >= start {
                return Ok(left);
            }
        }
    }

    /// Moves copies out, and pages of files in the same units. Says how many left.
    fn trim_copies(&mut self, core: &Core, wanted: u64, time: Duration) -> u64 {
        let deadline = Instant::now() + time;
        let mut left = 0;
        while left < wanted && Instant::now() <= deadline {
            let Some(unit) = self.copied.pop_front() else {
                break;
            };
            self.copies_hand = unit.first;
            let step = core.trim_step(unit.first, What::All, true);
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

    fn counted(of_file: u64, copied: u64, took: Duration) -> Counted {
        Counted {
            when: Instant::now(),
            took,
            counts: Counts { of_file, copied },
            rss: Rss {
                of_files: 1000,
                anonymous: 500,
            },
        }
    }

    #[test]
    fn what_the_process_gained_since_the_count_has_come_in() {
        let counted = counted(100, 20, Duration::ZERO);
        let estimate = |of_files, anonymous| {
            counted.estimate(Rss {
                of_files,
                anonymous,
            })
        };
        for (of_files, anonymous, of_file, copied) in [
            (1000, 500, 100, 20),
            (1300, 507, 400, 27),
            (950, 490, 50, 10),
            (10, 10, 0, 0),
        ] {
            let expected = Counts { of_file, copied };
            assert_eq!(estimate(of_files, anonymous), expected);
        }
    }

    #[test]
    fn estimates_that_lead_to_trimming_are_confirmed_sooner() {
        let fresh = counted(1, 1, Duration::from_secs(1));
        assert!(fresh.will_do(true) && fresh.will_do(false));
        let ago = |age| Counted {
            when: Instant::now() - age,
            ..counted(1, 1, Duration::from_millis(10))
        };
        assert!(!ago(Duration::from_millis(130)).will_do(true));
        assert!(ago(Duration::from_millis(130)).will_do(false));
        assert!(!ago(Duration::from_millis(250)).will_do(false));
    }
}
