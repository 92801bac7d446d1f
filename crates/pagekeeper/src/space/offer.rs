//! Offered memory: still committed, but nobody may touch it until it is taken back.
//! Windows: `OfferVirtualMemory`, `ReclaimVirtualMemory`.
//!
//! Windows may throw offered pages away; here they only leave the working set, so taking them back always finds their
//! contents. What a query says of them does not change. Every other operation on offered pages takes them back first.
//!
//! Source: windows-memory-behaviour.md 10.4.

use pagekeeper_model::{PageState, Protection, Refusal, RegionState};
use pagekeeper_units::{PAGE_SIZE, PageNumber, PageRange};

use super::{Core, Request, Space};
use crate::engine::Change;
use crate::error::Error;

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
        let core = self.shared().enter(request)?;
        // Entering has taken them back.
        core.whole_committed(request).map(|_| ())
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

    /// Opens the offered pages that an operation is about to touch; for a release the whole allocation's.
    pub(crate) fn take_back_offered(&mut self, address: u64, size: u64) {
        let page = PageNumber::containing(address);
        let touched = match self.model.allocation_at(page) {
            Some(allocation) if size == 0 => Some(allocation.range),
            _ => PageRange::touched_by(address, size),
        };
        let Some(touched) = touched else {
            return;
        };
        for part in self.offered.remove(touched) {
            let openings: Vec<Change> = self
                .closings(part)
                .into_iter()
                .map(|change| Change {
                    before: change.after,
                    after: change.before,
                    ..change
                })
                .collect();
            let engine = self.engine_of(part).and_then(|tag| self.ledger.engine(tag));
            if let Some(engine) = engine
                && engine.protect(&openings).is_err()
            {
                // The kernel has no room for another mapping: the pages stay closed, and are known to be.
                self.offered.insert(part);
            } else {
                self.watch_again(&openings);
            }
        }
    }
}
