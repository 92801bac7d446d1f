//! Free blocks by size, in two levels: doublings, and sixteen steps in each (TLSF: Masmano and others, 2004). Putting in, taking
//! out and finding one that fits take constant time.
//!
//! The lists run through the free blocks themselves. Each step is checked before it is trusted: a program that writes to freed
//! memory loses the list that it broke, not the heap.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a link that was checked becomes a block"
)]

use core::sync::atomic::Ordering;

use crate::classes::SMALLEST;
use crate::header::{Block, MOST_UNITS, Seal};
use crate::owners::{self, Owner};

/// Below, each size has a bin of its own.
const LINEAR: u32 = 32;
const STEPS_SHIFT: u32 = 4;
const STEPS: u32 = 1 << STEPS_SHIFT;
const BINS: usize = (LINEAR + (MOST_UNITS.ilog2() - LINEAR.ilog2() + 1) * STEPS) as usize;
const WORDS: usize = BINS.div_ceil(64);
/// So many blocks of the bin that may hold a fitting one are looked at before more memory is asked for.
const LOOKS: usize = 16;

pub(crate) struct Bins {
    heads: [usize; BINS],
    /// Which bins hold something.
    filled: [u64; WORDS],
    seal: Seal,
    owner: Owner,
    damaged: bool,
}

/// The bin of blocks of a size.
const fn bin_of(units: u32) -> usize {
    if units < LINEAR {
        return units as usize;
    }
    let doubling = units.ilog2();
    let step = (units >> (doubling - STEPS_SHIFT)) & (STEPS - 1);
    (LINEAR + (doubling - LINEAR.ilog2()) * STEPS + step) as usize
}

/// The first bin in which every block has `units` units.
const fn bin_that_fits(units: u32) -> usize {
    if units < LINEAR {
        return units as usize;
    }
    let step = 1 << (units.ilog2() - STEPS_SHIFT);
    bin_of(units + step - 1)
}

impl Bins {
    pub(crate) const fn new(seal: Seal, owner: Owner) -> Self {
        Self {
            heads: [0; BINS],
            filled: [0; WORDS],
            seal,
            owner,
            damaged: false,
        }
    }

    /// Whether a list was found broken.
    pub(crate) const fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// A block of some bin's list: a free one of this heap.
    fn checked(&self, address: usize) -> Option<Block> {
        if !address.is_multiple_of(16) || !owners::of(address).is_of(self.owner) {
            return None;
        }
        // SAFETY: an address of this heap's segments; that its page is committed follows from the link being whole.
        let block = unsafe { Block::at(address) };
        let header = self.seal.read(block)?;
        header.state.is_in_bins().then_some(block)
    }

    pub(crate) fn insert(&mut self, block: Block, units: u32) {
        let bin = bin_of(units.min(MOST_UNITS));
        let head = self.heads[bin];
        block.link(0).store(head, Ordering::Relaxed);
        block.link(1).store(0, Ordering::Relaxed);
        if head != 0 {
            match self.checked(head) {
                Some(next) => next.link(1).store(block.address(), Ordering::Relaxed),
                None => {
                    self.damaged = true;
                    block.link(0).store(0, Ordering::Relaxed);
                }
            }
        }
        self.heads[bin] = block.address();
        self.filled[bin / 64] |= 1 << (bin % 64);
    }

    /// Takes a block out; false when its list is broken there, and then nothing is to be done with the block.
    pub(crate) fn remove(&mut self, block: Block, units: u32) -> bool {
        let bin = bin_of(units);
        let next = block.link(0).load(Ordering::Relaxed);
        let before = block.link(1).load(Ordering::Relaxed);
        let next_block = match next {
            0 => None,
            _ => match self.checked(next) {
                Some(found) if found.link(1).load(Ordering::Relaxed) == block.address() => {
                    Some(found)
                }
                _ => return self.lose(bin),
            },
        };
        if before == 0 {
            if self.heads[bin] != block.address() {
                return self.lose(bin);
            }
            self.heads[bin] = next;
            if next == 0 {
                self.filled[bin / 64] &= !(1 << (bin % 64));
            }
        } else {
            match self.checked(before) {
                Some(found) if found.link(0).load(Ordering::Relaxed) == block.address() => {
                    found.link(0).store(next, Ordering::Relaxed);
                }
                _ => return self.lose(bin),
            }
        }
        if let Some(next) = next_block {
            next.link(1).store(before, Ordering::Relaxed);
        }
        true
    }

    /// Forgets a broken list: its blocks stay free and are never used again.
    #[cold]
    fn lose(&mut self, bin: usize) -> bool {
        self.damaged = true;
        self.heads[bin] = 0;
        self.filled[bin / 64] &= !(1 << (bin % 64));
        false
    }

    /// A block of `units` units or more; it stays in its list.
    pub(crate) fn find(&mut self, units: u32) -> Option<Block> {
        if let Some(bin) = self.filled_from(bin_that_fits(units)) {
            let found = self.checked(self.heads[bin]);
            if found.is_none() {
                self.lose(bin);
            }
            return found;
        }
        // Only the bin whose blocks may be smaller is left.
        let bin = bin_of(units);
        let mut at = self.heads[bin];
        for _ in 0..LOOKS {
            if at == 0 {
                break;
            }
            let Some(block) = self.checked(at) else {
                self.lose(bin);
                break;
            };
            if self
                .seal
                .read(block)
                .is_some_and(|header| header.units >= units)
            {
                return Some(block);
            }
            at = block.link(0).load(Ordering::Relaxed);
        }
        None
    }

    /// A block of exactly this bin's size, for sizes whose bins hold one size only.
    pub(crate) fn find_exact(&self, units: u32) -> Option<Block> {
        if !(SMALLEST..LINEAR).contains(&units) {
            return None;
        }
        let head = self.heads[bin_of(units)];
        if head == 0 { None } else { self.checked(head) }
    }

    fn filled_from(&self, bin: usize) -> Option<usize> {
        let first = bin / 64;
        let mut word = self.filled.get(first)? & (u64::MAX << (bin % 64));
        let mut at = first;
        loop {
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            at += 1;
            word = *self.filled.get(at)?;
        }
    }

    /// How many blocks and units the lists hold, or nothing when one of them is broken.
    pub(crate) fn count(&self) -> Option<(usize, u64)> {
        let (mut blocks, mut units) = (0, 0_u64);
        for (bin, &head) in self.heads.iter().enumerate() {
            let (mut at, mut before) = (head, 0);
            while at != 0 {
                let block = self.checked(at)?;
                let header = self.seal.read(block)?;
                if bin_of(header.units) != bin || block.link(1).load(Ordering::Relaxed) != before {
                    return None;
                }
                blocks += 1;
                units += u64::from(header.units);
                before = at;
                at = block.link(0).load(Ordering::Relaxed);
            }
        }
        Some((blocks, units))
    }

    /// Units of the largest block in the highest bin that holds any (a look at its first blocks).
    pub(crate) fn largest(&self) -> u32 {
        let Some(bin) = (0..BINS).rev().find(|&bin| self.heads[bin] != 0) else {
            return 0;
        };
        let mut largest = 0;
        let mut at = self.heads[bin];
        while at != 0
            && let Some(block) = self.checked(at)
        {
            largest = largest.max(self.seal.read(block).map_or(0, |header| header.units));
            at = block.link(0).load(Ordering::Relaxed);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_ordered_and_what_fits_fits() {
        let mut last = 0;
        let sizes = (SMALLEST..5000)
            .chain((1..900).map(|step| step * 18_000))
            .chain([MOST_UNITS]);
        for units in sizes {
            let bin = bin_of(units);
            assert!(bin >= last && bin < BINS, "{units}");
            last = bin;
            let fits = bin_that_fits(units.min(MOST_UNITS - (1 << 20)));
            assert!(fits >= bin_of(units.min(MOST_UNITS - (1 << 20))), "{units}");
            // The smallest block of the bin that fits is large enough.
            let smaller = (units.min(MOST_UNITS - (1 << 20)) - 1).max(1);
            assert!(bin_of(smaller) < fits || smaller < 2, "{units}");
        }
    }
}
