//! What differs between two looks at one process: what a recording keeps of its later moments, and what the browser is sent
//! every second. Applied to the earlier look it gives the later one exactly.

use pagekeeper::monitor::{Region, Snapshot};
use serde::{Deserialize, Serialize};

/// A later moment of the same process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Later {
    /// The process then, without its regions.
    pub(crate) snapshot: Snapshot,
    /// Base addresses of regions that were there before and are gone.
    pub(crate) removed: Vec<u64>,
    /// Regions that are new or differ, by their base addresses.
    pub(crate) changed: Vec<Region>,
}

impl Later {
    /// What leads from `before`'s regions to `after`.
    pub(crate) fn between(before: &[Region], after: &Snapshot) -> Self {
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        let mut old = before.iter().peekable();
        for region in &after.regions {
            while let Some(gone) = old.next_if(|old| old.base < region.base) {
                removed.push(gone.base);
            }
            let same = old.next_if(|old| old.base == region.base) == Some(region);
            if !same {
                changed.push(region.clone());
            }
        }
        removed.extend(old.map(|old| old.base));
        Self {
            snapshot: without_regions(after),
            removed,
            changed,
        }
    }

    /// The later moment, given the earlier one's regions.
    pub(crate) fn apply(&self, before: &[Region]) -> Snapshot {
        let mut regions: Vec<Region> = before
            .iter()
            .filter(|old| {
                let base = |region: &Region| region.base;
                self.removed.binary_search(&old.base).is_err()
                    && self.changed.binary_search_by_key(&old.base, base).is_err()
            })
            .chain(&self.changed)
            .cloned()
            .collect();
        regions.sort_by_key(|region| region.base);
        Snapshot {
            regions,
            ..without_regions(&self.snapshot)
        }
    }
}

/// A copy of everything but the regions, which may be many.
fn without_regions(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        taken_at_ms: snapshot.taken_at_ms,
        age_ms: snapshot.age_ms,
        pid: snapshot.pid,
        name: snapshot.name.clone(),
        command: snapshot.command.clone(),
        user: snapshot.user,
        source: snapshot.source,
        residence: snapshot.residence,
        faults: snapshot.faults,
        totals: snapshot.totals.clone(),
        counters: snapshot.counters.clone(),
        engines: snapshot.engines.clone(),
        regions: Vec::new(),
        latency: snapshot.latency.clone(),
        fault_sites: snapshot.fault_sites.clone(),
        notes: snapshot.notes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(list: &[(u64, u64)]) -> Vec<Region> {
        let region = |&(base, committed_bytes)| Region {
            base,
            size_bytes: 0x1000,
            committed_bytes,
            ..Region::default()
        };
        list.iter().map(region).collect()
    }

    fn snapshot(list: &[(u64, u64)]) -> Snapshot {
        Snapshot {
            pid: 7,
            name: "x".to_owned(),
            regions: regions(list),
            ..Snapshot::default()
        }
    }

    #[test]
    fn only_what_differs_is_kept_and_nothing_is_lost() {
        let before = regions(&[(0x1000, 1), (0x3000, 2), (0x5000, 3), (0x9000, 4)]);
        let after = snapshot(&[(0x2000, 1), (0x3000, 2), (0x5000, 9), (0x6000, 4)]);
        let later = Later::between(&before, &after);
        assert_eq!(later.removed, [0x1000, 0x9000]);
        let bases: Vec<u64> = later.changed.iter().map(|region| region.base).collect();
        assert_eq!(bases, [0x2000, 0x5000, 0x6000]);
        assert_eq!(later.apply(&before), after);
    }

    #[test]
    fn from_nothing_to_all_and_back() {
        let all = snapshot(&[(0x1000, 1), (0x2000, 2)]);
        assert_eq!(Later::between(&[], &all).apply(&[]), all);
        let none = snapshot(&[]);
        let later = Later::between(&all.regions, &none);
        assert_eq!(later.removed.len(), 2);
        assert_eq!(later.apply(&all.regions), none);
        assert!(Later::between(&all.regions, &all).changed.is_empty());
    }
}
