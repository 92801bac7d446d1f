//! Reserve: address space becomes an allocation (`VirtualAlloc` with `MEM_RESERVE`).
//!
//! Source: windows-memory-behaviour.md 4.1, 4.3, 4.4, 4.7, 12.

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::arena::{FIRST_PAGE, LAST_RESERVABLE_END, USER_END};
use crate::space::touched_above_lowest;
use crate::{AddressSpace, Change, EngineTag, PageState, PlaceholderRole, Protection, Refusal};

/// What a reserve call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveRequest {
    /// The address in bytes, rounded down to 64 KiB; `None` (NULL) lets the model choose.
    pub at: Option<u64>,
    /// Size in bytes. The end is rounded up to a page.
    pub size: u64,
    /// `AllocationProtect`; with `commit` also the protection of every page.
    pub protection: Protection,
    /// The engine that shall serve it.
    pub engine: EngineTag,
    /// Commit every page in the same call (`MEM_COMMIT`).
    pub commit: bool,
    /// The highest place instead of the lowest (`MEM_TOP_DOWN`). Without effect with an address.
    pub top_down: bool,
    /// `MEM_WRITE_WATCH`.
    pub write_watch: bool,
    /// A placeholder (`MEM_RESERVE_PLACEHOLDER`): no access, nothing committed.
    pub placeholder: bool,
}

impl ReserveRequest {
    /// `size` bytes anywhere: read-write, reserved only, from the lowest hole.
    pub const fn anywhere(size: u64, engine: EngineTag) -> Self {
        Self {
            at: None,
            size,
            protection: Protection::READ_WRITE,
            engine,
            commit: false,
            top_down: false,
            write_watch: false,
            placeholder: false,
        }
    }

    /// `size` bytes at `address`, otherwise as [`ReserveRequest::anywhere`].
    pub const fn at(address: u64, size: u64, engine: EngineTag) -> Self {
        Self {
            at: Some(address),
            ..Self::anywhere(size, engine)
        }
    }

    fn check_protection(&self) -> Result<(), Refusal> {
        if self.placeholder
            && (self.protection != Protection::NO_ACCESS || self.commit || self.write_watch)
        {
            return Err(Refusal::PlaceholderProtected {
                protection: self.protection,
            });
        }
        self.protection.check_private()
    }
}

/// Where a planned reservation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In a hole of an arena: there is nothing to map.
    InArena,
    /// Outside every arena: the caller maps exactly this range (MAP_FIXED_NOREPLACE), adds it as an arena, and
    /// applies the plan. When the kernel refuses, something foreign lies there (487). The arena goes when the allocation
    /// is released ([`crate::ReleasePlan::emptied_arena`]).
    NewArenaAt(PageRange),
}

/// A reservation that the rules allow.
#[derive(Clone, Debug)]
pub struct ReservePlan {
    request: ReserveRequest,
    range: PageRange,
    placement: Placement,
    version: u64,
}

impl ReservePlan {
    /// The pages of the new allocation.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// Where it lies.
    pub const fn placement(&self) -> Placement {
        self.placement
    }

    /// The pages that are committed in the same call.
    pub const fn commit(&self) -> Option<Change> {
        if !self.request.commit {
            return None;
        }
        let after = PageState::Committed(self.request.protection);
        Some(Change {
            range: self.range,
            before: PageState::Reserved,
            after,
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

impl AddressSpace {
    /// Plans a reservation.
    ///
    /// # Errors
    /// [`Refusal::SizeZero`], [`Refusal::AddressTooLow`], [`Refusal::AddressTooHigh`],
    /// [`Refusal::EndsPastAddressSpace`], [`Refusal::ProtectionNotForPrivate`], [`Refusal::PlaceholderProtected`]; with an address
    /// [`Refusal::ConflictingAddresses`], [`Refusal::ArenaOfOtherEngine`], [`Refusal::CrossesArena`]; without one
    /// [`Refusal::NoHole`]: the caller opens an arena of at least that many pages and plans again; with commit
    /// [`Refusal::CommitmentLimit`].
    pub fn plan_reserve(&self, request: &ReserveRequest) -> Result<ReservePlan, Refusal> {
        let (range, placement) = match request.at {
            None => {
                let pages = size_anywhere(request.size)?;
                request.check_protection()?;
                let start = self
                    .arenas
                    .find_place(request.engine, pages, request.top_down)
                    .ok_or(Refusal::NoHole { pages });
                // A commit that can never be granted is refused before an arena is opened for it.
                self.check_charge(request, pages)?;
                (PageRange::new(start?, pages), Placement::InArena)
            }
            Some(address) => {
                let range = rounded_at(address, request.size)?;
                request.check_protection()?;
                let placement = self.placement_at(range, request.engine)?;
                self.check_charge(request, range.count())?;
                (range, placement)
            }
        };
        Ok(ReservePlan {
            request: *request,
            range,
            placement,
            version: self.version(),
        })
    }

    fn check_charge(&self, request: &ReserveRequest, pages: PageCount) -> Result<(), Refusal> {
        if request.commit {
            self.account.check(pages)
        } else {
            Ok(())
        }
    }

    pub(super) fn placement_at(
        &self,
        range: PageRange,
        engine: EngineTag,
    ) -> Result<Placement, Refusal> {
        if let Some(allocation) = self.allocation_at_or_after(range.start().get())
            && allocation.range().overlaps(range)
        {
            let allocation = allocation.range().start();
            return Err(Refusal::ConflictingAddresses { allocation });
        }
        match self.arenas.at_or_after(range.start().get()) {
            Some(arena) if arena.range.overlaps(range) => {
                if arena.engine != engine {
                    return Err(Refusal::ArenaOfOtherEngine {
                        engine: arena.engine,
                    });
                }
                if !arena.range.covers(range) {
                    return Err(Refusal::CrossesArena { arena: arena.range });
                }
                Ok(Placement::InArena)
            }
            _ => Ok(Placement::NewArenaAt(range)),
        }
    }

    /// Records a reservation; returns its pages.
    ///
    /// # Panics
    /// When the state changed since the plan was made, or no arena holds the range
    /// ([`Placement::NewArenaAt`] without [`AddressSpace::add_arena`]).
    pub fn apply_reserve(&mut self, plan: ReservePlan) -> PageRange {
        let ReservePlan {
            request,
            range,
            version,
            ..
        } = plan;
        let arena = self.arenas.containing(range.start().get());
        assert!(
            arena.is_some_and(|arena| arena.range.covers(range) && arena.engine == request.engine),
            "a reservation was applied without its arena"
        );
        self.advance(version);
        let state = if request.commit {
            PageState::Committed(request.protection)
        } else {
            PageState::Reserved
        };
        let role = if request.placeholder {
            PlaceholderRole::Placeholder
        } else {
            PlaceholderRole::None
        };
        let allocation = Allocation::new(
            range,
            state,
            request.protection,
            request.engine,
            request.write_watch,
        );
        self.insert(allocation.with_role(role));
        range
    }
}

pub(super) fn size_anywhere(size: u64) -> Result<PageCount, Refusal> {
    if size == 0 {
        return Err(Refusal::SizeZero);
    }
    // Larger than user space. What is not, and is still too large, finds no hole.
    if size > (USER_END - FIRST_PAGE) * PAGE_SIZE as u64 {
        return Err(Refusal::EndsPastAddressSpace { address: 0, size });
    }
    Ok(PageCount::holding(size))
}

/// From the 64 KiB boundary below the address to the end of the page that holds the last byte.
pub(super) fn rounded_at(address: u64, size: u64) -> Result<PageRange, Refusal> {
    let touched = touched_above_lowest(address, size)?;
    let start: PageNumber = touched.start().round_down_to_granule();
    if touched.end().get() > LAST_RESERVABLE_END {
        return Err(Refusal::EndsPastAddressSpace { address, size });
    }
    Ok(PageRange::between(start, touched.end()))
}
