//! Free: the one call that decommits or releases (`VirtualFree`), with its combined form.
//!
//! Source: windows-memory-behaviour.md 5.1 and product.md (decommit and release together).

use crate::{AddressSpace, DecommitPlan, Refusal, ReleasePlan};

/// Which of the two a free call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FreeRequest {
    /// `MEM_DECOMMIT`.
    Decommit,
    /// `MEM_RELEASE`.
    Release,
    /// `MEM_DECOMMIT | MEM_RELEASE`: a release, since that gives the storage back too. Windows of today refuses
    /// it; strict mode does as well.
    DecommitAndRelease,
}

/// What a free call comes to.
#[derive(Clone, Debug)]
pub enum FreePlan {
    /// Pages become reserved.
    Decommit(DecommitPlan),
    /// An allocation goes.
    Release(ReleasePlan),
}

impl AddressSpace {
    /// Plans a free call. `strict` refuses what today's Windows refuses.
    ///
    /// # Errors
    /// [`Refusal::DecommitWithRelease`] in strict mode, and those of [`AddressSpace::plan_decommit`] and
    /// [`AddressSpace::plan_release`].
    pub fn plan_free(
        &self,
        address: u64,
        size: u64,
        request: FreeRequest,
        strict: bool,
    ) -> Result<FreePlan, Refusal> {
        match request {
            FreeRequest::Decommit => self.plan_decommit(address, size).map(FreePlan::Decommit),
            FreeRequest::DecommitAndRelease if strict => Err(Refusal::DecommitWithRelease),
            FreeRequest::Release | FreeRequest::DecommitAndRelease => {
                self.plan_release(address, size).map(FreePlan::Release)
            }
        }
    }
}
