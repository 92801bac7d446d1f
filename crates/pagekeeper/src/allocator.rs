//! An allocator in paged memory, so that `hashbrown` and friends can be larger than RAM.
//!
//! Uses the mapped engine unless told otherwise: collections hold anything, locks and buffers for the kernel too.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the allocator trait is unsafe; blocks are carved from a committed reservation"
)]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allocator_api2::alloc::{AllocError, Allocator};
use pagekeeper_model::Protection;
use pagekeeper_units::{ByteCount, PAGE_SIZE};

use crate::engine::EngineKind;
use crate::error::Error;
use crate::reservation::Reservation;
use crate::space::Space;

/// Address space for small blocks; costs nothing until used.
const SMALL_AREA: ByteCount = ByteCount::gib(256);
/// Blocks from this size on get a reservation of their own, and give everything back when freed.
const LARGE: usize = 256 << 10;
/// Committed at once for small blocks.
const STEP: u64 = 1 << 20;
/// The smallest block: a free one holds a pointer to the next.
const SMALLEST: usize = 16;
/// Block sizes 16, 32, ..., up to [`LARGE`]: powers of two.
const CLASSES: usize = (LARGE.trailing_zeros() - SMALLEST.trailing_zeros() + 1) as usize;

/// Allocates in the paged memory of a space. Cheap to clone; clones share their memory.
///
/// Small blocks are powers of two and are reused by size; blocks of 256 KiB and more are reservations of their own. (A heap
/// with Windows' interface, walking and validating, comes with the heap crate.)
///
/// ```
/// use allocator_api2::vec::Vec;
/// use pagekeeper::{ByteCount, PagedAllocator, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let allocator = PagedAllocator::new(&space)?;
/// let mut numbers = Vec::new_in(allocator);
/// numbers.extend(0..100_000_u64);
/// assert_eq!(numbers[99_999], 99_999);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PagedAllocator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    space: Space,
    engine: EngineKind,
    small: Reservation,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// First free block of each class; a free block holds the address of the next.
    free: [usize; CLASSES],
    /// Offset of the first byte of the small area that was never handed out.
    next: u64,
    /// Offset up to which the small area is committed.
    committed: u64,
    /// Large blocks by address.
    large: std::collections::HashMap<usize, Reservation>,
}

impl PagedAllocator {
    /// An allocator on the mapped engine.
    ///
    /// # Errors
    /// [`Error`] without address space.
    pub fn new(space: &Space) -> Result<Self, Error> {
        Self::with_engine(space, EngineKind::Mapped)
    }

    /// An allocator on a given engine. With the inline engine the collection must hold plain data that only this program's
    /// own code touches.
    ///
    /// # Errors
    /// [`Error`] without address space, or where the engine cannot run.
    pub fn with_engine(space: &Space, engine: EngineKind) -> Result<Self, Error> {
        let small = space.reserve(SMALL_AREA).engine(engine).build()?;
        let state = State {
            free: [0; CLASSES],
            next: 0,
            committed: 0,
            large: std::collections::HashMap::new(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                space: space.clone(),
                engine,
                small,
                state: Mutex::new(state),
            }),
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allocate_small(&self, class: usize) -> Option<usize> {
        let size = (SMALLEST << class) as u64;
        let mut state = self.state();
        let head = *state.free.get(class)?;
        if head != 0 {
            // SAFETY: a free block of this class: committed, ours, and holding the next one's address.
            let next = unsafe { *core::ptr::with_exposed_provenance::<usize>(head) };
            *state.free.get_mut(class)? = next;
            return Some(head);
        }
        // Blocks are aligned to their size, and pages to 4 KiB at least.
        let start = state.next.next_multiple_of(size.min(LARGE as u64));
        let end = start + size;
        if end > state.committed {
            let wanted = (state.committed + STEP)
                .max(end)
                .next_multiple_of(PAGE_SIZE as u64);
            let least = end.next_multiple_of(PAGE_SIZE as u64);
            let from = state.committed;
            let commit = |to: u64| {
                self.small
                    .commit(from..to, Protection::READ_WRITE)
                    .map(|()| to)
            };
            state.committed = commit(wanted).or_else(|_| commit(least)).ok()?;
        }
        state.next = end;
        Some(self.small.base().expose_provenance() + start as usize)
    }

    fn free_small(&self, address: usize, class: usize) {
        let mut state = self.state();
        if let Some(head) = state.free.get_mut(class) {
            // SAFETY: the caller gives a block of this class back, so it is committed and nobody's any more.
            unsafe { *core::ptr::with_exposed_provenance_mut::<usize>(address) = *head };
            *head = address;
        }
    }

    fn allocate_large(&self, size: usize) -> Option<usize> {
        let reservation = self
            .space
            .reserve(ByteCount::new(size as u64))
            .engine(self.engine)
            .committed()
            .build()
            .ok()?;
        let address = reservation.base().expose_provenance();
        self.state().large.insert(address, reservation);
        Some(address)
    }
}

/// The class of a layout, or `None` for a large block.
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    if size >= LARGE {
        return None;
    }
    Some((size.next_power_of_two().trailing_zeros() - SMALLEST.trailing_zeros()) as usize)
}

// SAFETY: blocks come from reservations that live as long as any clone; each is handed out to one owner at a time, is at least
// as large and aligned as asked for, and stays valid until it is given back.
unsafe impl Allocator for PagedAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            let dangling = NonNull::without_provenance(
                core::num::NonZero::new(layout.align()).ok_or(AllocError)?,
            );
            return Ok(NonNull::slice_from_raw_parts(dangling, 0));
        }
        // Reservations start at multiples of 64 KiB.
        if layout.align() > pagekeeper_units::ALLOCATION_GRANULARITY {
            return Err(AllocError);
        }
        let (address, size) = match class_of(layout) {
            Some(class) => (self.shared.allocate_small(class), SMALLEST << class),
            None => (self.shared.allocate_large(layout.size()), layout.size()),
        };
        let address = address.ok_or(AllocError)?;
        let pointer = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(address));
        Ok(NonNull::slice_from_raw_parts(
            pointer.ok_or(AllocError)?,
            size,
        ))
    }

    unsafe fn deallocate(&self, pointer: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        let address = pointer.as_ptr().expose_provenance();
        match class_of(layout) {
            Some(class) => self.shared.free_small(address, class),
            None => {
                // Released outside the lock: that takes the space's.
                let gone = self.shared.state().large.remove(&address);
                debug_assert!(gone.is_some(), "not a block of this allocator");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator_api2::vec::Vec;

    #[test]
    fn classes_hold_what_they_are_asked_for() {
        for (size, align) in [
            (1, 1),
            (16, 8),
            (17, 1),
            (100, 64),
            (4096, 4096),
            (200_000, 8),
        ] {
            let layout = Layout::from_size_align(size, align).expect("valid");
            let block = SMALLEST << class_of(layout).expect("small");
            assert!(
                block >= size && block.is_multiple_of(align),
                "{size} {align} {block}"
            );
        }
        assert_eq!(class_of(Layout::new::<[u8; LARGE]>()), None);
    }

    #[test]
    fn collections_grow_and_give_back() {
        let space = Space::builder()
            .ram(ByteCount::mib(8))
            .build()
            .expect("a space");
        let allocator = PagedAllocator::new(&space).expect("address space");
        let mut lists: std::vec::Vec<Vec<u32, PagedAllocator>> = std::vec::Vec::new();
        for list in 0..500_u32 {
            let mut numbers = Vec::new_in(allocator.clone());
            numbers.extend((0..list * 7).map(|number| number ^ list));
            lists.push(numbers);
        }
        lists.retain(|list| list.len() % 2 == 0);
        let mut large = Vec::new_in(allocator.clone());
        large.resize(10 << 20, 7_u8);
        for (list, numbers) in (0..500_u32).filter(|list| list * 7 % 2 == 0).zip(&lists) {
            assert!(
                (0..list * 7)
                    .zip(numbers)
                    .all(|(number, found)| *found == number ^ list)
            );
        }
        assert!(large.iter().all(|byte| *byte == 7));
        let before = space.status().committed;
        drop(large);
        assert!(before.get() - space.status().committed.get() >= 10 << 20);
    }
}
