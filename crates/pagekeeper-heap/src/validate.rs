//! Checking a heap: every header, every mark behind a block, every list. Windows: `HeapValidate`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: steps from header to header inside a segment"
)]

use core::sync::atomic::{Ordering, fence};

use crate::OVERHEAD;
use crate::core::Core;
use crate::header::{Block, State};
use crate::heap::{Found, Heap};
use crate::memory::Memory;
use crate::request::Misuse;
use crate::segment::Segment;

/// What is wrong with a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header at an address was overwritten, most often by the block before it.
    #[error(
        "the header at {address:#x} was overwritten; the block before it, {before:#x}, may have been overrun"
    )]
    Header {
        /// Where the header lies.
        address: usize,
        /// The first byte of the block before it; 0 for none.
        before: usize,
    },
    /// The byte behind a block's last was overwritten.
    #[error("the block at {address:#x} of {size} bytes was overrun")]
    Tail {
        /// The block's first byte.
        address: usize,
        /// Bytes that were asked for.
        size: usize,
    },
    /// The lists of free blocks do not hold what lies free: freed memory was written to.
    #[error("the lists of free blocks are broken: memory was written to after it was freed")]
    Lists,
    /// Something was found broken before.
    #[error("damage was found, and avoided, before")]
    Before,
}

impl<M: Memory> Heap<M> {
    /// Checks everything. No other thread changes the heap meanwhile.
    ///
    /// # Errors
    /// The first [`Damage`] found.
    pub fn validate(&self) -> Result<(), Damage> {
        let core = self.core();
        self.with_shards_stopped(&core, |core| {
            let (mut cached, mut free, mut units) = (0, 0, 0);
            for segment in &core.segments {
                self.validate_segment(segment, |state, size| match state {
                    State::Cached => cached += 1,
                    State::Free | State::Holes => {
                        free += 1;
                        units += u64::from(size);
                    }
                    // Other threads may leave blocks to be taken back at any moment: those are in no list that is counted.
                    State::Busy | State::Deferred | State::End => {}
                })?;
            }
            // A thread makes a block its own before it can be stopped, so none is on its way between a magazine and the program.
            if core.bins.count() != Some((free, units)) || self.cached(core)? != cached {
                return Err(Damage::Lists);
            }
            if core.is_damaged() {
                return Err(Damage::Before);
            }
            Ok(())
        })
    }

    fn validate_segment(
        &self,
        segment: &Segment,
        mut see: impl FnMut(State, u32),
    ) -> Result<(), Damage> {
        let end = segment.top - OVERHEAD;
        let (mut at, mut before, mut previous) = (segment.first, 0, 0);
        loop {
            // SAFETY: the first header, or the one behind a whole one; below the segment's end.
            let block = unsafe { Block::at(at) };
            let damage = Damage::Header {
                address: at,
                before,
            };
            let header = self.seal.read(block).ok_or(damage)?;
            if block.previous() != previous || (header.state == State::End) != (at == end) {
                return Err(damage);
            }
            if at == end {
                return Ok(());
            }
            if header.units == 0
                || header.bytes() > end - at
                || header.slack as usize > header.capacity()
            {
                return Err(damage);
            }
            // The mark was written before the header that says where it is.
            fence(Ordering::Acquire);
            if header.state == State::Busy && !block.has_tail(header) {
                return Err(Damage::Tail {
                    address: block.user(),
                    size: header.size(),
                });
            }
            see(header.state, header.units);
            (before, previous) = (block.user(), header.units);
            at = block.after(header.units).address();
        }
    }

    /// How many whole blocks the magazines hold.
    fn cached(&self, core: &Core) -> Result<usize, Damage> {
        let mut count = 0;
        // SAFETY: the core's lock is held and the shards are stopped.
        let in_shards = unsafe { self.shards.all() };
        let in_shards = in_shards.flat_map(|(_, pair)| pair.blocks());
        for block in in_shards.chain(core.magazines.blocks()) {
            match self.seal.read(block) {
                Some(header) if header.state == State::Cached => count += 1,
                _ => return Err(Damage::Lists),
            }
        }
        Ok(count)
    }

    /// Checks one block. Windows: `HeapValidate` with a pointer.
    ///
    /// # Errors
    /// [`Misuse`], also when the block was overrun.
    pub fn validate_block(&self, pointer: *const u8) -> Result<(), Misuse> {
        let core = self.core();
        match self.find(&core, pointer.addr())? {
            Found::Large(_) => Ok(()),
            Found::Block(block, header) => {
                let next = self.seal.read(block.after(header.units));
                if block.has_tail(header) && next.is_some() {
                    Ok(())
                } else {
                    Err(Misuse::NoBlock)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::{Options, PlainMemory, Request};

    #[test]
    fn a_cached_block_that_no_magazine_holds_is_damage() {
        for is_locked in [false, true] {
            // Whole pieces from the beginning: blocks there take the fast way.
            let options = Options {
                initial: 1 << 20,
                maximum: 0,
            };
            let heap = Heap::new(PlainMemory::default(), &options).expect("memory");
            heap.use_front_end();
            let pointer = heap.allocate(100, Request::PLAIN).expect("memory");
            let found = heap.look(pointer.as_ptr().addr()).expect("a block");
            let (block, header) = found.expect("a small one");
            if is_locked {
                heap.lock();
            }
            assert_eq!(heap.validate(), Ok(()));
            heap.seal
                .write(block, Header::new(header.units, State::Cached));
            assert_eq!(heap.validate(), Err(Damage::Lists));
            heap.seal.write(block, header);
            assert_eq!(heap.validate(), Ok(()));
        }
    }
}
