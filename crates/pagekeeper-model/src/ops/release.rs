//! Release: a whole allocation becomes free (`VirtualFree` with `MEM_RELEASE`).
//!
//! Source: windows-memory-behaviour.md 5.3.

use pagekeeper_units::{HIGHEST_ADDRESS, PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::space::Found;
use crate::{AddressSpace, AllocationInfo, EngineTag, Refusal};

/// A release that the rules allow.
#[derive(Clone, Debug)]
pub struct ReleasePlan {
    pub(super) found: Found,
    allocation: AllocationInfo,
    pub(super) arena_engine: EngineTag,
    emptied_arena: Option<PageRange>,
}

impl ReleasePlan {
    /// The allocation that goes, as it is now.
    pub const fn allocation(&self) -> &AllocationInfo {
        &self.allocation
    }

    /// The pages that become free.
    pub const fn range(&self) -> PageRange {
        self.allocation.range
    }

    /// The commit charge that is returned.
    pub const fn refund(&self) -> PageCount {
        self.allocation.committed
    }

    /// The engine of the arena, where that is not the one that serves the allocation: a view in the place of a placeholder.
    pub fn lender(&self) -> Option<EngineTag> {
        (self.arena_engine != self.allocation.engine).then_some(self.arena_engine)
    }

    /// The arena in which nothing is left afterwards. When its range is the allocation's
    /// ([`crate::Placement::NewArenaAt`]) the caller removes it, so that the address is nobody's again; it may keep others.
    pub const fn emptied_arena(&self) -> Option<PageRange> {
        self.emptied_arena
    }
}

impl AddressSpace {
    /// Plans a release of the allocation in whose first page `address` lies. `size` must be 0.
    ///
    /// # Errors
    /// [`Refusal::SizeNotZero`], [`Refusal::AddressTooHigh`], [`Refusal::NotAllocated`],
    /// [`Refusal::NotAtBase`], [`Refusal::IsView`].
    pub fn plan_release(&self, address: u64, size: u64) -> Result<ReleasePlan, Refusal> {
        if size != 0 {
            return Err(Refusal::SizeNotZero { size });
        }
        if address > HIGHEST_ADDRESS {
            return Err(Refusal::AddressTooHigh { address });
        }
        let page = PageNumber::containing(address);
        let (found, allocation) = self.find_at(page)?;
        if allocation.kind.is_view() {
            return Err(Refusal::IsView {
                view: allocation.range().start(),
            });
        }
        if allocation.range().start() != page {
            return Err(Refusal::NotAtBase {
                base: allocation.range().start(),
            });
        }
        Ok(self.release_of(found, allocation))
    }

    /// The plan to let go of an allocation.
    pub(super) fn release_of(&self, found: Found, allocation: &Allocation) -> ReleasePlan {
        let arena = self.arenas.containing(allocation.range().start().get());
        let emptied_arena = arena.and_then(|arena| (arena.allocations == 1).then_some(arena.range));
        ReleasePlan {
            found,
            allocation: allocation.info(),
            arena_engine: arena.map_or(allocation.engine, |arena| arena.engine),
            emptied_arena,
        }
    }

    /// Records a release; returns the arena in which nothing is left, as [`ReleasePlan::emptied_arena`] said.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_release(&mut self, plan: ReleasePlan) -> Option<PageRange> {
        self.remove(plan.found)
    }
}
