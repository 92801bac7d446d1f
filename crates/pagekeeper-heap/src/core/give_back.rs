//! Giving back pages that no block uses: the end of a segment moves down, whole segments go, and pages inside of large free
//! blocks are decommitted.
//!
//! Nothing is given back while little is free: else a program that frees and allocates in turn would pay for system calls.

use super::{Core, FREE_HEAD};
use crate::classes::UNIT;
use crate::header::{Block, Header, State};
use crate::memory::Memory;
use crate::owners::PIECE;

/// Smaller pieces are not worth a system call. Pages go and come by whole pieces of the table of owners, so that a piece with a
/// block in it is whole, and its blocks take the fast way.
const LEAST: usize = 1 << PIECE;
/// Less is not given back without being asked for: it would be wanted again soon.
const WORTHWHILE: usize = 1 << 20;
/// So much may be free and committed, or an eighth of what is committed, whichever is more.
const KEEP: usize = 2 << 20;

impl Core {
    /// After a block has become free: gives pages of it back if much is free.
    pub(super) fn give_back_some(&mut self, memory: &impl Memory, block: Block, units: u32) {
        if units as usize * UNIT >= WORTHWHILE && self.has_much_free() {
            self.give_back(memory, block, WORTHWHILE);
        }
    }

    /// Whether so much is free that it should be used, or given back, before more is had.
    pub(super) fn has_much_free(&self) -> bool {
        self.free_and_committed() > KEEP.max(self.committed / 8)
    }

    /// Committed bytes that no block uses.
    fn free_and_committed(&self) -> usize {
        let used = self.span.saturating_sub(self.free);
        self.committed.saturating_sub(used)
    }

    /// Gives back all that can be; the free block's pages stay only as far as its head needs them.
    fn give_back(&mut self, memory: &impl Memory, block: Block, least: usize) {
        let Some(header) = self.seal.read(block) else {
            return;
        };
        let Some(at) = self.segment_of(block.address()) else {
            return;
        };
        let segment = &self.segments[at];
        let end = block.after(header.units).address();
        if end + UNIT == segment.top {
            if at != 0 && block.address() == segment.first {
                self.drop_segment(memory, at, block, header);
            } else {
                self.lower(memory, at, block, header);
            }
            return;
        }
        let from = (block.address() + FREE_HEAD).next_multiple_of(LEAST);
        let to = end & !(LEAST - 1);
        if from < to
            && self.segments[at].committed_between(from, to) >= least
            && self.take(block, header)
        {
            self.decommit(memory, at, from, to);
            self.put(block, header.units, State::Holes);
        }
    }

    /// The segment has no block any more.
    fn drop_segment(&mut self, memory: &impl Memory, at: usize, block: Block, header: Header) {
        if self.take(block, header) {
            let segment = self.segments.remove(at);
            self.committed -= segment.committed_bytes();
            self.span -= segment.top - segment.base;
            segment.release(memory);
        }
    }

    /// The segment ends soon behind the beginning of its last, free block.
    fn lower(&mut self, memory: &impl Memory, at: usize, block: Block, header: Header) {
        let top = self.segments[at].top;
        let low = (block.address() + FREE_HEAD + UNIT).next_multiple_of(LEAST);
        // The new end's header may lie in a page that the block's head did not need.
        if low >= top
            || top - low < LEAST
            || !self.commit(memory, block.address(), low)
            || !self.take(block, header)
        {
            return;
        }
        let units = ((low - UNIT - block.address()) / UNIT) as u32;
        self.segments[at].top = low;
        self.span -= top - low;
        let end = block.after(units);
        self.seal.create(end, Header::new(0, State::End), units);
        self.put(block, units, State::Free);
        self.decommit(memory, at, low, top);
    }

    fn decommit(&mut self, memory: &impl Memory, at: usize, from: usize, to: usize) {
        let owner = self.owner;
        let segment = &mut self.segments[at];
        let before = segment.committed_bytes();
        segment.decommit(memory, owner, from, to);
        self.committed -= before - segment.committed_bytes();
    }

    /// Gives back what all free blocks need not have. Windows: `HeapCompact`.
    pub(crate) fn give_all_back(&mut self, memory: &impl Memory) {
        for at in (0..self.segments.len()).rev() {
            let Some(segment) = self.segments.get(at) else {
                continue;
            };
            let (mut address, top) = (segment.first, segment.top - UNIT);
            while address < top {
                // SAFETY: headers follow each other from the first to the end of the segment's blocks.
                #[allow(unsafe_code, reason = "UNSAFETY: walks from header to header")]
                let block = unsafe { Block::at(address) };
                let Some(header) = self.seal.read(block).filter(|header| header.units != 0) else {
                    self.damaged = true;
                    break;
                };
                address = block.after(header.units).address();
                if header.state.is_in_bins() {
                    self.give_back(memory, block, LEAST);
                }
            }
        }
    }
}
