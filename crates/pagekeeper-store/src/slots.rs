//! Which slots of one page file are free: three bitmaps, searched from where the last run ended.
//!
//! Runs are handed out one behind the other (next fit), so that pages that leave together lie
//! together and writes run along the disk. When the file has been used up once, runs go into the
//! holes: the first that is long enough among the next few, or a wholly free cluster of 64 slots,
//! or the longest of those seen. A search looks at a bounded number of holes, and finds a free slot
//! whenever there is one.
//!
//! The fault path takes and gives slots: no allocation, one [lock](crate::sync::Lock) held for the
//! search only. At 16 TiB a search that finds nothing reads 8 MiB of summaries; at 64 GiB, 32 KiB.

// Longer than 500 lines because the bitmaps and the tests that hold them against a model belong together.

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::ZeroedTable;

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Lock, Relaxed};

mod withdrawn;

/// The longest run that is handed out, in slots (1 MiB).
pub const RUN_MAX: u32 = 256;

/// Slots of a cluster: the bits of a word.
const CLUSTER: u32 = u64::BITS;

/// Holes that a search looks at before it takes the longest.
const HOLES_TRIED: u32 = 64;

/// From how many slots on a wholly free cluster is looked for before holes are.
const CLUSTER_FIRST: u32 = 16;

/// How many slots are added under one hold of the lock.
const GROW_STEP: u32 = 1 << 16;

/// The free slots of one file, numbered from zero.
#[derive(Debug)]
pub(crate) struct SlotMap {
    lock: Lock,
    /// One bit a slot: free, with space behind it.
    free: ZeroedTable<AtomicU64>,
    /// One bit a cluster: some slot of it is free.
    some_free: ZeroedTable<AtomicU64>,
    /// One bit a cluster: all slots of it are free.
    all_free: ZeroedTable<AtomicU64>,
    /// One bit a slot: the disk refused to write it.
    bad: ZeroedTable<AtomicU64>,
    /// One bit a slot: bad, and never to be tried again.
    condemned: ZeroedTable<AtomicU64>,
    capacity: u32,
    /// Slots with space behind them; they come first.
    available: AtomicU32,
    /// Where the next search starts.
    cursor: AtomicU32,
    used: AtomicU32,
    bad_count: AtomicU32,
    closed: AtomicBool,
}

/// How many slots are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotCounts {
    pub(crate) available: u32,
    pub(crate) used: u32,
    pub(crate) bad: u32,
}

impl SlotMap {
    /// A map that may grow to `capacity` slots, with none available yet.
    pub(crate) fn new(capacity: u32) -> Result<Self, Errno> {
        let clusters = capacity.div_ceil(CLUSTER) as usize;
        let summaries = clusters.div_ceil(CLUSTER as usize);
        Ok(Self {
            lock: Lock::new(()),
            free: ZeroedTable::new(clusters)?,
            some_free: ZeroedTable::new(summaries)?,
            all_free: ZeroedTable::new(summaries)?,
            bad: ZeroedTable::new(clusters)?,
            condemned: ZeroedTable::new(clusters)?,
            capacity,
            available: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            used: AtomicU32::new(0),
            bad_count: AtomicU32::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn counts(&self) -> SlotCounts {
        SlotCounts {
            available: self.available.load(Relaxed),
            used: self.used.load(Relaxed),
            bad: self.bad_count.load(Relaxed),
        }
    }

    /// Whether a slot could be taken.
    pub(crate) fn has_free(&self) -> bool {
        let counts = self.counts();
        !self.closed.load(Relaxed)
            && u64::from(counts.used) + u64::from(counts.bad) < u64::from(counts.available)
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        [
            &self.free,
            &self.some_free,
            &self.all_free,
            &self.bad,
            &self.condemned,
        ]
        .iter()
        .map(|table| table.resident_bytes())
        .sum()
    }

    /// Makes the slots up to `available` usable; there is space behind them now. One caller at a
    /// time, outside the fault path.
    pub(crate) fn grow_to(&self, available: u32) {
        let target = available.min(self.capacity);
        loop {
            let _held = self.lock.lock_outside_handler();
            let from = self.available.load(Relaxed);
            if from >= target {
                return;
            }
            let count = (target - from).min(GROW_STEP);
            self.set_free(from, count);
            self.available.store(from + count, Relaxed);
        }
    }

    /// Hands out no more slots. Not for the fault path.
    pub(crate) fn close(&self) {
        let _held = self.lock.lock_outside_handler();
        self.closed.store(true, Relaxed);
    }

    /// Takes up to `want` slots that lie side by side: as many as the search finds, at least one.
    /// `None` when no slot is free, or the map is closed.
    pub(crate) fn take_run(&self, want: u32) -> Option<(u32, u32)> {
        let want = want.clamp(1, RUN_MAX);
        let _held = self.lock.lock();
        if self.closed.load(Relaxed) {
            return None;
        }
        let (first, count) = self.find(want)?;
        self.clear_free(first, count);
        self.cursor.store(first + count, Relaxed);
        self.used
            .store(self.used.load(Relaxed).saturating_add(count), Relaxed);
        Some((first, count))
    }

    /// Gives back slots that were taken. Those that are free already, bad or past the end are left
    /// alone; returns how many were not.
    pub(crate) fn give_back(&self, first: u32, count: u32) -> u32 {
        self.leave_use(first, count, |map, slot| map.set_free(slot, 1))
    }

    /// Withdraws slots that were taken and could not be written; they are not handed out again unless they are mended.
    pub(crate) fn mark_bad(&self, first: u32, count: u32) -> u32 {
        self.leave_use(first, count, |map, slot| {
            if let Some(word) = map.bad.get((slot / CLUSTER) as usize) {
                word.store(word.load(Relaxed) | 1 << (slot % CLUSTER), Relaxed);
            }
            map.bad_count
                .store(map.bad_count.load(Relaxed).saturating_add(1), Relaxed);
        })
    }

    fn leave_use(&self, first: u32, count: u32, each: impl Fn(&Self, u32)) -> u32 {
        let _held = self.lock.lock();
        let end = first
            .saturating_add(count)
            .min(self.available.load(Relaxed));
        let mut left = 0;
        for slot in first..end {
            if self.is_used(slot) {
                each(self, slot);
                left += 1;
            }
        }
        self.used
            .store(self.used.load(Relaxed).saturating_sub(left), Relaxed);
        left
    }

    fn is_used(&self, slot: u32) -> bool {
        let word = (slot / CLUSTER) as usize;
        let idle = bits(&self.free, word) | bits(&self.bad, word);
        slot < self.available.load(Relaxed) && idle & 1 << (slot % CLUSTER) == 0
    }

    /// Where the next run of up to `want` slots should lie.
    fn find(&self, want: u32) -> Option<(u32, u32)> {
        let cursor = self.cursor.load(Relaxed);
        let here = self.run_at(cursor, want);
        if here == want {
            return Some((cursor, here));
        }
        if want >= CLUSTER_FIRST
            && let Some(run) = self.free_cluster(cursor, want)
        {
            return Some(run);
        }
        let mut best = (cursor, here);
        let mut slot = cursor;
        for _ in 0..HOLES_TRIED {
            let Some(hole) = self.next_free(slot) else {
                break;
            };
            let length = self.run_at(hole, want);
            if length == want {
                return Some((hole, length));
            }
            if length > best.1 {
                best = (hole, length);
            }
            slot = hole + length;
        }
        if best.1 < want
            && let Some(run) = self.free_cluster(cursor, want)
        {
            return Some(run);
        }
        (best.1 > 0).then_some(best)
    }

    /// How many slots from `slot` on are free, up to `want`.
    fn run_at(&self, slot: u32, want: u32) -> u32 {
        let mut length = 0;
        while length < want {
            let at = slot + length;
            let shift = at % CLUSTER;
            let free = bits(&self.free, (at / CLUSTER) as usize) >> shift;
            let ones = free.trailing_ones().min(CLUSTER - shift);
            length += ones;
            if ones < CLUSTER - shift {
                break;
            }
        }
        length.min(want)
    }

    /// The first free slot from `slot` on, going on at the start after the end.
    fn next_free(&self, slot: u32) -> Option<u32> {
        let cluster = slot / CLUSTER;
        let rest = bits(&self.free, cluster as usize) & (!0 << (slot % CLUSTER));
        if rest != 0 {
            return Some(cluster * CLUSTER + rest.trailing_zeros());
        }
        let cluster =
            next_set(&self.some_free, cluster + 1).or_else(|| next_set(&self.some_free, 0))?;
        let free = bits(&self.free, cluster as usize);
        (free != 0).then(|| cluster * CLUSTER + free.trailing_zeros())
    }

    /// The next wholly free cluster, with as much of what follows as is free and wanted.
    fn free_cluster(&self, slot: u32, want: u32) -> Option<(u32, u32)> {
        let from = slot.div_ceil(CLUSTER);
        let cluster = next_set(&self.all_free, from).or_else(|| next_set(&self.all_free, 0))?;
        let first = cluster * CLUSTER;
        Some((first, self.run_at(first, want)))
    }

    fn set_free(&self, first: u32, count: u32) {
        self.for_each_cluster(first, count, |free, mask| free | mask);
    }

    fn clear_free(&self, first: u32, count: u32) {
        self.for_each_cluster(first, count, |free, mask| free & !mask);
    }

    /// Changes the bits of a run cluster by cluster and keeps the summaries true.
    fn for_each_cluster(&self, first: u32, count: u32, change: impl Fn(u64, u64) -> u64) {
        let end = first + count;
        let mut slot = first;
        while slot < end {
            let (cluster, shift) = (slot / CLUSTER, slot % CLUSTER);
            let length = (CLUSTER - shift).min(end - slot);
            let mask = if length == CLUSTER {
                !0
            } else {
                ((1 << length) - 1) << shift
            };
            if let Some(word) = self.free.get(cluster as usize) {
                let free = change(word.load(Relaxed), mask);
                word.store(free, Relaxed);
                set_bit(&self.some_free, cluster, free != 0);
                set_bit(&self.all_free, cluster, free == !0);
            }
            slot += length;
        }
    }
}

#[inline]
fn bits(table: &ZeroedTable<AtomicU64>, word: usize) -> u64 {
    table.get(word).map_or(0, |word| word.load(Relaxed))
}

fn set_bit(table: &ZeroedTable<AtomicU64>, bit: u32, value: bool) {
    if let Some(word) = table.get((bit / CLUSTER) as usize) {
        let mask = 1 << (bit % CLUSTER);
        let old = word.load(Relaxed);
        word.store(if value { old | mask } else { old & !mask }, Relaxed);
    }
}

/// The first set bit from `from` on.
fn next_set(table: &ZeroedTable<AtomicU64>, from: u32) -> Option<u32> {
    let first = (from / CLUSTER) as usize;
    let head = bits(table, first) & (!0 << (from % CLUSTER));
    if head != 0 {
        return Some(first as u32 * CLUSTER + head.trailing_zeros());
    }
    let rest = table.get(first + 1..)?;
    let (index, word) = rest
        .iter()
        .map(|word| word.load(Relaxed))
        .enumerate()
        .find(|&(_, word)| word != 0)?;
    Some((first + 1 + index) as u32 * CLUSTER + word.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use std::collections::BTreeSet;

    fn map(slots: u32) -> SlotMap {
        let map = SlotMap::new(slots).unwrap();
        map.grow_to(slots);
        map
    }

    #[test]
    fn runs_follow_one_another() {
        let map = map(1000);
        assert_eq!(map.take_run(40), Some((0, 40)));
        assert_eq!(map.take_run(64), Some((40, 64)));
        assert_eq!(map.take_run(1), Some((104, 1)));
        assert_eq!(map.take_run(256), Some((105, 256)));
        assert_eq!(map.take_run(9999), Some((361, RUN_MAX)));
    }

    #[test]
    fn nothing_is_handed_out_before_there_is_space() {
        let map = SlotMap::new(1000).unwrap();
        assert_eq!(map.take_run(1), None);
        map.grow_to(10);
        assert_eq!(map.take_run(64), Some((0, 10)));
        assert_eq!(map.take_run(64), None);
        map.grow_to(70);
        assert_eq!(map.take_run(64), Some((10, 60)));
        map.grow_to(5000);
        assert_eq!(map.counts().available, 1000);
    }

    #[test]
    fn a_search_wraps_around_and_finds_the_last_free_slot() {
        let map = map(5000);
        while map.take_run(256).is_some() {}
        assert_eq!(map.counts().used, 5000);
        for slot in [0, 63, 64, 4999, 2500] {
            assert_eq!(map.give_back(slot, 1), 1);
            assert_eq!(map.take_run(8), Some((slot, 1)));
        }
        assert_eq!(map.take_run(1), None);
    }

    #[test]
    fn a_long_run_prefers_a_free_cluster_to_holes() {
        let map = map(64 * 100);
        while map.take_run(256).is_some() {}
        for slot in (0..3200).step_by(2) {
            map.give_back(slot, 1);
        }
        map.give_back(64 * 70, 128);
        assert_eq!(map.take_run(64), Some((64 * 70, 64)));
        assert_eq!(map.take_run(64), Some((64 * 71, 64)));
        // Only holes of one are left: better short than none.
        assert_eq!(map.take_run(64).unwrap().1, 1);
    }

    #[test]
    fn giving_back_twice_or_what_was_never_taken_changes_nothing() {
        let map = map(100);
        assert_eq!(map.take_run(10), Some((0, 10)));
        assert_eq!(map.give_back(5, 20), 5);
        assert_eq!(map.give_back(5, 20), 0);
        assert_eq!(map.give_back(99, 50), 0);
        assert_eq!(map.give_back(u32::MAX, 50), 0);
        assert_eq!(map.counts().used, 5);
    }

    #[test]
    fn bad_slots_never_come_back() {
        let map = map(128);
        assert_eq!(map.take_run(64), Some((0, 64)));
        assert_eq!(map.mark_bad(0, 64), 64);
        assert_eq!(map.give_back(0, 64), 0);
        let counts = map.counts();
        assert_eq!((counts.used, counts.bad), (0, 64));
        assert_eq!(map.take_run(64), Some((64, 64)));
        assert_eq!(map.take_run(1), None);
    }

    #[test]
    fn a_closed_map_takes_back_but_hands_nothing_out() {
        let map = map(100);
        map.take_run(10).unwrap();
        map.close();
        assert_eq!(map.take_run(1), None);
        assert_eq!(map.give_back(0, 9), 9);
        assert_eq!(map.counts().used, 1);
        assert!(map.is_used(9) && !map.is_used(0));
        assert_eq!(map.take_run(1), None);
    }

    /// Random runs taken and given back, against a set.
    #[test]
    fn a_slot_is_never_handed_out_twice_and_none_gets_lost() {
        let mut rng = Rng::from_env();
        for slots in [1, 63, 64, 65, 700, 5000] {
            let map = SlotMap::new(slots).unwrap();
            let mut available = 0;
            let mut used = BTreeSet::new();
            for _ in 0..4000 {
                match rng.below(10) {
                    0 => {
                        available = slots.min(available + rng.below(200) as u32);
                        map.grow_to(available);
                    }
                    1..=5 => match map.take_run(1 + rng.below(80) as u32) {
                        Some((first, count)) => {
                            assert!(count >= 1 && first + count <= available);
                            for slot in first..first + count {
                                assert!(used.insert(slot), "slot {slot} twice");
                            }
                        }
                        None => assert_eq!(used.len(), available as usize),
                    },
                    _ => {
                        let first = rng.below(u64::from(slots)) as u32;
                        let count = 1 + rng.below(100) as u32;
                        let before = used.len();
                        used.retain(|slot| !(first..first + count).contains(slot));
                        assert_eq!(map.give_back(first, count) as usize, before - used.len());
                    }
                }
                assert_eq!(map.counts().used as usize, used.len());
                let from = rng.below(u64::from(slots)) as u32;
                assert_eq!(map.is_used(from), used.contains(&from));
            }
        }
    }

    #[test]
    fn two_threads_never_share_a_slot() {
        let map = map(10_000);
        let owners: Vec<_> = (0..10_000).map(|_| AtomicU32::new(0)).collect();
        let seed = Rng::from_env();
        std::thread::scope(|scope| {
            for thread in 1..=4u32 {
                let (map, owners, mut rng) = (
                    &map,
                    &owners,
                    Rng::new(seed.clone().next() ^ u64::from(thread)),
                );
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for _ in 0..20_000 {
                        if rng.below(2) == 0 || mine.is_empty() {
                            let Some((first, count)) = map.take_run(1 + rng.below(64) as u32)
                            else {
                                continue;
                            };
                            for slot in first..first + count {
                                assert_eq!(owners[slot as usize].swap(thread, Relaxed), 0);
                            }
                            mine.push((first, count));
                        } else {
                            let (first, count) =
                                mine.swap_remove(rng.below(mine.len() as u64) as usize);
                            for slot in first..first + count {
                                assert_eq!(owners[slot as usize].swap(0, Relaxed), thread);
                            }
                            assert_eq!(map.give_back(first, count), count);
                        }
                    }
                });
            }
        });
    }
}
