//! Too many regions: neighbours are told as one, with the right sums.

use pagekeeper_units::{PAGE_SIZE, PageRange};

use super::super::heat::HeatStrip;
use super::super::region::RegionUse;
use super::layout::MOST_RANGES;
use super::record::RegionRecord;

/// Tells neighbours of one allocation as one, and if that does not help neighbours in one arena.
pub(super) fn coarsen(regions: &mut Vec<RegionRecord>, arenas: &[PageRange], most: usize) {
    for across in [false, true] {
        let mut fewer: Vec<RegionRecord> = Vec::with_capacity(regions.len());
        let mut was_merged = false;
        for region in regions.drain(..) {
            let may_join = fewer.last().is_some_and(|last| {
                !was_merged
                    && if across {
                        in_one_arena(arenas, last.base, region.base)
                    } else {
                        last.allocation_base == region.allocation_base
                    }
            });
            match fewer.last_mut() {
                Some(last) if may_join => *last = joined(last, &region),
                _ => fewer.push(region),
            }
            was_merged = may_join;
        }
        *regions = fewer;
        if regions.len() <= most / 4 * 3 {
            return;
        }
    }
}

/// Regions lie space after space, each upwards: what comes next may lie below.
fn in_one_arena(arenas: &[PageRange], lower: u64, higher: u64) -> bool {
    let behind = arenas.partition_point(|arena| arena.address() <= lower);
    behind
        .checked_sub(1)
        .and_then(|place| arenas.get(place))
        .is_some_and(|arena| lower <= higher && higher < arena.end().address())
}

/// Two regions as one; `second` lies above `first`.
fn joined(first: &RegionRecord, second: &RegionRecord) -> RegionRecord {
    let size_bytes = second.base + second.size_bytes - first.base;
    let mut pages = first.pages;
    pages.add(&second.pages);
    let mut strip = HeatStrip::new(size_bytes / PAGE_SIZE as u64);
    for part in [first, second] {
        let start = (part.base - first.base) / PAGE_SIZE as u64;
        let part_pages = part.size_bytes / PAGE_SIZE as u64;
        let cells = u64::from(part.cells);
        for (cell, heat) in part.heat.iter().take(part.cells.into()).enumerate() {
            let from = part_pages * cell as u64 / cells;
            let to = part_pages * (cell as u64 + 1) / cells;
            strip.add(start + from, (to - from) * u64::from(*heat) / 255);
        }
    }
    let mut record = RegionRecord {
        size_bytes,
        usage: RegionUse::Merged,
        protection: if first.protection == second.protection {
            first.protection
        } else {
            0
        },
        committed_bytes: first.committed_bytes + second.committed_bytes,
        pages,
        sampled: first.sampled | second.sampled,
        ..*first
    };
    if record.committed_bytes > 0 {
        set_heat(&mut record, strip);
    }
    record
}

pub(super) fn set_heat(record: &mut RegionRecord, strip: HeatStrip) {
    let heat = strip.finish();
    record.cells = heat.len() as u8;
    for (cell, value) in record.heat.iter_mut().zip(heat) {
        *cell = value;
    }
}

/// Joins ranges that touch; and where there are too many, those that lie near each other.
pub(super) fn join_ranges(ranges: &mut Vec<PageRange>) {
    let mut gap = 0;
    loop {
        let mut joined: Vec<PageRange> = Vec::with_capacity(ranges.len());
        for range in ranges.iter() {
            match joined.last_mut() {
                Some(last) if range.start().get() <= last.end().get() + gap => {
                    *last = PageRange::between(last.start(), last.end().max(range.end()));
                }
                _ => joined.push(*range),
            }
        }
        *ranges = joined;
        if ranges.len() <= MOST_RANGES {
            return;
        }
        gap = (gap * 2).max(16);
    }
}

#[cfg(test)]
mod tests {
    use pagekeeper_units::PageNumber;

    use super::super::super::region::Whereabouts;
    use super::*;

    fn record(base: u64, allocation_base: u64, resident: u64) -> RegionRecord {
        let mut record = RegionRecord {
            base: base << 12,
            size_bytes: 4 << 12,
            allocation_base: allocation_base << 12,
            usage: RegionUse::Committed,
            committed_bytes: 4 << 12,
            pages: Whereabouts {
                resident,
                untouched: 4 - resident,
                ..Whereabouts::default()
            },
            ..RegionRecord::default()
        };
        let mut strip = HeatStrip::new(4);
        strip.add(0, resident);
        set_heat(&mut record, strip);
        record
    }

    fn sums(regions: &[RegionRecord]) -> (u64, u64, u64) {
        regions.iter().fold((0, 0, 0), |sum, region| {
            (
                sum.0 + region.size_bytes,
                sum.1 + region.committed_bytes,
                sum.2 + region.pages.resident,
            )
        })
    }

    #[test]
    fn another_space_below_is_no_neighbour() {
        let arenas: Vec<_> = [(16, 400), (1000, 1400)]
            .map(|(start, end)| PageRange::between(PageNumber::new(start), PageNumber::new(end)))
            .into();
        // The second space lies below the first.
        let upper = (0..32).map(|place| record(1000 + place * 4, 1000 + place * 4, place % 5));
        let lower = (0..32).map(|place| record(16 + place * 4, 16 + place * 4, place % 5));
        let mut regions: Vec<_> = upper.chain(lower).collect();
        let before = sums(&regions);
        coarsen(&mut regions, &arenas, 8);
        assert_eq!(sums(&regions), before);
        assert!(regions.len() < 64, "{}", regions.len());
        assert!(regions.iter().all(|region| region.size_bytes <= 128 << 12));
    }

    #[test]
    fn too_many_regions_are_told_together_and_add_up() {
        let mut regions: Vec<_> = (0..64)
            .map(|place| record(16 + place * 4, 16, place % 5))
            .collect();
        let arenas = vec![PageRange::between(
            PageNumber::new(16),
            PageNumber::new(4096),
        )];
        let before = sums(&regions);
        coarsen(&mut regions, &arenas, 64);
        assert_eq!(regions.len(), 32);
        assert_eq!(sums(&regions), before);
        assert!(
            regions
                .iter()
                .all(|region| region.usage == RegionUse::Merged)
        );
        // Four of four pages and none of four.
        let hot = joined(&record(16, 16, 4), &record(20, 16, 0));
        assert_eq!(hot.heat[..8], [255, 255, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn allocations_are_told_together_only_within_an_arena() {
        let mut regions: Vec<_> = (0..64)
            .map(|place| record(16 + place * 8, 16 + place * 8, 1))
            .collect();
        let edge = 16 + 8 * 33;
        let arenas = vec![
            PageRange::between(PageNumber::new(16), PageNumber::new(edge)),
            PageRange::between(PageNumber::new(edge), PageNumber::new(4096)),
        ];
        let resident = sums(&regions).2;
        coarsen(&mut regions, &arenas, 64);
        // 33 in the first arena, of which one is left over, and 31 in the second.
        assert_eq!(regions.len(), 17 + 16);
        assert_eq!(sums(&regions).2, resident);
        let across = |region: &RegionRecord| {
            region.base < edge << 12 && region.base + region.size_bytes > edge << 12
        };
        assert!(!regions.iter().any(across));
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let range = |start, end| PageRange::between(PageNumber::new(start), PageNumber::new(end));
        let mut ranges = vec![range(0, 16), range(16, 32), range(48, 64)];
        join_ranges(&mut ranges);
        assert_eq!(ranges, [range(0, 32), range(48, 64)]);
        let mut many: Vec<_> = (0..40_000_u64)
            .map(|n| range(n * 32, n * 32 + 16))
            .collect();
        join_ranges(&mut many);
        assert!(many.len() <= MOST_RANGES);
    }
}
