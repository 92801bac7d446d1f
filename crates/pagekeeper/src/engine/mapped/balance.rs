//! The balancer: one thread that keeps the file part within what the budget leaves for it.
//!
//! The kernel answers faults without asking us, so the file part is *looked up*: cheaply from the process's
//! counters (every page that a fault brings in shows there), exactly with `cachestat` when the cheap figure
//! comes near the limit. How long the thread may sleep follows from the distance to the hard limit and from how
//! fast two threads can bring in pages. Where dirtying outruns writing, the [brake](super::brake) slows the
//! faults down; commits wait.
//!
//! Being looked up is only as good as the thread is punctual, and on a machine that is busy with other things it is
//! not. So the balancer measures how late it is called, and keeps a *reserve* for what faults could bring in meanwhile:
//! the target is that much lower, for as long as the machine stays busy. Commits do not depend on it: each counts as
//! touched until the next look, and waits where that is too much.
//!
//! Levels, upwards: *low*, to which a trim goes; *high*, where it starts; the *target*, what the budget leaves;
//! target + slack, which is never to be reached.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::{Event, WaitWord};
use pagekeeper_sys::pagemap;

use super::book::Book;
use super::brake::Brake;
use super::engine::Core;
use super::levels::Levels;
use super::page_file::PageFile;
use super::read_ahead::ReadAhead;
use super::trim::{Helper, Trimmer, looks_at_all};
use crate::engine::lateness::Lateness;
use crate::engine::rss::Rss;
use crate::error::EngineError;
use crate::statistics::Counter;

/// How fast page faults can bring in pages, a millisecond (measured: 310 with two threads).
pub(super) const FASTEST_PAGES_PER_MS: u64 = 400;
/// The longest sleep while there is a file part.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Pages a millisecond that no disk brings in one by one, two at a time: first touches.
const RUSH: u64 = 50;
/// Pages on their way out at once, as long as the file part is within its target.
const CALM: u64 = 256;
/// How long pages are trimmed before the cache is counted again.
const LONGEST_TRIM: Duration = Duration::from_millis(6);
/// Counting takes time in proportion to what is cached (done at each turn, an eighth of all the processors' time): the
/// estimate is believed for so many times as long as the last count took.
const RECOUNT: u32 = 16;
/// How long a commit waits for room at most. Then it goes on: a disk that hangs is no reason to hang.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a new budget is waited for.
const BUDGET_PATIENCE: Duration = Duration::from_secs(3);

/// What the thread and everybody else know of each other.
#[derive(Debug, Default)]
pub(super) struct Balance {
    wake: Event,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    /// The first failed write-back, as an error number; 0 while all is well.
    failure: AtomicI32,
    /// Pages of the page files in the page cache, and those of them not written, as last looked up.
    pub(super) cached: AtomicU64,
    pub(super) dirty: AtomicU64,
    pub(super) peak: AtomicU64,
    /// From so many cached pages on, commits wait.
    crowded: AtomicU64,
    /// File pages committed since the last look: as good as touched.
    fresh: AtomicU64,
    pub(super) lateness: Lateness,
    /// Moves at the end of each turn.
    pub(super) turns: WaitWord,
    pub(super) brake: Brake,
    pub(super) helper: Helper,
    pub(super) pages_out: Counter,
    pub(super) pages_ahead: Counter,
    pub(super) clean_drops: Counter,
    /// Tests: the error number that the next write-back "gives".
    #[cfg(test)]
    pub(super) injected: AtomicI32,
}

impl Balance {
    /// Whether every write-back so far went well.
    pub(super) fn health(&self) -> Result<(), EngineError> {
        match self.failure.load(Ordering::Acquire) {
            0 => Ok(()),
            number => Err(EngineError::PagingStopped(Errno::from_raw_os_error(number))),
        }
    }

    /// Paging stops for good: the kernel takes pages that it could not write for clean, so none may be dropped.
    pub(super) fn fail(&self, errno: Errno) {
        let number = errno.raw_os_error();
        let _ = self
            .failure
            .compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
        self.ease();
    }

    /// The file part is back within its levels: no brake, no helper.
    fn ease(&self) {
        self.brake.release();
        self.helper.turn_off();
    }

    /// Ends the threads, soon.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.brake.stop();
        self.helper.stop();
        self.wake.set();
        self.turns.wake_all();
    }

    /// Whether what is cached, and what was committed since the last look, is more than the levels bear.
    fn is_crowded(&self) -> bool {
        let crowded = self.crowded.load(Ordering::Relaxed);
        let may_be_there = self.cached.load(Ordering::Relaxed) + self.fresh.load(Ordering::Relaxed);
        crowded != 0 && may_be_there > crowded
    }

    /// Waits where the file part is, or may be by now, over its target: the balancer then gains on the program.
    pub(super) fn wait_for_room(&self) {
        if !self.is_crowded() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.is_crowded() && self.health().is_ok() {
            let turn = self.turns.current();
            self.wake.set();
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            self.turns.wait(turn, Some(left));
        }
    }

    /// File pages were committed.
    pub(super) fn committed(&self, pages: u64) {
        self.fresh.fetch_add(pages, Ordering::Relaxed);
    }

    /// Takes in an exact figure.
    fn note(&self, cached: u64, dirty: u64, levels: Levels) {
        self.cached.store(cached, Ordering::Relaxed);
        self.dirty.store(dirty, Ordering::Relaxed);
        self.peak.fetch_max(cached, Ordering::Relaxed);
        self.crowded
            .store(levels.target + levels.slack / 4, Ordering::Relaxed);
    }
}

impl Core {
    /// Starts the balancer when the first file piece is there.
    pub(super) fn start_balancing(self: &Arc<Self>, book: &MutexGuard<'_, Book>) {
        if book.file_pieces == 0 || self.balance.is_running.load(Ordering::Acquire) {
            return;
        }
        self.balance.is_running.store(true, Ordering::Release);
        let core = Arc::clone(self);
        let body = move || Balancer::default().run(&core);
        if !self.threads.start("pagekeeper-bal", 128 << 10, body) {
            // No threads to be had now: the next commit tries again.
            self.balance.is_running.store(false, Ordering::Release);
        }
    }

    /// Gives space of closed pieces back to the file system, without the mutex.
    fn punch_retired(&self) {
        loop {
            let Some((run, file)) = self.book().files.next_retired() else {
                return;
            };
            let result = file.punch(run.place.offset(0), run.bytes());
            self.book().files.was_punched(run, result);
        }
    }

    pub(super) fn levels(&self) -> Levels {
        Levels::of(
            &self.book(),
            self.balance.lateness.reserve(FASTEST_PAGES_PER_MS),
        )
    }

    /// Lets the balancer work off a smaller budget, and waits for it as long as that gets on.
    pub(super) fn balance_now(&self) {
        let deadline = Instant::now() + BUDGET_PATIENCE;
        while self.balance.is_running.load(Ordering::Acquire)
            && self.balance.health().is_ok()
            && !self.balance.is_stopping.load(Ordering::Acquire)
            && Instant::now() < deadline
        {
            let turn = self.balance.turns.current();
            self.balance.wake.set();
            self.balance
                .turns
                .wait(turn, Some(Duration::from_millis(100)));
            if self.balance.cached.load(Ordering::Relaxed) <= self.levels().target {
                break;
            }
        }
    }

    /// Cached and unwritten pages of all page files, exactly.
    pub(super) fn count_cached(&self) -> Result<(u64, u64), Errno> {
        let files: Vec<Arc<PageFile>> = self.book().files.open().cloned().collect();
        let mut sum = (0, 0);
        for file in files {
            match if self.switches.cachestat {
                file.cached(0, 0)
            } else {
                Err(Errno::NOSYS)
            } {
                Ok((cached, dirty)) => sum = (sum.0 + cached, sum.1 + dirty),
                Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => return self.count_by_pages(),
                Err(errno) => return Err(errno),
            }
        }
        Ok(sum)
    }

    /// The same through the mappings, for kernels before 6.5: what is written and what not is not known there.
    fn count_by_pages(&self) -> Result<(u64, u64), Errno> {
        let ranges: Vec<_> = {
            let book = self.book();
            let in_file = book.pieces().filter(|piece| piece.nature.place().is_some());
            in_file.map(|piece| piece.range).collect()
        };
        let mut cached = 0;
        for range in ranges {
            // A piece that was closed meanwhile is still address space of ours, or gone.
            cached += pagemap::resident_pages(range).map_or(0, |pages| pages.get());
        }
        Ok((cached, cached))
    }
}

/// The thread's own state.
#[derive(Default)]
struct Balancer {
    trimmer: Trimmer,
    read_ahead: ReadAhead,
    /// File pages in the process's mappings when the cache was last counted.
    mapped_then: u64,
    counted: u64,
    counted_at: Option<Instant>,
    count_took: Duration,
    /// When the last turn ended, and the estimate then.
    rest_since: Option<(Instant, u64)>,
    /// Pages a millisecond that came in since.
    rate: u64,
}

impl Balancer {
    fn run(&mut self, core: &Arc<Core>) {
        let balance = &core.balance;
        let mut sleep = Duration::from_millis(1);
        loop {
            let slept = Instant::now();
            balance.wake.wait(Some(sleep));
            balance.lateness.note(slept.elapsed().saturating_sub(sleep));
            if balance.is_stopping.load(Ordering::Acquire) {
                return;
            }
            sleep = self.turn(core);
            balance.turns.wake_all();
        }
    }

    /// One look, and what follows from it. Says how long nothing can go wrong.
    fn turn(&mut self, core: &Arc<Core>) -> Duration {
        let (levels, is_idle) = {
            let book = core.book();
            (
                Levels::of(&book, core.balance.lateness.reserve(FASTEST_PAGES_PER_MS)),
                book.file_pieces == 0,
            )
        };
        let balance = &core.balance;
        core.punch_retired();
        if is_idle {
            balance.note(0, 0, levels);
            return LONGEST_SLEEP * 4;
        }
        if balance.health().is_err() {
            return LONGEST_SLEEP;
        }
        let fresh = balance.fresh.swap(0, Ordering::Relaxed);
        let estimate = self.estimate();
        self.rate = self.rest_since.map_or(0, |(then, pages)| {
            let micros = (then.elapsed().as_micros() as u64).max(1);
            estimate.saturating_sub(pages) * 1000 / micros
        });
        if fresh > 0 {
            // Whoever waits for a look at what was committed has it.
            balance.cached.store(estimate, Ordering::Relaxed);
        }
        let is_stale = self
            .counted_at
            .is_none_or(|then| then.elapsed() > LONGEST_SLEEP * 4);
        if estimate <= levels.early() && !is_stale {
            self.rest_since = Some((Instant::now(), estimate));
            return self
                .sleep_for(levels, estimate)
                .min(self.read_ahead.step(core, levels));
        }
        let worked = self.work(core, levels, estimate);
        self.rest_since = Some((Instant::now(), self.estimate()));
        match worked {
            Ok(cached) => self
                .sleep_for(levels, cached)
                .min(self.read_ahead.step(core, levels)),
            Err(errno) => {
                balance.fail(errno);
                LONGEST_SLEEP
            }
        }
    }

    /// Counts exactly, or goes on from a count that is fresh enough, and trims for a while. The count that it returns
    /// is what is left then.
    fn work(&mut self, core: &Arc<Core>, levels: Levels, estimate: u64) -> Result<u64, Errno> {
        let is_fresh = self
            .counted_at
            .is_some_and(|then| then.elapsed() < self.count_took * RECOUNT);
        let mut cached = if is_fresh && estimate <= levels.target {
            core.balance.cached.store(estimate, Ordering::Relaxed);
            estimate
        } else {
            self.count(core, levels)?
        };
        self.apply_brake(core, levels, cached);
        if cached <= levels.early() {
            core.balance.ease();
            return Ok(cached);
        }
        // Over the target the disk gets a long queue, so that waiting for the front of it is short. Below, a short one
        // where pages are written: a fault's read would wait behind them (measured: a fifth of the updates a second).
        let dirty = core.balance.dirty.load(Ordering::Relaxed);
        let is_calm = cached <= levels.target && self.rate <= RUSH;
        let pipeline = match is_calm && dirty > cached / 8 {
            true => (levels.batch * 2).min(CALM),
            false => levels.batch * 2 + dirty / 3,
        };
        let looks = looks_at_all(core, pipeline);
        let started = Instant::now();
        let halfway = started + LONGEST_TRIM / 2;
        // Counting takes time in proportion to what is cached: it is not to be most of the work.
        let deadline = started + LONGEST_TRIM.max(self.count_took * 10);
        self.take_out(core, pipeline, looks, halfway)?;
        if cached > levels.high {
            while self.estimate() > levels.low && Instant::now() < deadline {
                let Some(dropped) = self.trimmer.finish_one(core)? else {
                    break;
                };
                self.counted = self.counted.saturating_sub(dropped);
                self.take_out(core, pipeline, 64, deadline)?;
                self.read_ahead.step(core, levels);
            }
            cached = self.estimate();
        }
        if cached <= levels.high {
            core.balance.ease();
        }
        Ok(cached)
    }

    /// Starts pages on their way out. They leave the mapping, so what has come into it is noted before; what comes
    /// meanwhile, the next count finds.
    fn take_out(
        &mut self,
        core: &Core,
        wanted: u64,
        looks: u64,
        deadline: Instant,
    ) -> Result<(), Errno> {
        self.counted += Rss::now().of_files.saturating_sub(self.mapped_then);
        let result = self.trimmer.prepare(core, wanted, looks, deadline);
        self.mapped_then = Rss::now().of_files;
        result
    }

    /// Gets help, and slows faults down where they win all the same.
    fn apply_brake(&self, core: &Arc<Core>, levels: Levels, cached: u64) {
        let balance = &core.balance;
        // Clean pages are dropped faster than faults bring them in, as long as we get a processor.
        let is_writing = balance.dirty.load(Ordering::Relaxed) > cached / 4;
        let is_pressing = cached > levels.target + levels.slack / 4;
        // Updates at random, which bring in what they write, are no faster than the disk: braked, they would lose an eighth.
        let is_losing = is_writing && (self.rate > RUSH || cached > levels.target);
        if cached > levels.target || (cached > levels.high && is_losing) {
            balance.helper.turn_on(core);
        }
        if cached > levels.high && (is_losing || is_pressing) {
            let files = core.book().files.open().cloned().collect();
            let force = (1 + (cached - levels.high) / 256).min(64);
            balance.brake.apply(core, force, files);
        }
    }

    fn count(&mut self, core: &Core, levels: Levels) -> Result<u64, Errno> {
        // In this order: pages that come in between are counted twice rather than not at all.
        self.mapped_then = Rss::now().of_files;
        let started = Instant::now();
        let (cached, dirty) = core.count_cached()?;
        self.count_took = started.elapsed();
        self.read_ahead.counted();
        self.counted = cached;
        self.counted_at = Some(Instant::now());
        core.balance.note(cached, dirty, levels);
        Ok(cached)
    }

    /// At least what is cached: what was counted, and what has come into mappings since.
    fn estimate(&self) -> u64 {
        let more = Rss::now().of_files.saturating_sub(self.mapped_then);
        self.counted + more + self.read_ahead.pages_since_count()
    }

    /// Half the time in which faults could reach the hard limit.
    fn sleep_for(&self, levels: Levels, cached: u64) -> Duration {
        let room = (levels.target + levels.slack / 2).saturating_sub(cached);
        let micros = room * 1000 / FASTEST_PAGES_PER_MS / 2;
        Duration::from_micros(micros.clamp(500, LONGEST_SLEEP.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_count_as_touched_until_the_next_look() {
        let balance = Balance::default();
        let levels = Levels {
            low: 800,
            high: 900,
            target: 1000,
            slack: 400,
            batch: 50,
        };
        balance.committed(5000);
        assert!(
            !balance.is_crowded(),
            "nothing was ever looked up: there is no balancer yet"
        );
        balance.note(900, 0, levels);
        assert!(balance.is_crowded());
        balance.fresh.store(0, Ordering::Relaxed);
        assert!(!balance.is_crowded());
        balance.committed(200);
        assert!(!balance.is_crowded(), "1,100 is the line");
        balance.committed(1);
        assert!(balance.is_crowded());
        let started = Instant::now();
        balance.wait_for_room();
        assert!(started.elapsed() >= PATIENCE, "nobody makes room");
        balance.fail(Errno::IO);
        let started = Instant::now();
        balance.wait_for_room();
        assert!(
            started.elapsed() < PATIENCE,
            "paging has stopped: no use to wait"
        );
    }
}
