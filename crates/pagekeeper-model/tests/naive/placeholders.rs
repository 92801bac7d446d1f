//! Placeholders, page by page: replaced, split off, merged.

use super::{Allocation, Naive, Outcome, Page, Role, check_protection};

impl Naive {
    pub(crate) fn replace(
        &mut self,
        address: u64,
        size: u64,
        protection: u32,
        commit: bool,
    ) -> Outcome<()> {
        let (first, end) = Self::touched(address, size)?;
        check_protection(protection)?;
        let allocation = self.allocation(first)?;
        if allocation.role != Role::Placeholder {
            return Err("NotPlaceholder");
        }
        if (allocation.start, allocation.end) != (first, end) {
            return Err("NotWholePlaceholder");
        }
        if commit {
            self.check_charge((end - first) as u64)?;
        }
        self.reserve(first, end, protection, commit, Role::Replacement);
        Ok(())
    }

    /// How many pages were committed before.
    pub(crate) fn preserve(&mut self, address: u64, size: u64) -> Outcome<u64> {
        let (first, end) = Self::touched(address, size)?;
        let allocation = self.allocation(first)?;
        if end > allocation.end {
            return Err("LeavesAllocation");
        }
        let is_all = (allocation.start, allocation.end) == (first, end);
        match allocation.role {
            Role::None => return Err("NotPlaceholder"),
            Role::Placeholder if is_all => return Err("OnePlaceholder"),
            _ => {}
        }
        let before = self.committed();
        self.reserve(first, end, 1, false, Role::Placeholder);
        for (start, end) in [(allocation.start, first), (end, allocation.end)] {
            if start < end {
                self.allocations.push(Allocation {
                    start,
                    end,
                    ..allocation
                });
                let number = self.allocations.len();
                for page in &mut self.pages[start..end] {
                    *page = Page {
                        allocation: number,
                        ..*page
                    };
                }
            }
        }
        Ok(before - self.committed())
    }

    /// How many placeholders they were.
    pub(crate) fn coalesce(&mut self, address: u64, size: u64) -> Outcome<usize> {
        let (first, end) = Self::touched(address, size)?;
        let mut at = first;
        let mut count = 0;
        while at < end {
            let allocation = self.allocation(at)?;
            if allocation.role != Role::Placeholder {
                return Err("NotPlaceholder");
            }
            if allocation.start != at || allocation.end > end {
                return Err("NotWholePlaceholder");
            }
            at = allocation.end;
            count += 1;
        }
        if count == 1 {
            return Err("OnePlaceholder");
        }
        let inside = |arena: &super::Arena| arena.start <= first && end <= arena.end;
        if !self.arenas.iter().any(inside) {
            return Err("CrossesArena");
        }
        self.reserve(first, end, 1, false, Role::Placeholder);
        Ok(count)
    }

    /// From the base of the allocation around `page`, or of one not far below it, to the end of the one after it, as
    /// pages: what a merge can be tried on.
    pub(crate) fn around(&self, page: usize, back: usize) -> (usize, usize) {
        let Ok(mut low) = self.allocation(page) else {
            return (page, page + 1);
        };
        let mut high = low;
        for _ in 0..back {
            if low.start > 0
                && let Ok(below) = self.allocation(low.start - 1)
            {
                low = below;
            }
        }
        if let Ok(above) = self.allocation(high.end) {
            high = above;
        }
        (low.start, high.end)
    }

    /// The pages of the allocation around `page`.
    pub(crate) fn exactly(&self, page: usize) -> (usize, usize) {
        self.allocation(page)
            .map_or((page, page + 1), |it| (it.start, it.end))
    }
}
