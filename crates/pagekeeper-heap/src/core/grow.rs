//! Getting more memory: the end of a segment moves up, or a new segment is made.
//!
//! Sizes of segments are Windows': the first as asked for, then 1 MiB, each next twice that up to 0xFD0000 (windows-memory-behaviour.md
//! 16.1).

use super::Core;
use crate::classes::{SMALLEST, UNIT};
use crate::header::{Block, Header, MOST_UNITS, State};
use crate::memory::Memory;
use crate::segment::{PAGE, Segment};

/// In the first segment blocks begin here. Windows keeps its control data there; ours is elsewhere, but programs see how much of
/// a fixed heap they can have.
const FIRST_OF_FIRST: usize = 0x800;
/// In others, blocks begin here.
const FIRST: usize = 0x40;
/// Segments grow no further than this.
const LARGEST_SEGMENT: usize = 0xFD_0000;
/// Bytes committed at a time: a sixteenth of the segment within these.
const LEAST_STEP: usize = 64 << 10;
const MOST_STEP: usize = 1 << 20;

impl Core {
    /// Makes the first segment and commits its beginning; its base.
    pub(crate) fn begin(
        &mut self,
        memory: &impl Memory,
        reserve: usize,
        commit: usize,
    ) -> Option<usize> {
        self.add_segment(memory, reserve, FIRST_OF_FIRST, commit)?;
        self.segments.first().map(|segment| segment.base)
    }

    /// Commits the rest of the first segment's first piece, so that blocks there take the fast way.
    pub(crate) fn round_up(&mut self, memory: &impl Memory) {
        let is_short = |segment: &Segment| {
            !segment.top.is_multiple_of(LEAST_STEP) && segment.top < segment.end()
        };
        if self.segments.first().is_some_and(is_short) {
            // Where it cannot be had the heap goes on without.
            self.extend(memory, 0, UNIT);
        }
    }

    /// Gets memory for a block of `units` units; it is in the bins then.
    pub(super) fn grow(&mut self, memory: &impl Memory, units: u32) -> Option<()> {
        let bytes = units as usize * UNIT;
        for at in (0..self.segments.len()).rev() {
            let segment = &self.segments[at];
            let room = segment.end() - segment.top;
            if room == 0 {
                continue;
            }
            let missing = bytes - self.free_at_top(at).min(bytes);
            if missing <= room && missing != 0 && self.extend(memory, at, missing) {
                return Some(());
            }
        }
        let size = self.next_segment?;
        let needed = (bytes + FIRST + 2 * UNIT).next_multiple_of(LEAST_STEP);
        let commit = (bytes + FIRST + UNIT).next_multiple_of(PAGE);
        self.add_segment(memory, size.max(needed), FIRST, commit)?;
        self.next_segment = Some((size * 2).min(LARGEST_SEGMENT));
        Some(())
    }

    fn add_segment(
        &mut self,
        memory: &impl Memory,
        size: usize,
        first: usize,
        commit: usize,
    ) -> Option<()> {
        self.segments.try_reserve(1).ok()?;
        let segment = Segment::reserve(memory, self.owner, size, first)?;
        let (base, from) = (segment.base, segment.first);
        self.segments.push(segment);
        let least = commit
            .max(first + 4 * UNIT)
            .next_multiple_of(PAGE)
            .min(size);
        if !self.commit(memory, base, base + least) {
            if let Some(segment) = self.segments.pop() {
                self.committed -= segment.committed_bytes();
                segment.release(memory);
            }
            return None;
        }
        // SAFETY: committed just now, and nobody else's.
        #[allow(unsafe_code, reason = "UNSAFETY: new memory becomes a block")]
        let block = unsafe { Block::at(from) };
        self.seal.create(block, Header::new(0, State::End), 0);
        self.lay_out(block, base + least);
        if let Some(segment) = self.segments.last_mut() {
            segment.top = base + least;
        }
        self.span += least;
        Some(())
    }

    /// Turns the end header at `block` and what is committed behind it into free blocks and a new end header.
    fn lay_out(&mut self, mut block: Block, top: usize) {
        let end = top - UNIT;
        while block.address() < end {
            let left = (end - block.address()) / UNIT;
            // What would be left over must be a block, too.
            let units = left.min((MOST_UNITS - SMALLEST) as usize) as u32;
            let next = block.after(units);
            self.seal.create(next, Header::new(0, State::End), units);
            self.melt(block, units);
            block = next;
        }
    }

    /// Moves a segment's top up by `missing` bytes at least.
    fn extend(&mut self, memory: &impl Memory, at: usize, missing: usize) -> bool {
        let segment = &self.segments[at];
        let (top, end) = (segment.top, segment.end());
        let step = (segment.size / 16).clamp(LEAST_STEP, MOST_STEP);
        let least = (top + missing).next_multiple_of(PAGE);
        let wanted = (top + missing.max(step)).next_multiple_of(LEAST_STEP);
        if least > end {
            return false;
        }
        for to in [wanted.min(end), least] {
            if self.commit(memory, top, to) {
                self.segments[at].top = to;
                self.span += to - top;
                // SAFETY: the end header stands before the top.
                #[allow(unsafe_code, reason = "UNSAFETY: the end header becomes a block")]
                let block = unsafe { Block::at(top - UNIT) };
                self.lay_out(block, to);
                return true;
            }
        }
        false
    }

    /// Bytes of the free block at a segment's top.
    fn free_at_top(&mut self, at: usize) -> usize {
        let segment = &self.segments[at];
        // SAFETY: the end header stands before the top.
        #[allow(unsafe_code, reason = "UNSAFETY: the end header is a header")]
        let end = unsafe { Block::at(segment.top - UNIT) };
        let previous = end.previous();
        if previous == 0 || segment.top - segment.first < previous as usize * UNIT {
            return 0;
        }
        match self.seal.read(end.before(previous)) {
            Some(header) if header.state.is_in_bins() && header.units == previous => header.bytes(),
            _ => 0,
        }
    }

    /// Moves the top up when a busy block, and perhaps a free one behind it, end the segment.
    pub(super) fn extend_behind(
        &mut self,
        memory: &impl Memory,
        block: Block,
        header: Header,
        units: u32,
    ) -> bool {
        let next = block.after(header.units);
        let Some(found) = self.seal.read(next) else {
            return false;
        };
        let (end, there) = match found.state {
            State::End => (next, 0),
            State::Free | State::Holes => (next.after(found.units), found.units),
            State::Busy | State::Cached | State::Deferred => return false,
        };
        let Some(at) = self.segment_of(block.address()) else {
            return false;
        };
        let missing = units.saturating_sub(header.units + there).max(SMALLEST);
        end.address() + UNIT == self.segments[at].top
            && self.extend(memory, at, missing as usize * UNIT)
    }
}
