//! Which code faults: a small table that the fault path fills, without a lock, from one fault in sixteen.

use core::sync::atomic::{AtomicU64, Ordering};

/// One fault in so many is looked at (a power of two).
const SAMPLE: u64 = 16;
/// Places of the table (a power of two).
const PLACES: usize = 256;
/// Places that an address may take.
const WAYS: usize = 4;

/// An instruction, and how often it was seen.
#[derive(Default)]
struct Place {
    /// 0: free.
    address: AtomicU64,
    seen: AtomicU64,
}

/// The table. Threads that meet in a place may lose a count; nothing is ever waited for.
pub(crate) struct FaultSites {
    places: [Place; PLACES],
}

impl Default for FaultSites {
    fn default() -> Self {
        Self {
            places: [const {
                Place {
                    address: AtomicU64::new(0),
                    seen: AtomicU64::new(0),
                }
            }; PLACES],
        }
    }
}

impl FaultSites {
    /// A fault of the instruction at `address` began at `moment_ns`, whose low bits decide whether it is looked at.
    #[inline]
    pub(crate) fn note(&self, address: u64, moment_ns: u64) {
        if (moment_ns >> 1).is_multiple_of(SAMPLE) && address != 0 {
            self.count(address);
        }
    }

    /// Counts it where it stands, or in a free place; else the least of its places loses one, and is replaced when it has none
    /// left. So what faults often stays.
    fn count(&self, address: u64) {
        let hash = address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        let ways = (0..WAYS).filter_map(|way| self.places.get((hash as usize + way) % PLACES));
        let mut least: Option<(&Place, u64)> = None;
        for place in ways {
            let found = place.address.load(Ordering::Relaxed);
            let taken = found == 0
                && place
                    .address
                    .compare_exchange(0, address, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if found == address || taken {
                place.seen.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let seen = place.seen.load(Ordering::Relaxed);
            if least.is_none_or(|(_, fewest)| seen < fewest) {
                least = Some((place, seen));
            }
        }
        if let Some((place, seen)) = least {
            if seen > 1 {
                place.seen.store(seen - 1, Ordering::Relaxed);
            } else {
                place.address.store(address, Ordering::Relaxed);
                place.seen.store(1, Ordering::Relaxed);
            }
        }
    }

    /// Addresses with how many faults they stand for, the most first.
    pub(crate) fn snapshot(&self) -> Vec<(u64, u64)> {
        let mut sites: Vec<(u64, u64)> = self
            .places
            .iter()
            .map(|place| {
                (
                    place.address.load(Ordering::Relaxed),
                    place.seen.load(Ordering::Relaxed) * SAMPLE,
                )
            })
            .filter(|&(address, faults)| address != 0 && faults != 0)
            .collect();
        most_first(&mut sites);
        sites
    }
}

/// Sorts sites by their faults, the most first.
pub(crate) fn most_first(sites: &mut [(u64, u64)]) {
    sites.sort_unstable_by_key(|&(address, faults)| (core::cmp::Reverse(faults), address));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_sixteen_stands_for_sixteen() {
        let sites = FaultSites::default();
        for moment in 0..32_000 {
            sites.note(0x4000, moment);
        }
        assert_eq!(sites.snapshot(), [(0x4000, 32_000)]);
        sites.note(0, 0);
        assert_eq!(sites.snapshot().len(), 1);
    }

    #[test]
    fn what_faults_often_stays_among_many_that_do_not() {
        let sites = FaultSites::default();
        for round in 0..20_000_u64 {
            sites.count(0x1000);
            sites.count(0x1_0000 + round * 4);
        }
        let found = sites.snapshot();
        assert_eq!(found[0].0, 0x1000);
        assert!(found[0].1 > 10 * found[1].1, "{:?}", &found[..2]);
    }
}
