//! Heat strips: which part of a region is in memory, in a few cells.

use super::region::HEAT_CELLS;

/// Counts resident pages cell by cell.
pub(super) struct HeatStrip {
    pages: u64,
    cells: Vec<u64>,
}

impl HeatStrip {
    /// For a region of so many pages.
    pub(super) fn new(pages: u64) -> Self {
        let cells = pages.min(HEAT_CELLS as u64) as usize;
        Self {
            pages,
            cells: vec![0; cells],
        }
    }

    /// The first page of a cell.
    fn start_of(&self, cell: u64) -> u64 {
        let cells = self.cells.len() as u64;
        (u128::from(self.pages) * u128::from(cell)).div_ceil(u128::from(cells.max(1))) as u64
    }

    /// So many pages are resident, from page `first` of the region up.
    pub(super) fn add(&mut self, first: u64, count: u64) {
        let end = first.saturating_add(count).min(self.pages);
        let cells = self.cells.len() as u64;
        let mut at = first;
        while at < end {
            let cell = (u128::from(at) * u128::from(cells) / u128::from(self.pages)) as u64;
            let next = self.start_of(cell + 1).min(end);
            if let Some(sum) = self.cells.get_mut(cell as usize) {
                *sum += next - at;
            }
            at = next;
        }
    }

    /// A byte a cell: 0 where nothing is resident, 255 where everything is.
    pub(super) fn finish(self) -> Vec<u8> {
        let count = self.cells.len() as u64;
        (0..count)
            .map(|cell| {
                let pages = self.start_of(cell + 1) - self.start_of(cell);
                let resident = self.cells.get(cell as usize).copied().unwrap_or(0);
                resident.saturating_mul(255).div_ceil(pages.max(1)).min(255) as u8
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_region_has_a_cell_for_each_page() {
        let mut strip = HeatStrip::new(5);
        strip.add(1, 2);
        assert_eq!(strip.finish(), [0, 255, 255, 0, 0]);
        assert!(HeatStrip::new(0).finish().is_empty());
    }

    #[test]
    fn cells_share_what_lies_across_their_borders() {
        let mut strip = HeatStrip::new(64);
        strip.add(1, 2); // half of the first cell and half of the second
        strip.add(62, 9); // more than there is
        let cells = strip.finish();
        assert_eq!(cells.len(), 32);
        assert_eq!(cells[..3], [128, 128, 0]);
        assert_eq!(cells[30..], [0, 255]);
    }

    #[test]
    fn every_page_falls_into_one_cell() {
        for pages in [1, 31, 32, 33, 1000, 1 << 28, (1 << 35) - 1] {
            let mut strip = HeatStrip::new(pages);
            strip.add(0, pages);
            assert!(strip.finish().iter().all(|&cell| cell == 255), "{pages}");
            let mut strip = HeatStrip::new(pages);
            strip.add(pages - 1, 1);
            assert_eq!(strip.finish().iter().filter(|&&cell| cell > 0).count(), 1);
        }
    }
}
