//! What the heap's lock protects: which memory is whose.
//!
//! Blocks are cut from free ones and melt together again with their neighbours at once; only blocks in magazines stay as they were
//! cut. `grow` gets more memory, `give_back` returns it, `magazines` feeds the shards.

mod give_back;
mod grow;
mod magazines;

use allocator_api2::alloc::System;
use allocator_api2::vec::Vec;

use crate::bins::Bins;
use crate::classes::{CLASSES, LARGEST, SMALLEST, UNIT, class_served, units_for};
use crate::header::{Block, Header, MOST_UNITS, Seal, State};
use crate::large::LargeBlocks;
use crate::memory::Memory;
use crate::owners::{self, Owner};
use crate::segment::Segment;
use crate::shard::Magazine;

pub(crate) use magazines::Magazines;

/// A free block's header and links: what must be committed of it.
const FREE_HEAD: usize = UNIT + 2 * size_of::<usize>();
/// What is split off a block that shrinks is at least this, and a quarter of the block.
const WORTH_SPLITTING: u32 = 8;
/// Pages are committed again by so many bytes at a time.
const HOLE_STEP: usize = 64 << 10;

pub(crate) struct Core {
    pub(crate) seal: Seal,
    pub(crate) owner: Owner,
    pub(crate) bins: Bins,
    /// In the order in which they were made; the first one holds the heap's address.
    pub(crate) segments: Vec<Segment, System>,
    pub(crate) large: LargeBlocks,
    pub(crate) magazines: Magazines,
    /// Blocks of each class that are not in the bins: the program's, and those in magazines.
    pub(crate) out: [u32; CLASSES],
    /// Size of the next segment; none where the heap must not grow.
    next_segment: Option<usize>,
    /// Bytes committed in segments.
    pub(crate) committed: usize,
    /// Bytes in the bins.
    pub(crate) free: usize,
    /// Bytes from the segments' beginnings to their tops.
    span: usize,
    /// Some header or list was found broken.
    pub(crate) damaged: bool,
}

/// How cutting a block from a free one ended.
enum Cut {
    Done(Block),
    NoMemory,
    /// The free one's list is broken; another may do.
    Broken,
}

impl Core {
    pub(crate) fn new(seal: Seal, owner: Owner, next_segment: Option<usize>) -> Self {
        Self {
            seal,
            owner,
            bins: Bins::new(seal, owner),
            segments: Vec::new_in(System),
            large: LargeBlocks::new(),
            magazines: Magazines::new(),
            out: [0; CLASSES],
            next_segment,
            committed: 0,
            free: 0,
            span: 0,
            damaged: false,
        }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged || self.bins.is_damaged()
    }

    /// A block of `units` units, in the given state.
    pub(crate) fn allocate(
        &mut self,
        memory: &impl Memory,
        units: u32,
        state: State,
    ) -> Option<Block> {
        // Each broken list is forgotten, so this ends.
        loop {
            let Some(free) = self.bins.find(units) else {
                self.grow(memory, units)?;
                continue;
            };
            match self.cut(memory, free, units, state) {
                Cut::Done(block) => {
                    self.count_out(self.units(block), 1);
                    return Some(block);
                }
                Cut::NoMemory => return None,
                Cut::Broken => {}
            }
        }
    }

    /// The same with the program's bytes at a multiple of `align` (a power of two, more than 16).
    pub(crate) fn allocate_aligned(
        &mut self,
        memory: &impl Memory,
        units: u32,
        align: usize,
    ) -> Option<Block> {
        // Room to move up by one alignment, and by another where the gap could not be a block.
        let extra = u32::try_from(2 * align / UNIT).ok()?;
        let whole = self.allocate(memory, units.checked_add(extra)?, State::Busy)?;
        let total = self.units(whole);
        self.count_out(total, -1);
        let mut user = whole.user().next_multiple_of(align);
        if user == whole.user() + UNIT {
            user += align;
        }
        let gap = ((user - whole.user()) / UNIT) as u32;
        let block = whole.after(gap);
        if gap != 0 {
            self.seal
                .create(block, Header::new(total - gap, State::Busy), gap);
            block.after(total - gap).set_previous(total - gap);
            self.seal.write(whole, Header::new(gap, State::Busy));
            self.release(memory, whole, gap);
        }
        self.cut_tail(memory, block, total - gap, units);
        self.count_out(self.units(block), 1);
        Some(block)
    }

    /// Units of a block whose header was just written.
    fn units(&self, block: Block) -> u32 {
        self.seal.read(block).map_or(0, |header| header.units)
    }

    /// The block goes back to the bins.
    pub(crate) fn free(&mut self, memory: &impl Memory, block: Block, units: u32) {
        self.count_out(units, -1);
        self.release(memory, block, units);
    }

    fn release(&mut self, memory: &impl Memory, block: Block, units: u32) {
        let (start, units) = self.melt(block, units);
        self.give_back_some(memory, start, units);
    }

    /// Makes a block free, together with free neighbours; where it begins then, and its units.
    fn melt(&mut self, block: Block, units: u32) -> (Block, u32) {
        let (mut start, mut total, mut has_holes) = (block, units, false);
        let next = block.after(units);
        if let Some(header) = self.free_neighbour(next, total) {
            next.erase();
            total += header.units;
            has_holes |= header.state == State::Holes;
        }
        let previous = block.previous();
        if previous != 0 && block.address() > previous as usize * UNIT {
            let before = block.before(previous);
            if owners::of(before.address()).is_of(self.owner)
                && self.units(before) == previous
                && let Some(header) = self.free_neighbour(before, total)
            {
                block.erase();
                start = before;
                total += header.units;
                has_holes |= header.state == State::Holes;
            }
        }
        self.put(
            start,
            total,
            if has_holes { State::Holes } else { State::Free },
        );
        (start, total)
    }

    /// Takes a neighbour out of the bins, if it is free and both fit into one block.
    fn free_neighbour(&mut self, neighbour: Block, units: u32) -> Option<Header> {
        let Some(header) = self.seal.read(neighbour) else {
            self.damaged = true;
            return None;
        };
        let fits = units.saturating_add(header.units) <= MOST_UNITS;
        (header.state.is_in_bins() && fits && self.take(neighbour, header)).then_some(header)
    }

    /// Puts a free block into the bins. Its header exists; size and state are written here.
    fn put(&mut self, block: Block, units: u32, state: State) {
        let header = Header::new(units, state);
        self.seal.write(block, header);
        block.after(units).set_previous(units);
        self.bins.insert(block, units);
        self.free += header.bytes();
    }

    /// Takes a free block out of the bins; false when its list is broken.
    fn take(&mut self, block: Block, header: Header) -> bool {
        if !self.bins.remove(block, header.units) {
            return false;
        }
        self.free -= header.bytes();
        true
    }

    /// Cuts the first `units` units off a free block.
    fn cut(&mut self, memory: &impl Memory, free: Block, units: u32, state: State) -> Cut {
        let Some(header) = self.seal.read(free) else {
            return Cut::Broken;
        };
        if !self.fill_hole(memory, free, header, units) {
            return Cut::NoMemory;
        }
        if !self.take(free, header) {
            return Cut::Broken;
        }
        let rest = header.units - units;
        if rest < SMALLEST {
            self.seal.write(free, Header::new(header.units, state));
            return Cut::Done(free);
        }
        self.seal.write(free, Header::new(units, state));
        self.leave_rest(free, units, rest, header.state);
        Cut::Done(free)
    }

    /// What is left behind the first `units` units of a block becomes a free block.
    fn leave_rest(&mut self, block: Block, units: u32, rest: u32, state: State) {
        let tail = block.after(units);
        let state = match state {
            State::Holes if self.has_holes(tail, rest) => State::Holes,
            _ => State::Free,
        };
        self.seal.create(tail, Header::new(rest, state), units);
        self.put(tail, rest, state);
    }

    /// Commits what the first `units` units of a free block and the head of the rest need.
    fn fill_hole(&mut self, memory: &impl Memory, free: Block, header: Header, units: u32) -> bool {
        if header.state != State::Holes {
            return true;
        }
        let end = free.after(header.units).address();
        let needed = (free.after(units).address() + FREE_HEAD).min(end);
        let wanted = needed.next_multiple_of(HOLE_STEP).min(end);
        self.commit(memory, free.address(), wanted) || self.commit(memory, free.address(), needed)
    }

    /// Whether pages of a block may be missing. Only short ones are looked at closely.
    fn has_holes(&self, block: Block, units: u32) -> bool {
        let end = block.after(units).address();
        end - block.address() > HOLE_STEP
            || self
                .segment_of(block.address())
                .is_none_or(|at| !self.segments[at].are_committed(block.address(), end))
    }

    /// Gives back the tail of a busy block of `total` units that needs `units` only.
    fn cut_tail(&mut self, memory: &impl Memory, block: Block, total: u32, units: u32) {
        if total - units < SMALLEST {
            return;
        }
        self.seal.write(block, Header::new(units, State::Busy));
        let tail = block.after(units);
        self.seal
            .create(tail, Header::new(total - units, State::Busy), units);
        tail.after(total - units).set_previous(total - units);
        self.release(memory, tail, total - units);
    }

    /// Makes a busy block hold `size` bytes where it is. Its header is not written; its units may have changed.
    pub(crate) fn resize(
        &mut self,
        memory: &impl Memory,
        block: Block,
        header: Header,
        size: usize,
    ) -> bool {
        let units = units_for(size);
        if units <= header.units {
            let spare = header.units - units;
            if spare >= WORTH_SPLITTING && spare >= header.units / 4 {
                self.count_out(header.units, -1);
                self.cut_tail(memory, block, header.units, units);
                self.count_out(units, 1);
            }
            return true;
        }
        let done = self.absorb(memory, block, header, units)
            || (self.extend_behind(memory, block, header, units)
                && self.absorb(memory, block, header, units));
        if done {
            self.count_out(header.units, -1);
            self.count_out(self.units(block), 1);
        }
        done
    }

    /// Grows a busy block into the free one behind it.
    fn absorb(&mut self, memory: &impl Memory, block: Block, header: Header, units: u32) -> bool {
        let next = block.after(header.units);
        let Some(found) = self.seal.read(next) else {
            self.damaged = true;
            return false;
        };
        let total = header.units.saturating_add(found.units);
        if !found.state.is_in_bins() || total < units || total > MOST_UNITS {
            return false;
        }
        if !self.fill_hole(memory, next, found, units - header.units) || !self.take(next, found) {
            return false;
        }
        next.erase();
        let rest = total - units;
        if rest < SMALLEST {
            self.seal.write(block, Header::new(total, State::Busy));
            block.after(total).set_previous(total);
        } else {
            self.seal.write(block, Header::new(units, State::Busy));
            self.leave_rest(block, units, rest, found.state);
        }
        true
    }

    /// Keeps count of blocks outside of the bins, by class.
    pub(crate) fn count_out(&mut self, units: u32, change: i32) {
        if units <= LARGEST
            && let Some(count) = self.out.get_mut(class_served(units))
        {
            *count = count.saturating_add_signed(change);
        }
    }

    /// The number of the segment that holds an address.
    pub(crate) fn segment_of(&self, address: usize) -> Option<usize> {
        let holds = |segment: &Segment| (segment.base..segment.end()).contains(&address);
        self.segments.iter().position(holds)
    }

    fn commit(&mut self, memory: &impl Memory, from: usize, to: usize) -> bool {
        let Some(at) = self.segment_of(from) else {
            return false;
        };
        let segment = &mut self.segments[at];
        let before = segment.committed_bytes();
        let done = segment.commit(memory, self.owner, from, to);
        self.committed += segment.committed_bytes() - before;
        done
    }

    /// Gives everything back. No block is used any more.
    pub(crate) fn clear(&mut self, memory: &impl Memory) {
        self.large.clear(memory);
        for segment in &self.segments {
            segment.release(memory);
        }
        self.segments.clear();
        self.magazines.clear();
    }

    /// An empty magazine to use.
    pub(crate) fn empty_magazine(&mut self) -> Option<*mut Magazine> {
        self.magazines.take_empty().or_else(Magazine::create)
    }
}
