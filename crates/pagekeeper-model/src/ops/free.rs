//! Free: the one call that decommits, releases, splits or merges (`VirtualFree`), with its combined form.
//!
//! Source: windows-memory-behaviour.md 5.1, 12 and product.md (decommit and release together).

use crate::{AddressSpace, CoalescePlan, DecommitPlan, PreservePlan, Refusal, ReleasePlan};

/// Which of them a free call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FreeRequest {
    /// `MEM_DECOMMIT`.
    Decommit,
    /// `MEM_RELEASE`.
    Release,
    /// `MEM_DECOMMIT | MEM_RELEASE`: a release, since that gives the storage back too. Windows of today refuses
    /// it; strict mode does as well.
    DecommitAndRelease,
    /// `MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER`: the pages become a placeholder of their own. Splits one, or frees what
    /// replaced one.
    PreservePlaceholder,
    /// `MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS`: placeholders that follow each other become one.
    CoalescePlaceholders,
}

/// What a free call comes to.
#[derive(Clone, Debug)]
pub enum FreePlan {
    /// Pages become reserved.
    Decommit(DecommitPlan),
    /// An allocation goes.
    Release(ReleasePlan),
    /// Pages become a placeholder.
    Preserve(PreservePlan),
    /// Placeholders become one.
    Coalesce(CoalescePlan),
}

impl AddressSpace {
    /// Plans a free call. `strict` refuses what today's Windows refuses.
    ///
    /// # Errors
    /// [`Refusal::DecommitWithRelease`] in strict mode, and those of [`AddressSpace::plan_decommit`],
    /// [`AddressSpace::plan_release`], [`AddressSpace::plan_preserve`] and [`AddressSpace::plan_coalesce`].
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
            FreeRequest::PreservePlaceholder => {
                self.plan_preserve(address, size).map(FreePlan::Preserve)
            }
            FreeRequest::CoalescePlaceholders => {
                self.plan_coalesce(address, size).map(FreePlan::Coalesce)
            }
        }
    }
}
