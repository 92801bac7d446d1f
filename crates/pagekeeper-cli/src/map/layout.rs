//! The address space as a ribbon that wraps like text, from the lowest address up.
//!
//! A region's width grows with the fourth root of its size, so that a page and a terabyte fit one picture; the scale is chosen so
//! that all fits a few rows. Small free gaps are a tick, large ones break the ribbon into bands.

use pagekeeper::monitor::Region;
use pagekeeper_units::PAGE_SIZE;

/// Free space from which on a new band begins.
const LARGE_GAP: u64 = 1 << 30;
/// Bands at most: a scattered address space stays in one piece.
const MOST_BANDS: usize = 40;
/// The width of a small free gap.
const GAP_WIDTH: f64 = 6.0;
/// No region is narrower.
const LEAST_WIDTH: f64 = 2.0;
/// What is left at the end of a row is not worth beginning a region in it.
const SLIVER: f64 = 12.0;

/// A stretch of address space between large free gaps.
pub(super) struct Band<'a> {
    pub(super) regions: &'a [Region],
    /// Free space below it; 0 for the first.
    pub(super) free_below: u64,
    pub(super) rows: Vec<Vec<Piece<'a>>>,
}

/// A part of a row.
pub(super) struct Piece<'a> {
    /// `None` is free space.
    pub(super) region: Option<&'a Region>,
    pub(super) x: f64,
    pub(super) width: f64,
    /// The part of the region that is drawn here, from 0 to 1.
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Puts all regions into rows of this width.
pub(super) fn bands(regions: &[Region], across: f64) -> Vec<Band<'_>> {
    let stretches = split_at_large_gaps(regions);
    let rows = (stretches.len() as f64 * 1.5).max(6.0);
    let wanted = (across * rows).max(regions.len() as f64 * 2.5);
    let scale = scale_for(regions, wanted);
    let mut end_below = None;
    stretches
        .into_iter()
        .map(|stretch| {
            let begin = stretch.first().map_or(0, |region| region.base);
            let free_below = end_below.map_or(0, |end| begin - end);
            end_below = stretch.last().map(Region::end);
            Band {
                regions: stretch,
                free_below,
                rows: rows_of(stretch, across, scale),
            }
        })
        .collect()
}

fn gap_below(pair: &[Region]) -> u64 {
    pair[1].base.saturating_sub(pair[0].end())
}

fn split_at_large_gaps(regions: &[Region]) -> Vec<&[Region]> {
    let mut gaps: Vec<u64> = regions
        .windows(2)
        .map(gap_below)
        .filter(|&gap| gap >= LARGE_GAP)
        .collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let least = gaps.get(MOST_BANDS - 1).map_or(LARGE_GAP, |&gap| gap + 1);
    regions
        .chunk_by(|one, next| next.base.saturating_sub(one.end()) < least)
        .collect()
}

fn root(region: &Region) -> f64 {
    (region.size_bytes as f64 / PAGE_SIZE as f64).powf(0.25)
}

/// The scale at which all widths together come nearest to `wanted`.
fn scale_for(regions: &[Region], wanted: f64) -> f64 {
    let sum = |scale: f64| -> f64 {
        let width = |region| (scale * root(region)).max(LEAST_WIDTH);
        regions.iter().map(width).sum()
    };
    let (mut low, mut high) = (0.01, 256.0);
    for _ in 0..24 {
        let middle = f64::midpoint(low, high);
        if sum(middle) > wanted {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

fn rows_of(regions: &[Region], across: f64, scale: f64) -> Vec<Vec<Piece<'_>>> {
    let mut rows = Rows {
        across,
        x: 0.0,
        done: Vec::new(),
        row: Vec::new(),
    };
    for (index, region) in regions.iter().enumerate() {
        if index > 0 && gap_below(&regions[index - 1..=index]) > 0 {
            rows.place(None, GAP_WIDTH);
        }
        rows.place(Some(region), (scale * root(region)).max(LEAST_WIDTH));
    }
    rows.done.push(rows.row);
    rows.done
}

/// Rows that are being filled.
struct Rows<'a> {
    across: f64,
    x: f64,
    done: Vec<Vec<Piece<'a>>>,
    row: Vec<Piece<'a>>,
}

impl<'a> Rows<'a> {
    /// Puts a region, or a gap, where the last one ended, in as many rows as it needs.
    fn place(&mut self, region: Option<&'a Region>, whole: f64) {
        let mut drawn = 0.0;
        while drawn < whole - 1e-9 {
            let room = self.across - self.x;
            if room < SLIVER.min(whole - drawn) && self.x > 0.0 {
                self.done.push(std::mem::take(&mut self.row));
                self.x = 0.0;
                continue;
            }
            let width = (whole - drawn).min(room);
            self.row.push(Piece {
                region,
                x: self.x,
                width,
                from: drawn / whole,
                to: (drawn + width) / whole,
            });
            self.x += width;
            drawn += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(base: u64, size_bytes: u64) -> Region {
        Region {
            base,
            size_bytes,
            ..Region::default()
        }
    }

    #[test]
    fn nothing_overlaps_nothing_is_left_out_and_the_order_is_kept() {
        let regions = [
            region(0x1_0000, 0x1000),
            region(0x1_1000, 1 << 40),
            region(1 << 45, 0x2000),
            region((1 << 45) + 0x9000, 0x20_0000),
        ];
        let bands = bands(&regions, 1000.0);
        assert_eq!(bands.len(), 2);
        assert_eq!(bands[1].free_below, (1 << 45) - regions[1].end());
        let mut drawn = vec![0.0; regions.len()];
        for row in bands.iter().flat_map(|band| &band.rows) {
            let mut x = 0.0;
            for piece in row {
                assert!(piece.x >= x - 1e-6 && piece.x + piece.width <= 1000.0 + 1e-6);
                x = piece.x + piece.width;
                if let Some(region) = piece.region {
                    let index = regions.iter().position(|other| other == region).unwrap();
                    assert!((piece.from - drawn[index]).abs() < 1e-6);
                    drawn[index] = piece.to;
                }
            }
        }
        assert!(
            drawn.iter().all(|drawn| (drawn - 1.0).abs() < 1e-6),
            "{drawn:?}"
        );
    }

    #[test]
    fn ten_thousand_small_regions_stay_visible() {
        let regions: Vec<Region> = (0..10_000)
            .map(|i| region(i * 0x4000 + 0x1000, 0x1000))
            .collect();
        let bands = bands(&regions, 1000.0);
        assert_eq!(bands.len(), 1);
        let pieces: Vec<&Piece<'_>> = bands[0].rows.iter().flatten().collect();
        let narrow = pieces
            .iter()
            .filter(|piece| piece.width < LEAST_WIDTH - 1e-6)
            .count();
        assert_eq!(narrow, 0);
        assert_eq!(
            pieces.iter().filter(|piece| piece.region.is_some()).count(),
            10_000
        );
    }

    #[test]
    fn a_scattered_address_space_is_cut_at_its_largest_gaps_only() {
        let regions: Vec<Region> = (1..1000).map(|i| region((i * i) << 30, 0x1000)).collect();
        assert_eq!(bands(&regions, 1000.0).len(), MOST_BANDS);
        assert!(bands(&[], 1000.0).is_empty());
    }
}
