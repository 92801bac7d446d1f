//! Which heap an address belongs to: a table over the whole address space, by pieces of 64 KiB.
//!
//! Reading it takes two loads and never touches the memory that is asked about, so that a foreign pointer is told from a block
//! before anything is read through it. Two levels: 4 GiB a leaf; leaves come when they are needed and stay.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: leaves are allocated once, zeroed, and never freed"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::alloc::System;

/// 2^PIECE bytes are looked at together.
pub(crate) const PIECE: u32 = 16;
const LEAF: usize = 1 << 16;
const ROOT: usize = 1 << 15;

/// One piece belongs to a large block; its number is in the upper bits.
const IS_LARGE: u64 = 1 << 32;
/// Some page of the piece is not committed.
const IS_PARTIAL: u64 = 1 << 33;
const NUMBER_SHIFT: u32 = 34;

type Leaf = [AtomicU64; LEAF];

static LEAVES: [AtomicPtr<Leaf>; ROOT] = [const { AtomicPtr::new(ptr::null_mut()) }; ROOT];
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What is entered for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u64);

/// What stands there for nobody.
const NOBODY: Owner = Owner(0);

impl Owner {
    /// A new heap's.
    pub(crate) fn new() -> Self {
        // Zero is nobody; after four thousand million heaps numbers come again.
        Self(u64::from(NEXT.fetch_add(1, Ordering::Relaxed).max(1)))
    }

    /// The same heap, in a piece that is not committed as a whole.
    pub(crate) const fn partial(self) -> Self {
        Self(self.0 | IS_PARTIAL)
    }

    /// The same heap, where its large block number `number` begins.
    pub(crate) const fn large(self, number: u32) -> Self {
        Self(self.0 | IS_LARGE | (number as u64) << NUMBER_SHIFT)
    }

    /// Whether that is an address of `heap` in any way.
    pub(crate) const fn is_of(self, heap: Self) -> bool {
        self.0 as u32 == heap.0 as u32
    }

    /// The number of the large block that begins there.
    pub(crate) const fn large_number(self) -> Option<u32> {
        if self.0 & IS_LARGE == 0 {
            None
        } else {
            Some((self.0 >> NUMBER_SHIFT) as u32)
        }
    }
}

/// Who owns the piece that holds `address`.
#[inline]
pub(crate) fn of(address: usize) -> Owner {
    let Some(leaf) = LEAVES.get(address >> 32) else {
        return NOBODY;
    };
    let leaf = leaf.load(Ordering::Acquire);
    if leaf.is_null() {
        return NOBODY;
    }
    // SAFETY: a leaf that was published stays for ever.
    let leaf = unsafe { &*leaf };
    Owner(leaf[(address >> PIECE) % LEAF].load(Ordering::Relaxed))
}

/// Enters an owner for one piece; false when there is no memory for the table.
pub(crate) fn set(address: usize, owner: Owner) -> bool {
    match leaf_for(address) {
        Some(leaf) => {
            leaf[(address >> PIECE) % LEAF].store(owner.0, Ordering::Relaxed);
            true
        }
        None => false,
    }
}

/// Nobody owns the piece any more.
pub(crate) fn clear(address: usize) {
    set(address, NOBODY);
}

fn leaf_for(address: usize) -> Option<&'static Leaf> {
    let slot = LEAVES.get(address >> 32)?;
    let mut leaf = slot.load(Ordering::Acquire);
    if leaf.is_null() {
        let layout = Layout::new::<Leaf>();
        // SAFETY: the layout has a size; zeros are atomics of zero.
        let made = unsafe { System.alloc_zeroed(layout) }.cast::<Leaf>();
        if made.is_null() {
            return None;
        }
        let placed =
            slot.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
        leaf = match placed {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: allocated above with this layout, and nobody has seen it.
                unsafe { System.dealloc(made.cast(), layout) };
                other
            }
        };
    }
    // SAFETY: published, and never freed.
    Some(unsafe { &*leaf })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_owner() {
        let heap = Owner::new();
        let base = 0x7ABC_0000_0000_usize;
        assert_eq!(of(base), NOBODY);
        assert!(set(base, heap) && set(base + (1 << PIECE), heap.large(9)));
        assert_eq!(of(base + 0xFFFF), heap);
        assert_eq!(of(base + 0x1_0000).large_number(), Some(9));
        assert!(of(base + 0x1_0000).is_of(heap) && !of(base).is_of(Owner::new()));
        assert_ne!(heap.partial(), heap);
        assert!(heap.partial().is_of(heap) && heap.partial().large_number().is_none());
        clear(base);
        assert_eq!(of(base), NOBODY);
        assert_eq!(of(usize::MAX), NOBODY);
        assert!(!set(usize::MAX, heap));
    }
}
