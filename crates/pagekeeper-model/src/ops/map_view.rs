//! Views: a part of a section becomes an allocation, and goes again (`MapViewOfFile`, `UnmapViewOfFile`).
//!
//! What a view shows, and how far its section lets it, is the caller's to know; here is where it lies, what its pages are,
//! and what is charged. A view is charged only for private copies: what is committed in a section is charged with that.
//!
//! Source: windows-memory-behaviour.md 6.2, 7, 13.2, 13.3, 14.

use pagekeeper_units::{
    HIGHEST_ADDRESS, PAGE_SIZE, PAGES_PER_GRANULE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber,
    PageRange,
};

use super::reserve::{rounded_at, size_anywhere};
use crate::allocation::Allocation;
use crate::space::{Found, touched_above_lowest};
use crate::{
    AddressSpace, AllocationKind, Change, ChangeList, EngineTag, PageState, PlaceholderRole,
    Placement, Protection, Refusal, ReleasePlan,
};

/// Bytes of a granule: views begin at multiples of it.
const GRANULE: u64 = PAGES_PER_GRANULE * PAGE_SIZE as u64;

/// What a map call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The address in bytes, a multiple of 64 KiB (of a page, where it replaces a placeholder); `None` (NULL) lets the model choose.
    pub at: Option<u64>,
    /// Size in bytes. The end is rounded up to a page.
    pub size: u64,
    /// `AllocationProtect`: the most that any of its pages may ever allow.
    pub protection: Protection,
    /// What every page is at first, where that is less (an image); else the same as `protection`.
    pub pages: Protection,
    /// What it is a view of.
    pub kind: AllocationKind,
    /// The engine that serves it.
    pub engine: EngineTag,
    /// Its pages are reserved until somebody commits them in the section (`SEC_RESERVE`).
    pub reserved: bool,
    /// It takes the place of the placeholder at `at`, exactly its pages (`MEM_REPLACE_PLACEHOLDER`).
    pub replace: bool,
    /// Which page of the file its first page shows. Where the model chooses, a view of 2 MiB or more lies like its file, to multiples
    /// of 2 MiB: large pages of the page cache are then mapped as such.
    pub file_page: u64,
}

/// A view that the rules allow.
#[derive(Clone, Debug)]
pub struct MapPlan {
    request: MapRequest,
    range: PageRange,
    placement: Placement,
    charge: PageCount,
    version: u64,
    replaced: Option<Replaced>,
}

/// The placeholder that a view takes the place of.
#[derive(Clone, Copy, Debug)]
struct Replaced {
    found: Found,
    engine: EngineTag,
}

impl MapPlan {
    /// The pages of the new view.
    pub const fn range(&self) -> PageRange {
        self.range
    }

    /// Where it lies.
    pub const fn placement(&self) -> Placement {
        self.placement
    }

    /// The engine that serves the placeholder whose place the view takes, and the arena that it lies in; `None`: it takes no
    /// placeholder's place.
    pub const fn lender(&self) -> Option<EngineTag> {
        match self.replaced {
            Some(replaced) => Some(replaced.engine),
            None => None,
        }
    }

    /// The commit charge: all of a view that is copied on write, else nothing.
    pub const fn charge(&self) -> PageCount {
        self.charge
    }

    /// What every page of it is at first.
    pub const fn state(&self) -> PageState {
        if self.request.reserved {
            PageState::Reserved
        } else {
            PageState::Committed(self.request.pages)
        }
    }
}

/// Pages of a view that were committed through another view of its section.
#[derive(Clone, Debug)]
pub struct FollowPlan {
    found: Found,
    changes: ChangeList,
}

impl FollowPlan {
    /// The runs that were reserved, and get the view's own protection.
    pub fn changes(&self) -> &ChangeList {
        &self.changes
    }
}

/// How far above `start`, in granules, a place begins that lies like the page of the file, as near as granules allow.
fn like_the_file(start: PageNumber, file_page: u64) -> PageCount {
    let distance = file_page.wrapping_sub(start.get()) % PAGES_PER_HUGE_PAGE;
    PageCount::new(distance / PAGES_PER_GRANULE * PAGES_PER_GRANULE)
}

impl AddressSpace {
    /// Plans a view.
    ///
    /// # Errors
    /// [`Refusal::ViewMisaligned`], and as [`AddressSpace::plan_reserve`]. In the place of a placeholder
    /// [`Refusal::NotAllocated`], [`Refusal::NotPlaceholder`], [`Refusal::NotWholePlaceholder`],
    /// [`Refusal::ImageInPlaceholder`].
    pub fn plan_map(&self, request: &MapRequest) -> Result<MapPlan, Refusal> {
        let mut replaced = None;
        let (range, placement) = match request.at {
            Some(address) if request.replace => {
                let (range, found) = self.plan_over_placeholder(address, request)?;
                replaced = Some(found);
                (range, Placement::InArena)
            }
            None => {
                let pages = size_anywhere(request.size)?;
                // What may have to be skipped.
                let slack = match pages.get() >= PAGES_PER_HUGE_PAGE {
                    true => PageCount::new(PAGES_PER_HUGE_PAGE - PAGES_PER_GRANULE),
                    false => PageCount::ZERO,
                };
                let with_slack = pages + slack;
                let start = self
                    .arenas
                    .find_place(request.engine, with_slack, false)
                    .ok_or(Refusal::NoHole { pages: with_slack })?;
                let skipped = like_the_file(start, request.file_page).min(slack);
                (
                    PageRange::new(start.plus(skipped), pages),
                    Placement::InArena,
                )
            }
            Some(address) => {
                if !address.is_multiple_of(GRANULE) {
                    return Err(Refusal::ViewMisaligned { value: address });
                }
                let range = rounded_at(address, request.size)?;
                (range, self.placement_at(range, request.engine)?)
            }
        };
        let charge = if request.protection.is_write_copy() {
            range.count()
        } else {
            PageCount::ZERO
        };
        self.account.check(charge)?;
        Ok(MapPlan {
            request: *request,
            range,
            placement,
            charge,
            version: self.version(),
            replaced,
        })
    }

    fn plan_over_placeholder(
        &self,
        address: u64,
        request: &MapRequest,
    ) -> Result<(PageRange, Replaced), Refusal> {
        if !address.is_multiple_of(PAGE_SIZE as u64) {
            return Err(Refusal::ViewMisaligned { value: address });
        }
        if request.kind == AllocationKind::ImageView {
            return Err(Refusal::ImageInPlaceholder);
        }
        let range = touched_above_lowest(address, request.size)?;
        let (found, placeholder) = self.find_placeholder(range)?;
        let engine = placeholder.engine;
        Ok((range, Replaced { found, engine }))
    }

    /// Records a view; returns its pages.
    ///
    /// # Panics
    /// As [`AddressSpace::apply_reserve`].
    pub fn apply_map(&mut self, plan: MapPlan) -> PageRange {
        let state = plan.state();
        let MapPlan {
            request,
            range,
            charge,
            version,
            replaced,
            ..
        } = plan;
        let view = Allocation::view(
            range,
            state,
            request.protection,
            request.engine,
            (request.kind, charge),
        );
        if let Some(Replaced { found, .. }) = replaced {
            self.replace_placeholder(found, view);
            return range;
        }
        let arena = self.arenas.containing(range.start().get());
        assert!(
            arena.is_some_and(|arena| arena.range.covers(range) && arena.engine == request.engine),
            "a view was recorded without its arena"
        );
        self.advance(version);
        self.insert(view);
        range
    }

    /// Plans to unmap the view that holds `address`, which may be anywhere inside.
    /// [`AddressSpace::apply_release`] records it; with `preserve` [`AddressSpace::apply_restore`], which leaves a placeholder.
    ///
    /// # Errors
    /// [`Refusal::AddressTooHigh`], [`Refusal::NotAView`]; with `preserve` [`Refusal::NotPlaceholder`] for a view that
    /// replaced none.
    pub fn plan_unmap(&self, address: u64, preserve: bool) -> Result<ReleasePlan, Refusal> {
        let (found, allocation) = self.view_at(address)?;
        if preserve && allocation.placeholder != PlaceholderRole::Replacement {
            return Err(Refusal::NotPlaceholder {
                base: allocation.range().start(),
            });
        }
        Ok(self.release_of(found, allocation))
    }

    /// The part of a view that a flush of `size` bytes at `address` writes; to its end for size 0.
    ///
    /// # Errors
    /// [`Refusal::AddressTooHigh`], [`Refusal::NotAView`], also where the range leaves the view.
    pub fn plan_flush(&self, address: u64, size: u64) -> Result<PageRange, Refusal> {
        let (_, allocation) = self.view_at(address)?;
        let whole = allocation.range();
        let first = PageNumber::containing(address);
        if size == 0 {
            return Ok(PageRange::between(first, whole.end()));
        }
        PageRange::touched_by(address, size)
            .filter(|range| whole.covers(*range))
            .ok_or(Refusal::NotAView { address })
    }

    fn view_at(&self, address: u64) -> Result<(Found, &Allocation), Refusal> {
        if address > HIGHEST_ADDRESS {
            return Err(Refusal::AddressTooHigh { address });
        }
        self.find(PageNumber::containing(address))
            .filter(|(_, allocation)| allocation.kind.is_view())
            .ok_or(Refusal::NotAView { address })
    }

    /// Plans to follow what others committed in the section: the reserved pages of `range`, which lies in one view, get
    /// the view's protection. Nothing is charged: who committed has paid.
    ///
    /// # Errors
    /// [`Refusal::NotAView`], [`Refusal::LeavesAllocation`].
    pub fn plan_follow(&self, range: PageRange) -> Result<FollowPlan, Refusal> {
        let (found, allocation) = self.view_at(range.address())?;
        if !allocation.range().covers(range) {
            return Err(Refusal::LeavesAllocation {
                allocation: allocation.range(),
            });
        }
        let after = PageState::Committed(allocation.protection);
        let mut changes = ChangeList::new();
        allocation
            .map
            .visit(range.start().get(), range.end().get(), |from, to, byte| {
                let before = PageState::from_byte(byte);
                if before == PageState::Reserved {
                    let range = PageRange::between(PageNumber::new(from), PageNumber::new(to));
                    changes.push(Change {
                        range,
                        before,
                        after,
                    });
                }
                true
            });
        Ok(FollowPlan { found, changes })
    }

    /// Records what [`AddressSpace::plan_follow`] found.
    ///
    /// # Panics
    /// When the state changed since the plan was made.
    pub fn apply_follow(&mut self, plan: FollowPlan) {
        let allocation = self.begin(plan.found);
        for change in plan.changes.iter() {
            let (from, to) = (change.range.start().get(), change.range.end().get());
            allocation.map.set(from, to, change.after.to_byte());
        }
    }

    /// Charges a view for private copies, in the step that was just recorded.
    pub(super) fn charge_view(&mut self, found: Found, pages: PageCount) {
        let current = Found {
            version: self.version(),
            ..found
        };
        self.begin(current).committed += pages.get();
        self.committed += pages.get();
        self.account.charge_unchecked(pages);
    }
}
