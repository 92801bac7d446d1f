//! Listing a heap: segments with their blocks in the order of their addresses, then large blocks. Windows: `HeapWalk`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: steps from header to header inside a segment"
)]

use crate::OVERHEAD;
use crate::core::Core;
use crate::header::{Block, State};
use crate::heap::Heap;
use crate::memory::Memory;
use crate::owners;
use crate::request::Misuse;
use crate::segment::Segment;

/// One thing that a heap consists of. Windows: `PROCESS_HEAP_ENTRY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A reserved range that blocks lie in.
    Region {
        /// Its first byte; the heap's own address for the first region.
        base: usize,
        /// Bytes up to where its blocks end. Pages inside of large free blocks may be decommitted.
        committed: usize,
        /// Bytes behind them.
        uncommitted: usize,
        /// The first block.
        first: usize,
        /// Where blocks end.
        end: usize,
        /// Which one it is, from 0.
        index: usize,
    },
    /// A block of the program.
    Busy {
        /// Its first byte.
        address: usize,
        /// Bytes that were asked for.
        size: usize,
        /// Bytes that are neither the program's nor another block's.
        overhead: usize,
        /// The region that it lies in.
        index: usize,
    },
    /// A free block.
    Free {
        /// Where the program's bytes would begin.
        address: usize,
        /// How many there would be.
        size: usize,
        /// The region that it lies in.
        index: usize,
    },
    /// What a region has not committed at its end.
    Uncommitted {
        /// Its first byte.
        address: usize,
        /// Its bytes.
        size: usize,
        /// The region that it lies in.
        index: usize,
    },
    /// A block with address space of its own.
    Large {
        /// Its first byte.
        address: usize,
        /// Bytes that were asked for.
        size: usize,
        /// Bytes of its pages that are not the program's.
        overhead: usize,
    },
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The region that begins here was the last entry.
    Region(usize),
    /// The block of which this is the first byte.
    Block(usize),
    /// The uncommitted range that begins here.
    Uncommitted(usize),
    /// The large block that begins here.
    Large(usize),
}

impl Entry {
    /// Where the walk goes on after it.
    pub const fn cursor(&self) -> Cursor {
        match *self {
            Self::Region { base, .. } => Cursor::Region(base),
            Self::Busy { address, .. } | Self::Free { address, .. } => Cursor::Block(address),
            Self::Uncommitted { address, .. } => Cursor::Uncommitted(address),
            Self::Large { address, .. } => Cursor::Large(address),
        }
    }
}

impl<M: Memory> Heap<M> {
    /// The entry after a cursor, or the first; nothing at the end. Other threads may change the heap between two steps: lock it,
    /// or expect to be told [`Misuse::NoBlock`].
    ///
    /// # Errors
    /// [`Misuse`] when the cursor's block is not there (any more), or a header is broken.
    pub fn walk(&self, after: Option<Cursor>) -> Result<Option<Entry>, Misuse> {
        let core = self.core();
        match after {
            None => self.region(&core, 0),
            Some(Cursor::Region(base)) => {
                let at = core.segment_of(base).ok_or(Misuse::Foreign)?;
                self.entry_at(&core, at, core.segments[at].first)
            }
            Some(Cursor::Block(address)) => {
                let before = address.wrapping_sub(OVERHEAD);
                let at = core.segment_of(before).ok_or(Misuse::Foreign)?;
                let segment = &core.segments[at];
                if !address.is_multiple_of(16)
                    || before < segment.first
                    || !segment.is_committed(before)
                {
                    return Err(Misuse::NoBlock);
                }
                // SAFETY: committed, and this heap's.
                let block = unsafe { Block::at(before) };
                let header = self.seal.read(block).ok_or(Misuse::NoBlock)?;
                self.entry_at(&core, at, block.after(header.units).address())
            }
            Some(Cursor::Uncommitted(address)) => {
                let at = core.segment_of(address).ok_or(Misuse::Foreign)?;
                self.region(&core, at + 1)
            }
            Some(Cursor::Large(address)) => {
                let owner = owners::of(address);
                let number = owner.large_number().filter(|_| owner.is_of(self.owner));
                Ok(large(&core, number.ok_or(Misuse::Foreign)? + 1))
            }
        }
    }

    fn region(&self, core: &Core, index: usize) -> Result<Option<Entry>, Misuse> {
        let Some(segment) = core.segments.get(index) else {
            return Ok(large(core, 0));
        };
        Ok(Some(Entry::Region {
            base: segment.base,
            committed: segment.top - segment.base,
            uncommitted: segment.end() - segment.top,
            first: segment.first + OVERHEAD,
            end: segment.top,
            index,
        }))
    }

    /// The block whose header lies at an address, or what follows the segment's last.
    fn entry_at(&self, core: &Core, index: usize, address: usize) -> Result<Option<Entry>, Misuse> {
        let segment: &Segment = &core.segments[index];
        if address < segment.top - OVERHEAD {
            // SAFETY: the header that follows a whole one, below the segment's end.
            let block = unsafe { Block::at(address) };
            let header = self.seal.read(block).ok_or(Misuse::NoBlock)?;
            let address = block.user();
            return Ok(Some(match header.state {
                State::Busy => Entry::Busy {
                    address,
                    size: header.size(),
                    overhead: header.bytes() - header.size(),
                    index,
                },
                State::Cached | State::Deferred | State::Free | State::Holes => Entry::Free {
                    address,
                    size: header.capacity(),
                    index,
                },
                State::End => return Err(Misuse::NoBlock),
            }));
        }
        let (top, end) = (segment.top, segment.end());
        if top == end {
            return self.region(core, index + 1);
        }
        Ok(Some(Entry::Uncommitted {
            address: top,
            size: end - top,
            index,
        }))
    }
}

fn large(core: &Core, number: u32) -> Option<Entry> {
    let (_, large) = core.large.from(number)?;
    Some(Entry::Large {
        address: large.address(),
        size: large.size(),
        overhead: large.committed() - large.size(),
    })
}
