//! The engine itself: the trait's verbs on the book, and the thread that keeps the balance.

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pagekeeper_model::{PageState, Protection};
use pagekeeper_sys::map;
use pagekeeper_sys::memory_info::KernelSettings;
use pagekeeper_sys::{Errno, perf};
use pagekeeper_units::{
    ByteCount, PAGES_PER_GRANULE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange,
};

use super::balance::Balance;
use super::book::{Account, Arena, Book};
use super::decommit::WhenEmpty;
use super::files::Files;
use super::kernel::{Kernel, Markers, anonymous_markers_work};
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, positions, single, split};
use crate::engine::thread::Threads;
use crate::engine::{Change, Engine, EngineBudget, EngineKind, Residence};
use crate::error::EngineError;
use crate::statistics::EngineStatistics;

/// Kernel features that may be switched off, so that their twins are exercised on any kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MappedSwitches {
    /// Guard markers; without them pages are fenced by `mprotect`.
    pub(crate) markers: bool,
    /// `cachestat`; without it cached pages are counted by `mincore`.
    pub(crate) cachestat: bool,
}

impl Default for MappedSwitches {
    fn default() -> Self {
        Self {
            markers: true,
            cachestat: true,
        }
    }
}

/// A released allocation up to this size leaves its empty pieces open for a while.
const KEPT_ALLOCATION: PageCount = PageCount::new(64);

/// How long a commit waits for space that is being given back: a disk may take a millisecond or more for each piece. It looks
/// whenever the balancer got on, or so often.
const WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// What a mapped engine is made from.
#[derive(Clone, Debug)]
pub(crate) struct MappedSettings {
    /// The RAM budget; at least [`MappedEngine::MINIMUM_RAM`].
    pub(crate) ram: PageCount,
    /// The share of it that anonymous memory may take, in percent (default 50).
    pub(crate) anonymous_share_percent: u8,
    /// Folders or names of page files, in order of preference. None: all memory is anonymous, up to the budget.
    pub(crate) places: Vec<PathBuf>,
    /// The largest size of each page file. It is used in pieces of 2 MiB.
    pub(crate) maximum_file: PageCount,
    /// Accepts page files in RAM.
    pub(crate) allow_ram_disk: bool,
    /// Which kernel features may be used.
    pub(crate) switches: MappedSwitches,
}

/// What the engine and its threads share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) kernel: Kernel,
    book: Mutex<Book>,
    pub(super) balance: Balance,
    pub(super) switches: MappedSwitches,
    pub(super) threads: Threads,
}

impl Core {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine. See the folder's text.
#[derive(Debug)]
pub(crate) struct MappedEngine {
    pub(super) core: Arc<Core>,
    /// The process's faults when the engine was made.
    pub(super) faults_before: perf::Faults,
}

impl MappedEngine {
    /// The smallest RAM budget that works: 4 MiB. Below, the kernel's own batches are larger than the budget.
    pub(crate) const MINIMUM_RAM: PageCount = PageCount::new(1024);

    /// An engine without arenas. The page file is made when it is first needed.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] for a budget below the minimum or a share above 100 %.
    pub(crate) fn new(settings: MappedSettings) -> Result<Arc<Self>, EngineError> {
        let unavailable = |reason: String| EngineError::Unavailable {
            engine: EngineKind::Mapped.name(),
            reason,
        };
        if settings.ram < Self::MINIMUM_RAM {
            let (ram, least) = (settings.ram.bytes(), Self::MINIMUM_RAM.bytes());
            return Err(unavailable(format!(
                "a RAM budget of {ram} is below its minimum, {least}"
            )));
        }
        if settings.anonymous_share_percent > 100 {
            return Err(unavailable(
                "the anonymous share is above 100 percent".to_owned(),
            ));
        }
        let switches = settings.switches;
        let anonymous = switches.markers && anonymous_markers_work();
        let markers = Markers {
            anonymous,
            file: anonymous,
        };
        let account = Account {
            ram: settings.ram.get(),
            anonymous_share_percent: settings.anonymous_share_percent,
            anonymous_charged: 0,
            anonymous_committed: 0,
            file_committed: 0,
            locked: 0,
        };
        let files = Files::new(
            settings.places,
            settings.maximum_file,
            settings.allow_ram_disk,
        );
        let mut book = Book::new(account, files, markers);
        if let Some(limit) = KernelSettings::read().max_map_count {
            book.mapping_limit = limit;
        }
        Ok(Arc::new(Self {
            core: Arc::new(Core {
                kernel: Kernel::default(),
                book: Mutex::new(book),
                balance: Balance::default(),
                switches,
                threads: Threads::default(),
            }),
            faults_before: perf::process_faults().unwrap_or_default(),
        }))
    }

    /// System calls made on mappings so far.
    #[cfg(test)]
    pub(crate) fn mapping_calls(&self) -> u64 {
        self.core.kernel.calls()
    }

    /// Whether the page lies in a file piece.
    #[cfg(test)]
    pub(crate) fn is_in_page_file(&self, page: PageNumber) -> bool {
        self.core
            .book()
            .piece(page)
            .is_some_and(|piece| piece.nature != Nature::Anonymous)
    }

    /// Carries out changes that may add to the file part.
    fn change(&self, changes: &[Change]) -> Result<(), EngineError> {
        let adds = |change: &Change| !change.before.is_committed() && change.after.is_committed();
        let commits = changes.iter().any(adds);
        if commits {
            self.core.balance.wait_for_room();
        }
        let mut until = None;
        let (book, before) = loop {
            let mut book = self.core.book();
            if commits && book.file_pieces > 0 {
                self.core.balance.health()?;
            }
            let before = book.account.file_committed;
            match book.change(&self.core.kernel, changes) {
                Ok(()) => break (book, before),
                // What the balancer gives back at this moment is missing: refused would be wrong.
                Err(EngineError::PageFileSpace(_))
                    if book.files.is_punching()
                        && Instant::now() < *until.get_or_insert_with(|| Instant::now() + WAIT) =>
                {
                    let turn = self.core.balance.turns.current();
                    drop(book);
                    self.core.balance.turns.wait(turn, Some(LOOK));
                }
                Err(error) => return Err(error),
            }
        };
        let more = book.account.file_committed.saturating_sub(before);
        self.core.balance.committed(more);
        self.core.start_balancing(&book);
        Ok(())
    }

    fn decommit_all(&self, changes: &[Change], when_empty: WhenEmpty) {
        let mut book = self.core.book();
        book.decommit(&self.core.kernel, changes, when_empty);
    }

    /// The pages of `range` by nature, as runs of committed pages.
    fn committed_runs(&self, range: PageRange) -> Vec<(PageRange, Nature)> {
        let book = self.core.book();
        let mut runs = Vec::new();
        for part in split(range) {
            let Some(piece) = book.piece(part.start()) else {
                continue;
            };
            for (run, is_committed) in piece.committed.runs(positions(part)) {
                if is_committed {
                    runs.push((piece.pages(run), piece.nature));
                }
            }
        }
        runs
    }

    /// Marks pages as locked, or not; says how many changed.
    fn mark_locked(&self, range: PageRange, locked: bool) {
        let mut book = self.core.book();
        let mut before = 0;
        let mut after = 0;
        for part in split(range) {
            let Some(piece) = book.piece_mut(part.start()) else {
                continue;
            };
            before += piece.locked.count();
            match locked {
                true => piece.locked.insert(positions(part)),
                false => piece.locked.remove(positions(part)),
            }
            after += piece.locked.count();
        }
        book.account.locked = book.account.locked + after - before;
    }
}

impl Drop for MappedEngine {
    fn drop(&mut self) {
        self.core.balance.stop();
        // The last reference to the page files is to be ours: their numbers are the program's, and so is the
        // table that they are closed in. A forked child has no threads to wait for.
        if !crate::fork::is_child() {
            self.core.threads.wait_for_end();
        }
    }
}

impl Engine for MappedEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Mapped
    }

    fn open_arena(
        &self,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<PageRange, EngineError> {
        let huge = pages.get() >= PAGES_PER_HUGE_PAGE;
        let alignment = if huge {
            PAGES_PER_HUGE_PAGE
        } else {
            PAGES_PER_GRANULE
        };
        let at = at.map(|start| PageRange::new(start, pages));
        let range = self
            .core
            .kernel
            .open_arena(at, pages, PageCount::new(alignment))
            .map_err(|errno| match errno {
                Errno::EXIST => EngineError::AddressTaken,
                other => EngineError::AddressSpace(other),
            })?;
        let arena = Arena {
            range,
            pieces: Default::default(),
        };
        self.core.book().arenas.insert(range.start().get(), arena);
        Ok(range)
    }

    fn close_arena(&self, arena: PageRange) {
        let mut book = self.core.book();
        book.close_empties_in(&self.core.kernel, arena);
        book.close_spares(&self.core.kernel, |piece| piece.range.overlaps(arena));
        // Refused only at the mapping limit: then the arena stays, known and inaccessible where closed.
        let _ = book.close_arena(&self.core.kernel, arena);
    }

    fn lend(&self, range: PageRange) {
        // Under the mutex: nobody who decided on pages there before is still about to change them.
        let _book = self.core.book();
        self.core.kernel.lent.add(range);
    }

    fn take_back(&self, range: PageRange) -> Result<(), EngineError> {
        self.core.book().take_back_lent(&self.core.kernel, range)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.change(changes)
    }

    fn decommit(&self, changes: &[Change]) {
        self.decommit_all(changes, WhenEmpty::Keep);
    }

    fn protect(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.change(changes)
    }

    fn release(&self, allocation: PageRange, committed: &[Change]) {
        if allocation.count() <= KEPT_ALLOCATION {
            // The next small reservation will lie in the same place.
            return self.decommit_all(committed, WhenEmpty::KeepAnonymous);
        }
        self.decommit_all(committed, WhenEmpty::Close);
        let mut book = self.core.book();
        book.close_empties_in(&self.core.kernel, allocation);
        book.close_spares(&self.core.kernel, |piece| piece.range.overlaps(allocation));
    }

    fn disarm_guard(&self, page: PageNumber, remaining: Protection) -> Result<(), EngineError> {
        self.change(&[Change {
            range: single(page),
            before: PageState::Committed(remaining.with_guard()),
            after: PageState::Committed(remaining),
        }])
    }

    fn lock(&self, range: PageRange) -> Result<(), EngineError> {
        {
            let account = &self.core.book().account;
            let most = account.ram.saturating_sub(Self::MINIMUM_RAM.get());
            if account.locked + range.count().get() > most {
                return Err(EngineError::LockedTooMuch);
            }
        }
        // Marked first, so that the balancer leaves the pages alone; locked without the mutex, because that may
        // read a lot.
        let mut done = PageRange::new(range.start(), PageCount::ZERO);
        for part in split(range) {
            self.mark_locked(part, true);
            if let Err(errno) = map::lock(part) {
                self.unlock(PageRange::between(done.start(), part.end()));
                return Err(match errno {
                    Errno::NOMEM | Errno::PERM | Errno::AGAIN => EngineError::LockedTooMuch,
                    errno => EngineError::Kernel {
                        call: "mlock",
                        errno,
                    },
                });
            }
            done = PageRange::between(done.start(), part.end());
        }
        Ok(())
    }

    fn unlock(&self, range: PageRange) {
        for part in split(range) {
            let _ = map::unlock(part);
        }
        self.mark_locked(range, false);
    }

    fn prefetch(&self, range: PageRange) {
        self.core.prefetch(&self.committed_runs(range));
    }

    fn discard(&self, range: PageRange) {
        self.core.discard(range);
    }

    fn trim(&self, range: PageRange) {
        self.core.trim_range(range);
    }

    fn add_page_file(&self, place: &Path) {
        self.core.book().files.add(place);
    }

    fn retire_page_file(&self, place: &Path) {
        self.core.book().files.retire(place);
    }

    fn pages_in_retired(&self, place: &Path) -> PageCount {
        let pieces = self.core.book().files.pieces_in_retired(place);
        PageCount::new(pieces * PIECE_PAGES as u64)
    }

    fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence)) {
        self.core.residence(range, visit);
    }

    fn health(&self) -> Result<(), EngineError> {
        self.core.balance.health()
    }

    fn set_budget(&self, budget: EngineBudget) {
        let mut book = self.core.book();
        book.account.ram = budget.ram.get().max(Self::MINIMUM_RAM.get());
        book.fit_empties(&self.core.kernel);
        drop(book);
        self.core.balance_now();
    }

    fn unmovable(&self) -> PageCount {
        let account = &self.core.book().account;
        PageCount::new(account.anonymous_committed + account.locked)
    }

    fn overhead(&self) -> ByteCount {
        let records = self.core.book().record_bytes();
        ByteCount::new(records + size_of::<Core>() as u64)
    }

    fn statistics(&self) -> EngineStatistics {
        self.figures()
    }
}
