//! Blocks with address space of their own, in a table beside them: nothing but the program touches their pages.

use allocator_api2::alloc::System;
use allocator_api2::vec::Vec;

use crate::memory::Memory;
use crate::owners::{self, Owner};
use crate::segment::PAGE;

/// Large blocks begin so far behind their reservation's start, as Windows' do.
const OFFSET: usize = 0x40;
/// Reservations are aligned to this.
const GRANULARITY: usize = 1 << 16;

/// One large block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Large {
    base: usize,
    reserved: usize,
    committed: usize,
    offset: usize,
    size: usize,
}

impl Large {
    pub(crate) const fn address(&self) -> usize {
        self.base + self.offset
    }

    /// Bytes that were asked for.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    pub(crate) const fn reserved(&self) -> usize {
        self.reserved
    }

    pub(crate) const fn committed(&self) -> usize {
        self.committed
    }

    /// Bytes before the block.
    pub(crate) const fn overhead(&self) -> usize {
        self.offset
    }

    /// Bytes that it can hold where it is.
    pub(crate) const fn capacity(&self) -> usize {
        self.committed - self.offset
    }
}

pub(crate) struct LargeBlocks {
    /// By number.
    all: Vec<Option<Large>, System>,
    free: Vec<u32, System>,
}

impl LargeBlocks {
    pub(crate) const fn new() -> Self {
        Self {
            all: Vec::new_in(System),
            free: Vec::new_in(System),
        }
    }

    /// Makes one of zeros; the address of its first byte.
    pub(crate) fn create(
        &mut self,
        memory: &impl Memory,
        owner: Owner,
        size: usize,
        align: usize,
    ) -> Option<usize> {
        if align > GRANULARITY {
            return None;
        }
        let offset = align.max(OFFSET);
        let reserved = size.checked_add(offset)?.checked_next_multiple_of(PAGE)?;
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                // Room for giving the number back is made now: freeing must not fail.
                self.all.try_reserve(1).ok()?;
                self.free.try_reserve(self.all.len() + 1).ok()?;
                self.all.push(None);
                u32::try_from(self.all.len() - 1).ok()?
            }
        };
        let made = self.place(
            memory,
            owner,
            number,
            Large {
                base: 0,
                reserved,
                committed: reserved,
                offset,
                size,
            },
        );
        if made.is_none() {
            self.free.push(number);
        }
        made
    }

    fn place(
        &mut self,
        memory: &impl Memory,
        owner: Owner,
        number: u32,
        mut block: Large,
    ) -> Option<usize> {
        block.base = memory.reserve(block.reserved)?;
        if !memory.commit(block.base, block.reserved)
            || !owners::set(block.address(), owner.large(number))
        {
            // SAFETY: nobody has seen it.
            #[allow(unsafe_code, reason = "UNSAFETY: gives back what nobody uses")]
            unsafe {
                memory.release(block.base, block.reserved);
            }
            return None;
        }
        *self.all.get_mut(number as usize)? = Some(block);
        Some(block.address())
    }

    /// The block with a number.
    pub(crate) fn get(&self, number: u32) -> Option<Large> {
        *self.all.get(number as usize)?
    }

    /// Gives it back.
    pub(crate) fn destroy(&mut self, memory: &impl Memory, number: u32) {
        let Some(block) = self.all.get_mut(number as usize).and_then(Option::take) else {
            return;
        };
        owners::clear(block.address());
        self.free.push(number);
        // SAFETY: the program has given the block back.
        #[allow(unsafe_code, reason = "UNSAFETY: gives back what nobody uses")]
        unsafe {
            memory.release(block.base, block.reserved);
        }
    }

    /// Changes the size where it is, if it fits. Pages that it no longer needs are given back, and not had again.
    pub(crate) fn resize(&mut self, memory: &impl Memory, number: u32, size: usize) -> bool {
        let Some(Some(block)) = self.all.get_mut(number as usize) else {
            return false;
        };
        if size > block.capacity() {
            return false;
        }
        let needed = (block.offset + size).next_multiple_of(PAGE).max(PAGE);
        if needed < block.committed {
            // SAFETY: behind the end of the block as it is from now on.
            #[allow(unsafe_code, reason = "UNSAFETY: gives back what nobody uses")]
            let given = unsafe { memory.decommit(block.base + needed, block.committed - needed) };
            if given {
                block.committed = needed;
            }
        }
        block.size = size;
        true
    }

    /// The first block from a number on.
    pub(crate) fn from(&self, number: u32) -> Option<(u32, Large)> {
        (number..)
            .zip(self.all.get(number as usize..)?)
            .find_map(|(number, block)| block.map(|block| (number, block)))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Large> {
        self.all.iter().copied().flatten()
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self, memory: &impl Memory) {
        for number in 0..self.all.len() as u32 {
            self.destroy(memory, number);
        }
    }
}
