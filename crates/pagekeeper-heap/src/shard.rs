//! The low-fragmentation front end: each thread takes blocks from magazines of its own, by size, and puts them back.
//!
//! A shard belongs to a thread's number. Its thread uses it without a lock after it has passed the gate, or with the core's lock;
//! other threads use it with the core's lock and the gate closed. A magazine holds the blocks' addresses, so neither way
//! touches more of a block than its header: what is paged out inside stays out, and a program that writes to freed memory
//! cannot lead the heap astray.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: shards and magazines are shared by the protocol above, which the compiler cannot see"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::alloc::System;

use crate::classes::{CLASSES, ROUNDS, rounds};
use crate::gate::Gate;
use crate::header::Block;
use crate::thread;

/// Free blocks of one class.
pub(crate) struct Magazine {
    count: usize,
    /// The next one in a list of the core.
    pub(crate) next: *mut Magazine,
    blocks: [usize; ROUNDS],
}

impl Magazine {
    /// A new, empty one; nothing without memory.
    pub(crate) fn create() -> Option<*mut Self> {
        // SAFETY: the layout has a size, and zeros are an empty magazine.
        let made = unsafe { System.alloc_zeroed(Layout::new::<Self>()) }.cast::<Self>();
        (!made.is_null()).then_some(made)
    }

    /// # Safety
    /// Made by `create`, and nobody has it any more.
    pub(crate) unsafe fn destroy(magazine: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(magazine.cast(), Layout::new::<Self>()) };
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub(crate) fn push(&mut self, block: Block) {
        self.blocks[self.count] = block.address();
        self.count += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Block> {
        let last = self.count.checked_sub(1)?;
        self.count = last;
        // SAFETY: only blocks are put in, and their headers stay committed while they are here.
        Some(unsafe { Block::at(self.blocks[last]) })
    }

    /// All that it holds.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        // SAFETY: as for `pop`.
        self.blocks[..self.count]
            .iter()
            .map(|&address| unsafe { Block::at(address) })
    }
}

/// Two magazines of a class; the loaded one is used first.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) loaded: *mut Magazine,
    pub(crate) spare: *mut Magazine,
}

pub(crate) struct Shard {
    in_use: AtomicU32,
    pairs: UnsafeCell<[Pair; CLASSES]>,
}

/// All shards of a heap, by thread number.
pub(crate) struct Shards {
    all: [AtomicPtr<Shard>; thread::MOST],
}

impl Shards {
    pub(crate) const fn new() -> Self {
        Self {
            all: [const { AtomicPtr::new(ptr::null_mut()) }; thread::MOST],
        }
    }

    /// The shard of this thread, if it has one yet.
    #[inline]
    fn own(&self) -> Option<&Shard> {
        let shard = self.all.get(thread::number())?.load(Ordering::Acquire);
        // SAFETY: shards live as long as the heap.
        unsafe { shard.as_ref() }
    }

    /// Takes a block without a lock. `mark` runs before others can stop this thread.
    #[inline]
    pub(crate) fn pop<T>(
        &self,
        gate: &Gate,
        class: usize,
        mark: impl FnOnce(Block) -> T,
    ) -> Option<T> {
        let shard = self.own()?;
        shard.in_use.store(1, Ordering::Relaxed);
        let taken = if gate.is_open() {
            // SAFETY: the shard of this thread, marked as in use, and the gate was open after that.
            let pairs = unsafe { &mut *shard.pairs.get() };
            pairs[class].pop().map(mark)
        } else {
            None
        };
        shard.in_use.store(0, Ordering::Release);
        taken
    }

    /// Puts a block back without a lock; false when it must take the other way. `mark` runs before others can see it.
    #[inline]
    pub(crate) fn push(
        &self,
        gate: &Gate,
        class: usize,
        block: Block,
        mark: impl FnOnce(),
    ) -> bool {
        let Some(shard) = self.own() else {
            return false;
        };
        shard.in_use.store(1, Ordering::Relaxed);
        let done = gate.is_open() && {
            // SAFETY: as in `pop`.
            let pairs = unsafe { &mut *shard.pairs.get() };
            pairs[class].push(class, block, mark)
        };
        shard.in_use.store(0, Ordering::Release);
        done
    }

    /// The pair of a class for this thread; the shard is made if need be.
    ///
    /// # Safety
    /// The caller holds the core's lock, and lets go of what it gets before it lets the lock go.
    #[allow(clippy::mut_from_ref, reason = "the core's lock makes it exclusive")]
    pub(crate) unsafe fn pair(&self, class: usize) -> Option<&mut Pair> {
        let slot = self.all.get(thread::number())?;
        let mut shard = slot.load(Ordering::Acquire);
        if shard.is_null() {
            // SAFETY: the layout has a size; zeros are a shard of null magazines.
            shard = unsafe { System.alloc_zeroed(Layout::new::<Shard>()) }.cast();
            if shard.is_null() {
                return None;
            }
            slot.store(shard, Ordering::Release);
        }
        // SAFETY: this thread's shard; with the core's lock nobody else has it, and this thread is not on its fast way.
        unsafe { (*(*shard).pairs.get()).get_mut(class) }
    }

    /// Waits until no thread is on its fast way, except the one with the number `spared`. The gate is closed and the barrier passed.
    pub(crate) fn wait(&self, spared: Option<usize>) {
        for (number, slot) in self.all.iter().enumerate() {
            if spared == Some(number) {
                continue;
            }
            // SAFETY: shards live as long as the heap.
            let Some(shard) = (unsafe { slot.load(Ordering::Acquire).as_ref() }) else {
                continue;
            };
            let mut rounds = 0_u32;
            while shard.in_use.load(Ordering::Acquire) != 0 {
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(64) {
                    std::thread::yield_now();
                } else {
                    core::hint::spin_loop();
                }
            }
        }
    }

    /// All pairs of all shards, with their classes.
    ///
    /// # Safety
    /// The caller holds the core's lock, and the gate is closed and everybody waited for; or it is the last to have the heap.
    pub(crate) unsafe fn all(&self) -> impl Iterator<Item = (usize, &mut Pair)> {
        self.all.iter().flat_map(|slot| {
            // SAFETY: shards live as long as the heap, and the caller has all of them for itself.
            let shard = unsafe { slot.load(Ordering::Acquire).as_ref() };
            shard.into_iter().flat_map(|shard| {
                // SAFETY: as above.
                let pairs = unsafe { &mut *shard.pairs.get() };
                pairs.iter_mut().enumerate()
            })
        })
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        for slot in &mut self.all {
            let shard = *slot.get_mut();
            if shard.is_null() {
                continue;
            }
            // SAFETY: nobody else has the heap any more; the shard was allocated with this layout.
            unsafe {
                for pair in (*(*shard).pairs.get()).iter_mut() {
                    for magazine in [pair.loaded, pair.spare] {
                        if !magazine.is_null() {
                            Magazine::destroy(magazine);
                        }
                    }
                }
                System.dealloc(shard.cast(), Layout::new::<Shard>());
            }
        }
    }
}

// SAFETY: what a shard points to is reached by one thread at a time, by the protocol of this module.
unsafe impl Send for Shards {}
// SAFETY: as above.
unsafe impl Sync for Shards {}

impl Pair {
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Block> {
        // SAFETY: magazines of a pair are its alone.
        if let Some(loaded) = unsafe { self.loaded.as_mut() }
            && let Some(block) = loaded.pop()
        {
            return Some(block);
        }
        core::mem::swap(&mut self.loaded, &mut self.spare);
        // SAFETY: as above.
        unsafe { self.loaded.as_mut() }.and_then(Magazine::pop)
    }

    /// False when both are full, or not there yet.
    #[inline]
    pub(crate) fn push(&mut self, class: usize, block: Block, mark: impl FnOnce()) -> bool {
        let most = rounds(class);
        // SAFETY: magazines of a pair are its alone.
        if unsafe { self.loaded.as_ref() }.is_none_or(|loaded| loaded.len() >= most) {
            core::mem::swap(&mut self.loaded, &mut self.spare);
        }
        // SAFETY: as above.
        match unsafe { self.loaded.as_mut() } {
            Some(loaded) if loaded.len() < most => {
                mark();
                loaded.push(block);
                true
            }
            _ => false,
        }
    }

    /// Whether one of them is there and not full.
    pub(crate) fn has_room(&self, class: usize) -> bool {
        [self.loaded, self.spare]
            .into_iter()
            // SAFETY: magazines of a pair are its alone.
            .filter_map(|magazine| unsafe { magazine.as_ref() })
            .any(|magazine| magazine.len() < rounds(class))
    }

    /// What both hold.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        [self.loaded, self.spare]
            .into_iter()
            // SAFETY: magazines of a pair are its alone.
            .filter_map(|magazine| unsafe { magazine.as_ref() })
            .flat_map(Magazine::blocks)
    }
}
