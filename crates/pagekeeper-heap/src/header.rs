//! The 16 bytes before each block.
//!
//! | bytes | what | written by |
//! |---|---|---|
//! | 0..8 | size in units (24 bits), bytes not asked for (20), state (4), seal (16) | the block's owner: the program's thread, a shard, or the core |
//! | 8..12 | units of the block before | the core, with the heap's lock |
//! | 12..16 | guard: a mix of the heap's secret and the address | when the block comes to be; zero when it goes |
//!
//! The seal is a mix of the other fields, the address and the heap's secret. So a header tells by itself whether it is one, of
//! this heap, at this place, and untouched: what an overrun of the block before it destroys first.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads and writes headers in memory that the heap owns"
)]

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::classes::UNIT;

/// Most units that a block can have: 256 MiB.
pub(crate) const MOST_UNITS: u32 = (1 << 24) - 1;
const UNITS_MASK: u64 = MOST_UNITS as u64;
const SLACK_SHIFT: u32 = 24;
const SLACK_MASK: u64 = (1 << 20) - 1;
const STATE_SHIFT: u32 = 44;
const SEALED: u64 = (1 << 48) - 1;
/// An odd number without pattern.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
/// What the first byte past the asked-for ones holds.
const TAIL: u8 = 0xA5;

/// What a block is doing. Codes differ in two bits at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The program's.
    Busy = 0x9,
    /// Free, in a magazine.
    Cached = 0x6,
    /// Free, waiting for somebody with the lock.
    Deferred = 0xA,
    /// Free, in the bins, all pages committed.
    Free = 0x3,
    /// Free, in the bins; pages inside may be decommitted.
    Holes = 0xC,
    /// No block: the end of a segment's blocks.
    End = 0x5,
}

impl State {
    /// Whether the bins hold it.
    pub(crate) const fn is_in_bins(self) -> bool {
        matches!(self, Self::Free | Self::Holes)
    }
}

/// A header's first word, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Size with the header, in units.
    pub(crate) units: u32,
    /// Bytes that were not asked for.
    pub(crate) slack: u32,
    /// What it is doing.
    pub(crate) state: State,
}

impl Header {
    pub(crate) const fn new(units: u32, state: State) -> Self {
        Self {
            units,
            slack: 0,
            state,
        }
    }

    /// A busy one of which `size` bytes were asked for.
    pub(crate) const fn busy(units: u32, size: usize) -> Self {
        Self {
            units,
            slack: (units as usize * UNIT - UNIT - size) as u32,
            state: State::Busy,
        }
    }

    /// Bytes that it could hold.
    pub(crate) const fn capacity(self) -> usize {
        self.units as usize * UNIT - UNIT
    }

    /// Bytes that were asked for.
    pub(crate) const fn size(self) -> usize {
        self.capacity() - self.slack as usize
    }

    /// Bytes with the header.
    pub(crate) const fn bytes(self) -> usize {
        self.units as usize * UNIT
    }
}

/// A block, known by the address of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block(usize);

impl Block {
    /// The block whose header lies at `address`.
    ///
    /// # Safety
    /// The address is a multiple of 16 in a committed page of a heap, which stays so as long as the value is used.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) const fn address(self) -> usize {
        self.0
    }

    /// Where the program's bytes begin.
    pub(crate) const fn user(self) -> usize {
        self.0 + UNIT
    }

    /// The header that follows when this block has `units` units.
    pub(crate) const fn after(self, units: u32) -> Self {
        Self(self.0 + units as usize * UNIT)
    }

    /// The header `units` units before.
    pub(crate) const fn before(self, units: u32) -> Self {
        Self(self.0 - units as usize * UNIT)
    }

    fn word(self) -> &'static AtomicU64 {
        // SAFETY: a header in committed memory (`at`); headers are only touched atomically.
        unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(self.0)) }
    }

    fn half(self, offset: usize) -> &'static AtomicU32 {
        // SAFETY: as for the first word.
        unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(self.0 + offset)) }
    }

    /// Units of the block before; zero for the first of a segment.
    pub(crate) fn previous(self) -> u32 {
        self.half(8).load(Ordering::Relaxed)
    }

    pub(crate) fn set_previous(self, units: u32) {
        self.half(8).store(units, Ordering::Relaxed);
    }

    /// The links of a free block: 0 to the next in its bin, 1 to the one before.
    pub(crate) fn link(self, which: usize) -> &'static AtomicUsize {
        let at = self.user() + which * size_of::<usize>();
        // SAFETY: the smallest block has room for two links; only the core touches those of free blocks, and they lie in
        // committed memory.
        unsafe { AtomicUsize::from_ptr(core::ptr::with_exposed_provenance_mut(at)) }
    }

    /// No header stands here any more.
    pub(crate) fn erase(self) {
        self.word().store(0, Ordering::Relaxed);
        self.half(12).store(0, Ordering::Relaxed);
    }

    /// Marks where the program's bytes end.
    pub(crate) fn mark_tail(self, header: Header) {
        if header.slack != 0 {
            // SAFETY: inside the block, behind what the program asked for.
            unsafe { self.tail(header).write(TAIL) };
        }
    }

    /// Whether that mark is as it was.
    pub(crate) fn has_tail(self, header: Header) -> bool {
        // SAFETY: inside the block.
        header.slack == 0 || unsafe { self.tail(header).read() } == TAIL
    }

    fn tail(self, header: Header) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.user() + header.size())
    }
}

/// What seals the headers of one heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    secret: u64,
}

impl Seal {
    pub(crate) const fn new(secret: u64) -> Self {
        Self { secret }
    }

    #[inline]
    const fn of(self, block: Block, low: u64) -> u64 {
        ((low ^ (block.0 as u64 >> 4) ^ self.secret).wrapping_mul(MIX)) & !SEALED
    }

    #[inline]
    const fn guard(self, block: Block) -> u32 {
        (block.0 >> 4) as u32 ^ (self.secret >> 32) as u32
    }

    /// What the header says, if it is a whole one of this heap.
    #[inline]
    pub(crate) fn read(self, block: Block) -> Option<Header> {
        let word = block.word().load(Ordering::Relaxed);
        let low = word & SEALED;
        if word ^ low != self.of(block, low)
            || block.half(12).load(Ordering::Relaxed) != self.guard(block)
        {
            return None;
        }
        let state = match (low >> STATE_SHIFT) as u8 {
            0x9 => State::Busy,
            0x6 => State::Cached,
            0xA => State::Deferred,
            0x3 => State::Free,
            0xC => State::Holes,
            0x5 => State::End,
            _ => return None,
        };
        Some(Header {
            units: (low & UNITS_MASK) as u32,
            slack: ((low >> SLACK_SHIFT) & SLACK_MASK) as u32,
            state,
        })
    }

    /// Writes the first word of a header that is there.
    #[inline]
    pub(crate) fn write(self, block: Block, header: Header) {
        let low = u64::from(header.units)
            | u64::from(header.slack) << SLACK_SHIFT
            | (header.state as u64) << STATE_SHIFT;
        block
            .word()
            .store(low | self.of(block, low), Ordering::Relaxed);
    }

    /// Writes a whole header where none was.
    pub(crate) fn create(self, block: Block, header: Header, previous: u32) {
        self.write(block, header);
        block.set_previous(previous);
        block.half(12).store(self.guard(block), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Room([u8; 128]);

    #[test]
    fn headers_say_what_was_written_and_notice_every_changed_byte() {
        let mut room = Room([0; 128]);
        let base = room.0.as_mut_ptr();
        // SAFETY: room for a header, aligned, alive to the end of the test.
        let block = unsafe { Block::at(base.expose_provenance()) };
        let seal = Seal::new(0x1234_5678_9ABC_DEF0);
        let header = Header::busy(4, 41);
        assert_eq!(
            (header.capacity(), header.size(), header.slack),
            (48, 41, 7)
        );
        seal.create(block, header, 17);
        assert_eq!(seal.read(block), Some(header));
        assert_eq!(block.previous(), 17);
        assert_eq!(Seal::new(77).read(block), None);
        for at in (0..8).chain(12..16) {
            for bit in 0..8 {
                // SAFETY: inside the room.
                unsafe { *base.add(at) ^= 1 << bit };
                // A seal of 16 bits is bound to miss none of the single-bit changes of its own bytes and of the guard.
                let seen = seal.read(block).is_none();
                assert!(seen || at < 6, "byte {at} bit {bit}");
                // SAFETY: inside the room.
                unsafe { *base.add(at) ^= 1 << bit };
            }
        }
        block.mark_tail(header);
        assert!(block.has_tail(header));
        // SAFETY: inside the room.
        unsafe { *base.add(16 + 41) = 0 };
        assert!(!block.has_tail(header));
        block.erase();
        assert_eq!(seal.read(block), None);
    }
}
