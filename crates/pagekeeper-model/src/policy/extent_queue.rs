//! Which extent leaves RAM next: first in, first out, with a second chance for what proved useful.
//!
//! A user-space pager sees no accessed bits; what it sees is faults. So, after S3-FIFO: an extent that comes in for
//! the first time is on *probation* and leaves early; one that was wanted again soon (a soft fault while it was
//! staged, or a fault while its number is still among the *ghosts*) is kept in the *main* part. A scan passes through
//! probation and leaves the main part alone; a working set that is used again and again ends up in the main part.

use super::extent_table::{ExtentStorage, List};

/// Probation gives victims while it holds more than one in this many extents.
const PROBATION_SHARE: usize = 10;
/// The ghost window is as long as the queue, but never shorter than this.
const SHORTEST_WINDOW: usize = 16;
/// Extents that a search passes over at most, each with its second chance.
const LONGEST_SEARCH: usize = 64;

/// What became of an extent that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// It is queued now.
    Queued,
    /// It was queued already and stays where it is.
    Already,
    /// There is no room: evict something, and grow the queue where allocating is allowed.
    Full,
}

/// A queue of extents in RAM, by number (address / 256 KiB). See the module text.
pub struct ExtentQueue {
    table: ExtentStorage,
}

impl ExtentQueue {
    /// A queue for `capacity` extents. Allocates everything it will ever use before [`ExtentQueue::grow`].
    pub fn new(capacity: usize) -> Self {
        Self {
            table: ExtentStorage::new(capacity),
        }
    }

    /// Extents that fit.
    pub const fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Extents in RAM.
    pub fn len(&self) -> usize {
        self.table.count(List::Probation) + self.table.count(List::Main)
    }

    /// Whether no extent is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Extents on probation and in the main part, for statistics.
    pub fn parts(&self) -> (usize, usize) {
        (
            self.table.count(List::Probation),
            self.table.count(List::Main),
        )
    }

    /// Heap memory in bytes.
    pub const fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }

    /// An extent has pages in RAM now. It goes on probation, or to the main part when it left not long ago.
    pub fn insert(&mut self, extent: u32) -> Insertion {
        self.enter(extent, None)
    }

    /// An extent was taken back from staging by a soft fault: it goes to the main part.
    pub fn rescue(&mut self, extent: u32) -> Insertion {
        self.enter(extent, Some(List::Main))
    }

    /// A victim that could not be taken out after all goes back to where it came from, as the newest.
    pub fn requeue(&mut self, extent: u32) -> Insertion {
        let from_main = self
            .table
            .find(extent)
            .and_then(|node| self.table.node(node))
            .is_some_and(|node| node.from_main);
        self.enter(
            extent,
            Some(if from_main {
                List::Main
            } else {
                List::Probation
            }),
        )
    }

    fn enter(&mut self, extent: u32, wanted: Option<List>) -> Insertion {
        let Some(node) = self.table.find(extent) else {
            if self.len() >= self.capacity() {
                return Insertion::Full;
            }
            return match self.table.insert(extent, wanted.unwrap_or(List::Probation)) {
                Some(_) => Insertion::Queued,
                None => Insertion::Full,
            };
        };
        if self
            .table
            .node(node)
            .is_some_and(|node| node.list != List::Ghost)
        {
            if wanted == Some(List::Main) {
                self.table.move_to(node, List::Main);
            }
            return Insertion::Already;
        }
        if self.len() >= self.capacity() {
            return Insertion::Full;
        }
        if let Some(node) = self.table.node_mut(node) {
            node.referenced = false;
        }
        self.table.move_to(node, wanted.unwrap_or(List::Main));
        Insertion::Queued
    }

    /// An extent was seen in use: it is passed over once when its turn comes.
    pub fn touch(&mut self, extent: u32) {
        if let Some(node) = self.table.find(extent)
            && let Some(node) = self.table.node_mut(node)
        {
            node.referenced = true;
        }
    }

    /// An extent has no pages any more (decommitted, released): forgotten, ghost included.
    pub fn remove(&mut self, extent: u32) {
        if let Some(node) = self.table.find(extent) {
            self.table.forget(node);
        }
    }

    /// The extent that shall leave RAM. It is out of the queue then and remembered as a ghost.
    pub fn next_victim(&mut self) -> Option<u32> {
        let mut victim = None;
        for _ in 0..LONGEST_SEARCH {
            let (probation, main) = self.parts();
            let from =
                if probation > 0 && (main == 0 || probation * PROBATION_SHARE > probation + main) {
                    List::Probation
                } else {
                    List::Main
                };
            let node = self.table.oldest(from)?;
            victim = Some((node, from));
            match self.table.node_mut(node) {
                Some(candidate) if candidate.referenced => {
                    candidate.referenced = false;
                    self.table.move_to(node, List::Main);
                }
                _ => break,
            }
        }
        let (node, from) = victim?;
        let extent = self.table.node(node)?.extent;
        if let Some(node) = self.table.node_mut(node) {
            node.from_main = from == List::Main;
        }
        self.table.move_to(node, List::Ghost);
        self.shorten_window();
        Some(extent)
    }

    /// Lets `extent` leave together with `victim`, whose turn it just was, because they lie side by side: it is out of the queue
    /// then and remembered as a ghost. Refused (`false`) where it is not queued, was seen in use, or is in the main part while
    /// the victim was on probation.
    pub fn join(&mut self, extent: u32, victim: u32) -> bool {
        let node_of = |extent| {
            let place = self.table.find(extent)?;
            Some((place, *self.table.node(place)?))
        };
        let (Some((place, node)), Some((_, victim))) = (node_of(extent), node_of(victim)) else {
            return false;
        };
        let may = match node.list {
            List::Ghost | List::Free => false,
            List::Probation => true,
            List::Main => victim.list == List::Ghost && victim.from_main,
        };
        if !may || node.referenced {
            return false;
        }
        if let Some(node) = self.table.node_mut(place) {
            node.from_main = node.list == List::Main;
        }
        self.table.move_to(place, List::Ghost);
        self.shorten_window();
        true
    }

    /// Forgets the oldest ghosts beyond the window; two a call, so that the window shrinks step by step.
    fn shorten_window(&mut self) {
        let window = self.len().max(SHORTEST_WINDOW).min(self.capacity());
        for _ in 0..2 {
            if self.table.count(List::Ghost) <= window {
                return;
            }
            if let Some(node) = self.table.oldest(List::Ghost) {
                self.table.forget(node);
            }
        }
    }

    /// A queued extent, and from where to look for the next one; begin with 0. Visits every extent that stays queued
    /// once, in no order, and changes nothing. Looks at no more than `most` places, so that a lock is held briefly:
    /// then the extent is `None` and the place to go on from is given; at the end both are.
    pub fn queued_from(&self, from: usize, most: usize) -> (Option<u32>, Option<usize>) {
        for at in from..from.saturating_add(most) {
            let Some(node) = u32::try_from(at).ok().and_then(|at| self.table.node(at)) else {
                return (None, None);
            };
            if matches!(node.list, List::Probation | List::Main) {
                return (Some(node.extent), Some(at + 1));
            }
        }
        (None, Some(from.saturating_add(most)))
    }

    /// Moves everything into larger memory, without allocating; the old memory comes back, to be dropped where
    /// that is allowed. Storage that is too small for what is queued comes back unused.
    pub fn grow(&mut self, mut storage: ExtentStorage) -> ExtentStorage {
        if storage.capacity() < self.capacity() {
            return storage;
        }
        for list in [List::Probation, List::Main, List::Ghost] {
            let mut at = self.table.oldest(list);
            while let Some(node) = at.and_then(|node| self.table.node(node)).copied() {
                if let Some(new) = storage.insert(node.extent, list)
                    && let Some(new) = storage.node_mut(new)
                {
                    new.referenced = node.referenced;
                    new.from_main = node.from_main;
                }
                at = at.and_then(|node| self.table.newer(node));
            }
        }
        core::mem::replace(&mut self.table, storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queued_extent_is_visited_once_and_ghosts_are_not() {
        let mut queue = ExtentQueue::new(64);
        for extent in 0..64 {
            assert_eq!(queue.insert(extent * 3), Insertion::Queued);
        }
        let gone: Vec<u32> = (0..20).filter_map(|_| queue.next_victim()).collect();
        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (extent, next) = queue.queued_from(at, 5);
            seen.extend(extent);
            from = next;
        }
        seen.sort_unstable();
        let expected: Vec<u32> = (0..64)
            .map(|it| it * 3)
            .filter(|it| !gone.contains(it))
            .collect();
        assert_eq!(seen, expected);
    }

    /// Plays accesses against a RAM of `room` extents; returns how many were faults.
    fn play(queue: &mut ExtentQueue, room: usize, accesses: impl Iterator<Item = u32>) -> usize {
        let mut faults = 0;
        let mut resident = std::collections::HashSet::new();
        for extent in accesses {
            if resident.contains(&extent) {
                continue;
            }
            faults += 1;
            while resident.len() >= room {
                let victim = queue.next_victim().expect("something is resident");
                assert!(resident.remove(&victim), "a victim is resident");
            }
            assert_eq!(queue.insert(extent), Insertion::Queued);
            resident.insert(extent);
            assert_eq!(queue.len(), resident.len());
        }
        faults
    }

    #[test]
    fn a_scan_leaves_the_working_set_alone() {
        let hot = 60u32;
        let accesses = (0..20_000u32).flat_map(|step| {
            // A hot set in turn, and beside it a scan that never comes back.
            [step % hot, 1_000_000 + step / 2]
        });
        let mut queue = ExtentQueue::new(100);
        let faults = play(&mut queue, 100, accesses.clone());
        let scanned = 10_000;
        // A plain queue would lose the hot set again and again: 100 extents of room last for 40 scanned ones.
        assert!(
            faults < scanned + 2_000,
            "{faults} faults, {scanned} of them by the scan"
        );
        let (_, main) = queue.parts();
        assert!(main >= hot as usize, "the hot set is in the main part");
    }

    #[test]
    fn a_rescued_extent_outlives_a_new_one() {
        let mut queue = ExtentQueue::new(8);
        for extent in 0..4 {
            queue.insert(extent);
        }
        assert_eq!(queue.next_victim(), Some(0));
        assert_eq!(queue.rescue(0), Insertion::Queued);
        assert_eq!(queue.next_victim(), Some(1));
        assert_eq!(queue.next_victim(), Some(2));
        assert_eq!(queue.next_victim(), Some(3));
        assert_eq!(queue.next_victim(), Some(0));
        assert_eq!(queue.next_victim(), None);
    }

    #[test]
    fn a_touched_extent_gets_a_second_chance_once() {
        let mut queue = ExtentQueue::new(8);
        queue.insert(1);
        queue.insert(2);
        queue.touch(1);
        assert_eq!(queue.next_victim(), Some(2));
        assert_eq!(queue.next_victim(), Some(1));
        queue.touch(7);
        queue.remove(7);
        assert_eq!(queue.next_victim(), None);
    }

    #[test]
    fn a_victim_goes_back_where_it_came_from() {
        let mut queue = ExtentQueue::new(8);
        queue.rescue(5);
        assert_eq!(queue.next_victim(), Some(5));
        queue.requeue(5);
        assert_eq!(queue.parts(), (0, 1));
        queue.insert(6);
        assert_eq!(queue.next_victim(), Some(6));
        queue.requeue(6);
        assert_eq!(queue.parts(), (1, 1));
    }

    #[test]
    fn a_neighbour_leaves_with_the_victim_unless_it_is_better_than_it() {
        let mut queue = ExtentQueue::new(16);
        for extent in 0..8 {
            queue.insert(extent);
        }
        queue.rescue(5);
        queue.touch(6);
        assert_eq!(queue.next_victim(), Some(0));
        assert!(queue.join(1, 0), "on probation like the victim");
        assert!(!queue.join(1, 0), "gone already");
        assert!(!queue.join(5, 0), "in the main part, the victim was not");
        assert!(!queue.join(6, 0), "seen in use");
        assert!(!queue.join(12, 0), "never queued");
        assert_eq!(queue.len(), 6);
        // Both are remembered: when they come back they are wanted again.
        queue.insert(1);
        assert_eq!(queue.parts(), (5, 2));
        let order: Vec<_> = core::iter::from_fn(|| queue.next_victim()).collect();
        assert_eq!(order.len(), 7);
    }

    #[test]
    fn a_full_queue_says_so_and_grows() {
        let mut queue = ExtentQueue::new(4);
        for extent in 0..4 {
            assert_eq!(queue.insert(extent), Insertion::Queued);
            assert_eq!(queue.insert(extent), Insertion::Already);
        }
        assert_eq!(queue.insert(4), Insertion::Full);
        let refused = queue.grow(ExtentStorage::new(2));
        assert_eq!(refused.capacity(), 2);
        assert_eq!(queue.grow(ExtentStorage::new(16)).capacity(), 4);
        assert_eq!(queue.insert(4), Insertion::Queued);
        let order: Vec<_> = core::iter::from_fn(|| queue.next_victim()).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    /// Random operations against plain collections: nothing is lost, nothing comes twice.
    #[test]
    fn nothing_is_lost() {
        let mut queue = ExtentQueue::new(300);
        let mut queued = std::collections::HashSet::new();
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..300_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let extent = (random >> 40) as u32 % 700;
            match random % 9 {
                8 => {
                    // A neighbour leaves with the victim, or stays.
                    if let Some(victim) = queue.next_victim() {
                        assert!(queued.remove(&victim));
                        assert!(!queue.join(victim, victim), "it has left already");
                        let joins = queue.join(extent, victim);
                        assert!(!joins || queued.remove(&extent));
                    }
                }
                0..=3 => {
                    let inserted = queue.insert(extent);
                    let expected = match queued.contains(&extent) {
                        true => Insertion::Already,
                        false if queued.len() == 300 => Insertion::Full,
                        false => Insertion::Queued,
                    };
                    assert_eq!(inserted, expected);
                    if inserted == Insertion::Queued {
                        queued.insert(extent);
                    }
                }
                4 => {
                    queue.remove(extent);
                    queued.remove(&extent);
                }
                5 => queue.touch(extent),
                _ => match queue.next_victim() {
                    Some(victim) => assert!(queued.remove(&victim)),
                    None => assert!(queued.is_empty()),
                },
            }
            assert_eq!(queue.len(), queued.len());
        }
    }
}
