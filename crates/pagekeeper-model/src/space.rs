//! The address space: allocations, arenas, commit account, and the look-ups that operations share.

use core::sync::atomic::{AtomicU32, Ordering};

use pagekeeper_units::{ByteCount, HIGHEST_ADDRESS, PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::arena::{Arenas, FIRST_PAGE};
use crate::hints::Hints;
use crate::tree::Tree;
use crate::{
    AllocationInfo, ArenaError, ArenaInfo, CommitAccount, EngineTag, PageState, Protection,
    Refusal, WorkingSetLimits,
};

/// How much is reserved, committed and locked, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Allocations alive.
    pub allocations: usize,
    /// Pages in allocations, committed ones included.
    pub reserved: PageCount,
    /// Committed pages.
    pub committed: PageCount,
    /// Locked pages.
    pub locked: PageCount,
}

/// The rules of one address space, with what they need to remember.
///
/// An operation is two steps: `plan_...` looks and refuses or answers with a plan, without changing anything;
/// the caller carries the plan out on real memory; `apply_...` then records it. When carrying it out fails, the
/// plan is dropped and nothing has happened. One lock must be held from plan to apply, because a plan is good only for the
/// state it was made in: applying one after another operation was applied panics.
///
/// ```
/// use pagekeeper_model::{AddressSpace, EngineTag, Placement, Protection, ReserveRequest};
/// use pagekeeper_units::{PageCount, PageNumber, PageRange};
///
/// let mut space = AddressSpace::new(PageCount::new(1000));
/// let engine = EngineTag(0);
/// space.add_arena(PageRange::new(PageNumber::new(0x1000), PageCount::new(1 << 20)), engine).unwrap();
///
/// let plan = space.plan_reserve(&ReserveRequest::anywhere(1 << 30, engine)).unwrap();
/// assert_eq!(plan.placement(), Placement::InArena);
/// let base = space.apply_reserve(plan).start();
///
/// let plan = space.plan_commit(base.address(), 4096, Protection::READ_WRITE).unwrap();
/// assert_eq!(plan.charge(), PageCount::ONE);
/// // ... make plan.changes() true on real memory ...
/// space.apply_commit(plan);
/// assert_eq!(space.totals().committed, PageCount::ONE);
/// ```
pub struct AddressSpace {
    /// First page of an allocation → its slot.
    index: Tree<false>,
    slots: Vec<Option<Allocation>>,
    free_slots: Vec<u32>,
    /// The slot that was found last: operations come in series on one allocation.
    last_found: AtomicU32,
    /// Where each was found, for series on many.
    hints: Hints,
    pub(crate) arenas: Arenas,
    pub(crate) account: CommitAccount,
    pub(crate) working_set: WorkingSetLimits,
    pub(crate) reserved: u64,
    pub(crate) committed: u64,
    pub(crate) locked: u64,
    /// Counts applied operations; a plan carries the value it was made at.
    version: u64,
}

/// Where an allocation is, as a plan remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) slot: u32,
    pub(crate) version: u64,
}

impl AddressSpace {
    /// An empty space that promises at most `commit_limit` pages.
    pub const fn new(commit_limit: PageCount) -> Self {
        Self {
            index: Tree::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            last_found: AtomicU32::new(0),
            hints: Hints::new(),
            arenas: Arenas::new(),
            account: CommitAccount::new(commit_limit),
            working_set: WorkingSetLimits::DEFAULT,
            reserved: 0,
            committed: 0,
            locked: 0,
            version: 0,
        }
    }

    /// Hands address space of an engine to the placement: `range` is mapped and nothing lies in it.
    ///
    /// # Errors
    /// [`ArenaError`] when it is empty, misaligned, out of bounds or overlaps another arena.
    pub fn add_arena(&mut self, range: PageRange, engine: EngineTag) -> Result<(), ArenaError> {
        self.arenas.add(range, engine)
    }

    /// Takes an empty arena away; the caller unmaps it.
    ///
    /// # Errors
    /// [`ArenaError::Unknown`] and [`ArenaError::InUse`].
    pub fn remove_arena(&mut self, range: PageRange) -> Result<(), ArenaError> {
        self.arenas.remove(range)
    }

    /// Every arena, upwards.
    pub fn arenas(&self) -> impl Iterator<Item = ArenaInfo> + '_ {
        self.arenas.iter()
    }

    /// The arena that holds `page`.
    pub fn arena_at(&self, page: PageNumber) -> Option<ArenaInfo> {
        self.arenas.containing(page.get()).copied()
    }

    /// The commit charge, its limit and its peak.
    pub const fn commit_account(&self) -> &CommitAccount {
        &self.account
    }

    /// The commit account, to change its limit or to charge what is not private memory (sections, copies).
    pub fn commit_account_mut(&mut self) -> &mut CommitAccount {
        &mut self.account
    }

    /// The working-set limits.
    pub const fn working_set(&self) -> &WorkingSetLimits {
        &self.working_set
    }

    /// The working-set limits, to change them.
    pub fn working_set_mut(&mut self) -> &mut WorkingSetLimits {
        &mut self.working_set
    }

    /// How much is reserved, committed and locked.
    pub fn totals(&self) -> Totals {
        Totals {
            allocations: self.index.len(),
            reserved: PageCount::new(self.reserved),
            committed: PageCount::new(self.committed),
            locked: PageCount::new(self.locked),
        }
    }

    /// Heap memory that the rules themselves use. Walks every allocation.
    pub fn metadata_bytes(&self) -> ByteCount {
        let bytes = self.index.heap_bytes()
            + self.hints.heap_bytes()
            + self.arenas.heap_bytes()
            + self.slots.capacity() * size_of::<Option<Allocation>>()
            + self.free_slots.capacity() * size_of::<u32>()
            + self
                .slots
                .iter()
                .flatten()
                .map(Allocation::heap_bytes)
                .sum::<usize>();
        ByteCount::new(bytes as u64)
    }

    /// Every allocation, upwards.
    pub fn allocations(&self) -> impl Iterator<Item = AllocationInfo> + '_ {
        self.allocations_from(PageNumber::new(0))
    }

    /// Every allocation whose base is at or above `page`, upwards.
    pub fn allocations_from(&self, page: PageNumber) -> impl Iterator<Item = AllocationInfo> + '_ {
        let mut at = page.get();
        core::iter::from_fn(move || {
            let (base, slot) = self.index.ceiling(at)?;
            at = base + 1;
            self.allocation(slot as u32).map(Allocation::info)
        })
    }

    /// The allocation that holds `page`.
    pub fn allocation_at(&self, page: PageNumber) -> Option<AllocationInfo> {
        self.find(page).map(|(_, allocation)| allocation.info())
    }

    #[inline]
    pub(crate) fn allocation(&self, slot: u32) -> Option<&Allocation> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The allocation that holds `page`, with its place for a plan.
    #[inline]
    pub(crate) fn find(&self, page: PageNumber) -> Option<(Found, &Allocation)> {
        // Relaxed: a hint only, and the caller holds the space's lock anyway.
        let last = self.last_found.load(Ordering::Relaxed);
        if let Some(allocation) = self.holder(last, page) {
            return Some((self.found(last), allocation));
        }
        if let Some(slot) = self.hints.guess(page.get())
            && let Some(allocation) = self.holder(slot, page)
        {
            self.last_found.store(slot, Ordering::Relaxed);
            return Some((self.found(slot), allocation));
        }
        let (_, slot) = self.index.floor(page.get())?;
        let slot = slot as u32;
        let allocation = self.holder(slot, page)?;
        self.last_found.store(slot, Ordering::Relaxed);
        self.hints.note(page.get(), slot);
        Some((self.found(slot), allocation))
    }

    /// The allocation in `slot`, if it holds `page`.
    #[inline]
    fn holder(&self, slot: u32, page: PageNumber) -> Option<&Allocation> {
        self.allocation(slot)
            .filter(|allocation| allocation.range().contains(page))
    }

    #[inline]
    const fn found(&self, slot: u32) -> Found {
        Found {
            slot,
            version: self.version,
        }
    }

    /// [`AddressSpace::find`], refusing free addresses.
    #[inline]
    pub(crate) fn find_at(&self, page: PageNumber) -> Result<(Found, &Allocation), Refusal> {
        self.find(page).ok_or(Refusal::NotAllocated {
            address: page.address(),
        })
    }

    /// The allocation that holds all of `range`.
    #[inline]
    pub(crate) fn find_all(&self, range: PageRange) -> Result<(Found, &Allocation), Refusal> {
        let (found, allocation) = self.find_at(range.start())?;
        if allocation.range().covers(range) {
            return Ok((found, allocation));
        }
        Err(Refusal::LeavesAllocation {
            allocation: allocation.range(),
        })
    }

    /// The same where all of `range` shall have `protection`, and the state that it gets.
    #[inline]
    pub(crate) fn find_for(
        &self,
        range: PageRange,
        protection: Protection,
    ) -> Result<(Found, &Allocation, PageState), Refusal> {
        let (found, allocation) = match self.find_all(range) {
            Ok(found) => found,
            Err(refusal) => {
                protection.check_private()?;
                return Err(refusal);
            }
        };
        let state = PageState::Committed(allocation.accepted(protection)?);
        allocation.check_usable()?;
        Ok((found, allocation, state))
    }

    /// The lowest allocation that ends above `page`.
    #[inline]
    pub(crate) fn allocation_at_or_after(&self, page: u64) -> Option<&Allocation> {
        if let Some((_, allocation)) = self.find(PageNumber::new(page)) {
            return Some(allocation);
        }
        let (_, slot) = self.index.ceiling(page)?;
        self.allocation(slot as u32)
    }

    /// The mark of a plan that is not about an existing allocation.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Called first by every apply: the plan must have been made in the state that is now.
    #[inline]
    pub(crate) fn advance(&mut self, planned_at: u64) {
        assert_eq!(
            self.version, planned_at,
            "a plan was applied after another operation"
        );
        self.version += 1;
    }

    /// The planned allocation, to change it.
    #[inline]
    pub(crate) fn begin(&mut self, found: Found) -> &mut Allocation {
        self.advance(found.version);
        self.slots[found.slot as usize]
            .as_mut()
            .expect("the version vouches for the allocation")
    }

    /// Takes a new allocation in.
    pub(crate) fn insert(&mut self, allocation: Allocation) {
        let (range, committed) = (allocation.range(), allocation.committed);
        self.enter(allocation);
        self.arenas.occupy(range);
        self.reserved += range.count().get();
        self.committed += committed;
        self.account.charge_unchecked(PageCount::new(committed));
    }

    /// Enters an allocation whose pages are accounted for already.
    fn enter(&mut self, allocation: Allocation) {
        let start = allocation.range().start();
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(allocation);
                slot
            }
            None => {
                self.slots.push(Some(allocation));
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(start.get(), u64::from(slot));
        self.note(start, slot);
    }

    /// Notes where a new allocation is, and where all are when the room for such notes has grown.
    fn note(&mut self, start: PageNumber, slot: u32) {
        if self.hints.grow(self.index.len()) {
            for (slot, allocation) in self.slots.iter().enumerate() {
                if let Some(allocation) = allocation {
                    let start = allocation.range().start().get();
                    self.hints.note(start, slot as u32);
                }
            }
        } else {
            self.hints.note(start.get(), slot);
        }
    }

    /// Takes an allocation out; returns the arena in which nothing is left.
    pub(crate) fn remove(&mut self, found: Found) -> Option<PageRange> {
        self.advance(found.version);
        let allocation = self.leave(found.slot);
        let range = allocation.range();
        self.reserved -= range.count().get();
        self.forget_pages(&allocation);
        let end = range.end();
        // Only behind an end inside a granule can another allocation begin within that granule.
        let next = if end.round_up_to_granule() == end {
            None
        } else {
            self.index.ceiling(end.get()).map(|(start, _)| start)
        };
        self.arenas.vacate(range, next)
    }

    /// Takes an allocation out whose pages stay accounted for.
    fn leave(&mut self, slot: u32) -> Allocation {
        let allocation = self.slots[slot as usize]
            .take()
            .expect("the version vouches for the allocation");
        self.free_slots.push(slot);
        self.index.remove(allocation.range().start().get());
        allocation
    }

    /// Its committed and locked pages are so no more.
    fn forget_pages(&mut self, allocation: &Allocation) {
        self.committed -= allocation.committed;
        self.account.refund(PageCount::new(allocation.committed));
        self.locked -= allocation.locked();
    }

    /// Puts allocations, upwards and without a gap, in the place of `count` that follow each other from `found` on and have the
    /// same pages. All lie in one arena. Whatever of committed and locked pages the old ones have and the new ones have not is
    /// given back, and the other way round.
    pub(crate) fn put_in_place(&mut self, found: Found, count: usize, new: Vec<Allocation>) {
        self.advance(found.version);
        let mut at = found.slot;
        for left in (0..count).rev() {
            let old = self.leave(at);
            self.forget_pages(&old);
            if left > 0
                && let Some(next) = self.index.get(old.range().end().get())
            {
                at = next as u32;
            }
        }
        if let Some(first) = new.first() {
            let start = first.range().start();
            self.arenas.recount(start, count, new.len());
        }
        for allocation in new {
            self.committed += allocation.committed;
            self.account
                .charge_unchecked(PageCount::new(allocation.committed));
            self.locked += allocation.locked();
            self.enter(allocation);
        }
    }

    /// Records that `range` of a planned allocation has become `state`, all of it.
    pub(crate) fn record(&mut self, found: Found, range: PageRange, state: PageState) {
        self.begin(found)
            .map
            .set(range.start().get(), range.end().get(), state.to_byte());
    }
}

/// The pages that `size` bytes at `address` touch: size above zero, and all of it inside user space.
///
/// Source: windows-memory-behaviour.md 4.4.
#[inline]
pub(crate) fn touched(address: u64, size: u64) -> Result<PageRange, Refusal> {
    if size == 0 {
        return Err(Refusal::SizeZero);
    }
    if address > HIGHEST_ADDRESS {
        return Err(Refusal::AddressTooHigh { address });
    }
    match address.checked_add(size - 1) {
        Some(last) if last <= HIGHEST_ADDRESS => {}
        _ => return Err(Refusal::EndsPastAddressSpace { address, size }),
    }
    PageRange::touched_by(address, size).ok_or(Refusal::EndsPastAddressSpace { address, size })
}

/// The same for the calls that make memory: they refuse addresses below the lowest by themselves, where the others
/// find nothing allocated.
#[inline]
pub(crate) fn touched_above_lowest(address: u64, size: u64) -> Result<PageRange, Refusal> {
    let range = touched(address, size)?;
    if range.start().get() < FIRST_PAGE {
        return Err(Refusal::AddressTooLow { address });
    }
    Ok(range)
}
