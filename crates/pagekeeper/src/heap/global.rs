//! A heap for a whole program.
//!
//! A global allocator is called by everything, also by the space while it holds its own lock, and by its pager's threads. Those get
//! their blocks from the C library ([`crate::inside`]), and what they free of the heap is taken back later. Other threads do not wait for
//! the heap's lock for long either, since they may hold a lock that a pager's thread waits for. The same goes for everything that is
//! asked for while the space is being made.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the global allocator trait is unsafe; blocks are the heap's or the C library's"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::alloc::System;

use pagekeeper_heap::Request;
use pagekeeper_units::ByteCount;

use super::allocator::resize;
use super::{Heap, HeapBlocks};
use crate::inside::is_inside;
use crate::space::Space;

const NEW: u8 = 0;
const STARTING: u8 = 1;
const READY: u8 = 2;
const FAILED: u8 = 3;

const REQUEST: Request = Request {
    zeroed: false,
    serialised: true,
    impatient: true,
};

/// The program's whole Rust heap in paged memory, in a space of its own that is made when the first block is asked for.
///
/// Where the space cannot be made, everything comes from the C library as usual. The heap stays for the life of the program.
///
/// ```
/// use pagekeeper::{ByteCount, PagedGlobal};
/// #[global_allocator]
/// static HEAP: PagedGlobal = PagedGlobal::new(ByteCount::mib(64));
///
/// let words: Vec<String> = (0..1000).map(|number| format!("word {number}")).collect();
/// assert_eq!(words[999], "word 999");
/// assert!(HEAP.heap().expect("memory").summary().allocated > 10_000);
/// ```
pub struct PagedGlobal {
    ram: ByteCount,
    state: AtomicU8,
    heap: AtomicPtr<Heap>,
}

impl PagedGlobal {
    /// With a RAM budget; what does not fit goes to a page file in `TMPDIR` or `/var/tmp`.
    pub const fn new(ram: ByteCount) -> Self {
        Self {
            ram,
            state: AtomicU8::new(NEW),
            heap: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// The heap, made if need be; nothing while it is being made, or where it cannot be.
    pub fn heap(&self) -> Option<&Heap> {
        if self.state.load(Ordering::Acquire) == NEW {
            self.start();
        }
        // SAFETY: it is set once, and stays.
        unsafe { self.heap.load(Ordering::Acquire).as_ref() }
    }

    /// The heap, for a thread that may ask it for memory.
    fn blocks(&self) -> Option<&HeapBlocks> {
        if is_inside() {
            return None;
        }
        self.heap().map(Heap::blocks)
    }

    #[cold]
    fn start(&self) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        if self
            .state
            .compare_exchange(NEW, STARTING, order.0, order.1)
            .is_err()
        {
            return;
        }
        // What this allocates comes from the C library, because the state is STARTING.
        let made = Space::builder()
            .ram(self.ram)
            .build()
            .and_then(|space| Heap::new(&space));
        let state = match made {
            Ok(heap) => {
                self.heap
                    .store(Box::into_raw(Box::new(heap)), Ordering::Release);
                READY
            }
            Err(_) => FAILED,
        };
        self.state.store(state, Ordering::Release);
    }

    /// The heap, if the block is one of its.
    fn owner_of(&self, block: *mut u8) -> Option<&HeapBlocks> {
        // SAFETY: as in `heap`.
        let heap = unsafe { self.heap.load(Ordering::Acquire).as_ref() }?;
        heap.blocks().owns(block).then(|| heap.blocks())
    }
}

// SAFETY: a block is the heap's or the C library's, each told by its address when it comes back; both keep the trait's promises.
unsafe impl GlobalAlloc for PagedGlobal {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self
            .blocks()
            .and_then(|blocks| blocks.allocate_aligned(layout.size(), layout.align(), REQUEST));
        match block {
            Some(block) => block.as_ptr(),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.owner_of(block) {
            Some(blocks) => {
                // SAFETY: the caller gives the block up.
                let freed = unsafe {
                    if is_inside() {
                        blocks.free_later(block)
                    } else {
                        blocks.free(block, REQUEST)
                    }
                };
                debug_assert!(freed.is_ok(), "{freed:?}");
            }
            // SAFETY: not the heap's, so it came from there with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(blocks), Some(pointer)) = (self.owner_of(block), NonNull::new(block)) else {
            // SAFETY: not the heap's, so it came from there with this layout.
            return unsafe { System.realloc(block, layout, size) };
        };
        let Ok(new) = Layout::from_size_align(size, layout.align()) else {
            return core::ptr::null_mut();
        };
        if !is_inside()
            // SAFETY: the caller's promise.
            && let Some(moved) = unsafe { resize(blocks, pointer, layout, new, REQUEST) }
        {
            return moved.as_ptr();
        }
        // SAFETY: a new block from the C library, as large; then the old one is given up.
        unsafe {
            let moved = System.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

impl core::fmt::Debug for PagedGlobal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PagedGlobal")
            .field("ram", &self.ram)
            .finish_non_exhaustive()
    }
}
