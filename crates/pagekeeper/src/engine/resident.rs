//! The *resident* engine: nothing ever leaves RAM. For sanitizers, valgrind and debuggers.
//!
//! It is the mapped engine without page files: all its memory is ordinary anonymous memory, opened in pieces of
//! 2 MiB as commits need them. There is no thread, no trimming and no budget of its own; the space's commit limit
//! says how much may be committed.

use std::sync::Arc;

use pagekeeper_model::Protection;
use pagekeeper_units::{ByteCount, PageCount, PageNumber, PageRange};

use super::mapped::{MappedEngine, MappedSettings, MappedSwitches};
use super::{Change, Engine, EngineBudget, EngineKind, Residence};
use crate::error::EngineError;
use crate::statistics::EngineStatistics;

/// More pages than an address space has: memory is not limited here.
const NO_LIMIT: PageCount = PageCount::new(1 << 36);

/// The engine.
#[derive(Debug)]
pub(crate) struct ResidentEngine {
    memory: Arc<MappedEngine>,
    budget: core::sync::atomic::AtomicU64,
}

impl ResidentEngine {
    /// An engine without arenas. `ram` is only reported back in the figures.
    ///
    /// # Errors
    /// None today; the engines are made alike.
    pub(crate) fn new(ram: PageCount, switches: MappedSwitches) -> Result<Arc<Self>, EngineError> {
        let memory = MappedEngine::new(MappedSettings {
            ram: NO_LIMIT,
            anonymous_share_percent: 100,
            places: Vec::new(),
            maximum_file: PageCount::ZERO,
            allow_ram_disk: false,
            switches,
        })?;
        Ok(Arc::new(Self {
            memory,
            budget: ram.get().into(),
        }))
    }
}

impl Engine for ResidentEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Resident
    }

    fn open_arena(
        &self,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<PageRange, EngineError> {
        self.memory.open_arena(at, pages)
    }

    fn close_arena(&self, arena: PageRange) {
        self.memory.close_arena(arena);
    }

    fn lend(&self, range: PageRange) {
        self.memory.lend(range);
    }

    fn take_back(&self, range: PageRange) -> Result<(), EngineError> {
        self.memory.take_back(range)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.memory.commit(changes)
    }

    fn decommit(&self, changes: &[Change]) {
        self.memory.decommit(changes);
    }

    fn protect(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.memory.protect(changes)
    }

    fn release(&self, allocation: PageRange, committed: &[Change]) {
        self.memory.release(allocation, committed);
    }

    fn disarm_guard(&self, page: PageNumber, remaining: Protection) -> Result<(), EngineError> {
        self.memory.disarm_guard(page, remaining)
    }

    fn lock(&self, range: PageRange) -> Result<(), EngineError> {
        self.memory.lock(range)
    }

    fn unlock(&self, range: PageRange) {
        self.memory.unlock(range);
    }

    fn prefetch(&self, _range: PageRange) {}

    fn discard(&self, range: PageRange) {
        self.memory.discard(range);
    }

    fn trim(&self, _range: PageRange) {}

    fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence)) {
        self.memory.residence(range, visit);
    }

    fn health(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn set_budget(&self, budget: EngineBudget) {
        self.budget
            .store(budget.ram.get(), core::sync::atomic::Ordering::Relaxed);
    }

    fn overhead(&self) -> ByteCount {
        self.memory.overhead()
    }

    fn statistics(&self) -> EngineStatistics {
        let budget = self.budget.load(core::sync::atomic::Ordering::Relaxed);
        EngineStatistics {
            budget: PageCount::new(budget),
            ..self.memory.statistics()
        }
    }
}
