//! The inline engine: the faulting thread answers its own faults.
//!
//! Memory is registered with userfaultfd in SIGBUS mode: touching a page that is not in the mapping is a signal on the
//! touching thread, whose handler brings the page in. No thread is woken, several threads fault in parallel, an
//! ordinary user may do it, and the pager knows of every page: the RAM budget is exact, pages are
//! packed and checked on the way out.
//!
//! The kernel's own touches of a page that is out fail with `EFAULT`; `kernel_touch` brings buffers in around system
//! calls.
//!
//! | file | what |
//! |---|---|
//! | [`entry`] | a page's six bytes |
//! | [`extent`] | 64 pages: the unit of locking and of leaving |
//! | [`arena`] | a registered mapping and its tables |
//! | [`frames`] | the budget |
//! | [`working_set`] | a budget with everything that serves it |
//! | [`handler`] | from the signal to the fault |
//! | [`fault`] | in: from the entry to the page |
//! | [`foreign`] | what the program did to the memory past us |
//! | [`huge`] | first touches by whole huge pages |
//! | [`out`], [`clean`] | out: evict and recycle, store |
//! | [`patience`] | how long a fault waits for frames |
//! | [`in_place`] | the short way out of scattered pages |
//! | [`staging`] | modified and standby lists |
//! | [`storage`] | what is asked of the page files and the pool |
//! | [`outlook`] | whether packing a page is worth a try |
//! | [`spill`] | from the pool to the page file |
//! | [`balance`] | the background thread |
//! | [`change`] | commit, decommit, protect, lock, trim |
//! | [`discard`] | contents of no interest |
//! | [`untouched`] | changes of pages that nobody touched yet, without a lock |
//! | [`execution`] | the right to execute |
//! | [`pin`] | pages held in memory for the kernel |
//! | [`peek`] | the bytes of a page without bringing it in |
//! | [`prefetch`] | pages brought in ahead of time |
//! | [`vacate`] | leaving a page file that is being taken away |
//! | [`work_area`] | bounce pages, codec tables and stacks |

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pagekeeper_model::Protection;
use pagekeeper_store::page_file::{PageFileId, PageFiles};
use pagekeeper_sys::signal;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount, PageNumber, PageRange};

use self::arena::Arena;
use self::working_set::{MINIMUM_RAM, Shape, WorkingSet};
use super::{Change, Engine, EngineBudget, EngineKind, Peeked, ReadMapping, Residence, Vacated};
use crate::error::EngineError;
use crate::registry::{self, Reading, Registered};
use crate::statistics::EngineStatistics;

mod ahead;
pub(crate) mod arena;
mod balance;
mod change;
mod clean;
mod counters;
mod descriptor;
mod discard;
mod drop;
mod entry;
mod execution;
mod extent;
pub(crate) mod fault;
mod foreign;
mod frames;
pub(crate) mod handler;
mod huge;
mod in_place;
mod out;
mod outlook;
mod patience;
mod peek;
pub(crate) mod pin;
mod prefetch;
mod repeat;
mod spill;
mod staging;
mod storage;
#[cfg(test)]
mod tests;
mod untouched;
mod vacate;
mod work_area;
pub(crate) mod working_set;

/// One working set and the arenas that it serves.
pub(crate) struct InlineEngine {
    space: u64,
    set: Arc<WorkingSet>,
    /// For the figures: the registry owns them.
    arenas: Mutex<Vec<Weak<Arena>>>,
}

impl InlineEngine {
    /// The smallest RAM budget.
    pub(crate) const MINIMUM_RAM: PageCount = MINIMUM_RAM;

    /// An engine with a budget of `ram`, paging to `files`.
    pub(crate) fn new(
        space: u64,
        ram: PageCount,
        files: Arc<PageFiles>,
    ) -> Result<Self, EngineError> {
        install_handler()?;
        drop::refuse_future_locks()?;
        Ok(Self {
            space,
            set: WorkingSet::start(ram, files)?,
            arenas: Mutex::new(Vec::new()),
        })
    }

    /// How much of a RAM budget commit may count on.
    pub(crate) fn promisable(ram: PageCount) -> PageCount {
        Shape::usable(ram)
    }

    /// The arena that holds `range`, also where a view lies in it.
    fn arena(&self, range: PageRange) -> Option<Arc<Arena>> {
        let arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = arenas.iter().filter_map(Weak::upgrade);
        all.find(|arena| arena.is_open() && arena.range().covers(range))
    }

    /// Runs `with` on the arena of `range`. The space gives only ranges inside one allocation of this engine.
    fn with_arena<R>(&self, range: PageRange, with: impl FnOnce(&Arena) -> R) -> Option<R> {
        let reading = Reading::begin();
        let arena = reading.find_inline(range.start());
        debug_assert!(
            arena.is_some(),
            "the space gave a range that is in no arena"
        );
        arena.map(with)
    }
}

/// Installs the process's fault handler, once.
#[allow(
    unsafe_code,
    reason = "UNSAFETY: the handler keeps the rules of a fault handler"
)]
pub(crate) fn install_handler() -> Result<(), EngineError> {
    crate::fork::mark_process()?;
    // SAFETY: `on_fault` decides by address first, works on a stack of its own, allocates nothing, takes futex locks only
    // and touches no paged memory.
    unsafe { signal::install(handler::on_fault) }.map_err(|errno| EngineError::Kernel {
        call: "rt_sigaction",
        errno,
    })
}

impl Engine for InlineEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Inline
    }

    fn open_arena(
        &self,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<PageRange, EngineError> {
        let arena = Arc::new(Arena::open(&self.set, at, pages)?);
        let range = arena.range();
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        arenas.retain(|arena| arena.strong_count() > 0);
        arenas.push(Arc::downgrade(&arena));
        drop(arenas);
        registry::insert(Registered {
            range,
            space: self.space,
            inline: Some(arena),
        });
        Ok(range)
    }

    fn close_arena(&self, arena: PageRange) {
        let closed = self.arena(arena);
        registry::remove(arena);
        if let Some(closed) = closed {
            closed.close();
        }
    }

    fn lend(&self, range: PageRange) {
        registry::lend(Registered {
            range,
            space: self.space,
            inline: None,
        });
    }

    fn take_back(&self, range: PageRange) -> Result<(), EngineError> {
        if let Some(arena) = self.arena(range) {
            arena.take_back(range)?;
        }
        registry::take_back(range);
        Ok(())
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        let Some(first) = changes.first() else {
            return Ok(());
        };
        self.with_arena(first.range, |arena| change::apply(arena, changes))
            .unwrap_or(Ok(()))
    }

    fn decommit(&self, changes: &[Change]) {
        if let Some(first) = changes.first() {
            self.with_arena(first.range, |arena| change::decommit(arena, changes));
        }
    }

    fn protect(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.commit(changes)
    }

    fn release(&self, allocation: PageRange, committed: &[Change]) {
        self.decommit(committed);
        if !committed.is_empty() {
            self.with_arena(allocation, |arena| arena.forget_entries(allocation));
        }
    }

    fn disarm_guard(&self, page: PageNumber, remaining: Protection) -> Result<(), EngineError> {
        let range = PageRange::new(page, PageCount::ONE);
        self.with_arena(range, |arena| change::disarm(arena, page, remaining))
            .unwrap_or(Ok(()))
    }

    fn lock(&self, range: PageRange) -> Result<(), EngineError> {
        self.with_arena(range, |arena| change::lock(arena, range))
            .unwrap_or(Ok(()))
    }

    fn unlock(&self, range: PageRange) {
        self.with_arena(range, |arena| change::unlock(arena, range));
    }

    fn prefetch(&self, range: PageRange) {
        self.with_arena(range, |arena| prefetch::prefetch(arena, range));
    }

    fn discard(&self, range: PageRange) {
        self.with_arena(range, |arena| discard::discard(arena, range));
    }

    fn trim(&self, range: PageRange) {
        self.with_arena(range, |arena| change::trim(arena, range));
    }

    fn leave_page_file(&self, range: PageRange, file: PageFileId) -> Vacated {
        self.with_arena(range, |arena| vacate::leave(arena, range, file))
            .unwrap_or(Vacated::All)
    }

    fn store_staged(&self, file: PageFileId) {
        vacate::store_staged(&self.set, file);
    }

    fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence)) {
        // Whoever asks may not hold the space lock: the arena may have gone.
        let reading = Reading::begin();
        let arena = reading.find_inline(range.start());
        if let Some(arena) = arena.filter(|arena| arena.range().covers(range)) {
            change::residence(arena, range, visit);
        }
    }

    fn peek(
        &self,
        page: PageNumber,
        into: &mut [u8; PAGE_SIZE],
        mapping: ReadMapping<'_>,
    ) -> Peeked {
        let reading = Reading::begin();
        match reading.find_inline(page) {
            Some(arena) => peek::peek(arena, page, into, mapping),
            None => Peeked::NotCommitted,
        }
    }

    fn health(&self) -> Result<(), EngineError> {
        self.set.health()
    }

    fn set_budget(&self, budget: EngineBudget) {
        self.set.set_ram(budget.ram);
        self.set.settle();
    }

    fn overhead(&self) -> ByteCount {
        let arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        let tables: u64 = arenas
            .iter()
            .filter_map(Weak::upgrade)
            .map(|arena| arena.table_bytes())
            .sum();
        ByteCount::new(self.set.overhead() + tables)
    }

    fn statistics(&self) -> EngineStatistics {
        self.set.statistics()
    }
}

impl Drop for InlineEngine {
    fn drop(&mut self) {
        self.set.shut_down();
    }
}
