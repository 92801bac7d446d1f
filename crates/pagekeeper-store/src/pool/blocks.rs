//! Records of blocks: which objects of a block are taken, and the lists that blocks stand in.
//!
//! A record is 24 words of a lazily populated table, so a pool that may grow to 64 GiB costs
//! nothing until it does. Words are atomics because a reader without a lock looks at `state`;
//! everything else is guarded, as the table says.
//!
//! | word | what | guarded by |
//! |---|---|---|
//! | 0 | state: class, group, count, live, draining | its class's lock (read by anyone) |
//! | 1 | neighbours in the class's list | its class's lock |
//! | 2 | neighbours in the age list, or in a free list | the age lock |
//! | 4..20 | one bit an object, set when taken | its class's lock |

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::ZeroedTable;

use super::classes::{Class, OBJECTS_MAX};
use crate::sync::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};

const STRIDE: usize = 24;
const STATE: usize = 0;
const BITMAP: usize = 4;
const BITMAP_WORDS: usize = OBJECTS_MAX / 64;

/// No block: the end of a list.
pub(super) const NIL: u32 = u32::MAX;

/// Which pair of neighbours a list uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Links {
    /// Of the lists of partly filled blocks.
    Class = 1,
    /// Of the list by age and the free lists.
    Age = 2,
}

/// A block's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) class: Class,
    /// Objects taken.
    pub(super) count: u16,
    /// Which list of the class it stands in; [`super::UNLISTED`] for none.
    pub(super) group: u8,
    /// Being emptied: takes no new objects.
    pub(super) draining: bool,
}

impl State {
    fn pack(self) -> u64 {
        self.class.index() as u64
            | u64::from(self.group) << 8
            | u64::from(self.draining) << 12
            | 1 << 13
            | u64::from(self.count) << 16
    }

    fn unpack(word: u64) -> Option<Self> {
        if word & 1 << 13 == 0 {
            return None;
        }
        Some(Self {
            class: Class::from_index((word & 0xFF) as usize)?,
            count: (word >> 16) as u16,
            group: (word >> 8 & 0xF) as u8,
            draining: word & 1 << 12 != 0,
        })
    }
}

/// The records of all blocks of a pool.
#[derive(Debug)]
pub(super) struct Blocks {
    words: ZeroedTable<AtomicU64>,
}

/// Head and tail of a doubly linked list of blocks.
#[derive(Debug)]
pub(super) struct List {
    head: AtomicU32,
    tail: AtomicU32,
    links: Links,
}

impl Blocks {
    pub(super) fn new(count: usize) -> Result<Self, Errno> {
        Ok(Self {
            words: ZeroedTable::new(count * STRIDE)?,
        })
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.words.resident_bytes()
    }

    #[inline]
    fn word(&self, block: u32, word: usize) -> Option<&AtomicU64> {
        self.words.get(block as usize * STRIDE + word)
    }

    /// The block's state, or `None` when it is free or out of range.
    #[inline]
    pub(super) fn state(&self, block: u32) -> Option<State> {
        State::unpack(self.word(block, STATE)?.load(Acquire))
    }

    #[inline]
    pub(super) fn set_state(&self, block: u32, state: Option<State>) {
        if let Some(word) = self.word(block, STATE) {
            word.store(state.map_or(0, State::pack), Release);
        }
    }

    /// Makes an empty block of `class` out of a free one, in no list.
    pub(super) fn start(&self, block: u32, class: Class, group: u8) {
        let capacity = class.capacity();
        for index in 0..BITMAP_WORDS {
            // Bits past the capacity count as taken, so that no search finds them.
            let usable = capacity.saturating_sub(index * 64).min(64);
            let taken = if usable == 64 { 0 } else { !0 << usable };
            if let Some(word) = self.word(block, BITMAP + index) {
                word.store(taken, Relaxed);
            }
        }
        let state = State {
            class,
            count: 0,
            group,
            draining: false,
        };
        self.set_state(block, Some(state));
    }

    /// Takes the first free object of a block.
    #[inline]
    pub(super) fn take_object(&self, block: u32, class: Class) -> Option<u32> {
        for index in 0..class.capacity().div_ceil(64) {
            let word = self.word(block, BITMAP + index)?;
            let free = !word.load(Relaxed);
            if free != 0 {
                word.store(!free | free & free.wrapping_neg(), Relaxed);
                return Some(index as u32 * 64 + free.trailing_zeros());
            }
        }
        None
    }

    /// Frees an object; whether it was taken.
    #[inline]
    pub(super) fn free_object(&self, block: u32, class: Class, object: u32) -> bool {
        if object as usize >= class.capacity() {
            return false;
        }
        let Some(word) = self.word(block, BITMAP + object as usize / 64) else {
            return false;
        };
        let (bits, bit) = (word.load(Relaxed), 1 << (object % 64));
        word.store(bits & !bit, Relaxed);
        bits & bit != 0
    }

    /// Calls `each` with every taken object.
    pub(super) fn for_each_object(&self, block: u32, class: Class, mut each: impl FnMut(u32)) {
        let capacity = class.capacity() as u32;
        for index in 0..class.capacity().div_ceil(64) {
            let Some(word) = self.word(block, BITMAP + index) else {
                return;
            };
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let object = index as u32 * 64 + bits.trailing_zeros();
                if object >= capacity {
                    return;
                }
                each(object);
                bits &= bits - 1;
            }
        }
    }

    fn neighbours(&self, block: u32, links: Links) -> (u32, u32) {
        let word = self
            .word(block, links as usize)
            .map_or(!0, |word| word.load(Relaxed));
        (word as u32, (word >> 32) as u32)
    }

    fn set_neighbours(&self, block: u32, links: Links, previous: u32, next: u32) {
        if let Some(word) = self.word(block, links as usize) {
            word.store(u64::from(previous) | u64::from(next) << 32, Relaxed);
        }
    }
}

impl List {
    pub(super) fn new(links: Links) -> Self {
        Self {
            head: AtomicU32::new(NIL),
            tail: AtomicU32::new(NIL),
            links,
        }
    }

    /// The first block, or `None`.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        Some(self.head.load(Relaxed)).filter(|&block| block != NIL)
    }

    pub(super) fn push_front(&self, blocks: &Blocks, block: u32) {
        let next = self.head.load(Relaxed);
        blocks.set_neighbours(block, self.links, NIL, next);
        self.head.store(block, Relaxed);
        if next == NIL {
            self.tail.store(block, Relaxed);
        } else {
            let (_, after) = blocks.neighbours(next, self.links);
            blocks.set_neighbours(next, self.links, block, after);
        }
    }

    pub(super) fn push_back(&self, blocks: &Blocks, block: u32) {
        let previous = self.tail.load(Relaxed);
        blocks.set_neighbours(block, self.links, previous, NIL);
        self.tail.store(block, Relaxed);
        if previous == NIL {
            self.head.store(block, Relaxed);
        } else {
            let (before, _) = blocks.neighbours(previous, self.links);
            blocks.set_neighbours(previous, self.links, before, block);
        }
    }

    /// Takes a block out; it must stand in this list.
    pub(super) fn remove(&self, blocks: &Blocks, block: u32) {
        let (previous, next) = blocks.neighbours(block, self.links);
        if previous == NIL {
            self.head.store(next, Relaxed);
        } else {
            let (before, _) = blocks.neighbours(previous, self.links);
            blocks.set_neighbours(previous, self.links, before, next);
        }
        if next == NIL {
            self.tail.store(previous, Relaxed);
        } else {
            let (_, after) = blocks.neighbours(next, self.links);
            blocks.set_neighbours(next, self.links, previous, after);
        }
    }

    /// Takes the first block out.
    pub(super) fn pop_front(&self, blocks: &Blocks) -> Option<u32> {
        let block = self.first()?;
        self.remove(blocks, block);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use std::collections::VecDeque;

    #[test]
    fn a_list_behaves_like_a_deque() {
        let blocks = Blocks::new(64).unwrap();
        let list = List::new(Links::Age);
        let mut model = VecDeque::new();
        let mut rng = Rng::from_env();
        for _ in 0..20_000 {
            let block = rng.below(64) as u32;
            match (model.iter().position(|&other| other == block), rng.below(3)) {
                (Some(position), 0 | 1) => {
                    list.remove(&blocks, block);
                    model.remove(position);
                }
                (Some(_), _) => assert_eq!(list.pop_front(&blocks), model.pop_front()),
                (None, 0) => {
                    list.push_front(&blocks, block);
                    model.push_front(block);
                }
                (None, _) => {
                    list.push_back(&blocks, block);
                    model.push_back(block);
                }
            }
            assert_eq!(list.first(), model.front().copied());
        }
        while let Some(block) = list.pop_front(&blocks) {
            assert_eq!(Some(block), model.pop_front());
        }
        assert!(model.is_empty());
    }

    #[test]
    fn objects_are_taken_once_and_the_excess_never() {
        let blocks = Blocks::new(2).unwrap();
        for length in [10, 100, 700, 3000] {
            let class = Class::holding(length).unwrap();
            blocks.start(1, class, 0);
            for object in 0..class.capacity() as u32 {
                assert_eq!(blocks.take_object(1, class), Some(object));
            }
            assert_eq!(blocks.take_object(1, class), None);
            assert!(blocks.free_object(1, class, 3));
            assert!(!blocks.free_object(1, class, 3));
            assert!(!blocks.free_object(1, class, class.capacity() as u32));
            let mut count = 0;
            blocks.for_each_object(1, class, |object| {
                assert_ne!(object, 3);
                count += 1;
            });
            assert_eq!(count, class.capacity() - 1);
            assert_eq!(blocks.take_object(1, class), Some(3));
        }
    }
}
