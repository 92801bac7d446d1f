//! Windows: `GlobalAlloc` and what belongs to it: the oldest way to have memory, with handles that need not be addresses.
//!
//! Source: Microsoft's documentation of the calls; windows-memory-behaviour.md 16 for the heap beneath.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use super::movable::{self, Wanted};
use crate::constants::{
    GMEM_DISCARDABLE, GMEM_DISCARDED, GMEM_INVALID_HANDLE, GMEM_MODIFY, GMEM_MOVEABLE,
    GMEM_ZEROINIT,
};
use crate::errors::Code;
use crate::last_error::{or, to_bool};
use crate::types::{BOOL, HANDLE, SIZE_T, UINT};

fn wanted(flags: UINT) -> Wanted {
    Wanted {
        movable: flags & GMEM_MOVEABLE != 0,
        zeroed: flags & GMEM_ZEROINIT != 0,
        discardable: flags & GMEM_DISCARDABLE != 0,
    }
}

/// `GlobalAlloc`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalAlloc(flags: UINT, size: SIZE_T) -> HANDLE {
    or(movable::allocate(size, wanted(flags)), ptr::null_mut())
}

/// `GlobalReAlloc`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalReAlloc(memory: HANDLE, size: SIZE_T, flags: UINT) -> HANDLE {
    let result = if flags & GMEM_MODIFY != 0 {
        movable::modify(memory, wanted(flags))
    } else {
        movable::resize(memory, size, wanted(flags))
    };
    or(result, ptr::null_mut())
}

/// `GlobalFree`: NULL when it worked, else the handle. NULL is freed, too.
#[unsafe(no_mangle)]
pub extern "C" fn GlobalFree(memory: HANDLE) -> HANDLE {
    if memory.is_null() {
        return memory;
    }
    or(movable::free(memory).map(|()| ptr::null_mut()), memory)
}

/// `GlobalLock`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalLock(memory: HANDLE) -> *mut c_void {
    or(movable::lock(memory), ptr::null_mut())
}

/// `GlobalUnlock`: FALSE without an error when no lock is left.
#[unsafe(no_mangle)]
pub extern "C" fn GlobalUnlock(memory: HANDLE) -> BOOL {
    to_bool(movable::unlock(memory))
}

/// `GlobalSize`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalSize(memory: HANDLE) -> SIZE_T {
    or(movable::size(memory), 0)
}

/// `GlobalFlags`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalFlags(memory: HANDLE) -> UINT {
    let flags = movable::flags(memory).map(|flags| {
        let discarded = if flags.discarded { GMEM_DISCARDED } else { 0 };
        let discardable = if flags.discardable {
            GMEM_DISCARDABLE
        } else {
            0
        };
        UINT::from(flags.locks) | discarded | discardable
    });
    or(flags, GMEM_INVALID_HANDLE)
}

/// `GlobalHandle`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalHandle(memory: *const c_void) -> HANDLE {
    let found: Result<HANDLE, Code> = movable::handle_of(memory);
    or(found, ptr::null_mut())
}
