//! What the working set says of single pages. Windows: `QueryWorkingSetEx`.
//!
//! Source: windows-memory-behaviour.md 10.3.

use pagekeeper_model::{Access, RegionInfo, RegionState, RegionType};
use pagekeeper_sys::pagemap::{Entries, Entry};
use pagekeeper_units::{HIGHEST_ADDRESS, PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::{Core, Space, foreign};
use crate::engine::Residence;

/// One page as the working set sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PageAttributes {
    /// In the working set: touching it is no fault.
    pub is_valid: bool,
    /// The `PAGE_*` value while valid, else 0.
    pub protection: u32,
    /// A page of a file or of shared memory, valid or not.
    pub is_shared: bool,
    /// `VirtualLock` holds it, while valid.
    pub is_locked: bool,
}

impl Space {
    /// The attributes of the pages at these addresses, in their order. Free addresses, and addresses that are none, get
    /// empty attributes.
    pub fn page_attributes(&self, addresses: &[u64]) -> Vec<PageAttributes> {
        let core = self.shared().core();
        let is_ours = |address: &u64| {
            let page = PageNumber::containing(*address);
            core.model.allocation_at(page).is_some()
        };
        let foreign = if addresses.iter().all(is_ours) {
            Vec::new()
        } else {
            foreign::mappings()
        };
        let entries = Entries::open().ok();
        let attributes = |address: &u64| {
            if *address > HIGHEST_ADDRESS {
                return PageAttributes::default();
            }
            let page = PageNumber::containing(*address);
            match core.model.query(*address, &foreign) {
                Ok(region) if is_ours(address) => core.own_attributes(page, &region),
                Ok(region) => foreign_attributes(page, &region, entries.as_ref()),
                Err(_) => PageAttributes::default(),
            }
        };
        addresses.iter().map(attributes).collect()
    }

    /// Every valid page of this space's own allocations, upwards, with its attributes. Windows: `QueryWorkingSet`.
    pub fn working_set(&self) -> Vec<(PageNumber, PageAttributes)> {
        let core = self.shared().core();
        let mut found = Vec::new();
        let allocations: Vec<PageRange> = core.model.allocations().map(|it| it.range).collect();
        for allocation in allocations {
            // What is only reserved can hold nothing, however much it is.
            let committed: Vec<RegionInfo> = core
                .model
                .regions(allocation)
                .filter(|region| matches!(region.state, RegionState::Committed(_)))
                .collect();
            for near in committed.chunk_by(|one, next| is_near(one.range, next.range)) {
                core.add_valid(near, &mut found);
            }
        }
        found
    }
}

/// Whether two runs are looked at in one go: asking costs a file to open, looking at an untouched page next to nothing.
fn is_near(one: PageRange, next: PageRange) -> bool {
    next.start().get().saturating_sub(one.end().get()) <= PAGES_PER_HUGE_PAGE
}

impl Core {
    fn own_attributes(&self, page: PageNumber, region: &RegionInfo) -> PageAttributes {
        let mut is_resident = false;
        self.for_resident(PageRange::new(page, PageCount::ONE), |_| is_resident = true);
        if is_resident {
            self.committed_attributes(page, region)
        } else {
            PageAttributes::default()
        }
    }

    /// Adds the valid pages of `regions`, which are committed and go upwards.
    fn add_valid(&self, regions: &[RegionInfo], found: &mut Vec<(PageNumber, PageAttributes)>) {
        let (Some(first), Some(last)) = (regions.first(), regions.last()) else {
            return;
        };
        let mut rest = regions;
        self.for_resident(
            PageRange::between(first.range.start(), last.range.end()),
            |part| {
                for page in part.pages() {
                    while let [region, next @ ..] = rest
                        && region.range.end() <= page
                    {
                        rest = next;
                    }
                    let Some(region) = rest.first().filter(|it| it.range.contains(page)) else {
                        continue;
                    };
                    let attributes = self.committed_attributes(page, region);
                    if attributes.is_valid {
                        found.push((page, attributes));
                    }
                }
            },
        );
    }

    /// Calls `visit` with the resident runs of committed pages.
    fn for_resident(&self, range: PageRange, mut visit: impl FnMut(PageRange)) {
        if let Some(engine) = self
            .engine_of(range)
            .and_then(|tag| self.ledger.engine(tag))
        {
            engine.residence(range, &mut |part, residence| {
                if residence == Residence::Resident {
                    visit(part);
                }
            });
        }
    }

    /// The attributes of a resident page. One that may not be read is not in the working set of Windows.
    fn committed_attributes(&self, page: PageNumber, region: &RegionInfo) -> PageAttributes {
        let RegionState::Committed(protection) = region.state else {
            return PageAttributes::default();
        };
        let is_open = protection.allows(Access::Read) && !protection.is_guard();
        if !is_open || self.offered.contains(page) {
            return PageAttributes::default();
        }
        PageAttributes {
            is_valid: true,
            protection: protection.to_windows(),
            is_shared: false,
            is_locked: !self
                .model
                .locked(PageRange::new(page, PageCount::ONE))
                .is_empty(),
        }
    }
}

/// Of memory that is not ours the kernel knows.
fn foreign_attributes(
    page: PageNumber,
    region: &RegionInfo,
    entries: Option<&Entries>,
) -> PageAttributes {
    let RegionState::Committed(protection) = region.state else {
        return PageAttributes::default();
    };
    let mut word = [Entry::default()];
    let known = entries.is_some_and(|entries| {
        entries
            .read(PageRange::new(page, PageCount::ONE), &mut word)
            .is_ok()
    });
    let [entry] = word;
    let is_shared = matches!(region.kind, Some(RegionType::Image | RegionType::Mapped));
    let is_valid = known && entry.is_present() && protection.allows(Access::Read);
    PageAttributes {
        is_valid,
        protection: if is_valid { protection.to_windows() } else { 0 },
        is_shared: is_shared && (!is_valid || entry.is_file()),
        is_locked: false,
    }
}
