//! Offered memory: still committed, but nobody may touch it until it is taken back.
//! Windows: `OfferVirtualMemory`, `ReclaimVirtualMemory`.
//!
//! Windows may throw offered pages away; here they only leave the working set, so taking them back always finds their
//! contents. What a query says of them does not change. An operation that changes offered pages takes them back first, once the rules
//! allow it: a refused one leaves them as they are.
//!
//! Source: windows-memory-behaviour.md 10.4.

use pagekeeper_model::{PageState, Protection, Refusal, RegionState};
use pagekeeper_units::{PAGE_SIZE, PageRange};

use super::{Core, Request, Space};
use crate::engine::Change;
use crate::error::{EngineError, Error};

impl Space {
    /// Offers whole committed pages: they leave the working set and cannot be touched until [`Space::reclaim_at`]. Locked
    /// ones are unlocked. Windows: `OfferVirtualMemory`.
    ///
    /// # Errors
    /// `NotPageAligned`, `SizeZero`, `NotAllocated`, `LeavesAllocation`, `NotCommitted`.
    pub fn offer_at(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("offer", address, size);
        let mut core = self.shared().enter(request)?;
        let range = core.whole_committed(request)?;
        core.take_back_offered(range)
            .map_err(|cause| request.failed(cause))?;
        for locked in core.model.locked(range) {
            let bytes = (locked.address(), locked.bytes().get());
            if let Ok(plan) = core.model.plan_unlock(bytes.0, bytes.1) {
                core.model.apply_unlock(plan);
            }
            if let Some(engine) = core
                .engine_of(locked)
                .and_then(|tag| core.ledger.engine(tag))
            {
                engine.unlock(locked);
            }
        }
        let changes = core.closings(range);
        core.remember_writes(&changes);
        if let Some(engine) = core
            .engine_of(range)
            .and_then(|tag| core.ledger.engine(tag))
        {
            engine.trim(range);
            engine
                .protect(&changes)
                .map_err(|cause| request.failed(cause))?;
        }
        core.offered.insert(range);
        Ok(())
    }

    /// Takes offered pages back, contents intact; pages that are not offered are passed over.
    /// Windows: `ReclaimVirtualMemory`.
    ///
    /// # Errors
    /// As [`Space::offer_at`].
    pub fn reclaim_at(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("reclaim", address, size);
        let mut core = self.shared().enter(request)?;
        let range = core.whole_committed(request)?;
        core.take_back_offered(range)
            .map_err(|cause| request.failed(cause))?;
        Ok(())
    }
}

impl Core {
    /// The pages of a request that must be whole, committed, and in one allocation.
    fn whole_committed(&self, request: Request) -> Result<PageRange, Error> {
        let (address, size) = (request.address, request.size);
        if !(address | size).is_multiple_of(PAGE_SIZE as u64) {
            return Err(request.refused(Refusal::NotPageAligned { address, size }));
        }
        // The same checks as those of a reset, which tolerates reserved pages.
        let plan = self
            .model
            .plan_reset(address, size)
            .map_err(|refusal| request.refused(refusal))?;
        let range = PageRange::touched_by(address, size)
            .ok_or_else(|| request.refused(Refusal::EndsPastAddressSpace { address, size }))?;
        let mut next = range.start();
        for run in plan.committed().iter() {
            if run.range.start() != next {
                break;
            }
            next = run.range.end();
        }
        if next < range.end() {
            return Err(request.refused(Refusal::NotCommitted { page: next }));
        }
        Ok(range)
    }

    /// The committed runs of `range`, as changes from what they are to no access.
    fn closings(&self, range: PageRange) -> Vec<Change> {
        self.model
            .regions(range)
            .filter_map(|region| match region.state {
                RegionState::Committed(protection) => Some(Change {
                    range: region.range,
                    before: PageState::Committed(protection),
                    after: PageState::Committed(Protection::NO_ACCESS),
                }),
                _ => None,
            })
            .collect()
    }

    /// Opens the offered pages of a range that an operation is about to change, and says which they were; nothing has changed where
    /// the kernel has no room for another mapping.
    pub(crate) fn take_back_offered(
        &mut self,
        range: PageRange,
    ) -> Result<Vec<PageRange>, EngineError> {
        if self.offered.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        let mut rest = self.offered.remove(range).into_iter();
        while let Some(part) = rest.next() {
            let openings: Vec<Change> = self.closings(part).into_iter().map(reversed).collect();
            let engine = self.engine_of(part).and_then(|tag| self.ledger.engine(tag));
            if let Some(engine) = engine
                && let Err(cause) = engine.protect(&openings)
            {
                for part in rest.chain([part]) {
                    self.offered.insert(part);
                }
                self.offer_again(taken);
                return Err(cause);
            }
            self.watch_again(&openings);
            taken.push(part);
        }
        Ok(taken)
    }

    /// Offered pages are about to go: an engine must find them as the rules see them, as far as the kernel allows.
    pub(crate) fn give_up_offered(&mut self, range: PageRange) {
        if self.take_back_offered(range).is_err() {
            self.offered.remove(range);
        }
    }

    /// Closes what was taken back for an operation that failed.
    pub(crate) fn offer_again(&mut self, taken: Vec<PageRange>) {
        for part in taken {
            let closings = self.closings(part);
            self.remember_writes(&closings);
            let engine = self.engine_of(part).and_then(|tag| self.ledger.engine(tag));
            // Where the kernel refuses they stay open, and are offered no longer.
            if engine.is_none_or(|engine| engine.protect(&closings).is_ok()) {
                self.offered.insert(part);
            }
        }
    }
}

/// The way back.
fn reversed(change: Change) -> Change {
    Change {
        before: change.after,
        after: change.before,
        ..change
    }
}
