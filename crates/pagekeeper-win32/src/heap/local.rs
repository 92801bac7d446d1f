//! Windows: `LocalAlloc` and what belongs to it: the oldest way to have memory, with handles that need not be addresses.
//!
//! Source: Microsoft's documentation of the calls; windows-memory-behaviour.md 16 for the heap beneath.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use super::movable::{self, Wanted};
use crate::constants::{
    LMEM_DISCARDABLE, LMEM_DISCARDED, LMEM_INVALID_HANDLE, LMEM_MODIFY, LMEM_MOVEABLE,
    LMEM_ZEROINIT,
};
use crate::errors::Code;
use crate::last_error::{or, to_bool};
use crate::types::{BOOL, HANDLE, SIZE_T, UINT};

fn wanted(flags: UINT) -> Wanted {
    Wanted {
        movable: flags & LMEM_MOVEABLE != 0,
        zeroed: flags & LMEM_ZEROINIT != 0,
        discardable: flags & LMEM_DISCARDABLE != 0,
    }
}

/// `LocalAlloc`
#[unsafe(no_mangle)]
pub extern "C" fn LocalAlloc(flags: UINT, size: SIZE_T) -> HANDLE {
    or(movable::allocate(size, wanted(flags)), ptr::null_mut())
}

/// `LocalReAlloc`
#[unsafe(no_mangle)]
pub extern "C" fn LocalReAlloc(memory: HANDLE, size: SIZE_T, flags: UINT) -> HANDLE {
    let result = if flags & LMEM_MODIFY != 0 {
        movable::modify(memory, wanted(flags))
    } else {
        movable::resize(memory, size, wanted(flags))
    };
    or(result, ptr::null_mut())
}

/// `LocalFree`: NULL when it worked, else the handle. NULL is freed, too.
#[unsafe(no_mangle)]
pub extern "C" fn LocalFree(memory: HANDLE) -> HANDLE {
    if memory.is_null() {
        return memory;
    }
    or(movable::free(memory).map(|()| ptr::null_mut()), memory)
}

/// `LocalLock`
#[unsafe(no_mangle)]
pub extern "C" fn LocalLock(memory: HANDLE) -> *mut c_void {
    or(movable::lock(memory), ptr::null_mut())
}

/// `LocalUnlock`: FALSE without an error when no lock is left.
#[unsafe(no_mangle)]
pub extern "C" fn LocalUnlock(memory: HANDLE) -> BOOL {
    to_bool(movable::unlock(memory))
}

/// `LocalSize`
#[unsafe(no_mangle)]
pub extern "C" fn LocalSize(memory: HANDLE) -> SIZE_T {
    or(movable::size(memory), 0)
}

/// `LocalFlags`
#[unsafe(no_mangle)]
pub extern "C" fn LocalFlags(memory: HANDLE) -> UINT {
    let flags = movable::flags(memory).map(|flags| {
        let discarded = if flags.discarded { LMEM_DISCARDED } else { 0 };
        let discardable = if flags.discardable {
            LMEM_DISCARDABLE
        } else {
            0
        };
        UINT::from(flags.locks) | discarded | discardable
    });
    or(flags, LMEM_INVALID_HANDLE)
}

/// `LocalHandle`
#[unsafe(no_mangle)]
pub extern "C" fn LocalHandle(memory: *const c_void) -> HANDLE {
    let found: Result<HANDLE, Code> = movable::handle_of(memory);
    or(found, ptr::null_mut())
}
