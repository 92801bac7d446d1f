//! Protect: committed pages get another protection (`VirtualProtect`).
//!
//! Source: windows-memory-behaviour.md 6 and 6.1.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::space::{Found, touched};
use crate::{AddressSpace, Change, ChangeList, PageState, Protection, Refusal};

/// A protection change that the rules allow.
#[derive(Clone, Debug)]
pub struct ProtectPlan {
    found: Found,
    range: PageRange,
    old: Protection,
    after: PageState,
    changes: ChangeList,
    charge: PageCount,
}

impl ProtectPlan {
    /// Every page that has the protection afterwards.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// The protection of the first page before the call (`lpflOldProtect`).
    pub const fn old(&self) -> Protection {
        self.old
    }

    /// The commit charge: pages of a view that are promised a private copy from now on.
    pub const fn charge(&self) -> PageCount {
        self.charge
    }

    /// The runs whose protection changes. Contents stay. Pages that have it already are left out.
    pub fn changes(&self) -> &ChangeList {
        &self.changes
    }
}

impl AddressSpace {
    /// Plans a protection change of every page that `size` bytes at `address` touch.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`],
    /// [`Refusal::ProtectionNotForPrivate`], [`Refusal::NotAllocated`], [`Refusal::LeavesAllocation`],
    /// [`Refusal::NotCommitted`]; in views [`Refusal::ProtectionNotForView`], and [`Refusal::CommitmentLimit`] where a
    /// shared page is to be copied on the next write.
    pub fn plan_protect(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<ProtectPlan, Refusal> {
        let range = touched(address, size)?;
        let (found, allocation, after) = self.find_for(range, protection)?;
        let mut changes = ChangeList::new();
        let mut old = None;
        let mut reserved = None;
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, to, byte| {
                let before = PageState::from_byte(byte);
                let Some(protection) = before.protection() else {
                    reserved = Some(PageNumber::new(from));
                    return false;
                };
                old.get_or_insert(protection);
                if before != after {
                    let range = PageRange::between(PageNumber::new(from), PageNumber::new(to));
                    changes.push(Change {
                        range,
                        before,
                        after,
                    });
                }
                true
            });
        let (None, Some(old)) = (reserved, old) else {
            return Err(Refusal::NotCommitted {
                page: reserved.unwrap_or(range.start()),
            });
        };
        let charge = charge_for_copies(allocation, &changes);
        self.account.check(charge)?;
        Ok(ProtectPlan {
            found,
            range,
            old,
            after,
            changes,
            charge,
        })
    }

    /// Records a protection change; returns the old protection of the first page.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_protect(&mut self, plan: ProtectPlan) -> Protection {
        self.record(plan.found, plan.range, plan.after);
        if !plan.charge.is_zero() {
            self.charge_view(plan.found, plan.charge);
        }
        plan.old
    }
}

/// Pages that become write-copy and were not. They stay charged until the view goes, since a copy that was made stays; so
/// a view is never charged for more pages than it has.
pub(super) fn charge_for_copies(allocation: &Allocation, changes: &ChangeList) -> PageCount {
    if !allocation.kind.is_view() {
        return PageCount::ZERO;
    }
    let is_write_copy =
        |state: PageState| state.protection().is_some_and(Protection::is_write_copy);
    let pages: PageCount = changes
        .iter()
        .filter(|change| is_write_copy(change.after) && !is_write_copy(change.before))
        .map(|change| change.range.count())
        .sum();
    let uncharged = allocation.range().count().get() - allocation.committed;
    pages.min(PageCount::new(uncharged))
}
