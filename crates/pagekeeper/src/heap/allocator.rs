//! A heap for collections.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the allocator trait is unsafe; blocks are the heap's"
)]

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};
use pagekeeper_heap::Request;

use super::{Heap, HeapBlocks};

/// Resizes in place where that keeps the alignment; else the contents move.
///
/// # Safety
/// As [`Allocator::grow`] and [`Allocator::shrink`]; `old` fits the block.
pub(super) unsafe fn resize(
    blocks: &HeapBlocks,
    pointer: NonNull<u8>,
    old: Layout,
    new: Layout,
    request: Request,
) -> Option<NonNull<u8>> {
    if pointer.addr().get().is_multiple_of(new.align()) {
        // SAFETY: the caller has the block for itself.
        let here = unsafe { blocks.resize(pointer.as_ptr(), new.size(), true, request) };
        if let Ok(here) = here {
            return Some(here);
        }
    }
    let plain = Request {
        zeroed: false,
        ..request
    };
    let to = blocks.allocate_aligned(new.size(), new.align(), plain)?;
    let kept = old.size().min(new.size());
    // SAFETY: both blocks hold as much, and the new one is nobody's yet.
    unsafe {
        to.copy_from_nonoverlapping(pointer, kept);
        if request.zeroed {
            to.add(kept).write_bytes(0, new.size() - kept);
        }
        // It was valid; a block that is not is the caller's broken promise, and left alone.
        let _ = blocks.free(pointer.as_ptr(), plain);
    }
    Some(to)
}

fn slice(block: Option<NonNull<u8>>, size: usize) -> Result<NonNull<[u8]>, AllocError> {
    block
        .map(|block| NonNull::slice_from_raw_parts(block, size))
        .ok_or(AllocError)
}

// SAFETY: blocks are the heap's, which lives as long as any clone; each has one owner at a time, is as large and as aligned as asked
// for, and stays until it is given back.
unsafe impl Allocator for Heap {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let (size, align) = (layout.size(), layout.align());
        slice(
            self.blocks().allocate_aligned(size, align, Request::PLAIN),
            size,
        )
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let (size, align) = (layout.size(), layout.align());
        slice(
            self.blocks().allocate_aligned(size, align, Request::ZEROED),
            size,
        )
    }

    unsafe fn deallocate(&self, pointer: NonNull<u8>, _layout: Layout) {
        // SAFETY: the caller gives the block up.
        let freed = unsafe { self.blocks().free(pointer.as_ptr(), Request::PLAIN) };
        debug_assert!(freed.is_ok(), "not a block of this heap: {freed:?}");
    }

    unsafe fn grow(
        &self,
        pointer: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise.
        let block = unsafe { resize(self.blocks(), pointer, old, new, Request::PLAIN) };
        slice(block, new.size())
    }

    unsafe fn grow_zeroed(
        &self,
        pointer: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise.
        let block = unsafe { resize(self.blocks(), pointer, old, new, Request::ZEROED) };
        slice(block, new.size())
    }

    unsafe fn shrink(
        &self,
        pointer: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise.
        let block = unsafe { resize(self.blocks(), pointer, old, new, Request::PLAIN) };
        slice(block, new.size())
    }
}
