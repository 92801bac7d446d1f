//! Commit, decommit and protect, by address. Windows: `VirtualAlloc(MEM_COMMIT)`, `VirtualFree(MEM_DECOMMIT)`,
//! `VirtualProtect`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares what changes memory behind an address as unsafe"
)]

use pagekeeper_model::{EngineTag, FreeRequest, Protection};
use pagekeeper_units::PageCount;

use super::{Core, Request, Shared, Space};
use crate::engine::Change;
use crate::error::Error;

impl Space {
    /// Commits every page that the `size` bytes at `address` touch; they lie in one reservation of this space. Fresh
    /// pages read as zero; pages that were committed keep their contents and get the protection.
    ///
    /// Windows: `VirtualAlloc(address, size, MEM_COMMIT, protection)`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule; `CommitmentLimit` when RAM budget and page files cannot promise more.
    pub fn commit_at(&self, address: u64, size: u64, protection: Protection) -> Result<(), Error> {
        self.shared().commit(address, size, protection)
    }

    /// Decommits every page that the `size` bytes at `address` touch: contents are lost, the charge returns.
    ///
    /// Windows: `VirtualFree(address, size, MEM_DECOMMIT)`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule.
    ///
    /// # Safety
    /// No reference into the pages is alive: their contents change under it.
    pub unsafe fn decommit_at(&self, address: u64, size: u64) -> Result<(), Error> {
        self.shared().free(address, size, FreeRequest::Decommit)
    }

    /// Changes the protection of every page that the `size` bytes at `address` touch; returns that of the first before.
    ///
    /// Windows: `VirtualProtect`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule.
    pub fn protect_at(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<Protection, Error> {
        self.shared().protect(address, size, protection)
    }
}

impl Shared {
    pub(crate) fn commit(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<(), Error> {
        let request = Request::new("commit", address, size);
        let mut core = self.enter(request)?;
        core.refuse_in_window(request)?;
        let plan = core
            .model
            .plan_commit(address, size, protection)
            .map_err(|refusal| request.refused(refusal))?;
        let taken = core
            .take_back_offered(plan.range())
            .map_err(|cause| request.failed(cause))?;
        if let Some(tag) = core.engine_of(plan.range()) {
            core.remember_writes(plan.changes());
            let done = core.commit_runs(request, tag, plan.changes(), plan.charge());
            core.watch_again(plan.changes());
            if done.is_err() {
                core.offer_again(taken);
            }
            done?;
            core.ledger.charge(tag, plan.charge(), PageCount::ZERO);
            core.charge_section(plan.range(), plan.charge());
        }
        core.model.apply_commit(plan);
        Ok(())
    }

    pub(crate) fn protect(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<Protection, Error> {
        let request = Request::new("protect", address, size);
        let mut core = self.enter(request)?;
        let plan = core
            .model
            .plan_protect(address, size, protection)
            .map_err(|refusal| request.refused(refusal))?;
        let taken = core
            .take_back_offered(plan.range())
            .map_err(|cause| request.failed(cause))?;
        let tag = core.engine_of(plan.range());
        let was_copied = plan.old().is_write_copy() && core.is_copied(plan.range());
        core.remember_writes(plan.changes());
        if let Some(engine) = tag.and_then(|tag| core.ledger.engine(tag)) {
            let done = engine.protect(plan.changes());
            core.watch_again(plan.changes());
            if done.is_err() {
                core.offer_again(taken);
            }
            done.map_err(|cause| request.failed(cause))?;
        }
        let old = core.model.apply_protect(plan);
        Ok(if was_copied { old.once_copied() } else { old })
    }
}

impl Core {
    /// Promises room for `charge` pages and lets the engine commit the runs.
    pub(crate) fn commit_runs(
        &mut self,
        request: Request,
        tag: EngineTag,
        changes: &[Change],
        charge: PageCount,
    ) -> Result<(), Error> {
        if !self.unreturned.is_empty() {
            self.return_pages_of(changes)
                .map_err(|cause| request.failed(cause))?;
        }
        if self.ledger.promise(request, tag, charge)? {
            self.refresh_limit();
        }
        match self.ledger.engine(tag) {
            Some(engine) => engine
                .commit(changes)
                .map_err(|cause| request.failed(cause)),
            None => Ok(()),
        }
    }
}
