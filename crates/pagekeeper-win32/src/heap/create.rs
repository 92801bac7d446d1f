//! Heaps come and go. Windows: `HeapCreate`, `HeapDestroy`, `GetProcessHeap`, `GetProcessHeaps`.
//!
//! Source: windows-memory-behaviour.md 16.1.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ptr;

use super::table;
use crate::constants::{
    HEAP_CREATE_ENABLE_EXECUTE, HEAP_GENERATE_EXCEPTIONS, HEAP_NO_SERIALIZE, HEAP_ZERO_MEMORY,
};
use crate::last_error::{or, to_bool};
use crate::memory;
use crate::types::{BOOL, DWORD, HANDLE, SIZE_T};

/// `HeapCreate`. Flags that mean nothing to it are ignored, as by Windows.
#[unsafe(no_mangle)]
pub extern "C" fn HeapCreate(options: DWORD, initial: SIZE_T, maximum: SIZE_T) -> HANDLE {
    let known = HEAP_NO_SERIALIZE
        | HEAP_GENERATE_EXCEPTIONS
        | HEAP_ZERO_MEMORY
        | HEAP_CREATE_ENABLE_EXECUTE;
    let made = table::add(options & known, initial as u64, maximum as u64);
    or(made.map(|open| open.handle()), ptr::null_mut())
}

/// `HeapDestroy`: all blocks go at once.
#[unsafe(no_mangle)]
pub extern "C" fn HeapDestroy(heap: HANDLE) -> BOOL {
    to_bool(table::remove(heap).map(drop))
}

/// `GetProcessHeap`
#[unsafe(no_mangle)]
pub extern "C" fn GetProcessHeap() -> HANDLE {
    or(
        table::of_process().map(|open| open.handle()),
        ptr::null_mut(),
    )
}

/// `GetProcessHeaps`: how many there are; their handles are written when there is room for all.
#[unsafe(no_mangle)]
pub extern "C" fn GetProcessHeaps(room: DWORD, heaps: *mut HANDLE) -> DWORD {
    let all = table::all();
    if all.len() <= room as usize {
        for (at, handle) in all.iter().enumerate() {
            if let Err(code) = memory::write(heaps.wrapping_add(at), handle) {
                return or(Err(code), 0);
            }
        }
    }
    all.len() as DWORD
}
