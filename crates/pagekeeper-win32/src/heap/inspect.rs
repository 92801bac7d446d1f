//! Looking at heaps, and locking them. Windows: `HeapValidate`, `HeapWalk`, `HeapSummary`, `HeapCompact`, `HeapLock`, `HeapUnlock`.
//!
//! Source: windows-memory-behaviour.md 16.4.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use pagekeeper_heap::{Cursor, Entry};

use super::table::{self, Open};
use crate::constants::{
    ERROR_INVALID_PARAMETER, ERROR_NO_MORE_ITEMS, ERROR_NOT_LOCKED, FALSE, PROCESS_HEAP_ENTRY_BUSY,
    PROCESS_HEAP_REGION, PROCESS_HEAP_UNCOMMITTED_RANGE, TRUE,
};
use crate::errors::Code;
use crate::last_error::{or, to_bool};
use crate::memory;
use crate::types::{
    BOOL, BYTE, DWORD, HANDLE, HEAP_SUMMARY, PROCESS_HEAP_ENTRY, PROCESS_HEAP_REGION_PART, SIZE_T,
};

/// What large blocks have as their region's number.
const LARGE: BYTE = 64;

/// `HeapValidate`: of one block, or of the whole heap. The last error stays.
#[unsafe(no_mangle)]
pub extern "C" fn HeapValidate(heap: HANDLE, _flags: DWORD, block: *const c_void) -> BOOL {
    let is_whole = |open: &Open| match block.is_null() {
        true => open.blocks().validate().is_ok(),
        false => open.blocks().validate_block(block.cast()).is_ok(),
    };
    match table::with(heap, is_whole) {
        Ok(true) => TRUE,
        _ => FALSE,
    }
}

/// `HeapLock`
#[unsafe(no_mangle)]
pub extern "C" fn HeapLock(heap: HANDLE) -> BOOL {
    to_bool(table::with(heap, |open| {
        if !open.is_unserialised() {
            open.blocks().lock();
        }
    }))
}

/// `HeapUnlock`
#[unsafe(no_mangle)]
pub extern "C" fn HeapUnlock(heap: HANDLE) -> BOOL {
    let unlocked = table::with(heap, |open| {
        if open.is_unserialised() || open.blocks().unlock() {
            Ok(())
        } else {
            Err(Code(ERROR_NOT_LOCKED))
        }
    });
    to_bool(unlocked.and_then(|result| result))
}

/// `HeapCompact`: the largest free block.
#[unsafe(no_mangle)]
pub extern "C" fn HeapCompact(heap: HANDLE, _flags: DWORD) -> SIZE_T {
    or(table::with(heap, |open| open.blocks().compact()), 0)
}

/// `HeapSummary`
#[unsafe(no_mangle)]
pub extern "C" fn HeapSummary(heap: HANDLE, _flags: DWORD, summary: *mut HEAP_SUMMARY) -> BOOL {
    let write = || {
        let cb = memory::read(summary.cast::<DWORD>())?;
        if cb as usize != size_of::<HEAP_SUMMARY>() {
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
        let sums = table::with(heap, |open| open.blocks().summary())?;
        let value = HEAP_SUMMARY {
            cb,
            cbAllocated: sums.allocated as SIZE_T,
            cbCommitted: sums.committed as SIZE_T,
            cbReserved: sums.reserved as SIZE_T,
            cbMaxReserve: sums.most_reserved as SIZE_T,
        };
        memory::write(summary, &value)
    };
    to_bool(write())
}

/// `HeapWalk`: what comes after the entry that is given, or the first where `lpData` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn HeapWalk(heap: HANDLE, entry: *mut PROCESS_HEAP_ENTRY) -> BOOL {
    let step = || {
        let after = cursor(&memory::read(entry)?);
        let next = table::with(heap, |open| open.blocks().walk(after))?;
        match next {
            Ok(Some(found)) => memory::write(entry, &describe(&found)),
            Ok(None) => Err(Code(ERROR_NO_MORE_ITEMS)),
            Err(_) => Err(Code(ERROR_INVALID_PARAMETER)),
        }
    };
    to_bool(step())
}

fn cursor(entry: &PROCESS_HEAP_ENTRY) -> Option<Cursor> {
    let address = entry.lpData.addr();
    let flags = entry.wFlags;
    if address == 0 {
        None
    } else if flags & PROCESS_HEAP_REGION != 0 {
        Some(Cursor::Region(address))
    } else if flags & PROCESS_HEAP_UNCOMMITTED_RANGE != 0 {
        Some(Cursor::Uncommitted(address))
    } else if flags & PROCESS_HEAP_ENTRY_BUSY != 0 && entry.iRegionIndex == LARGE {
        Some(Cursor::Large(address))
    } else {
        Some(Cursor::Block(address))
    }
}

fn describe(entry: &Entry) -> PROCESS_HEAP_ENTRY {
    let make = |address: usize, size: usize, overhead: usize, index: usize, flags| {
        PROCESS_HEAP_ENTRY {
            lpData: pointer(address),
            cbData: DWORD::try_from(size).unwrap_or(DWORD::MAX),
            cbOverhead: BYTE::try_from(overhead).unwrap_or(BYTE::MAX),
            // One byte is all that Windows has for it.
            iRegionIndex: BYTE::try_from(index).unwrap_or(LARGE).min(LARGE - 1),
            wFlags: flags,
            Region: PROCESS_HEAP_REGION_PART {
                dwCommittedSize: 0,
                dwUnCommittedSize: 0,
                lpFirstBlock: ptr::null_mut(),
                lpLastBlock: ptr::null_mut(),
            },
        }
    };
    match *entry {
        Entry::Region {
            base,
            committed,
            uncommitted,
            first,
            end,
            index,
        } => {
            let head = first - base;
            let mut entry = make(base, head, 0, index, PROCESS_HEAP_REGION);
            entry.Region = PROCESS_HEAP_REGION_PART {
                dwCommittedSize: DWORD::try_from(committed).unwrap_or(DWORD::MAX),
                dwUnCommittedSize: DWORD::try_from(uncommitted).unwrap_or(DWORD::MAX),
                lpFirstBlock: pointer(first),
                lpLastBlock: pointer(end + uncommitted),
            };
            entry
        }
        Entry::Busy {
            address,
            size,
            overhead,
            index,
        } => make(address, size, overhead, index, PROCESS_HEAP_ENTRY_BUSY),
        Entry::Free {
            address,
            size,
            index,
        } => make(address, size, pagekeeper_heap::OVERHEAD, index, 0),
        Entry::Uncommitted {
            address,
            size,
            index,
        } => make(address, size, 0, index, PROCESS_HEAP_UNCOMMITTED_RANGE),
        Entry::Large {
            address,
            size,
            overhead,
        } => {
            let mut entry = make(address, size, overhead, 0, PROCESS_HEAP_ENTRY_BUSY);
            entry.iRegionIndex = LARGE;
            entry
        }
    }
}

fn pointer(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}
