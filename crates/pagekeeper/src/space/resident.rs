//! Lock, unlock, prefetch, discard, trim: what stays in RAM and what need not. By address.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares what changes memory behind an address as unsafe"
)]

use pagekeeper_model::{Change, FreeRequest, PageState, Refusal};
use pagekeeper_units::PageRange;

use super::{Request, Shared, Space};
use crate::error::Error;

impl Space {
    /// Brings the pages that the `size` bytes at `address` touch into RAM and keeps them there. There is no count: one
    /// unlock undoes any number of locks.
    ///
    /// Windows: `VirtualLock`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule (`NotAccessible`, `GuardPage`, `WorkingSetQuota`); `LockedTooMuch` where the
    /// RAM budget cannot spare so much.
    pub fn lock_at(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("lock", address, size);
        let mut core = self.shared().enter(request)?;
        let plan = match core.model.plan_lock(address, size) {
            Err(Refusal::GuardPage { page }) => {
                // As the access would have done.
                core.disarm(page);
                return Err(request.refused(Refusal::GuardPage { page }));
            }
            other => other.map_err(|refusal| request.refused(refusal))?,
        };
        let taken = core
            .take_back_offered(plan.range())
            .map_err(|cause| request.failed(cause))?;
        if let Some(engine) = core
            .engine_of(plan.range())
            .and_then(|tag| core.ledger.engine(tag))
            && let Err(cause) = engine.lock(plan.range())
        {
            core.offer_again(taken);
            return Err(request.failed(cause));
        }
        core.model.apply_lock(plan);
        Ok(())
    }

    /// Lets locked pages go again. Windows: `VirtualUnlock`.
    ///
    /// # Errors
    /// `NotLocked` when a page of the range is not locked; such pages leave the working set.
    pub fn unlock_at(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("unlock", address, size);
        let mut core = self.shared().enter(request)?;
        let plan = match core.model.plan_unlock(address, size) {
            Err(refusal @ Refusal::NotLocked { .. }) => {
                let range = PageRange::touched_by(address, size).unwrap_or_default();
                for part in core.model.not_locked(range) {
                    self.shared()
                        .for_committed(&core, part, |engine, part| engine.trim(part));
                }
                return Err(request.refused(refusal));
            }
            other => other.map_err(|refusal| request.refused(refusal))?,
        };
        if let Some(engine) = core
            .engine_of(plan.range())
            .and_then(|tag| core.ledger.engine(tag))
        {
            engine.unlock(plan.range());
        }
        core.model.apply_unlock(plan);
        Ok(())
    }

    /// Starts bringing in what will be needed, with many reads in flight. Each entry is an address and a size in bytes; parts
    /// that are not committed are passed over. A hint: memory that is short is not taken from others for it.
    ///
    /// Windows: `PrefetchVirtualMemory`.
    ///
    /// # Errors
    /// `NoRanges` and `SizeZero`.
    pub fn prefetch_at(&self, entries: &[(u64, u64)]) -> Result<(), Error> {
        let first = entries.first().copied().unwrap_or_default();
        let request = Request::new("prefetch", first.0, first.1);
        let core = self.shared().enter(request)?;
        let plan = core
            .model
            .plan_prefetch(entries)
            .map_err(|refusal| request.refused(refusal))?;
        for range in plan.ranges() {
            self.shared()
                .for_committed(&core, *range, |engine, part| engine.prefetch(part));
        }
        Ok(())
    }

    /// Says that the contents of whole, committed, read-write pages are of no interest: they read as the old bytes
    /// or as zeros until they are written again.
    ///
    /// Windows: `DiscardVirtualMemory`.
    ///
    /// # Errors
    /// `NotPageAligned`, `NotReadWrite`, `NotCommitted`.
    ///
    /// # Safety
    /// No reference into the pages is alive: their contents change under it.
    pub unsafe fn discard_at(&self, address: u64, size: u64) -> Result<(), Error> {
        self.shared().discard(address, size)
    }

    /// Takes the pages that the `size` bytes at `address` touch out of the working set now. Contents stay.
    pub fn trim_at(&self, address: u64, size: u64) {
        let core = self.shared().core();
        if let Some(range) = PageRange::touched_by(address, size) {
            self.shared()
                .for_committed(&core, range, |engine, part| engine.trim(part));
        }
    }

    /// Takes every page out of the working set that may leave. Windows: `EmptyWorkingSet`.
    pub fn trim(&self) {
        let core = self.shared().core();
        let allocations: Vec<_> = core.model.allocations().map(|it| it.range).collect();
        for range in allocations {
            self.shared()
                .for_committed(&core, range, |engine, part| engine.trim(part));
        }
    }
}

impl Shared {
    /// Locks a whole new allocation, past the working set's limits (large pages are not in it); releases it again where the
    /// kernel refuses.
    pub(crate) fn keep_in_ram(&self, range: PageRange) -> Result<(), Error> {
        let request = Request::new("lock", range.address(), range.bytes().get());
        let core = self.enter(request)?;
        let engine = core
            .engine_of(range)
            .and_then(|tag| core.ledger.engine(tag));
        let locked = match engine {
            Some(engine) => engine.lock(range),
            None => Ok(()),
        };
        drop(core);
        locked.map_err(|cause| {
            // It was just made, and nobody has heard of it.
            let _ = self.free(range.address(), 0, FreeRequest::Release);
            request.failed(cause)
        })
    }

    pub(crate) fn discard(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("discard", address, size);
        let mut core = self.enter(request)?;
        let plan = core
            .model
            .plan_discard(address, size)
            .map_err(|refusal| request.refused(refusal))?;
        core.take_back_offered(plan.range())
            .map_err(|cause| request.failed(cause))?;
        let state = PageState::Committed(pagekeeper_model::Protection::READ_WRITE);
        let change = Change {
            range: plan.range(),
            before: state,
            after: state,
        };
        core.remember_writes(&[change]);
        if let Some(engine) = core
            .engine_of(plan.range())
            .and_then(|tag| core.ledger.engine(tag))
        {
            engine.discard(plan.range());
        }
        core.watch_again(&[change]);
        Ok(())
    }

    /// Runs `with` on every committed run of `range` with the engine that serves it.
    pub(super) fn for_committed(
        &self,
        core: &super::Core,
        range: PageRange,
        with: impl Fn(&dyn crate::engine::Engine, PageRange),
    ) {
        for region in core.model.regions(range) {
            let pagekeeper_model::RegionState::Committed(_) = region.state else {
                continue;
            };
            let part = region.range.intersection(range);
            if let Some(engine) = core.engine_of(part).and_then(|tag| core.ledger.engine(tag)) {
                with(&**engine, part);
            }
        }
    }
}
