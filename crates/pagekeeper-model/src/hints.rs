//! Where an allocation was found last, by 64 KiB granule: a guess that spares the walk of the tree.
//!
//! Among a million allocations a walk of the tree misses the processor's caches four or five times. An array with a place for
//! every granule of the address space's low bits misses once. What it says is a guess: allocations come and go, and
//! distant ones share places. Whoever asks looks whether the allocation holds the page, and walks the tree where not.

use core::sync::atomic::{AtomicU32, Ordering};

use pagekeeper_units::PAGES_PER_GRANULE;

/// Below this many allocations the tree is one leaf.
const WORTH_WHILE: usize = 16;

/// See the module text. Relaxed accesses throughout: guesses only, and the caller holds the space's lock anyway.
pub(crate) struct Hints {
    /// Slot numbers plus one; 0 says nothing. Empty, or a power of two of them.
    places: Vec<AtomicU32>,
}

impl Hints {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new() }
    }

    /// The place of `page`. Reservations that follow each other never share one; parts of a placeholder may.
    #[inline]
    fn place(&self, page: u64) -> Option<&AtomicU32> {
        let granule = page / PAGES_PER_GRANULE;
        // The high bits tell arenas apart that begin at multiples of a large power of two.
        let mixed = granule.wrapping_add((granule >> 24).wrapping_mul(0x9E37_79B1));
        let mask = self.places.len().checked_sub(1)? as u64;
        self.places.get((mixed & mask) as usize)
    }

    /// The slot that may hold the allocation of `page`.
    #[inline]
    pub(crate) fn guess(&self, page: u64) -> Option<u32> {
        self.place(page)?.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The allocation of `page` is in `slot`.
    #[inline]
    pub(crate) fn note(&self, page: u64, slot: u32) {
        if let Some(place) = self.place(page) {
            place.store(slot.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Makes room for `allocations`; whether everything has to be noted again.
    pub(crate) fn grow(&mut self, allocations: usize) -> bool {
        if allocations < WORTH_WHILE || allocations * 2 <= self.places.len() {
            return false;
        }
        let length = (allocations * 4).next_power_of_two();
        self.places = Vec::with_capacity(length);
        self.places.resize_with(length, AtomicU32::default);
        true
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<AtomicU32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_places_of_their_own() {
        let mut hints = Hints::new();
        assert_eq!(hints.guess(0), None);
        hints.note(0, 1);
        assert!(!hints.grow(WORTH_WHILE - 1));
        assert!(hints.grow(WORTH_WHILE));
        assert!(!hints.grow(WORTH_WHILE));
        assert!(hints.grow(1000));
        assert_eq!(hints.guess(0), None);
        let page = |number: u64| (1 << 35) - 1000 * PAGES_PER_GRANULE + number * PAGES_PER_GRANULE;
        for number in 0..1000 {
            hints.note(page(number) + 3, number as u32);
        }
        for number in 0..1000 {
            assert_eq!(hints.guess(page(number)), Some(number as u32));
        }
        assert!(hints.grow(8000), "it grows with what is asked of it");
        assert_eq!(hints.guess(page(0)), None, "and begins anew");
    }
}
