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

    /// Three quarters of the budget, less where that would leave fewer than 64 plain pages: a budget of 64 pages
    /// has no pool.
    pub fn for_budget(budget: PageCount) -> Self {
        let pages = budget.get();
        let quarter = pages.div_ceil(4).max(Self::PLAIN);
        Self {
            most: PageCount::new(pages.saturating_sub(quarter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_stays_plain() {
        for (budget, most) in [(0, 0), (64, 0), (65, 1), (128, 64), (256, 192), (1000, 750)] {
            let share = PoolShare::for_budget(PageCount::new(budget));
            assert_eq!(share.most.get(), most, "budget {budget}");
        }
        let huge = PoolShare::for_budget(PageCount::new(1 << 40));
        assert_eq!(huge.most.get(), 3 << 38);
    }
}
