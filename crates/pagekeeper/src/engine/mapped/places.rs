//! Where pieces lie in one page file: which 2 MiB slots are taken.
//!
//! Neighbours in memory become neighbours in the file, so that the kernel merges their mappings and reads and
//! writes them in one go. To that end slots are handed out from *stretches* of 32 slots (64 MiB): each 64 MiB of
//! address space gets a stretch of its own, in which every piece has its fixed slot. Offsets cost nothing;
//! space is allocated by the slot. Where no fresh stretch is to be had (the largest file size), any free
//! slot does.

use std::collections::{BTreeSet, HashMap};

/// Slots in a stretch.
const STRETCH: u64 = 32;

#[derive(Debug)]
struct Stretch {
    /// One bit a slot, set while it is taken.
    taken: u32,
    /// Which 64 MiB of address space it belongs to.
    home: u64,
}

/// The slots of one page file.
#[derive(Debug)]
pub(super) struct Places {
    stretches: Vec<Stretch>,
    by_home: HashMap<u64, u32>,
    /// Stretches with nothing in them.
    empty: BTreeSet<u32>,
    /// Slots from here on do not exist: the file may not grow so far.
    end_slot: u64,
    taken: u64,
    /// Slots that may be taken in all.
    most: u64,
}

impl Places {
    /// At most `most` slots at a time.
    pub(super) fn new(most: u64) -> Self {
        Self {
            stretches: Vec::new(),
            by_home: HashMap::new(),
            empty: BTreeSet::new(),
            // 16 TiB: the smallest of the file systems' largest files.
            end_slot: (16 << 40 >> 21) - 1,
            taken: 0,
            most,
        }
    }

    /// Slots in use.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that the tables take, about.
    pub(super) fn record_bytes(&self) -> u64 {
        (self.stretches.capacity() * size_of::<Stretch>() + self.by_home.capacity() * 17) as u64
    }

    /// A slot for the piece with the number `piece`, or `None` when none is left.
    pub(super) fn take(&mut self, piece: u64) -> Option<u32> {
        if self.taken >= self.most {
            return None;
        }
        let (home, place) = (piece / STRETCH, piece % STRETCH);
        let at_home = self
            .by_home
            .get(&home)
            .copied()
            .or_else(|| self.settle(home))
            .map(|stretch| u64::from(stretch) * STRETCH + place);
        let slot = at_home
            .filter(|&slot| slot < self.end_slot && !self.is_taken(slot))
            .or_else(|| self.any_free())
            .or_else(|| self.fresh_beside())?;
        self.stretches[(slot / STRETCH) as usize].taken |= 1 << (slot % STRETCH);
        self.empty.remove(&((slot / STRETCH) as u32));
        self.taken += 1;
        Some(slot as u32)
    }

    /// A slot is free again.
    pub(super) fn give_back(&mut self, slot: u32) {
        let index = slot / STRETCH as u32;
        let Some(stretch) = self.stretches.get_mut(index as usize) else {
            return;
        };
        let bit = 1 << (slot % STRETCH as u32);
        debug_assert!(stretch.taken & bit != 0, "a slot is given back once");
        if stretch.taken & bit != 0 {
            stretch.taken &= !bit;
            self.taken -= 1;
        }
        if stretch.taken == 0 {
            self.by_home.remove(&stretch.home);
            self.empty.insert(index);
        }
    }

    /// The file could not grow to the end of `slot`: nothing from there on is handed out any more.
    pub(super) fn ends_before(&mut self, slot: u32) {
        self.end_slot = self.end_slot.min(u64::from(slot));
    }

    fn is_taken(&self, slot: u64) -> bool {
        self.stretches
            .get((slot / STRETCH) as usize)
            .is_some_and(|stretch| stretch.taken >> (slot % STRETCH) & 1 != 0)
    }

    /// A stretch for `home`: preferably behind its neighbour's, else the lowest empty one, else a new one.
    fn settle(&mut self, home: u64) -> Option<u32> {
        let behind = home
            .checked_sub(1)
            .and_then(|below| self.by_home.get(&below))
            .map(|stretch| stretch + 1)
            .filter(|stretch| self.empty.contains(stretch));
        let index = match behind.or_else(|| self.empty.first().copied()) {
            Some(index) => index,
            None => {
                let index = self.stretches.len() as u64;
                if index * STRETCH >= self.end_slot {
                    return None;
                }
                self.stretches.push(Stretch { taken: 0, home });
                self.empty.insert(index as u32);
                index as u32
            }
        };
        let stretch = &mut self.stretches[index as usize];
        // An empty stretch may have been settled for another home whose slot was refused.
        self.by_home.remove(&stretch.home);
        stretch.home = home;
        self.by_home.insert(home, index);
        Some(index)
    }

    /// A slot of a new stretch that belongs to nobody in particular: its home is no address.
    fn fresh_beside(&mut self) -> Option<u64> {
        let nowhere = u64::MAX - self.stretches.len() as u64;
        self.settle(nowhere)
            .map(|stretch| u64::from(stretch) * STRETCH)
            .filter(|&slot| slot < self.end_slot && !self.is_taken(slot))
    }

    fn any_free(&self) -> Option<u64> {
        self.stretches
            .iter()
            .zip(0_u64..)
            .find_map(|(stretch, index)| {
                let slot = index * STRETCH + u64::from((!stretch.taken).trailing_zeros());
                (stretch.taken != u32::MAX && slot < self.end_slot).then_some(slot)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_memory_are_neighbours_in_the_file() {
        let mut places = Places::new(1_000);
        let slots: Vec<_> = (100..300)
            .map(|piece| places.take(piece).unwrap())
            .collect();
        let joined = slots
            .windows(2)
            .filter(|pair| pair[1] == pair[0] + 1)
            .count();
        assert!(joined >= 198, "{slots:?}");
        for slot in slots {
            places.give_back(slot);
        }
        assert_eq!(places.taken(), 0);
        assert_eq!(
            places.take(7).map(|slot| slot < 300),
            Some(true),
            "old offsets serve again"
        );
    }

    #[test]
    fn no_slot_is_handed_out_twice_and_the_maximum_holds() {
        let mut places = Places::new(100);
        let mut taken = BTreeSet::new();
        // Two arenas may want the same home (they meet inside 2 MiB): both get a slot.
        for piece in (0..50).chain(0..50) {
            assert!(taken.insert(places.take(piece).unwrap()));
        }
        assert_eq!(places.take(99), None);
        places.give_back(*taken.first().unwrap());
        assert!(places.take(1 << 40).is_some());
    }

    #[test]
    fn where_the_file_may_not_grow_the_holes_are_used() {
        let mut places = Places::new(1_000);
        let first = places.take(5).unwrap();
        places.ends_before(32);
        for piece in 0..31 {
            let slot = places.take(piece * 1_000).unwrap();
            assert!(slot < 32 && slot != first);
        }
        assert_eq!(places.take(9_999), None);
    }
}
