//! Reservations that nobody owns: known by address, as Windows has them, and released by address.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares what takes memory away behind an address as unsafe"
)]

use pagekeeper_model::{AllocationInfo, FreeRequest, Refusal, ReserveRequest};
use pagekeeper_units::{
    ByteCount, HIGHEST_ADDRESS, LOWEST_ADDRESS, PageCount, PageNumber, PageRange,
};

use super::{Core, Request, Shared, Space, foreign};
use crate::engine::EngineKind;
use crate::error::Error;

/// Where a reservation may lie, if not anywhere. Windows: `MEM_ADDRESS_REQUIREMENTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimits {
    /// The first byte lies here or above.
    pub lowest: u64,
    /// The last byte lies here or below.
    pub highest: u64,
    /// The first byte's address is a multiple of this: a power of two, 64 KiB at least.
    pub alignment: ByteCount,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            lowest: LOWEST_ADDRESS,
            highest: HIGHEST_ADDRESS,
            alignment: ByteCount::kib(64),
        }
    }
}

impl AddressLimits {
    /// Where `pages` pages fit between `low` and `high` (exclusive), as low or as high as possible.
    fn fit(&self, low: u64, high: u64, pages: PageCount, top_down: bool) -> Option<u64> {
        let alignment = self.alignment.get();
        let low = low.max(self.lowest).checked_next_multiple_of(alignment)?;
        let high = high.min(self.highest.saturating_add(1));
        let last = high.checked_sub(pages.bytes().get())? & !(alignment - 1);
        (low <= last).then_some(if top_down { last } else { low })
    }
}

impl Space {
    /// Decommits or releases, by address; splits and merges placeholders. Windows: `VirtualFree`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule.
    ///
    /// # Safety
    /// No reference into the pages is alive, and no [`crate::Reservation`] owns them when they are released.
    pub unsafe fn free_at(&self, address: u64, size: u64, how: FreeRequest) -> Result<(), Error> {
        self.shared().free(address, size, how)
    }

    /// The allocation that holds `address`, if it is one of this space.
    pub fn allocation_at(&self, address: u64) -> Option<AllocationInfo> {
        let core = self.shared().core();
        core.model.allocation_at(PageNumber::containing(address))
    }

    /// The engine that serves a reservation which asks for no other.
    pub fn default_engine(&self) -> EngineKind {
        self.shared().default_engine()
    }

    /// Whether the space does only what today's Windows does.
    pub fn is_strict(&self) -> bool {
        self.shared().is_strict()
    }
}

impl Shared {
    /// Reserves inside of limits.
    pub(crate) fn reserve_within(
        &self,
        wanted: &ReserveRequest,
        limits: &AddressLimits,
    ) -> Result<PageRange, Error> {
        let request = Request::new("reserve", limits.lowest, wanted.size);
        let pages = PageCount::holding(wanted.size);
        let no_hole = || Err(request.refused(Refusal::NoHole { pages }));
        if pages.is_zero() {
            return Err(request.refused(Refusal::SizeZero));
        }
        // Bounds the search where others keep taking what was found.
        for _ in 0..1000 {
            let found = self.enter(request)?.place_within(limits, pages, wanted);
            let Some(at) = found else {
                return no_hole();
            };
            let exact = ReserveRequest {
                at: Some(at),
                ..*wanted
            };
            match self.reserve(&exact) {
                Err(Error::Refused {
                    refusal: Refusal::ConflictingAddresses { .. },
                    ..
                }) => {}
                other => return other,
            }
        }
        no_hole()
    }
}

impl Core {
    /// A place for `pages` pages inside of limits: free in our arenas, or free in the kernel's map.
    fn place_within(
        &self,
        limits: &AddressLimits,
        pages: PageCount,
        wanted: &ReserveRequest,
    ) -> Option<u64> {
        let foreign = foreign::mappings();
        let mut holes = Vec::new();
        let mut at = limits.lowest;
        while at <= limits.highest
            && let Ok(region) = self.model.query(at, &foreign)
        {
            if region.allocation.is_none() {
                self.cut_at_arenas(region.range, wanted, &mut holes);
            }
            at = region.range.end().address();
            if !wanted.top_down
                && let Some(found) = first_fit(&holes, limits, pages, false)
            {
                return Some(found);
            }
            if !wanted.top_down {
                holes.clear();
            }
        }
        holes.reverse();
        first_fit(&holes, limits, pages, true)
    }

    /// Cuts a free range where arenas begin and end; those of other engines are left out.
    fn cut_at_arenas(&self, free: PageRange, wanted: &ReserveRequest, holes: &mut Vec<PageRange>) {
        let mut at = free.start().round_up_to_granule();
        let arenas = self.model.arenas().filter(|it| it.range.overlaps(free));
        for arena in arenas {
            if arena.range.start() > at {
                holes.push(PageRange::between(at, arena.range.start()));
            }
            let inside = arena.range.intersection(free);
            let start = inside.start().max(at).round_up_to_granule();
            if arena.engine == wanted.engine && start < inside.end() {
                holes.push(PageRange::between(start, inside.end()));
            }
            at = inside.end().max(at);
        }
        if at < free.end() {
            holes.push(PageRange::between(at, free.end()));
        }
    }
}

fn first_fit(
    holes: &[PageRange],
    limits: &AddressLimits,
    pages: PageCount,
    top_down: bool,
) -> Option<u64> {
    holes.iter().find_map(|hole| {
        let (low, high) = (hole.address(), hole.end().address());
        limits.fit(low, high, pages, top_down)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_the_limits_and_the_alignment() {
        let limits = AddressLimits {
            lowest: 0x11_0000,
            highest: 0x4F_FFFF,
            alignment: ByteCount::mib(1),
        };
        let pages = PageCount::new(256);
        assert_eq!(limits.fit(0, 0x1000_0000, pages, false), Some(0x20_0000));
        assert_eq!(limits.fit(0, 0x1000_0000, pages, true), Some(0x40_0000));
        assert_eq!(
            limits.fit(0x30_0001, 0x1000_0000, pages, false),
            Some(0x40_0000)
        );
        assert_eq!(limits.fit(0x40_0001, 0x1000_0000, pages, false), None);
        assert_eq!(limits.fit(0, 0x2F_FFFF, pages, false), None);
    }
}
