//! Placeholders: address space that is kept for one thing after another, split and merged at any page (`VirtualAlloc2` with
//! `MEM_REPLACE_PLACEHOLDER`, `VirtualFree` with `MEM_PRESERVE_PLACEHOLDER` or `MEM_COALESCE_PLACEHOLDERS`).
//!
//! One is made by [`AddressSpace::plan_reserve`] and goes by [`AddressSpace::plan_release`], like any reservation. What takes its
//! place, private memory or a view, finds it with [`AddressSpace::find_placeholder`] and is entered with
//! [`AddressSpace::replace_placeholder`]. Private memory is turned back by [`AddressSpace::plan_preserve`], all or a part; a view,
//! which goes as a whole, by [`AddressSpace::apply_restore`].
//!
//! Source: windows-memory-behaviour.md 5.1, 7, 12.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::space::{Found, touched, touched_above_lowest};
use crate::{
    AddressSpace, AllocationInfo, Change, ChangeList, EngineTag, PageState, PlaceholderRole,
    Protection, Refusal, ReleasePlan,
};

/// What shall take the place of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaceRequest {
    /// The placeholder's address.
    pub address: u64,
    /// Its size in bytes, all of it.
    pub size: u64,
    /// `AllocationProtect`; with `commit` also the protection of every page.
    pub protection: Protection,
    /// Commit every page in the same call (`MEM_COMMIT`).
    pub commit: bool,
    /// `MEM_WRITE_WATCH`.
    pub write_watch: bool,
}

/// A replacement that the rules allow.
#[derive(Clone, Debug)]
pub struct ReplacePlan {
    found: Found,
    request: ReplaceRequest,
    range: PageRange,
    engine: EngineTag,
}

impl ReplacePlan {
    /// The pages of the placeholder, and of what replaces it.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// The engine that serves them.
    pub const fn engine(&self) -> EngineTag {
        self.engine
    }

    /// The pages that are committed in the same call.
    pub const fn commit(&self) -> Option<Change> {
        if !self.request.commit {
            return None;
        }
        Some(Change {
            range: self.range,
            before: PageState::Reserved,
            after: PageState::Committed(self.request.protection),
        })
    }

    /// The commit charge.
    pub const fn charge(&self) -> PageCount {
        if self.request.commit {
            self.range.count()
        } else {
            PageCount::ZERO
        }
    }
}

/// Pages that become a placeholder of their own: split off one, or freed of what replaced one.
#[derive(Clone, Debug)]
pub struct PreservePlan {
    found: Found,
    allocation: AllocationInfo,
    range: PageRange,
    changes: ChangeList,
    refund: PageCount,
}

impl PreservePlan {
    /// The pages of the placeholder to be.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// The allocation that they are taken from, as it is now. What is left of it, below and above, becomes an allocation
    /// each, with its pages as they are.
    pub const fn allocation(&self) -> &AllocationInfo {
        &self.allocation
    }

    /// The runs among the pages that are committed now, and will be reserved.
    pub fn changes(&self) -> &ChangeList {
        &self.changes
    }

    /// The commit charge that is returned.
    pub const fn refund(&self) -> PageCount {
        self.refund
    }
}

/// Placeholders that become one.
#[derive(Clone, Debug)]
pub struct CoalescePlan {
    found: Found,
    count: usize,
    range: PageRange,
    engine: EngineTag,
}

impl CoalescePlan {
    /// The pages of all of them.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// How many they are: two at least.
    pub const fn count(&self) -> usize {
        self.count
    }
}

impl AddressSpace {
    /// The placeholder that has exactly these pages, for whatever shall replace it.
    ///
    /// # Errors
    /// [`Refusal::NotAllocated`], [`Refusal::NotPlaceholder`], [`Refusal::NotWholePlaceholder`].
    pub(crate) fn find_placeholder(
        &self,
        range: PageRange,
    ) -> Result<(Found, &Allocation), Refusal> {
        let (found, allocation) = self.find_at(range.start())?;
        let whole = allocation.range();
        if !allocation.is_placeholder() {
            return Err(Refusal::NotPlaceholder {
                base: whole.start(),
            });
        }
        if whole != range {
            return Err(Refusal::NotWholePlaceholder { placeholder: whole });
        }
        Ok((found, allocation))
    }

    /// Plans private memory in the place of a placeholder, all of it. The engine stays the placeholder's.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooLow`], [`Refusal::AddressTooHigh`],
    /// [`Refusal::EndsPastAddressSpace`], [`Refusal::ProtectionNotForPrivate`], [`Refusal::NotAllocated`],
    /// [`Refusal::NotPlaceholder`], [`Refusal::NotWholePlaceholder`]; with commit [`Refusal::CommitmentLimit`].
    pub fn plan_replace(&self, request: &ReplaceRequest) -> Result<ReplacePlan, Refusal> {
        let range = touched_above_lowest(request.address, request.size)?;
        request.protection.check_private()?;
        let (found, placeholder) = self.find_placeholder(range)?;
        let plan = ReplacePlan {
            found,
            request: *request,
            range,
            engine: placeholder.engine,
        };
        if request.commit {
            self.account.check(plan.charge())?;
        }
        Ok(plan)
    }

    /// Records a replacement; returns its pages.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_replace(&mut self, plan: ReplacePlan) -> PageRange {
        let ReplacePlan {
            found,
            request,
            range,
            engine,
        } = plan;
        let state = if request.commit {
            PageState::Committed(request.protection)
        } else {
            PageState::Reserved
        };
        let allocation = Allocation::new(
            range,
            state,
            request.protection,
            engine,
            request.write_watch,
        );
        self.replace_placeholder(found, allocation);
        range
    }

    /// Enters what takes the place of the placeholder that was found; it has the same pages.
    ///
    /// # Panics
    /// When the state changed since it was found.
    pub(crate) fn replace_placeholder(&mut self, found: Found, allocation: Allocation) {
        let replacement = allocation.with_role(PlaceholderRole::Replacement);
        self.put_in_place(found, 1, vec![replacement]);
    }

    /// Records that an allocation goes (a view is unmapped) and leaves a placeholder, instead of
    /// [`AddressSpace::apply_release`]. It replaced one, as [`AllocationInfo::placeholder`] of the plan says.
    ///
    /// # Panics
    /// When the state changed since the plan was made, or the allocation never replaced a placeholder.
    pub fn apply_restore(&mut self, plan: ReleasePlan) {
        let AllocationInfo {
            range, placeholder, ..
        } = *plan.allocation();
        assert!(
            placeholder == PlaceholderRole::Replacement,
            "an allocation that replaced no placeholder cannot leave one"
        );
        let restored = Allocation::placeholder(range, plan.arena_engine);
        self.put_in_place(plan.found, 1, vec![restored]);
    }

    /// Plans that the pages which `size` bytes at `address` touch become a placeholder of their own: a part of a placeholder,
    /// or all or a part of what replaced one.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`], [`Refusal::NotAllocated`],
    /// [`Refusal::LeavesAllocation`], [`Refusal::IsView`], [`Refusal::NotPlaceholder`], [`Refusal::OnePlaceholder`].
    pub fn plan_preserve(&self, address: u64, size: u64) -> Result<PreservePlan, Refusal> {
        let range = touched(address, size)?;
        let (found, allocation) = self.find_all(range)?;
        let whole = allocation.range();
        if allocation.kind.is_view() {
            return Err(Refusal::IsView {
                view: whole.start(),
            });
        }
        match allocation.placeholder {
            PlaceholderRole::None => {
                return Err(Refusal::NotPlaceholder {
                    base: whole.start(),
                });
            }
            PlaceholderRole::Placeholder if whole == range => {
                return Err(Refusal::OnePlaceholder { placeholder: whole });
            }
            PlaceholderRole::Placeholder | PlaceholderRole::Replacement => {}
        }
        let mut changes = ChangeList::new();
        let mut refund = 0;
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, to, byte| {
                let before = PageState::from_byte(byte);
                if before.is_committed() {
                    refund += to - from;
                    changes.push(Change {
                        range: PageRange::between(PageNumber::new(from), PageNumber::new(to)),
                        before,
                        after: PageState::Reserved,
                    });
                }
                true
            });
        Ok(PreservePlan {
            found,
            allocation: allocation.info(),
            range,
            changes,
            refund: PageCount::new(refund),
        })
    }

    /// Records it. Locked pages among them are unlocked.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_preserve(&mut self, plan: PreservePlan) {
        let PreservePlan { found, range, .. } = plan;
        let allocation = self
            .allocation(found.slot)
            .expect("the version vouches for the allocation");
        let whole = allocation.range();
        let below = PageRange::between(whole.start(), range.start());
        let above = PageRange::between(range.end(), whole.end());
        let mut parts = Vec::with_capacity(3);
        if !below.is_empty() {
            parts.push(allocation.part(below));
        }
        parts.push(Allocation::placeholder(range, allocation.engine));
        if !above.is_empty() {
            parts.push(allocation.part(above));
        }
        self.put_in_place(found, 1, parts);
    }

    /// Plans that two or more placeholders which follow each other become one. The pages that `size` bytes at `address` touch
    /// are exactly theirs.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooHigh`], [`Refusal::EndsPastAddressSpace`], [`Refusal::NotAllocated`] (also for
    /// a hole), [`Refusal::NotPlaceholder`], [`Refusal::NotWholePlaceholder`], [`Refusal::OnePlaceholder`];
    /// [`Refusal::CrossesArena`] where they lie in mappings that were made apart.
    pub fn plan_coalesce(&self, address: u64, size: u64) -> Result<CoalescePlan, Refusal> {
        let range = touched(address, size)?;
        let (first, allocation) = self.find_at(range.start())?;
        let (mut at, mut count) = (range.start(), 0);
        while at < range.end() {
            let (_, next) = self.find_at(at)?;
            let placeholder = next.range();
            if !next.is_placeholder() {
                return Err(Refusal::NotPlaceholder {
                    base: placeholder.start(),
                });
            }
            if placeholder.start() != at || placeholder.end() > range.end() {
                return Err(Refusal::NotWholePlaceholder { placeholder });
            }
            at = placeholder.end();
            count += 1;
        }
        if count == 1 {
            return Err(Refusal::OnePlaceholder { placeholder: range });
        }
        if let Some(arena) = self.arenas.containing(range.start().get())
            && !arena.range.covers(range)
        {
            return Err(Refusal::CrossesArena { arena: arena.range });
        }
        Ok(CoalescePlan {
            found: first,
            count,
            range,
            engine: allocation.engine,
        })
    }

    /// Records it.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_coalesce(&mut self, plan: CoalescePlan) {
        let whole = Allocation::placeholder(plan.range, plan.engine);
        self.put_in_place(plan.found, plan.count, vec![whole]);
    }
}
