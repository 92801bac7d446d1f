//! When pages begin to leave RAM, and when that stops.

use pagekeeper_units::PageCount;

/// Resident pages at which eviction in the background begins and ends, for a budget. Always
/// `low < high < budget`, so that a faulting thread finds room without evicting anything itself, unless faults outrun
/// the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The budget: never exceeded.
    pub budget: PageCount,
    /// Above this the background evicts.
    pub high: PageCount,
    /// Down to this.
    pub low: PageCount,
}

impl Watermarks {
    /// The smallest budget with useful marks.
    pub const LEAST_BUDGET: PageCount = PageCount::new(64);

    /// Marks for a budget: 92 and 88 %, with the gaps bounded below for budgets of a few pages and above (64
    /// and 32 MiB), because a large budget needs no larger head start. A budget below
    /// [`Watermarks::LEAST_BUDGET`] counts as that.
    pub fn for_budget(budget: PageCount) -> Self {
        let pages = budget.get().max(Self::LEAST_BUDGET.get());
        let head_room = (pages / 100 * 8 + pages % 100 * 8 / 100).clamp(8, 16_384);
        let batch = (head_room / 2).max(4);
        let high = pages - head_room;
        Self {
            budget: PageCount::new(pages),
            high: PageCount::new(high),
            low: PageCount::new(high - batch),
        }
    }

    /// Pages that should leave when `resident` are there; zero up to the high mark.
    pub fn excess(&self, resident: PageCount) -> PageCount {
        if resident > self.high {
            resident - self.low
        } else {
            PageCount::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_in_order_for_every_budget() {
        let odd = [
            0,
            1,
            64,
            65,
            99,
            100,
            127,
            1000,
            65_536,
            1 << 28,
            1 << 40,
            u64::MAX,
        ];
        for pages in (64..5000).chain(odd) {
            let marks = Watermarks::for_budget(PageCount::new(pages));
            assert!(
                marks.low > PageCount::ZERO && marks.low < marks.high,
                "{marks:?}"
            );
            assert!(marks.high < marks.budget, "{marks:?}");
            assert!((marks.budget - marks.low).get() <= 16_384 + 8_192);
        }
    }

    #[test]
    fn nothing_leaves_below_the_high_mark() {
        let marks = Watermarks::for_budget(PageCount::new(1000));
        assert_eq!((marks.high.get(), marks.low.get()), (920, 880));
        assert_eq!(marks.excess(PageCount::new(920)), PageCount::ZERO);
        assert_eq!(marks.excess(PageCount::new(921)).get(), 41);
    }
}
