//! Bringing pages in ahead of time. Windows: `PrefetchVirtualMemory`.
//!
//! Source: windows-memory-behaviour.md 10.4.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use crate::constants::{ERROR_INVALID_PARAMETER, PROCESS_QUERY_LIMITED_INFORMATION};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::types::{BOOL, HANDLE, ULONG, ULONG_PTR, WIN32_MEMORY_RANGE_ENTRY};
use crate::{memory, process, space};

/// So many entries are handed on at a time: a list may be long, and is not trusted.
const BATCH: usize = 256;

/// `PrefetchVirtualMemory`, for the own process.
#[unsafe(no_mangle)]
pub extern "C" fn PrefetchVirtualMemory(
    process: HANDLE,
    count: ULONG_PTR,
    ranges: *mut WIN32_MEMORY_RANGE_ENTRY,
    flags: ULONG,
) -> BOOL {
    to_bool(prefetch(process, count, ranges, flags))
}

fn prefetch(
    process: HANDLE,
    count: usize,
    ranges: *mut WIN32_MEMORY_RANGE_ENTRY,
    flags: ULONG,
) -> Result<(), Code> {
    if count == 0 || flags != 0 {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    process::check_for(process, PROCESS_QUERY_LIMITED_INFORMATION)?;
    // Everything is looked at before anything is done. An end past the address space is met as a bad address.
    for index in 0..count {
        if memory::read(ranges.wrapping_add(index))?.NumberOfBytes == 0 {
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
    }
    let mut batch = Vec::with_capacity(BATCH.min(count));
    for index in 0..count {
        let range = memory::read(ranges.wrapping_add(index))?;
        batch.push((
            range.VirtualAddress.addr() as u64,
            range.NumberOfBytes as u64,
        ));
        if batch.len() == BATCH || index + 1 == count {
            space::get()?.prefetch_at(&batch)?;
            batch.clear();
        }
    }
    Ok(())
}
