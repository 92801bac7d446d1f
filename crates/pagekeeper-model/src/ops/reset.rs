//! Reset: the contents are of no interest until the next write (`MEM_RESET`, `MEM_RESET_UNDO`).
//!
//! Source: windows-memory-behaviour.md 4.6.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::space::touched_above_lowest;
use crate::{AddressSpace, AllocationKind, Change, ChangeList, PageState, Refusal};

/// A reset, or its undoing, that the rules allow. No state changes, so that there is nothing to apply.
#[derive(Clone, Debug)]
pub struct ResetPlan {
    address: u64,
    committed: ChangeList,
}

impl ResetPlan {
    /// The address that `VirtualAlloc` returns: that of the first page touched.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// The committed pages among the whole pages inside the range; each run's state stays what it is. May be empty.
    pub fn committed(&self) -> &ChangeList {
        &self.committed
    }
}

impl AddressSpace {
    /// Plans a reset of the whole pages inside `size` bytes at `address`. Reserved pages among them are tolerated;
    /// neither state nor protection nor charge changes. Undoing passes the same checks.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooLow`], [`Refusal::AddressTooHigh`],
    /// [`Refusal::EndsPastAddressSpace`], [`Refusal::NotAllocated`], [`Refusal::LeavesAllocation`],
    /// [`Refusal::ResetInFile`].
    pub fn plan_reset(&self, address: u64, size: u64) -> Result<ResetPlan, Refusal> {
        let touched = touched_above_lowest(address, size)?;
        let (_, allocation) = self.find_all(touched)?;
        if let AllocationKind::FileView | AllocationKind::ImageView = allocation.kind {
            return Err(Refusal::ResetInFile {
                page: touched.start(),
            });
        }
        let inside = PageRange::within(address, size)
            .unwrap_or(PageRange::new(touched.start(), PageCount::ZERO));
        let mut committed = ChangeList::new();
        allocation.map.visit(
            inside.start().get(),
            inside.end().get(),
            |from, to, byte| {
                let state = PageState::from_byte(byte);
                if state.is_committed() {
                    let range = PageRange::between(PageNumber::new(from), PageNumber::new(to));
                    committed.push(Change {
                        range,
                        before: state,
                        after: state,
                    });
                }
                true
            },
        );
        Ok(ResetPlan {
            address: touched.address(),
            committed,
        })
    }
}
