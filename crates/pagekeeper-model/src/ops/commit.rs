//! Commit: pages of an allocation get storage (`VirtualAlloc` with `MEM_COMMIT` and an address).
//!
//! Source: windows-memory-behaviour.md 4.1, 4.4, 4.5, 6.1.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::protect::charge_for_copies;
use crate::space::{Found, touched_above_lowest};
use crate::{AddressSpace, AllocationKind, Change, ChangeList, PageState, Protection, Refusal};

/// A commit that the rules allow.
#[derive(Clone, Debug)]
pub struct CommitPlan {
    found: Found,
    range: PageRange,
    after: PageState,
    changes: ChangeList,
    charge: PageCount,
    copies: PageCount,
}

impl CommitPlan {
    /// Every page that is committed afterwards. Its address is what `VirtualAlloc` returns.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// The runs whose state changes. Pages that are committed with that protection already are left out; pages that
    /// are committed with another keep their contents; reserved pages must read as zero afterwards.
    pub fn changes(&self) -> &ChangeList {
        &self.changes
    }

    /// The commit charge of newly committed pages. Pages of a view that become write-copy are charged besides, to the view.
    pub const fn charge(&self) -> PageCount {
        self.charge
    }
}

impl AddressSpace {
    /// Plans a commit of every page that `size` bytes at `address` touch. NULL is not an address: the caller
    /// reserves and commits in one [`crate::ReserveRequest`] then.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooLow`], [`Refusal::AddressTooHigh`],
    /// [`Refusal::EndsPastAddressSpace`], [`Refusal::ProtectionNotForPrivate`], [`Refusal::NotAllocated`],
    /// [`Refusal::LeavesAllocation`], [`Refusal::IsPlaceholder`], [`Refusal::CommitmentLimit`]; in views [`Refusal::CommitInFile`] and
    /// [`Refusal::ProtectionNotForView`].
    #[inline]
    pub fn plan_commit(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<CommitPlan, Refusal> {
        let range = touched_above_lowest(address, size)?;
        let (found, allocation, after) = self.find_for(range, protection)?;
        if let AllocationKind::FileView | AllocationKind::ImageView = allocation.kind {
            let page = range.start();
            return Err(Refusal::CommitInFile { page });
        }
        let after_byte = after.to_byte();
        let mut changes = ChangeList::new();
        let mut charge = 0;
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, to, byte| {
                if byte != after_byte {
                    let before = PageState::from_byte(byte);
                    charge += if before.is_committed() { 0 } else { to - from };
                    let range = PageRange::between(PageNumber::new(from), PageNumber::new(to));
                    changes.push(Change {
                        range,
                        before,
                        after,
                    });
                }
                true
            });
        let charge = PageCount::new(charge);
        let copies = charge_for_copies(allocation, &changes);
        self.account.check(charge + copies)?;
        Ok(CommitPlan {
            found,
            range,
            after,
            changes,
            charge,
            copies,
        })
    }

    /// Records a commit.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    #[inline]
    pub fn apply_commit(&mut self, plan: CommitPlan) {
        let CommitPlan {
            found,
            range,
            after,
            charge,
            copies,
            ..
        } = plan;
        let allocation = self.begin(found);
        allocation
            .map
            .set(range.start().get(), range.end().get(), after.to_byte());
        // What is committed in a view belongs to its section, and is given back with that.
        if !allocation.kind.is_view() {
            allocation.committed += charge.get();
            self.committed += charge.get();
        }
        self.account.charge_unchecked(charge);
        if !copies.is_zero() {
            self.charge_view(found, copies);
        }
    }
}
