//! How much of the RAM budget the compressed pool may take.

use pagekeeper_units::PageCount;

/// Bounds of the compressed pool, which counts against the RAM budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShare {
    /// The most pages that the pool may hold.
    pub most: PageCount,
}

impl PoolShare {
    /// Pages that always stay for data in plain form: below that a single instruction that touches several
    /// extents could not make progress.
    const PLAIN: u64 = 64;

    /// Seven eighths of the budget, less where that would leave fewer than 64 plain pages: a budget of 64 pages
    /// has no pool.
    ///
    /// So much because a frame of the pool holds several pages, and what finds no place in it costs a read of the disk: five
    /// times what unpacking costs. For accesses as skewed as Zipf's law and pages that pack 2 to 5 times smaller, the two
    /// uses of the last frame are worth the same when a sixth of the budget is plain; for uniform ones, at none.
    pub fn for_budget(budget: PageCount) -> Self {
        let pages = budget.get();
        let plain = pages.div_ceil(8).max(Self::PLAIN);
        Self {
            most: PageCount::new(pages.saturating_sub(plain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_stays_plain() {
        for (budget, most) in [(0, 0), (64, 0), (65, 1), (128, 64), (512, 448), (1000, 875)] {
            let share = PoolShare::for_budget(PageCount::new(budget));
            assert_eq!(share.most.get(), most, "budget {budget}");
        }
        let huge = PoolShare::for_budget(PageCount::new(1 << 40));
        assert_eq!(huge.most.get(), 7 << 37);
    }
}
