//! Query: what lies at an address, and how far it goes on like that (`VirtualQuery`).
//!
//! Source: windows-memory-behaviour.md 7; foreign memory: product.md.

use pagekeeper_units::{HIGHEST_ADDRESS, PageCount, PageNumber, PageRange};

use crate::allocation::Allocation;
use crate::arena::{LAST_RESERVABLE_END, USER_END};
use crate::foreign::{ForeignKind, ForeignMapping, ForeignMemory};
use crate::{AddressSpace, BaseProtection, PageState, Protection, Refusal};

/// `State` and `Protect` of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionState {
    /// `MEM_FREE`; `Protect` shows NOACCESS.
    Free,
    /// `MEM_RESERVE`; `Protect` is 0.
    Reserved,
    /// `MEM_COMMIT` under a protection.
    Committed(Protection),
}

impl RegionState {
    /// The `Protect` field.
    pub const fn protect(self) -> u32 {
        match self {
            Self::Free => Protection::NO_ACCESS.to_windows(),
            Self::Reserved => 0,
            Self::Committed(protection) => protection.to_windows(),
        }
    }
}

/// `Type` of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionType {
    /// `MEM_PRIVATE`.
    Private,
    /// `MEM_MAPPED`.
    Mapped,
    /// `MEM_IMAGE`.
    Image,
}

/// The answer to a query (`MEMORY_BASIC_INFORMATION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// From the queried page (`BaseAddress`) upwards (`RegionSize`). Never looks back.
    pub range: PageRange,
    /// `AllocationBase` and `AllocationProtect`; `None` (0 and 0) for free space.
    pub allocation: Option<(PageNumber, Protection)>,
    /// `State` and `Protect`.
    pub state: RegionState,
    /// `Type`; `None` (0) for free space.
    pub kind: Option<RegionType>,
}

impl AddressSpace {
    /// What lies at `address`. Never faults and never disarms a guard.
    ///
    /// Memory that Pagekeeper did not make answers from `foreign`, and is never free. Arena space where no
    /// allocation is counts as free, and such a region goes on across arenas and unmapped space up to the next
    /// allocation or foreign mapping.
    ///
    /// # Errors
    /// [`Refusal::AddressTooHigh`].
    pub fn query(&self, address: u64, foreign: &dyn ForeignMemory) -> Result<RegionInfo, Refusal> {
        if address > HIGHEST_ADDRESS {
            return Err(Refusal::AddressTooHigh { address });
        }
        let page = PageNumber::containing(address);
        if let Some((_, allocation)) = self.find(page) {
            return Ok(region_in(allocation, page));
        }
        if self.arenas.containing(page.get()).is_none()
            && let Some(mapping) = foreign.at_or_after(page)
            && mapping.range.contains(page)
        {
            return Ok(self.foreign_region(page, &mapping));
        }
        if page.get() >= LAST_RESERVABLE_END {
            return Ok(top_region(page, foreign));
        }
        let end = self.free_end(page, foreign);
        Ok(RegionInfo {
            range: PageRange::between(page, end),
            allocation: None,
            state: RegionState::Free,
            kind: None,
        })
    }

    /// Every region of our own allocations in `range`, upwards, the first and last clipped to it. Space without
    /// an allocation is skipped.
    pub fn regions(&self, range: PageRange) -> impl Iterator<Item = RegionInfo> + '_ {
        let mut at = range.start().get();
        let end = range.end();
        core::iter::from_fn(move || {
            if at >= end.get() {
                return None;
            }
            let allocation = self.allocation_at_or_after(at)?;
            let first = PageNumber::new(at.max(allocation.range().start().get()));
            if first >= end {
                return None;
            }
            let mut region = region_in(allocation, first);
            region.range = PageRange::between(first, region.range.end().min(end));
            at = region.range.end().get();
            Some(region)
        })
    }

    /// The first page above the free `page` that is not free.
    fn free_end(&self, page: PageNumber, foreign: &dyn ForeignMemory) -> PageNumber {
        let top = LAST_RESERVABLE_END;
        let next_allocation = self
            .allocation_at_or_after(page.get())
            .map_or(top, |allocation| allocation.range().start().get());
        let limit = next_allocation.min(top);
        let mut at = page.get();
        // Each round passes an arena in which nothing lies above `at`, or ends.
        while at < limit {
            let arena = self.arenas.at_or_after(at).map(|arena| arena.range);
            let arena_start = arena.map_or(limit, |arena| arena.start().get());
            if at < arena_start {
                let in_the_way = foreign
                    .at_or_after(PageNumber::new(at))
                    .map_or(limit, |mapping| mapping.range.start().get().max(at));
                if in_the_way < arena_start.min(limit) {
                    return PageNumber::new(in_the_way);
                }
            }
            at = arena.map_or(limit, |arena| arena.end().get());
        }
        PageNumber::new(limit)
    }

    /// A foreign mapping from `page` up, ending where one of our arenas begins: the kernel may show both as one
    /// mapping.
    fn foreign_region(&self, page: PageNumber, mapping: &ForeignMapping) -> RegionInfo {
        let mut end = mapping.range.end().get().min(USER_END);
        if let Some(arena) = self.arenas.at_or_after(page.get()) {
            end = end.min(arena.range.start().get());
        }
        let protection = foreign_protection(mapping);
        let (kind, allocation_protection) = match mapping.kind {
            ForeignKind::Image => (RegionType::Image, Protection::EXECUTE_WRITE_COPY),
            ForeignKind::File => (RegionType::Mapped, protection),
            _ if mapping.shared => (RegionType::Mapped, protection),
            _ => (RegionType::Private, protection),
        };
        let reserved = kind == RegionType::Private && protection == Protection::NO_ACCESS;
        RegionInfo {
            range: PageRange::between(page, PageNumber::new(end)),
            allocation: Some((mapping.allocation_base, allocation_protection)),
            state: if reserved {
                RegionState::Reserved
            } else {
                RegionState::Committed(protection)
            },
            kind: Some(kind),
        }
    }
}

fn region_in(allocation: &Allocation, page: PageNumber) -> RegionInfo {
    let (byte, end) = allocation.map.run(page.get());
    RegionInfo {
        range: PageRange::between(page, PageNumber::new(end)),
        allocation: Some((allocation.range().start(), allocation.protection)),
        state: match PageState::from_byte(byte) {
            PageState::Reserved => RegionState::Reserved,
            PageState::Committed(protection) => RegionState::Committed(protection),
        },
        kind: Some(allocation.kind.region_type()),
    }
}

/// The last 64 KiB of user space, which nobody can have: reserved, with itself as the allocation.
fn top_region(page: PageNumber, foreign: &dyn ForeignMemory) -> RegionInfo {
    let end = foreign.at_or_after(page).map_or(USER_END, |mapping| {
        mapping.range.start().get().clamp(page.get() + 1, USER_END)
    });
    RegionInfo {
        range: PageRange::new(page, PageCount::new(end - page.get())),
        allocation: Some((PageNumber::new(LAST_RESERVABLE_END), Protection::NO_ACCESS)),
        state: RegionState::Reserved,
        kind: Some(RegionType::Private),
    }
}

/// The protection that a mapping's rights come to. A private writable mapping of a file is copied on write.
fn foreign_protection(mapping: &ForeignMapping) -> Protection {
    let of_file = matches!(mapping.kind, ForeignKind::Image | ForeignKind::File);
    let copied = of_file && !mapping.shared;
    Protection::plain(
        match (mapping.readable, mapping.writable, mapping.executable) {
            (false, false, false) => BaseProtection::NoAccess,
            (true, false, false) => BaseProtection::ReadOnly,
            (_, true, false) if copied => BaseProtection::WriteCopy,
            (_, true, false) => BaseProtection::ReadWrite,
            (false, false, true) => BaseProtection::Execute,
            (true, false, true) => BaseProtection::ExecuteRead,
            (_, true, true) if copied => BaseProtection::ExecuteWriteCopy,
            (_, true, true) => BaseProtection::ExecuteReadWrite,
        },
    )
}
