//! Decommit: pages give their storage back and stay reserved (`VirtualFree` with `MEM_DECOMMIT`).
//!
//! Source: windows-memory-behaviour.md 5.2.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::space::{Found, touched};
use crate::{AddressSpace, Change, ChangeList, PageState, Refusal};

/// A decommit that the rules allow.
#[derive(Clone, Debug)]
pub struct DecommitPlan {
    found: Found,
    range: PageRange,
    changes: ChangeList,
    refund: PageCount,
}

impl DecommitPlan {
    /// Every page that is reserved afterwards.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// The runs that are committed now. Pages that are reserved already are left out.
    pub fn changes(&self) -> &ChangeList {
        &self.changes
    }

    /// The commit charge that is returned.
    pub const fn refund(&self) -> PageCount {
        self.refund
    }
}

impl AddressSpace {
    /// Plans a decommit of every page that `size` bytes at `address` touch; of the whole allocation when `size`
    /// is 0 and the address lies in its first page.
    ///
    /// # Errors
    /// [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`], [`Refusal::NotAllocated`],
    /// [`Refusal::NotAtBase`] for size 0 elsewhere, [`Refusal::DecommitPastEnd`], [`Refusal::IsView`],
    /// [`Refusal::IsPlaceholder`].
    pub fn plan_decommit(&self, address: u64, size: u64) -> Result<DecommitPlan, Refusal> {
        // Size 0 stands for a size that is known only below; the other checks are the same.
        let touched = touched(address, size.max(1))?;
        let (found, allocation) = self.find_at(touched.start())?;
        allocation.check_usable()?;
        let whole = allocation.range();
        if allocation.kind.is_view() {
            return Err(Refusal::IsView {
                view: whole.start(),
            });
        }
        let range = if size > 0 {
            touched
        } else if touched.start() == whole.start() {
            whole
        } else {
            return Err(Refusal::NotAtBase {
                base: whole.start(),
            });
        };
        if !whole.covers(range) {
            return Err(Refusal::DecommitPastEnd { allocation: whole });
        }
        let mut changes = ChangeList::new();
        let mut refund = 0;
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, to, byte| {
                let before = PageState::from_byte(byte);
                if before.is_committed() {
                    refund += to - from;
                    let range = PageRange::between(PageNumber::new(from), PageNumber::new(to));
                    changes.push(Change {
                        range,
                        before,
                        after: PageState::Reserved,
                    });
                }
                true
            });
        Ok(DecommitPlan {
            found,
            range,
            changes,
            refund: PageCount::new(refund),
        })
    }

    /// Records a decommit. Locked pages in it are unlocked; write-watch records are the engine's and stay.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_decommit(&mut self, plan: DecommitPlan) {
        let DecommitPlan {
            found,
            range,
            refund,
            ..
        } = plan;
        let allocation = self.begin(found);
        allocation.map.set(
            range.start().get(),
            range.end().get(),
            PageState::Reserved.to_byte(),
        );
        allocation.committed -= refund.get();
        let unlocked = allocation.set_locked(range, false);
        self.locked -= unlocked;
        self.committed -= refund.get();
        self.account.refund(refund);
    }
}
