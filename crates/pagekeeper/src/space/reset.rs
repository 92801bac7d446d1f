//! Reset: contents of no interest until the next write. Windows: `MEM_RESET`, `MEM_RESET_UNDO`.
//!
//! Source: windows-memory-behaviour.md 4.6.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares what changes memory behind an address as unsafe"
)]

use super::{Request, Space};
use crate::error::Error;

impl Space {
    /// The contents of the whole committed pages inside the `size` bytes at `address` need not be kept: they read as the
    /// old bytes or as zeros until they are written. Neither state nor protection nor charge changes; reserved pages
    /// among them are tolerated. Returns the address of the first page touched. Windows: `MEM_RESET`.
    ///
    /// # Errors
    /// `NotAllocated`, `LeavesAllocation`, `SizeZero`, and addresses outside of user space.
    ///
    /// # Safety
    /// No reference into the pages is alive: their contents change under it.
    pub unsafe fn reset_at(&self, address: u64, size: u64) -> Result<u64, Error> {
        let request = Request::new("reset", address, size);
        let mut core = self.shared().enter(request)?;
        let plan = core
            .model
            .plan_reset(address, size)
            .map_err(|refusal| request.refused(refusal))?;
        for change in plan.committed().iter() {
            core.take_back_offered(change.range)
                .map_err(|cause| request.failed(cause))?;
        }
        core.remember_writes(plan.committed());
        for change in plan.committed().iter() {
            let tag = core.engine_of(change.range);
            if let Some(engine) = tag.and_then(|tag| core.ledger.engine(tag)) {
                engine.discard(change.range);
            }
        }
        core.watch_again(plan.committed());
        Ok(plan.address())
    }

    /// Whether every page that a reset of this range gave up still has its contents: only if it gave up none, since a
    /// reset drops contents at once. Windows: `MEM_RESET_UNDO`.
    ///
    /// # Errors
    /// As [`Space::reset_at`].
    pub fn undo_reset_at(&self, address: u64, size: u64) -> Result<bool, Error> {
        let request = Request::new("undo a reset", address, size);
        let core = self.shared().enter(request)?;
        let plan = core
            .model
            .plan_reset(address, size)
            .map_err(|refusal| request.refused(refusal))?;
        Ok(plan.committed().is_empty())
    }
}
