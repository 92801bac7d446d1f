//! Whether a thread is at work inside of a space: then what it allocates must not come from a space.
//!
//! Only a program whose global allocator is a heap in paged memory cares ([`crate::PagedGlobal`]): such a heap asks its space for
//! pages, with the space's lock, which this thread may hold already.

use core::cell::Cell;
use core::marker::PhantomData;

thread_local! {
    // Constant and without a destructor: the allocator reads it.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The thread is inside as long as this lives.
pub(crate) struct Inside {
    /// It belongs to the thread.
    _here: PhantomData<*const ()>,
}

impl Inside {
    pub(crate) fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self { _here: PhantomData }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Whether the calling thread is.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() != 0
}

/// The calling thread is a pager's, and stays inside.
pub(crate) fn stay() {
    DEPTH.set(DEPTH.get() + 1);
}
