//! Lock and unlock: pages that must stay in RAM (`VirtualLock`, `VirtualUnlock`).
//!
//! There is no lock count: one unlock undoes any number of locks.
//!
//! Source: windows-memory-behaviour.md 10.1.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::space::{Found, touched};
use crate::{Access, AddressSpace, PageState, Refusal};

/// A lock that the rules allow.
#[derive(Clone, Copy, Debug)]
pub struct LockPlan {
    found: Found,
    range: PageRange,
    added: PageCount,
}

impl LockPlan {
    /// Every page that is locked afterwards, those that were before included.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// How many of them are not locked yet.
    pub const fn added(&self) -> PageCount {
        self.added
    }
}

/// An unlock that the rules allow.
#[derive(Clone, Copy, Debug)]
pub struct UnlockPlan {
    found: Found,
    range: PageRange,
}

impl UnlockPlan {
    /// The pages, all locked now.
    pub const fn range(&self) -> PageRange {
        self.range
    }
}

impl AddressSpace {
    /// Plans a lock of every page that `size` bytes at `address` touch.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`],
    /// [`Refusal::NotAccessible`] for a page that is free, reserved, no-access, or in another allocation than the first;
    /// [`Refusal::GuardPage`] for an armed guard: the caller disarms it ([`AddressSpace::clear_guard`]), and the next
    /// call works; [`Refusal::WorkingSetQuota`].
    pub fn plan_lock(&self, address: u64, size: u64) -> Result<LockPlan, Refusal> {
        let range = touched(address, size)?;
        let not_accessible = |page| Refusal::NotAccessible { page };
        let (found, allocation) = self
            .find(range.start())
            .ok_or(not_accessible(range.start()))?;
        let inside = range.intersection(allocation.range());
        let mut refused = None;
        allocation
            .map
            .visit(inside.start().get(), inside.end().get(), |from, _, byte| {
                let page = PageNumber::new(from);
                refused = match PageState::from_byte(byte) {
                    PageState::Committed(protection) if protection.is_guard() => {
                        Some(Refusal::GuardPage { page })
                    }
                    PageState::Committed(protection) if protection.allows(Access::Read) => None,
                    _ => Some(not_accessible(page)),
                };
                refused.is_none()
            });
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        if inside != range {
            return Err(not_accessible(inside.end()));
        }
        let wanted = range.count() - PageCount::new(allocation.locked_in(range));
        let available = self
            .working_set
            .lockable()
            .saturating_sub(PageCount::new(self.locked));
        if wanted > available {
            return Err(Refusal::WorkingSetQuota { wanted, available });
        }
        Ok(LockPlan {
            found,
            range,
            added: wanted,
        })
    }

    /// Records a lock.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_lock(&mut self, plan: LockPlan) {
        let added = self.begin(plan.found).set_locked(plan.range, true);
        self.locked += added;
    }

    /// Plans an unlock of every page that `size` bytes at `address` touch.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`],
    /// [`Refusal::NotLocked`] with the lowest page that is not: nothing is unlocked then, and the pages that
    /// [`AddressSpace::not_locked`] names leave the working set.
    pub fn plan_unlock(&self, address: u64, size: u64) -> Result<UnlockPlan, Refusal> {
        let range = touched(address, size)?;
        let not_locked = |page| Refusal::NotLocked { page };
        let (found, allocation) = self.find(range.start()).ok_or(not_locked(range.start()))?;
        let inside = range.intersection(allocation.range());
        let mut first_not = None;
        allocation.visit_locked(inside, |from, _, locked| {
            if !locked {
                first_not = Some(PageNumber::new(from));
            }
            locked
        });
        match first_not {
            Some(page) => Err(not_locked(page)),
            None if inside != range => Err(not_locked(inside.end())),
            None => Ok(UnlockPlan { found, range }),
        }
    }

    /// Records an unlock.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_unlock(&mut self, plan: UnlockPlan) {
        let removed = self.begin(plan.found).set_locked(plan.range, false);
        self.locked -= removed;
    }

    /// The committed pages in `range` that are not locked, upwards.
    pub fn not_locked(&self, range: PageRange) -> Vec<PageRange> {
        self.collect_locked(range, false)
    }

    /// The locked pages in `range`, upwards.
    pub fn locked(&self, range: PageRange) -> Vec<PageRange> {
        self.collect_locked(range, true)
    }

    fn collect_locked(&self, range: PageRange, wanted: bool) -> Vec<PageRange> {
        let mut found = Vec::new();
        let mut at = range.start();
        while at < range.end()
            && let Some(allocation) = self.allocation_at_or_after(at.get())
        {
            let part = range.intersection(allocation.range());
            if part.is_empty() {
                break;
            }
            allocation.visit_locked(part, |from, to, locked| {
                if locked == wanted {
                    allocation.map.visit(from, to, |from, to, byte| {
                        if PageState::from_byte(byte).is_committed() {
                            let run = (PageNumber::new(from), PageNumber::new(to));
                            found.push(PageRange::between(run.0, run.1));
                        }
                        true
                    });
                }
                true
            });
            at = part.end();
        }
        found
    }
}
