//! A process as the kernel sees it: its map as regions, and which pages of them are in memory.
//!
//! The map is read as text. Pages are asked for by `PAGEMAP_SCAN`, which skips what was never touched, in pieces, so that the
//! process's map is not held still for long; before Linux 6.7 word by word. Never by `smaps`, which walks every page
//! table with the map held still all the while.

use pagekeeper_model::{
    AddressSpace, ForeignKind, ForeignMapping, ForeignMemory, Protection, RegionState,
};
use pagekeeper_sys::Errno;
use pagekeeper_sys::map::Purpose;
use pagekeeper_sys::pagemap::{Categories, Entries, Entry, Query, Scan};
use pagekeeper_sys::procmap::{self, Maps};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::heat::HeatStrip;
use super::live::listing::LiveRegions;
use super::region::{Region, RegionKind, RegionUse};
use crate::space::in_model_terms;

/// Pages that one scan looks at: 1 GiB, one or two milliseconds where all of it is there.
const SCAN_PAGES: u64 = 1 << 18;
/// Words read at once where the kernel cannot scan.
const WORDS: usize = 4096;
/// What the kernel puts behind the name of a file that was removed, or never had one.
const REMOVED: &str = " (deleted)";

/// What tells which pages of a process are in memory.
#[derive(Debug)]
pub(super) enum Pages {
    Scan(Scan),
    Words(Entries),
}

impl Pages {
    pub(super) fn of(pid: u32) -> Result<Self, Errno> {
        match Scan::open_of(pid) {
            Ok(scan) => Ok(Self::Scan(scan)),
            Err(Errno::NOTTY | Errno::INVAL) => Entries::open_of(pid).map(Self::Words),
            Err(errno) => Err(errno),
        }
    }
}

/// The regions of a process that it does not tell of itself (`live`), without their pages. Those that show files, and that it tells
/// without a name, get the file's.
pub(super) fn regions(pid: u32, live: &mut LiveRegions) -> Result<Vec<Region>, Errno> {
    let mut lines = Vec::new();
    let mut maps = Maps::of(pid)?;
    while let Some(line) = maps.next_region()? {
        lines.push(line);
    }
    let mappings = in_model_terms(&lines);
    let rules = AddressSpace::new(PageCount::ZERO);
    let mut regions = Vec::with_capacity(lines.len());
    for (line, mapping) in lines.iter().zip(&mappings) {
        for (range, purpose) in parts_of(line.range, live) {
            let Some(mut region) = describe(&rules, &mappings, range) else {
                continue;
            };
            region.kind = kind_of(mapping, line);
            region.shared = line.shared;
            region.name = line.name.to_text();
            if let Some(purpose) = purpose {
                region.kind = RegionKind::Pagekeeper;
                region.name = purpose_name(purpose).to_owned();
            }
            if line.has_file() {
                region.file_offset = line.offset + (region.base - line.range.address());
            }
            regions.push(region);
        }
    }
    name_views(&mut live.regions, &lines);
    Ok(regions)
}

/// Regions of views get the name of the file that is mapped there, and their places in it. Nameless files are no names.
fn name_views(views: &mut [Region], lines: &[procmap::Region]) {
    for view in views {
        if view.kind != RegionKind::Section || !view.name.is_empty() {
            continue;
        }
        let page = PageNumber::containing(view.base);
        let behind = lines.partition_point(|line| line.range.start() <= page);
        let line = behind.checked_sub(1).and_then(|place| lines.get(place));
        if let Some(line) = line.filter(|line| line.has_file() && line.range.contains(page)) {
            let name = line.name.to_text();
            if !name.ends_with(REMOVED) {
                view.name = name;
                view.file_offset = line.offset + (view.base - line.range.address());
            }
        }
    }
}

/// The same for one region. Where the map cannot be read, it stays nameless.
pub(super) fn name_view(pid: u32, view: &mut Region) {
    let Ok(mut maps) = Maps::of(pid) else {
        return;
    };
    let page = PageNumber::containing(view.base);
    while let Ok(Some(line)) = maps.next_region() {
        if line.range.contains(page) {
            name_views(core::slice::from_mut(view), &[line]);
            return;
        }
    }
}

/// The parts of a mapping that the process does not tell of; with a purpose where the library holds them for itself.
fn parts_of(mapping: PageRange, live: &LiveRegions) -> Vec<(PageRange, Option<Purpose>)> {
    let mut parts = Vec::with_capacity(1);
    for part in outside(mapping, &live.arenas) {
        let mut at = part.start();
        let first = live
            .held
            .partition_point(|(held, _)| held.end() <= part.start());
        for (held, purpose) in live.held.iter().skip(first) {
            let inside = held.intersection(PageRange::between(at, part.end()));
            if held.start() >= part.end() {
                break;
            }
            if inside.is_empty() {
                continue;
            }
            if inside.start() > at {
                parts.push((PageRange::between(at, inside.start()), None));
            }
            parts.push((inside, Some(*purpose)));
            at = inside.end();
        }
        if at < part.end() {
            parts.push((PageRange::between(at, part.end()), None));
        }
    }
    parts
}

/// What is shown as the name of such memory.
const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Tables => "[pagekeeper tables]",
        Purpose::Pool => "[pagekeeper pool]",
        Purpose::Buffers => "[pagekeeper buffers]",
    }
}

/// The parts of `range` that lie in none of the sorted ranges.
fn outside(range: PageRange, ours: &[PageRange]) -> Vec<PageRange> {
    let mut parts = Vec::with_capacity(1);
    let mut at = range.start();
    let first = ours.partition_point(|own| own.end() <= at);
    for own in ours.iter().skip(first) {
        if own.start() >= range.end() {
            break;
        }
        if own.start() > at {
            parts.push(PageRange::between(at, own.start()));
        }
        at = at.max(own.end());
    }
    if at < range.end() {
        parts.push(PageRange::between(at, range.end()));
    }
    parts
}

/// What VirtualQuery would say of `range`, which lies in one mapping.
fn describe(
    rules: &AddressSpace,
    mappings: &dyn ForeignMemory,
    range: PageRange,
) -> Option<Region> {
    // The kernel's page at the top of everything is no program's.
    let info = rules.query(range.address(), mappings).ok()?;
    let (base, allocation_protection) = info.allocation?;
    let size_bytes = range.bytes().get();
    let (usage, committed_bytes) = match info.state {
        RegionState::Committed(_) => (RegionUse::Committed, size_bytes),
        _ => (RegionUse::Reserved, 0),
    };
    Some(Region {
        base: range.address(),
        size_bytes,
        allocation_base: base.address(),
        allocation_protection: allocation_protection.to_windows(),
        usage,
        protection: info.state.protect(),
        committed_bytes,
        ..Region::default()
    })
}

fn kind_of(mapping: &ForeignMapping, line: &procmap::Region) -> RegionKind {
    match (mapping.kind, line.name.as_bytes()) {
        (_, b"[vdso]" | b"[vsyscall]") => RegionKind::Kernel,
        (_, name) if name.starts_with(b"[vvar") => RegionKind::Kernel,
        (ForeignKind::Image, _) => RegionKind::Image,
        (ForeignKind::File, _) => RegionKind::Mapped,
        (ForeignKind::Stack, _) => RegionKind::Stack,
        (ForeignKind::Heap, _) => RegionKind::Heap,
        (ForeignKind::Anonymous, _) => RegionKind::Private,
    }
}

/// Pages in memory, of all regions together: of nobody else's, and of files and shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InMemory {
    pub(super) private: u64,
    pub(super) shared: u64,
}

/// Fills in where the pages of the regions are, which are sorted.
pub(super) fn fill_pages(pages: &Pages, regions: &mut [Region]) -> Result<InMemory, Errno> {
    let mut filling = Filling {
        regions,
        at: 0,
        strip: None,
        found: InMemory::default(),
    };
    let mut next = 0;
    while let Some(first) = filling.regions.get(next) {
        let start = PageNumber::containing(first.base);
        // Neighbours are scanned together, large ones in pieces.
        let mut end = PageNumber::containing(first.end());
        next += 1;
        while let Some(region) = filling.regions.get(next) {
            let behind = PageNumber::containing(region.end());
            if behind.since(start).get() > SCAN_PAGES {
                break;
            }
            end = behind;
            next += 1;
        }
        let mut from = start;
        while from < end {
            let to = PageNumber::new((from.get() + SCAN_PAGES).min(end.get()));
            filling.look_at(pages, PageRange::between(from, to))?;
            from = to;
        }
    }
    filling.end_region();
    for region in filling.regions.iter_mut() {
        if region.committed_bytes > 0 && region.heat.is_empty() {
            region.heat = HeatStrip::new(region.committed_bytes >> 12).finish();
        }
        let committed = region.committed_bytes >> 12;
        region.pages.untouched = committed.saturating_sub(region.pages.total());
    }
    Ok(filling.found)
}

/// Goes along the regions while runs of pages come in.
struct Filling<'regions> {
    regions: &'regions mut [Region],
    at: usize,
    strip: Option<HeatStrip>,
    found: InMemory,
}

impl Filling<'_> {
    fn look_at(&mut self, pages: &Pages, range: PageRange) -> Result<(), Errno> {
        match pages {
            Pages::Scan(scan) => {
                // The kernel does not count its page of zeros as anybody's.
                let query = Query::new()
                    .any_of(Categories::PRESENT | Categories::SWAPPED)
                    .none_of(Categories::ZERO)
                    .report(Categories::PRESENT | Categories::SWAPPED | Categories::FILE);
                scan.walk(range, query, |run, is| {
                    self.add(
                        run,
                        is.contains(Categories::PRESENT),
                        is.contains(Categories::FILE),
                    );
                })
            }
            Pages::Words(entries) => self.read_words(entries, range),
        }
    }

    /// The same without a scan: committed regions only, since a word is read for every page.
    fn read_words(&mut self, entries: &Entries, range: PageRange) -> Result<(), Errno> {
        let mut words = vec![Entry::default(); WORDS];
        let first = self
            .regions
            .partition_point(|region| region.end() <= range.address());
        let parts: Vec<PageRange> = self.regions[first..]
            .iter()
            .filter(|region| region.committed_bytes > 0)
            .map(|region| {
                PageRange::between(
                    PageNumber::containing(region.base),
                    PageNumber::containing(region.end()),
                )
            })
            .take_while(|part| part.start() < range.end())
            .map(|part| part.intersection(range))
            .collect();
        for part in parts {
            let mut from = part.start();
            while from < part.end() {
                let count = entries.read(PageRange::between(from, part.end()), &mut words[..])?;
                for (place, word) in words[..count].iter().enumerate() {
                    if word.is_present() || (word.is_swapped() && !word.is_guard()) {
                        let page = from.plus(PageCount::new(place as u64));
                        let run = PageRange::new(page, PageCount::ONE);
                        self.add(run, word.is_present(), word.is_file());
                    }
                }
                from = from.plus(PageCount::new(count.max(1) as u64));
            }
        }
        Ok(())
    }

    /// A run of pages that are alike, above all runs before.
    fn add(&mut self, run: PageRange, present: bool, file: bool) {
        let mut rest = run;
        while !rest.is_empty() {
            let Some(region) = self.regions.get(self.at) else {
                return;
            };
            let range = PageRange::between(
                PageNumber::containing(region.base),
                PageNumber::containing(region.end()),
            );
            if range.end() <= rest.start() {
                self.end_region();
                self.at += 1;
                continue;
            }
            let part = rest.intersection(range);
            if part.is_empty() {
                return;
            }
            self.add_to_region(part, range, present, file);
            rest = PageRange::between(part.end(), rest.end());
        }
    }

    fn add_to_region(&mut self, part: PageRange, range: PageRange, present: bool, file: bool) {
        let Some(region) = self.regions.get_mut(self.at) else {
            return;
        };
        let count = part.count().get();
        if region.committed_bytes == 0 {
            // Pages may stay behind in memory that may not be touched any more.
            region.committed_bytes = region.size_bytes;
            region.usage = RegionUse::Committed;
            region.protection = Protection::NO_ACCESS.to_windows();
        }
        if !present {
            region.pages.swapped += count;
            return;
        }
        region.pages.resident += count;
        if file {
            self.found.shared += count;
        } else {
            self.found.private += count;
        }
        self.strip
            .get_or_insert_with(|| HeatStrip::new(range.count().get()))
            .add(part.start().since(range.start()).get(), count);
    }

    fn end_region(&mut self) {
        if let (Some(strip), Some(region)) = (self.strip.take(), self.regions.get_mut(self.at)) {
            region.heat = strip.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PageRange {
        PageRange::between(PageNumber::new(start), PageNumber::new(end))
    }

    #[test]
    fn what_is_ours_is_cut_out() {
        let ours = [range(10, 20), range(30, 40), range(50, 60)];
        assert_eq!(outside(range(0, 5), &ours), [range(0, 5)]);
        assert_eq!(outside(range(5, 35), &ours), [range(5, 10), range(20, 30)]);
        assert_eq!(outside(range(30, 40), &ours), []);
        assert_eq!(
            outside(range(35, 70), &ours),
            [range(40, 50), range(60, 70)]
        );
        assert_eq!(outside(range(61, 62), &[]), [range(61, 62)]);
    }

    #[test]
    fn both_ways_to_look_find_the_same() {
        let pid = std::process::id();
        let memory = vec![7_u8; 64 << 20];
        let address = memory.as_ptr().expose_provenance() as u64;
        let words = Pages::Words(Entries::open_of(pid).unwrap());
        let Ok(scan) = Pages::of(pid) else {
            println!("skipped, because the page map is closed to this process");
            return;
        };
        let look = |pages: &Pages| {
            let mut all = regions(pid, &mut LiveRegions::default()).unwrap();
            let only = all
                .iter()
                .position(|region| region.base <= address && address < region.end())
                .unwrap();
            let found = fill_pages(pages, &mut all[only..=only]).unwrap();
            let region = all.swap_remove(only);
            assert_eq!(found.private + found.shared, region.pages.resident);
            assert_eq!(region.kind, RegionKind::Private);
            assert_eq!(region.pages.total() << 12, region.committed_bytes);
            assert!(region.pages.resident >= (64 << 20) >> 12);
            assert_eq!(region.heat.len(), super::super::HEAT_CELLS);
            region
        };
        // Other tests of this process may map something beside it between two looks.
        assert!((0..50).any(|_| look(&scan) == look(&words)));
        drop(memory);
    }

    #[test]
    fn the_regions_are_this_program() {
        let all = regions(std::process::id(), &mut LiveRegions::default()).unwrap();
        assert!(all.windows(2).all(|two| two[0].end() <= two[1].base));
        let code = the_regions_are_this_program as *const () as u64;
        let region = all
            .iter()
            .find(|region| region.base <= code && code < region.end())
            .unwrap();
        assert_eq!(region.kind, RegionKind::Image);
        assert_eq!(region.protection, 0x20);
        assert!(region.allocation_base < region.base);
        assert!(all.iter().any(|region| region.kind == RegionKind::Stack));
    }
}
