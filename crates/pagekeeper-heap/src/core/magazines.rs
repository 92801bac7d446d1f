//! Full and empty magazines that no shard has, and how shards are fed and emptied.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lists of magazines, which only the holder of the core's lock reaches"
)]

use core::ptr;

use super::{Core, Cut};
use crate::classes::{CLASSES, UNIT, rounds, units_of};
use crate::header::{Block, Header, State};
use crate::memory::Memory;
use crate::shard::{Magazine, Pair};

/// Full magazines of a class hold no more than this together, but there may be one.
const MOST_BYTES: usize = 128 << 10;
/// Nor are there more than this.
const MOST_FULL: usize = 64;

/// Magazines in lists.
pub(crate) struct Magazines {
    full: [*mut Magazine; CLASSES],
    counts: [usize; CLASSES],
    empty: *mut Magazine,
}

// SAFETY: only the holder of the core's lock reaches them.
unsafe impl Send for Magazines {}

impl Magazines {
    pub(super) const fn new() -> Self {
        Self {
            full: [ptr::null_mut(); CLASSES],
            counts: [0; CLASSES],
            empty: ptr::null_mut(),
        }
    }

    fn take_full(&mut self, class: usize) -> Option<*mut Magazine> {
        let taken = pop(&mut self.full[class])?;
        self.counts[class] -= 1;
        Some(taken)
    }

    pub(super) fn take_empty(&mut self) -> Option<*mut Magazine> {
        pop(&mut self.empty)
    }

    fn keep_empty(&mut self, magazine: *mut Magazine) {
        // SAFETY: the caller's to give.
        debug_assert!(unsafe { magazine.as_ref() }.is_none_or(|it| it.len() == 0));
        push(&mut self.empty, magazine);
    }

    fn has_room(&self, class: usize) -> bool {
        let bytes = rounds(class) * units_of(class) as usize * UNIT;
        self.counts[class] < (MOST_BYTES / bytes).clamp(1, MOST_FULL)
    }

    fn keep_full(&mut self, class: usize, magazine: *mut Magazine) {
        push(&mut self.full[class], magazine);
        self.counts[class] += 1;
    }

    /// All blocks in full magazines.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.full.iter().flat_map(|&head| {
            let next = |magazine: &*mut Magazine| {
                // SAFETY: magazines of a list are the list's.
                unsafe { magazine.as_ref() }.map(|magazine| magazine.next)
            };
            core::iter::successors(Some(head), next)
                // SAFETY: as above.
                .filter_map(|magazine| unsafe { magazine.as_ref() })
                .flat_map(Magazine::blocks)
        })
    }

    /// Forgets all blocks and frees the magazines.
    pub(super) fn clear(&mut self) {
        for class in 0..CLASSES {
            while let Some(magazine) = self.take_full(class) {
                // SAFETY: out of its list, so nobody has it.
                unsafe { Magazine::destroy(magazine) };
            }
        }
        while let Some(magazine) = self.take_empty() {
            // SAFETY: as above.
            unsafe { Magazine::destroy(magazine) };
        }
    }
}

fn push(head: &mut *mut Magazine, magazine: *mut Magazine) {
    // SAFETY: the caller gives the magazine to the list.
    unsafe { (*magazine).next = *head };
    *head = magazine;
}

fn pop(head: &mut *mut Magazine) -> Option<*mut Magazine> {
    let first = *head;
    // SAFETY: magazines of a list are the list's.
    *head = unsafe { first.as_ref() }?.next;
    Some(first)
}

impl Core {
    /// A block of a class for a thread that could not take one by itself: its magazines are filled again, unless the gate only was
    /// closed and they hold some.
    pub(crate) fn refill(
        &mut self,
        memory: &impl Memory,
        class: usize,
        pair: &mut Pair,
    ) -> Option<Block> {
        if let Some(block) = pair.pop() {
            return Some(block);
        }
        if let Some(full) = self.magazines.take_full(class) {
            let empty = core::mem::replace(&mut pair.loaded, full);
            if !empty.is_null() {
                self.magazines.keep_empty(empty);
            }
            return pair.pop();
        }
        if pair.loaded.is_null() {
            pair.loaded = self.empty_magazine()?;
        }
        // SAFETY: the pair's own magazine.
        self.stock(memory, class, unsafe { &mut *pair.loaded });
        pair.pop()
    }

    /// Fills an empty magazine: with blocks of the size that lie about, else (where much lies free in pieces) with parts of larger ones,
    /// else with a run of neighbours, else with one.
    fn stock(&mut self, memory: &impl Memory, class: usize, magazine: &mut Magazine) {
        let (units, wanted) = (units_of(class), rounds(class));
        while magazine.len() < wanted
            && let Some(block) = self.bins.find_exact(units)
            && let Some(header) = self.seal.read(block)
            && header.state == State::Free
            && self.take(block, header)
        {
            self.seal.write(block, Header::new(units, State::Cached));
            self.count_out(units, 1);
            magazine.push(block);
        }
        if magazine.len() == 0 && self.has_much_free() {
            self.stock_pieces(memory, units, wanted, magazine);
        }
        if magazine.len() != 0 {
            return;
        }
        let run = units * wanted as u32;
        let Some(first) = self.allocate(memory, run, State::Cached) else {
            if let Some(block) = self.allocate(memory, units, State::Cached) {
                magazine.push(block);
            }
            return;
        };
        let total = self.units(first);
        self.count_out(total, -1);
        let mut block = first;
        for number in 1..=wanted as u32 {
            // The last one takes what could not be split off.
            let own = if number == wanted as u32 {
                total - units * (number - 1)
            } else {
                units
            };
            if number == 1 {
                self.seal.write(block, Header::new(own, State::Cached));
            } else {
                self.seal
                    .create(block, Header::new(own, State::Cached), units);
            }
            block.after(own).set_previous(own);
            self.count_out(own, 1);
            magazine.push(block);
            block = block.after(own);
        }
    }

    /// Fills a magazine with parts of whatever free blocks are large enough, and takes no more memory for it. Runs of neighbours alone
    /// would leave all gaps that are shorter than a run unused: twice the memory, and twice the paging, after a while of mixed sizes.
    fn stock_pieces(
        &mut self,
        memory: &impl Memory,
        units: u32,
        wanted: usize,
        magazine: &mut Magazine,
    ) {
        while magazine.len() < wanted
            && let Some(free) = self.bins.find(units)
        {
            match self.cut(memory, free, units, State::Cached) {
                Cut::Done(block) => {
                    self.count_out(self.units(block), 1);
                    magazine.push(block);
                }
                Cut::NoMemory => return,
                // That list was forgotten.
                Cut::Broken => {}
            }
        }
    }

    /// Makes room for blocks of a class in a thread's magazines, unless the gate only was closed and they have some; false without
    /// memory for one.
    pub(crate) fn make_room(
        &mut self,
        memory: &impl Memory,
        class: usize,
        pair: &mut Pair,
    ) -> bool {
        if pair.has_room(class) {
            return true;
        }
        if pair.loaded.is_null() {
            pair.loaded = core::mem::replace(&mut pair.spare, ptr::null_mut());
        }
        if pair.loaded.is_null() || pair.spare.is_null() {
            let Some(empty) = self.empty_magazine() else {
                return false;
            };
            pair.spare = core::mem::replace(&mut pair.loaded, empty);
            return true;
        }
        if self.magazines.has_room(class)
            && let Some(empty) = self.empty_magazine()
        {
            self.magazines.keep_full(class, pair.spare);
            pair.spare = core::mem::replace(&mut pair.loaded, empty);
        } else {
            core::mem::swap(&mut pair.loaded, &mut pair.spare);
            // SAFETY: the pair's own magazine.
            self.spill(memory, unsafe { &mut *pair.loaded });
        }
        true
    }

    /// Puts a magazine's blocks into the bins.
    pub(crate) fn spill(&mut self, memory: &impl Memory, magazine: &mut Magazine) {
        while let Some(block) = magazine.pop() {
            match self.seal.read(block) {
                Some(header) if header.state == State::Cached => {
                    self.free(memory, block, header.units);
                }
                _ => self.damaged = true,
            }
        }
    }

    /// Empties all magazines that no shard has.
    pub(crate) fn spill_full(&mut self, memory: &impl Memory) {
        for class in 0..CLASSES {
            while let Some(full) = self.magazines.take_full(class) {
                // SAFETY: out of its list, so it is this function's.
                self.spill(memory, unsafe { &mut *full });
                self.magazines.keep_empty(full);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::classes::{class_for, units_for};
    use crate::{Heap, Options, PlainMemory, Request};

    /// A thread that finds the gate closed comes to the core with blocks in its magazines. Such a magazine once went into the list of
    /// empty ones, and from there to a class of larger blocks.
    #[test]
    fn a_magazine_that_holds_blocks_is_not_taken_for_an_empty_one() {
        // Whole pieces from the beginning: blocks there take the fast way.
        let options = Options {
            initial: 1 << 20,
            maximum: 0,
        };
        let heap = Heap::new(PlainMemory::default(), &options).expect("memory");
        heap.use_front_end();
        let allocate = |size| heap.allocate(size, Request::PLAIN).expect("memory");
        let small = class_for(units_for(100));
        let mut held = vec![allocate(100)];
        let cached = || {
            let _core = heap.core();
            // SAFETY: the core's lock is held, and there is no other thread.
            let pair = unsafe { heap.shards.pair(small) }.expect("a shard");
            pair.blocks().count()
        };
        let before = cached();
        assert!(before > 2, "the magazine was filled");
        // With the heap locked its holder always takes the core's lock, as a thread does that came while the gate was closed.
        heap.lock();
        held.push(allocate(100));
        assert_eq!(
            cached(),
            before - 1,
            "it took from what its magazine had, and kept that"
        );
        let full = allocate(100);
        // SAFETY: the block is this test's.
        unsafe { heap.free(full.as_ptr(), Request::PLAIN) }.expect("a block");
        assert_eq!(
            cached(),
            before - 1,
            "and freed into it, although the gate was closed"
        );
        for size in [1000, 2000, 4000, 8000] {
            let block = allocate(size);
            let at = block.as_ptr().cast_const();
            let found = heap.look(at.addr()).expect("a block").expect("a small one");
            assert!(found.1.capacity() >= size, "{size}");
            held.push(block);
        }
        assert!(heap.unlock());
        assert_eq!(heap.validate(), Ok(()));
    }
}
