//! How the RAM of a space is divided among the engines that its reservations share.
//!
//! A space that uses one engine gives it everything. With two, the shares follow use: each engine has a share in
//! proportion to what is committed with it, a sixteenth of the RAM added to either, so that a beginning counts and a
//! single page does not turn everything round. No engine gets less than its minimum, nor, as far as that is
//! possible, less than what it cannot let go. A fixed share (`Settings::inline_share`) takes the place of the proportion.
//!
//! Moving RAM costs: the engine that loses must write pages out first. So shares move in steps of a sixteenth at least.

use pagekeeper_units::PageCount;

/// What part of the RAM a step is, and what is added to each engine's committed pages.
const PART: u64 = 16;

/// What an engine has to say about its share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// The smallest budget that it works with.
    pub(super) least: PageCount,
    /// Pages beyond that which cannot leave RAM.
    pub(super) pinned: PageCount,
    /// Pages committed with it.
    pub(super) committed: PageCount,
    /// Its fixed part in percent, where the program has set one.
    pub(super) fixed_percent: Option<u8>,
}

impl Claim {
    fn weight(&self, ram: PageCount) -> u128 {
        match self.fixed_percent {
            Some(percent) => u128::from(percent),
            None => u128::from(self.committed.get()) + u128::from(ram.get() / PART).max(1),
        }
    }
}

/// Divides `ram`. The caller has made sure that the minima fit.
pub(super) fn divide(ram: PageCount, claims: &[Claim]) -> Vec<PageCount> {
    let floors: PageCount = claims.iter().map(|claim| claim.least + claim.pinned).sum();
    let with_pinned = floors <= ram;
    let floor = |claim: &Claim| {
        if with_pinned {
            claim.least + claim.pinned
        } else {
            claim.least
        }
    };
    // Whoever would fall below its floor gets the floor, and the others divide the rest.
    let mut shares: Vec<Option<PageCount>> = vec![None; claims.len()];
    loop {
        let given: PageCount = shares.iter().flatten().copied().sum();
        let rest = ram.saturating_sub(given);
        let still: Vec<usize> = (0..claims.len())
            .filter(|&at| shares[at].is_none())
            .collect();
        let sum: u128 = still.iter().map(|&at| claims[at].weight(ram)).sum();
        let part = |at: usize| {
            let pages = u128::from(rest.get()) * claims[at].weight(ram) / sum.max(1);
            PageCount::new(u64::try_from(pages).unwrap_or(u64::MAX))
        };
        let poor: Vec<usize> = still
            .iter()
            .copied()
            .filter(|&at| part(at) < floor(&claims[at]))
            .collect();
        if poor.is_empty() {
            for at in still {
                shares[at] = Some(part(at));
            }
            return shares.into_iter().flatten().collect();
        }
        for at in poor {
            shares[at] = Some(floor(&claims[at]));
        }
    }
}

/// Whether a new share is far enough from the old one to be worth the move.
pub(super) fn is_worth_moving(ram: PageCount, from: PageCount, to: PageCount) -> bool {
    from.get().abs_diff(to.get()) >= (ram.get() / PART).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(least: u64, committed: u64) -> Claim {
        Claim {
            least: PageCount::new(least),
            committed: PageCount::new(committed),
            ..Claim::default()
        }
    }

    fn divided(ram: u64, claims: &[Claim]) -> Vec<u64> {
        let shares = divide(PageCount::new(ram), claims);
        assert!(shares.iter().map(|share| share.get()).sum::<u64>() <= ram);
        shares.into_iter().map(PageCount::get).collect()
    }

    #[test]
    fn one_engine_has_everything() {
        assert_eq!(divided(1000, &[claim(64, 0)]), [1000]);
        assert_eq!(divided(1000, &[]), [0; 0]);
    }

    #[test]
    fn shares_follow_what_is_committed() {
        // Nobody has committed anything, or both the same: halves.
        assert_eq!(divided(1600, &[claim(64, 0), claim(64, 0)]), [800, 800]);
        assert_eq!(
            divided(1600, &[claim(64, 9000), claim(64, 9000)]),
            [800, 800]
        );
        // 1,500 + 100 against 100.
        assert_eq!(divided(1600, &[claim(64, 1500), claim(64, 0)]), [1505, 94]);
        assert_eq!(
            divided(1600, &[claim(64, 300), claim(64, 1100)]),
            [400, 1200]
        );
    }

    #[test]
    fn a_minimum_is_kept_and_so_is_what_cannot_leave() {
        // In proportion the second would get 15 of its 1,024.
        assert_eq!(
            divided(1600, &[claim(64, 16_000), claim(1024, 0)]),
            [576, 1024]
        );
        let mut locked = claim(64, 0);
        locked.pinned = PageCount::new(400);
        assert_eq!(divided(1600, &[claim(64, 16_000), locked]), [1136, 464]);
        // Not possible for all: the minima count.
        locked.pinned = PageCount::new(1600);
        assert_eq!(divided(1600, &[claim(64, 16_000), locked]), [1536, 64]);
    }

    #[test]
    fn the_minima_alone_may_take_everything() {
        assert_eq!(divided(1088, &[claim(64, 5), claim(1024, 0)]), [64, 1024]);
    }

    #[test]
    fn a_fixed_share_does_not_follow() {
        let fixed = |least, percent, committed| Claim {
            fixed_percent: Some(percent),
            ..claim(least, committed)
        };
        assert_eq!(
            divided(1000, &[fixed(64, 80, 1), fixed(64, 20, 9000)]),
            [800, 200]
        );
        assert_eq!(
            divided(1000, &[fixed(64, 100, 1), fixed(64, 0, 0)]),
            [936, 64]
        );
    }

    #[test]
    fn small_moves_are_not_made() {
        let (ram, from) = (PageCount::new(1600), PageCount::new(800));
        assert!(!is_worth_moving(ram, from, PageCount::new(899)));
        assert!(is_worth_moving(ram, from, PageCount::new(900)));
        assert!(is_worth_moving(ram, from, PageCount::new(700)));
    }
}
