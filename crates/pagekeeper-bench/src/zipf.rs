//! Zipf's distribution: a few items get most of the accesses, as in caches and key-value stores.
//!
//! The generator of Gray and others ("Quickly generating billion-record synthetic databases", 1994), which YCSB made the
//! custom, with its exponent 0.99. Ranks are then spread over the pages, so that hot pages are no neighbours.

/// YCSB's exponent.
pub(crate) const EXPONENT: f64 = 0.99;

/// Draws ranks: rank 0 most often, rank `i` about `1 / (i + 1)^0.99` as often.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    items: u64,
    power: f64,
    zeta: f64,
    eta: f64,
    second: f64,
    step: u64,
}

impl Zipf {
    /// For `items` items, at least one. Takes a sum over all of them.
    pub(crate) fn new(items: u64) -> Self {
        let items = items.max(1);
        let zeta = zeta(items);
        let eta = if items > 2 {
            (1.0 - (2.0 / items as f64).powf(1.0 - EXPONENT)) / (1.0 - zeta_of_two() / zeta)
        } else {
            0.0
        };
        Self {
            items,
            power: 1.0 / (1.0 - EXPONENT),
            zeta,
            eta,
            second: zeta_of_two(),
            step: spreading_step(items),
        }
    }

    /// The rank that belongs to a random number from 0 up to 1.
    #[inline]
    pub(crate) fn rank(&self, unit: f64) -> u64 {
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.power);
        (rank as u64).min(self.items - 1)
    }

    /// Where the item of a rank lies: another place for each rank.
    #[inline]
    pub(crate) fn place(&self, rank: u64) -> u64 {
        ((u128::from(rank) * u128::from(self.step)) % u128::from(self.items)) as u64
    }
}

/// The sum of `1 / i^0.99` for `i` from 1 to `items`.
fn zeta(items: u64) -> f64 {
    (1..=items).map(|item| (item as f64).powf(-EXPONENT)).sum()
}

fn zeta_of_two() -> f64 {
    1.0 + 0.5_f64.powf(EXPONENT)
}

/// A step near the golden section of `items` that has no divisor in common with it, so that it reaches every place.
fn spreading_step(items: u64) -> u64 {
    let mut step = (items as f64 * 0.618_033_988_75) as u64 | 1;
    while greatest_common_divisor(step, items) != 1 {
        step += 2;
    }
    step
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, test_seed};

    #[test]
    fn the_first_ranks_come_as_often_as_the_law_says() {
        const ITEMS: u64 = 10_000;
        const DRAWS: usize = 400_000;
        let zipf = Zipf::new(ITEMS);
        let mut random = Random::new(test_seed());
        let mut counts = vec![0_u32; ITEMS as usize];
        for _ in 0..DRAWS {
            counts[zipf.rank(random.unit()) as usize] += 1;
        }
        for rank in [0_usize, 1] {
            let expected = DRAWS as f64 / (rank as f64 + 1.0).powf(EXPONENT) / zeta(ITEMS);
            let found = f64::from(counts[rank]);
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "rank {rank}: {found} of {expected}"
            );
        }
        // The generator is an approximation in the middle; the sums are good.
        for first in [100_usize, 1_000] {
            let expected = zeta(first as u64) / zeta(ITEMS);
            let found = counts[..first].iter().map(|&c| f64::from(c)).sum::<f64>() / DRAWS as f64;
            assert!(
                (found - expected).abs() < 0.03,
                "first {first}: {found} of {expected}"
            );
        }
        assert!(
            counts[ITEMS as usize - 100..]
                .iter()
                .any(|&count| count > 0),
            "the tail is there"
        );
    }

    #[test]
    fn ranks_stay_inside_at_the_edges() {
        for items in [1, 2, 3, 7, 4_096] {
            let zipf = Zipf::new(items);
            for unit in [0.0, 0.25, 0.5, 0.75, 0.999_999_999, 1.0 - f64::EPSILON] {
                assert!(zipf.rank(unit) < items, "{items} items, {unit}");
            }
            assert_eq!(zipf.rank(0.0), 0);
        }
    }

    #[test]
    fn every_rank_has_a_place_of_its_own() {
        for items in [1_u64, 2, 3, 6, 64, 1_000, 1_024, 4_999] {
            let zipf = Zipf::new(items);
            let mut taken = vec![false; items as usize];
            for rank in 0..items {
                let place = zipf.place(rank) as usize;
                assert!(
                    !std::mem::replace(&mut taken[place], true),
                    "{items} items, rank {rank}"
                );
            }
        }
    }
}
