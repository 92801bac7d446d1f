//! The compressed pool: packed pages in RAM, in blocks that count against the budget.
//!
//! A block is 32 KiB cut into equal objects of one size class. RAM is asked for and
//! given back one block at a time through [`FrameSource`], so the pool never holds a page that the
//! budget does not know of. Blocks are filled fullest first, which lets the emptier ones run empty
//! and go back.
//!
//! # Who may do what
//!
//! An object belongs to whoever owns the page that it holds: the pager sets the page's BUSY bit,
//! and only then reads or removes the object. That is why unpacking needs no lock here, and why
//! [`Pool::read`] is unsafe. Inserting and removing need no such care.
//!
//! # Locks
//!
//! One lock a size class (its lists of partly filled blocks, their bitmaps and counts), and one for
//! the age of blocks and the free lists. Neither is held while the other is taken, while RAM is
//! asked for, or while bytes are copied. All are [futex locks](pagekeeper_sys::lock), for the fault
//! path with all signals blocked.
//!
//! # Leaving towards the page file
//!
//! [`Pool::drain_oldest`] lists the objects of the block that has been in use longest and stops
//! filling it; the pager moves them out one by one and then calls [`Pool::end_drain`].

mod area;
mod blocks;
mod classes;
mod drain;
mod read;

use pagekeeper_sys::Errno;
use pagekeeper_units::{ByteCount, PageNumber};

use crate::codec::PACKED_MAX;
use crate::sync::{AtomicU32, AtomicU64, Lock, Relaxed};
use area::Area;
use blocks::{Blocks, Links, List, State};
use classes::{BLOCK_BYTES, CLASSES, Class};

pub use classes::{BLOCK_PAGES, OBJECTS_MAX};
pub use drain::{DrainList, DrainingBlock, PoolObject};

/// Blocks of one class by how full they are: a quarter each. Full and draining ones are in none.
const GROUPS: usize = 4;
const UNLISTED: u8 = GROUPS as u8;

const OBJECT_BITS: u32 = OBJECTS_MAX.trailing_zeros();

/// The largest pool: as many blocks as a [`PoolRef`] can name (128 GiB).
pub const POOL_MAX: ByteCount = ByteCount::new((BLOCK_BYTES as u64) << (32 - OBJECT_BITS));

/// Where the pool's RAM comes from: the budget of the space.
///
/// Called on the fault path: no allocation, no panic, and no call back into the pool.
pub trait FrameSource {
    /// Grants that many pages of RAM, or refuses.
    fn take(&self, pages: u32) -> bool;

    /// Takes them back; their memory has already been returned to the system.
    fn give(&self, pages: u32);
}

/// Names an object of the pool. Any 32 bits may be a name; zero is no special one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PoolRef(u32);

impl PoolRef {
    /// The name with these bits, as [`PoolRef::bits`] gave them.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The name as 32 bits, for a page table.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    const fn new(block: u32, object: u32) -> Self {
        Self(block << OBJECT_BITS | object)
    }

    #[inline]
    const fn block(self) -> u32 {
        self.0 >> OBJECT_BITS
    }

    #[inline]
    const fn object(self) -> u32 {
        self.0 & (OBJECTS_MAX as u32 - 1)
    }
}

/// What a pool holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Packed pages.
    pub objects: u64,
    /// Their packed bytes, without headers.
    pub packed_bytes: u64,
    /// RAM taken from the frame source, in bytes: every block in use or kept for reuse.
    pub resident_bytes: u64,
    /// The part of `resident_bytes` that is empty and kept for reuse.
    pub cached_bytes: u64,
}

/// One size class. On a cache line of its own, because every insertion stores to one.
#[derive(Debug)]
#[repr(align(64))]
struct Shelf {
    lock: Lock,
    /// Partly filled blocks, fullest group last.
    groups: [List; GROUPS],
    objects: AtomicU64,
    packed_bytes: AtomicU64,
}

/// Blocks by age, and those in no class.
#[derive(Debug)]
#[repr(align(64))]
struct Ages {
    lock: Lock,
    /// Blocks in use, longest in use first.
    in_use: List,
    /// Empty blocks whose RAM is kept.
    cached: List,
    /// Empty blocks without RAM that were used before.
    free: List,
    /// Blocks never used yet start here.
    fresh: AtomicU32,
    cached_count: AtomicU32,
    /// Blocks with RAM.
    resident_count: AtomicU32,
}

/// The compressed pool.
#[derive(Debug)]
pub struct Pool {
    area: Area,
    blocks: Blocks,
    shelves: [Shelf; CLASSES],
    ages: Ages,
    block_count: u32,
    cached_max: u32,
}

impl Pool {
    /// A pool that may hold up to `max` bytes (rounded down to blocks of 32 KiB, at most
    /// [`POOL_MAX`]). Takes address space only; a forked child does not have it.
    ///
    /// # Errors
    /// `EINVAL` below one block, `ENOMEM` without address space.
    pub fn new(max: ByteCount) -> Result<Self, Errno> {
        let block_count = (max.get().min(POOL_MAX.get()) / BLOCK_BYTES as u64) as u32;
        if block_count == 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            area: Area::new(block_count)?,
            blocks: Blocks::new(block_count as usize)?,
            shelves: core::array::from_fn(|_| Shelf {
                lock: Lock::new(()),
                groups: core::array::from_fn(|_| List::new(Links::Class)),
                objects: AtomicU64::new(0),
                packed_bytes: AtomicU64::new(0),
            }),
            ages: Ages {
                lock: Lock::new(()),
                in_use: List::new(Links::Age),
                cached: List::new(Links::Age),
                free: List::new(Links::Age),
                fresh: AtomicU32::new(0),
                cached_count: AtomicU32::new(0),
                resident_count: AtomicU32::new(0),
            },
            block_count,
            // One block in 64 and at most 8: a pool of a few blocks must not sit on empty ones.
            cached_max: (block_count / 64).min(8),
        })
    }

    /// Stores a packed page for the page `owner`. For the fault path: no allocation, no panic.
    ///
    /// `None` when `packed` is empty or longer than [`PACKED_MAX`], or when no RAM is granted and
    /// no block of a larger class has room.
    pub fn insert(
        &self,
        packed: &[u8],
        owner: PageNumber,
        frames: &impl FrameSource,
    ) -> Option<PoolRef> {
        if packed.is_empty() || packed.len() > PACKED_MAX {
            return None;
        }
        let class = Class::holding(packed.len())?;
        let (class, block, object) = self.find_room(class, packed.len() as u64, frames)?;
        self.area.write(block, class, object, owner, packed);
        Some(PoolRef::new(block, object))
    }

    /// The page whose contents the object holds, or `None` when there is no such object. Only a
    /// hint unless the caller owns that page.
    #[inline]
    pub fn owner(&self, object: PoolRef) -> Option<PageNumber> {
        let class = self.blocks.state(object.block())?.class;
        Some(
            self.area
                .header(object.block(), class, object.object())?
                .owner,
        )
    }

    /// Removes an object; whether it was there. For the fault path: no allocation, no panic.
    ///
    /// The caller owns the page that the object holds. An empty block goes back to `frames`, except
    /// for a few that are kept.
    pub fn remove(&self, object: PoolRef, frames: &impl FrameSource) -> bool {
        let (block, index) = (object.block(), object.object());
        let Some(State { class, .. }) = self.blocks.state(block) else {
            return false;
        };
        let Some(header) = self.area.clear_header(block, class, index) else {
            return false;
        };
        let Some(shelf) = self.shelves.get(class.index()) else {
            return false;
        };
        let emptied = {
            let _held = shelf.lock.lock();
            let Some(state) = self
                .blocks
                .state(block)
                .filter(|state| state.class == class)
            else {
                return false;
            };
            if !self.blocks.free_object(block, class, index) {
                return false;
            }
            shelf
                .objects
                .store(shelf.objects.load(Relaxed).wrapping_sub(1), Relaxed);
            let packed = shelf.packed_bytes.load(Relaxed);
            shelf
                .packed_bytes
                .store(packed.wrapping_sub(u64::from(header.length)), Relaxed);
            let count = state.count.saturating_sub(1);
            self.regroup(shelf, block, state, State { count, ..state });
            if count == 0 {
                // Under the lock: nobody who holds it may see the end of a block's life coming.
                self.blocks.set_state(block, None);
            }
            count == 0
        };
        if emptied {
            self.retire_block(block, frames);
        }
        true
    }

    /// Gives back the RAM of empty blocks that were kept for reuse; returns how many pages. For a
    /// pager that has nothing else left.
    pub fn give_back_cached(&self, frames: &impl FrameSource) -> u32 {
        let mut pages = 0;
        while let Some(block) = self.take_cached() {
            if !self.discard_block(block, frames) {
                break;
            }
            pages += BLOCK_PAGES;
        }
        pages
    }

    /// What the pool holds now; the parts may be a few insertions apart.
    pub fn usage(&self) -> PoolUsage {
        let sum = |counter: fn(&Shelf) -> &AtomicU64| {
            self.shelves
                .iter()
                .map(|shelf| counter(shelf).load(Relaxed))
                .sum()
        };
        let block_bytes = |count: &AtomicU32| u64::from(count.load(Relaxed)) * BLOCK_BYTES as u64;
        PoolUsage {
            objects: sum(|shelf| &shelf.objects),
            packed_bytes: sum(|shelf| &shelf.packed_bytes),
            resident_bytes: block_bytes(&self.ages.resident_count),
            cached_bytes: block_bytes(&self.ages.cached_count),
        }
    }

    /// Bytes of memory that the pool's own records occupy (an estimate; asks the kernel).
    pub fn overhead_bytes(&self) -> u64 {
        self.blocks.resident_bytes() + size_of::<Self>() as u64
    }

    /// The most bytes that the pool can hold.
    pub fn max(&self) -> ByteCount {
        ByteCount::new(u64::from(self.block_count) * BLOCK_BYTES as u64)
    }

    /// A free object of `class`: in a block with room, in a new block, or in a larger class.
    fn find_room(
        &self,
        class: Class,
        packed_bytes: u64,
        frames: &impl FrameSource,
    ) -> Option<(Class, u32, u32)> {
        if let Some((block, object)) = self.take_object(class, packed_bytes) {
            return Some((class, block, object));
        }
        if let Some((block, object)) = self.add_block(class, packed_bytes, frames) {
            return Some((class, block, object));
        }
        (0..class.index()).rev().find_map(|index| {
            let larger = Class::from_index(index)?;
            let (block, object) = self.take_object(larger, packed_bytes)?;
            Some((larger, block, object))
        })
    }

    /// Takes a free object out of the fullest block of a class that has one.
    fn take_object(&self, class: Class, packed_bytes: u64) -> Option<(u32, u32)> {
        let shelf = self.shelves.get(class.index())?;
        let _held = shelf.lock.lock();
        let block = shelf.groups.iter().rev().find_map(List::first)?;
        let object = self.take_object_of(shelf, block, packed_bytes)?;
        Some((block, object))
    }

    /// Takes a free object out of a block. The class's lock is held.
    fn take_object_of(&self, shelf: &Shelf, block: u32, packed_bytes: u64) -> Option<u32> {
        let state = self.blocks.state(block)?;
        let object = self.blocks.take_object(block, state.class)?;
        shelf
            .objects
            .store(shelf.objects.load(Relaxed).wrapping_add(1), Relaxed);
        let packed = shelf.packed_bytes.load(Relaxed);
        shelf
            .packed_bytes
            .store(packed.wrapping_add(packed_bytes), Relaxed);
        let count = state.count.saturating_add(1);
        self.regroup(shelf, block, state, State { count, ..state });
        Some(object)
    }

    /// Stores a block's new state and moves it to the list that it now belongs to. The class's lock
    /// is held.
    fn regroup(&self, shelf: &Shelf, block: u32, old: State, new: State) {
        let capacity = new.class.capacity();
        let count = usize::from(new.count);
        // A block that has run empty leaves its list too: it is about to go.
        let listed = !new.draining && count > 0 && count < capacity;
        let group = if listed {
            (count * GROUPS / capacity) as u8
        } else {
            UNLISTED
        };
        if group != old.group {
            if let Some(list) = shelf.groups.get(usize::from(old.group)) {
                list.remove(&self.blocks, block);
            }
            if let Some(list) = shelf.groups.get(usize::from(group)) {
                list.push_front(&self.blocks, block);
            }
        }
        self.blocks.set_state(block, Some(State { group, ..new }));
    }

    /// Gets RAM for one more block of a class and takes its first object. The block becomes known to
    /// others with that object in it: one that nobody ever used would never be given back.
    fn add_block(
        &self,
        class: Class,
        packed_bytes: u64,
        frames: &impl FrameSource,
    ) -> Option<(u32, u32)> {
        let shelf = self.shelves.get(class.index())?;
        let block = match self.take_cached() {
            Some(block) => {
                self.area.zero(block);
                block
            }
            None => {
                if !frames.take(BLOCK_PAGES) {
                    return None;
                }
                let Some(block) = self.take_free() else {
                    frames.give(BLOCK_PAGES);
                    return None;
                };
                block
            }
        };
        self.blocks.start(block, class, UNLISTED);
        {
            let _held = self.ages.lock.lock();
            self.ages.in_use.push_back(&self.blocks, block);
        }
        let _held = shelf.lock.lock();
        let object = self.take_object_of(shelf, block, packed_bytes)?;
        Some((block, object))
    }

    fn take_cached(&self) -> Option<u32> {
        let _held = self.ages.lock.lock();
        let block = self.ages.cached.pop_front(&self.blocks)?;
        self.ages
            .cached_count
            .store(self.ages.cached_count.load(Relaxed) - 1, Relaxed);
        Some(block)
    }

    /// A block without RAM, now counted as having it.
    fn take_free(&self) -> Option<u32> {
        let _held = self.ages.lock.lock();
        let block = self.ages.free.pop_front(&self.blocks).or_else(|| {
            let fresh = self.ages.fresh.load(Relaxed);
            (fresh < self.block_count).then(|| {
                self.ages.fresh.store(fresh + 1, Relaxed);
                fresh
            })
        })?;
        self.ages
            .resident_count
            .store(self.ages.resident_count.load(Relaxed) + 1, Relaxed);
        Some(block)
    }

    /// An empty block, in no class any more, leaves use: kept, or its RAM goes back.
    fn retire_block(&self, block: u32, frames: &impl FrameSource) {
        let kept = {
            let _held = self.ages.lock.lock();
            self.ages.in_use.remove(&self.blocks, block);
            let cached = self.ages.cached_count.load(Relaxed);
            let kept = cached < self.cached_max;
            if kept {
                self.ages.cached.push_front(&self.blocks, block);
                self.ages.cached_count.store(cached + 1, Relaxed);
            }
            kept
        };
        if !kept {
            self.discard_block(block, frames);
        }
    }

    /// Returns a block's RAM to the system and to the budget. Where the kernel refuses (locked
    /// memory), the block is kept, resident and charged, and this is false.
    fn discard_block(&self, block: u32, frames: &impl FrameSource) -> bool {
        let discarded = self.area.discard(block);
        {
            let _held = self.ages.lock.lock();
            if discarded {
                self.ages.free.push_front(&self.blocks, block);
                let resident = self.ages.resident_count.load(Relaxed);
                self.ages.resident_count.store(resident - 1, Relaxed);
            } else {
                self.ages.cached.push_front(&self.blocks, block);
                self.ages
                    .cached_count
                    .store(self.ages.cached_count.load(Relaxed) + 1, Relaxed);
            }
        }
        if discarded {
            frames.give(BLOCK_PAGES);
        }
        discarded
    }
}

#[cfg(test)]
mod tests;
