//! Figures and regions of all spaces of this process.

use std::sync::Arc;
use std::time::Instant;

use pagekeeper_model::{RegionInfo, RegionState, RegionType};
use pagekeeper_units::{PAGE_SIZE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::super::heat::HeatStrip;
use super::super::region::RegionUse;
use super::super::snapshot::EngineFigures;
use super::super::sums::now_ms;
use super::layout::MOST_REGIONS;
use super::listing::{Listed, LiveRegions};
use super::merge::{coarsen, join_ranges, set_heat};
use super::record::{LiveFigures, RegionRecord};
use crate::engine::{Engine, EngineKind, Residence};
use crate::space::observe::{self, Sums};
use crate::statistics::EngineStatistics;

/// Regions that are listed under the space lock in one go: some ten microseconds.
const AT_ONCE: usize = 512;
/// Pages that are looked up in one go (16 MiB): closing address space waits for that.
const LOOKED_UP_AT_ONCE: u64 = 4096;
/// Engines and fault sites that are told.
const MOST_ENGINES: usize = 32;
const MOST_SITES: usize = 64;

/// Figures of all spaces, and whether none was too busy to be asked.
pub(in super::super) fn figures() -> (LiveFigures, bool) {
    let mut is_whole = true;
    let mut found = LiveFigures {
        taken_at_ms: now_ms(),
        ..LiveFigures::default()
    };
    let mut total = EngineStatistics::default();
    for space in observe::all() {
        let Some(sums) = space.sums() else {
            is_whole = false;
            found
                .notes
                .push("a space is busy with something long; its figures are left out".to_owned());
            continue;
        };
        drop(space);
        add_space(&mut found, &mut total, sums);
    }
    fill_in(&mut found, total);
    (found, is_whole)
}

fn add_space(found: &mut LiveFigures, total: &mut EngineStatistics, sums: Sums) {
    let totals = &mut found.totals;
    totals.budget_bytes += sums.budget.get();
    totals.reserved_bytes += sums.reserved.get();
    totals.locked_bytes += sums.locked.get();
    totals.commit_charge_bytes += sums.committed.get();
    totals.commit_limit_bytes += sums.commit_limit.get();
    totals.commit_peak_bytes += sums.commit_peak.get();
    totals.page_file_allocated_bytes += sums.page_file_allocated.get();
    totals.page_file_maximum_bytes += sums.page_file_maximum.get();
    totals.overhead_bytes += sums.metadata.get();
    let mut slots = Some(sums.slots_used);
    for engine in &sums.engines {
        let mut figures = engine.statistics();
        totals.overhead_bytes += engine.overhead().get();
        if engine.kind() == EngineKind::Inline {
            // The page files are the inline engines' together; the first one shows their slots.
            figures.page_file = slots.take().unwrap_or_default();
        }
        if found.engines.len() < MOST_ENGINES {
            found
                .engines
                .push(describe(sums.number, engine.kind(), &figures));
        }
        total.add(&figures);
    }
    found.notes.extend(sums.notes);
}

fn describe(space: u64, kind: EngineKind, figures: &EngineStatistics) -> EngineFigures {
    let bytes = |pages: PageCount| pages.bytes().get();
    EngineFigures {
        space,
        engine: kind.to_string(),
        budget_bytes: bytes(figures.budget),
        resident_bytes: bytes(figures.resident),
        modified_bytes: bytes(figures.modified),
        standby_bytes: bytes(figures.standby),
        compressed_bytes: bytes(figures.compressed),
        pool_bytes: figures.pool.get(),
        page_file_bytes: bytes(figures.page_file),
        peak_bytes: bytes(figures.peak),
        exactness: figures.residence,
    }
}

fn fill_in(found: &mut LiveFigures, total: EngineStatistics) {
    let bytes = |pages: PageCount| pages.bytes().get();
    let totals = &mut found.totals;
    totals.working_set_bytes = bytes(total.resident);
    totals.modified_bytes = bytes(total.modified);
    totals.standby_bytes = bytes(total.standby);
    totals.compressed_bytes = bytes(total.compressed);
    totals.page_file_bytes = bytes(total.page_file);
    totals.pool_bytes = total.pool.get();
    let counters = &mut found.counters;
    counters.zero_faults = total.zero_faults;
    counters.transition_faults = total.soft_faults;
    counters.pool_faults = total.pool_faults;
    counters.soft_faults = total.zero_faults + total.soft_faults + total.pool_faults;
    counters.hard_faults = total.hard_faults;
    counters.bytes_in = total.pages_in * PAGE_SIZE as u64;
    counters.bytes_out = total.pages_out * PAGE_SIZE as u64;
    counters.clean_drops = total.clean_drops;
    counters.packed_in_place = total.packed_in_place;
    counters.lost = total.lost;
    counters.refused = total.refused;
    found.residence = total.residence;
    found.faults = total.faults;
    if total.latency.iter().any(|count| *count > 0) {
        found.latency = total.latency;
    }
    found.sites = total.sites;
    found.sites.truncate(MOST_SITES);
}

/// Lists all regions, at most [`MOST_REGIONS`]; where there are more, neighbours are told as one. `beat` is called every few
/// milliseconds meanwhile, with no lock held.
pub(super) fn regions(beat: &dyn Fn()) -> Listed {
    list(MOST_REGIONS, beat)
}

/// The same for somebody in this process.
pub(in super::super) fn own_regions() -> LiveRegions {
    let taken_at_ms = now_ms();
    let start = Instant::now();
    let listed = regions(&|| {});
    listed.into_live(taken_at_ms, start.elapsed().as_millis() as u64)
}

fn list(most: usize, beat: &dyn Fn()) -> Listed {
    let mut listed = Listed {
        held: pagekeeper_sys::map::held(),
        is_whole: true,
        ..Listed::default()
    };
    // Arenas first: what is opened meanwhile is told by nobody, rather than twice.
    for space in observe::all() {
        let arenas = space.arena_ranges();
        listed.is_whole &= arenas.is_some();
        listed.arenas.extend(arenas.unwrap_or_default());
    }
    listed.arenas.sort_unstable_by_key(|arena| arena.start());
    for space in observe::all() {
        let mut from = PageNumber::new(0);
        loop {
            let Some(part) = space.list_regions(from, AT_ONCE) else {
                listed.is_whole = false;
                break;
            };
            listed.add(&part.regions, most, beat);
            beat();
            match part.next {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    listed.regions.sort_unstable_by_key(|region| region.base);
    listed.names.sort_unstable();
    join_ranges(&mut listed.arenas);
    listed
}

impl Listed {
    /// Adds regions, which lie upwards, with where their pages are.
    fn add(
        &mut self,
        regions: &[(RegionInfo, Option<Arc<dyn Engine>>)],
        most: usize,
        beat: &dyn Fn(),
    ) {
        self.add_names(regions);
        let mut parts: Vec<Part> = regions.iter().map(Part::new).collect();
        let mut first = 0;
        while let Some(part) = parts.get(first) {
            let Some(engine) = regions.get(first).and_then(|(_, engine)| engine.as_ref()) else {
                first += 1;
                continue;
            };
            let mut end = part.range.end();
            let mut behind = first + 1;
            while let Some(next) = parts.get(behind)
                && part.may_be_looked_up()
                && next.may_be_looked_up()
                && next.range.start() == end
                && next.record.allocation_base == part.record.allocation_base
            {
                end = next.range.end();
                behind += 1;
            }
            let span = PageRange::between(part.range.start(), end);
            if let Some(parts) = parts.get_mut(first..behind)
                && parts.iter().any(|part| part.strip.is_some())
            {
                look_up(parts, span, &**engine, beat);
            }
            first = behind;
        }
        for part in parts {
            if self.regions.len() >= most {
                coarsen(&mut self.regions, &self.arenas, most);
            }
            self.regions.push(part.finish());
        }
    }

    /// What sections are called that views of these regions show.
    fn add_names(&mut self, regions: &[(RegionInfo, Option<Arc<dyn Engine>>)]) {
        for (region, engine) in regions {
            let Some(engine) = engine.as_ref().filter(|_| region.allocation.is_some()) else {
                continue;
            };
            if let Some(name) = engine.name_at(region.range.start()) {
                self.names.push((region.range.address(), name));
            }
        }
    }
}

/// A region while its pages are looked up.
struct Part {
    range: PageRange,
    record: RegionRecord,
    /// Of committed regions.
    strip: Option<HeatStrip>,
}

impl Part {
    fn new((region, engine): &(RegionInfo, Option<Arc<dyn Engine>>)) -> Self {
        let (base, protection) = region.allocation.map_or((0, 0), |(base, protection)| {
            (base.address(), protection.to_windows())
        });
        let mut record = RegionRecord {
            base: region.range.address(),
            size_bytes: region.range.bytes().get(),
            allocation_base: base,
            allocation_protection: protection,
            protection: region.state.protect(),
            usage: RegionUse::Reserved,
            is_section: region.kind != Some(RegionType::Private),
            engine: engine.as_ref().map(|engine| engine.kind()),
            ..RegionRecord::default()
        };
        let mut strip = None;
        if let RegionState::Committed(_) = region.state {
            record.usage = RegionUse::Committed;
            record.committed_bytes = record.size_bytes;
            record.sampled = record.engine != Some(EngineKind::Inline);
            strip = Some(HeatStrip::new(region.range.count().get()));
        }
        Self {
            range: region.range,
            record,
            strip,
        }
    }

    /// Whether neighbours may be looked up together with it: not where that means to walk over much that is only reserved.
    fn may_be_looked_up(&self) -> bool {
        self.strip.is_some() || self.range.count().get() <= PAGES_PER_HUGE_PAGE
    }

    fn add(&mut self, part: PageRange, residence: Residence) {
        let Some(strip) = &mut self.strip else {
            return;
        };
        let count = part.count().get();
        let pages = &mut self.record.pages;
        match residence {
            Residence::Untouched => pages.untouched += count,
            Residence::Resident => {
                pages.resident += count;
                strip.add(part.start().since(self.range.start()).get(), count);
            }
            Residence::Modified => pages.modified += count,
            Residence::Standby => pages.standby += count,
            Residence::Compressed => pages.compressed += count,
            Residence::PageFile => pages.page_file += count,
            Residence::Lost => pages.lost += count,
        }
    }

    fn finish(mut self) -> RegionRecord {
        if let Some(strip) = self.strip {
            // What was decommitted meanwhile is told as it was listed.
            let known = self.record.pages.total();
            self.record.pages.untouched += self.range.count().get().saturating_sub(known);
            set_heat(&mut self.record, strip);
        }
        self.record
    }
}

/// Where the pages of neighbouring regions are, which make up `span`.
fn look_up(parts: &mut [Part], span: PageRange, engine: &dyn Engine, beat: &dyn Fn()) {
    let mut place = 0;
    let mut from = span.start();
    while from < span.end() {
        let to = PageNumber::new((from.get() + LOOKED_UP_AT_ONCE).min(span.end().get()));
        engine.residence(PageRange::between(from, to), &mut |run, residence| {
            let mut rest = run;
            while let Some(part) = parts.get_mut(place) {
                let inside = rest.intersection(part.range);
                if !inside.is_empty() {
                    part.add(inside, residence);
                }
                if part.range.end() > rest.end() {
                    break;
                }
                // The next run begins above, or goes on there.
                rest = PageRange::between(part.range.end().max(rest.start()), rest.end());
                place += 1;
            }
        });
        from = to;
        beat();
    }
}
