//! One range of address space that blocks lie in, and which of its pages are committed.
//!
//! Blocks fill it from `first` to `top`, without gaps; an end header stands before `top`. Pages from `top` on are not committed;
//! pages inside large free blocks may not be either.

use allocator_api2::alloc::System;
use allocator_api2::vec::Vec;

use crate::memory::Memory;
use crate::owners::{self, Owner, PIECE};

pub(crate) const PAGE: usize = 4096;
const PAGES_A_PIECE: usize = (1 << PIECE) / PAGE;

pub(crate) struct Segment {
    pub(crate) base: usize,
    /// Bytes reserved.
    pub(crate) size: usize,
    /// Where the first block's header lies.
    pub(crate) first: usize,
    /// Where blocks end: a multiple of the page size.
    pub(crate) top: usize,
    /// One bit a page.
    committed: Vec<u64, System>,
    committed_pages: usize,
}

impl Segment {
    /// Reserves one; nothing is committed.
    pub(crate) fn reserve(
        memory: &impl Memory,
        owner: Owner,
        size: usize,
        first: usize,
    ) -> Option<Self> {
        let mut committed = Vec::new_in(System);
        let words = (size / PAGE).div_ceil(64);
        committed.try_reserve_exact(words).ok()?;
        committed.resize(words, 0);
        let base = memory.reserve(size)?;
        let segment = Self {
            base,
            size,
            first: base + first,
            top: base,
            committed,
            committed_pages: 0,
        };
        for piece in segment.pieces(base, base + size) {
            if !owners::set(piece, owner.partial()) {
                segment.release(memory);
                return None;
            }
        }
        Some(segment)
    }

    /// Gives everything back.
    pub(crate) fn release(&self, memory: &impl Memory) {
        for piece in self.pieces(self.base, self.end()) {
            owners::clear(piece);
        }
        // SAFETY: the caller drops the segment; no block of it is used any more.
        #[allow(unsafe_code, reason = "UNSAFETY: gives back what nobody uses")]
        unsafe {
            memory.release(self.base, self.size);
        }
    }

    pub(crate) const fn end(&self) -> usize {
        self.base + self.size
    }

    pub(crate) const fn committed_bytes(&self) -> usize {
        self.committed_pages * PAGE
    }

    fn pieces(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + use<> {
        let first = from & !((1 << PIECE) - 1);
        (first..to).step_by(1 << PIECE)
    }

    const fn page(&self, address: usize) -> usize {
        (address - self.base) / PAGE
    }

    fn bit(&self, page: usize) -> bool {
        self.committed
            .get(page / 64)
            .is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Whether the page of an address is committed.
    pub(crate) fn is_committed(&self, address: usize) -> bool {
        (self.base..self.end()).contains(&address) && self.bit(self.page(address))
    }

    /// Committed bytes of whole pages in a range.
    pub(crate) fn committed_between(&self, from: usize, to: usize) -> usize {
        let (first, end) = (self.page(from), self.page(to));
        let mut pages = 0;
        let mut page = first;
        while page < end {
            let word = self.committed.get(page / 64).copied().unwrap_or(0) >> (page % 64);
            let count = (64 - page % 64).min(end - page);
            let mask = u64::MAX >> (64 - count);
            pages += (word & mask).count_ones() as usize;
            page += count;
        }
        pages * PAGE
    }

    /// Whether all pages that the range touches are.
    pub(crate) fn are_committed(&self, from: usize, to: usize) -> bool {
        (self.page(from)..=self.page(to - 1)).all(|page| self.bit(page))
    }

    /// Commits what is not committed of the pages that the range touches; false when that cannot be had.
    pub(crate) fn commit(
        &mut self,
        memory: &impl Memory,
        owner: Owner,
        from: usize,
        to: usize,
    ) -> bool {
        let done = self.each_run(from, to, false, |segment, start, end| {
            memory.commit(segment.base + start * PAGE, (end - start) * PAGE)
        });
        self.enter(owner, from, to);
        done
    }

    /// Decommits the committed ones of whole pages.
    pub(crate) fn decommit(&mut self, memory: &impl Memory, owner: Owner, from: usize, to: usize) {
        self.each_run(from, to, true, |segment, start, end| {
            // SAFETY: the caller has no block there, only the inside of a free one.
            #[allow(unsafe_code, reason = "UNSAFETY: gives back what nobody uses")]
            unsafe {
                memory.decommit(segment.base + start * PAGE, (end - start) * PAGE)
            }
        });
        self.enter(owner, from, to);
    }

    /// Calls `change` for each run of pages that are committed or not, and turns them where it says so; stops where not.
    fn each_run(
        &mut self,
        from: usize,
        to: usize,
        committed: bool,
        mut change: impl FnMut(&Self, usize, usize) -> bool,
    ) -> bool {
        let last = self.page(to - 1) + 1;
        let mut page = self.page(from);
        while page < last {
            if self.bit(page) != committed {
                page += 1;
                continue;
            }
            let start = page;
            while page < last && self.bit(page) == committed {
                page += 1;
            }
            if !change(self, start, page) {
                return false;
            }
            for page in start..page {
                self.committed[page / 64] ^= 1 << (page % 64);
            }
            if committed {
                self.committed_pages -= page - start;
            } else {
                self.committed_pages += page - start;
            }
        }
        true
    }

    /// Tells the table of owners which pieces are whole.
    fn enter(&self, owner: Owner, from: usize, to: usize) {
        for piece in self.pieces(from, to) {
            let first = self.page(piece);
            let is_whole = (first..first + PAGES_A_PIECE).all(|page| self.bit(page));
            // The leaf is there since the segment was reserved.
            owners::set(piece, if is_whole { owner } else { owner.partial() });
        }
    }
}
