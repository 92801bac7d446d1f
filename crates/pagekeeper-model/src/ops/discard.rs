//! Discard: contents become undefined, pages stay committed (`DiscardVirtualMemory`).
//!
//! Source: windows-memory-behaviour.md 10.4.

use pagekeeper_units::{PAGE_SIZE, PageNumber, PageRange};

use crate::space::touched;
use crate::{AddressSpace, PageState, Protection, Refusal};

/// A discard that the rules allow. No state changes, so that there is nothing to apply.
#[derive(Clone, Copy, Debug)]
pub struct DiscardPlan {
    range: PageRange,
}

impl DiscardPlan {
    /// The pages: all committed and read-write.
    pub const fn range(&self) -> PageRange {
        self.range
    }
}

impl AddressSpace {
    /// Plans a discard of whole pages.
    ///
    /// # Errors
    /// [`Refusal::NotPageAligned`], [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`],
    /// [`Refusal::EndsPastAddressSpace`], [`Refusal::NotAllocated`], [`Refusal::LeavesAllocation`],
    /// [`Refusal::NotCommitted`], [`Refusal::NotReadWrite`], [`Refusal::IsView`]. Nothing is altered then.
    pub fn plan_discard(&self, address: u64, size: u64) -> Result<DiscardPlan, Refusal> {
        if !(address | size).is_multiple_of(PAGE_SIZE as u64) {
            return Err(Refusal::NotPageAligned { address, size });
        }
        let range = touched(address, size)?;
        let (_, allocation) = self.find_all(range)?;
        if allocation.kind.is_view() {
            return Err(Refusal::IsView {
                view: allocation.range().start(),
            });
        }
        let wanted = Protection::READ_WRITE.in_allocation(allocation.protection);
        let mut refused = None;
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, _, byte| {
                let page = PageNumber::new(from);
                refused = match PageState::from_byte(byte) {
                    PageState::Reserved => Some(Refusal::NotCommitted { page }),
                    PageState::Committed(protection) if protection != wanted => {
                        Some(Refusal::NotReadWrite { page, protection })
                    }
                    PageState::Committed(_) => None,
                };
                refused.is_none()
            });
        refused.map_or(Ok(DiscardPlan { range }), Err)
    }
}
