//! The working set: limits, trimming, and what it says of pages. Windows: `SetProcessWorkingSetSizeEx` and its family,
//! `EmptyWorkingSet`, `QueryWorkingSet`, `QueryWorkingSetEx`.
//!
//! A hard maximum is the RAM budget.
//!
//! Source: windows-memory-behaviour.md 10.2 and 10.3.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;

use pagekeeper::{PageAttributes, PageNumber};

use crate::constants::{
    ERROR_BAD_LENGTH, PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SET_QUOTA,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::types::{BOOL, DWORD, HANDLE, PSAPI_WORKING_SET_EX_INFORMATION, SIZE_T};
use crate::{memory, process, space};

/// Entries that are answered at a time: a list may be long, and is not trusted.
const BATCH: usize = 256;

/// `GetProcessWorkingSetSize`
#[unsafe(no_mangle)]
pub extern "C" fn GetProcessWorkingSetSize(
    process: HANDLE,
    minimum: *mut SIZE_T,
    maximum: *mut SIZE_T,
) -> BOOL {
    to_bool(get(process, minimum, maximum, None))
}

/// `GetProcessWorkingSetSizeEx`
#[unsafe(no_mangle)]
pub extern "C" fn GetProcessWorkingSetSizeEx(
    process: HANDLE,
    minimum: *mut SIZE_T,
    maximum: *mut SIZE_T,
    flags: *mut DWORD,
) -> BOOL {
    to_bool(get(process, minimum, maximum, Some(flags)))
}

fn get(
    process: HANDLE,
    minimum: *mut SIZE_T,
    maximum: *mut SIZE_T,
    flags: Option<*mut DWORD>,
) -> Result<(), Code> {
    process::check_for(process, PROCESS_QUERY_LIMITED_INFORMATION)?;
    let limits = space::get()?.working_set_limits();
    memory::write(minimum, &limits.minimum().bytes().as_usize())?;
    memory::write(maximum, &limits.maximum().bytes().as_usize())?;
    match flags {
        Some(flags) => memory::write(flags, &limits.flags().bits()),
        None => Ok(()),
    }
}

/// `SetProcessWorkingSetSize`
#[unsafe(no_mangle)]
pub extern "C" fn SetProcessWorkingSetSize(
    process: HANDLE,
    minimum: SIZE_T,
    maximum: SIZE_T,
) -> BOOL {
    SetProcessWorkingSetSizeEx(process, minimum, maximum, 0)
}

/// `SetProcessWorkingSetSizeEx`. Any process may raise its limits: they bind only itself.
#[unsafe(no_mangle)]
pub extern "C" fn SetProcessWorkingSetSizeEx(
    process: HANDLE,
    minimum: SIZE_T,
    maximum: SIZE_T,
    flags: DWORD,
) -> BOOL {
    to_bool(set(process, minimum, maximum, flags))
}

fn set(process: HANDLE, minimum: SIZE_T, maximum: SIZE_T, flags: DWORD) -> Result<(), Code> {
    process::check_for(process, PROCESS_SET_QUOTA)?;
    space::get()?.set_working_set_limits(minimum as u64, maximum as u64, flags)?;
    Ok(())
}

/// `EmptyWorkingSet`
#[unsafe(no_mangle)]
pub extern "C" fn EmptyWorkingSet(process: HANDLE) -> BOOL {
    to_bool(
        process::check_for(
            process,
            PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SET_QUOTA,
        )
        .and_then(|()| {
            space::get()?.trim();
            Ok(())
        }),
    )
}

/// `QueryWorkingSetEx`: one entry of 16 bytes a page.
#[unsafe(no_mangle)]
pub extern "C" fn QueryWorkingSetEx(process: HANDLE, entries: *mut c_void, length: DWORD) -> BOOL {
    to_bool(query(process, entries.cast(), length as usize))
}

fn query(
    process: HANDLE,
    entries: *mut PSAPI_WORKING_SET_EX_INFORMATION,
    length: usize,
) -> Result<(), Code> {
    let count = length / size_of::<PSAPI_WORKING_SET_EX_INFORMATION>();
    if count == 0 {
        return Err(Code(ERROR_BAD_LENGTH));
    }
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let space = space::get()?;
    let mut addresses = Vec::with_capacity(BATCH.min(count));
    let mut first = 0;
    while first < count {
        addresses.clear();
        for index in first..count.min(first + BATCH) {
            let entry = memory::read(entries.wrapping_add(index))?;
            addresses.push(entry.VirtualAddress.addr() as u64);
        }
        for (offset, page) in space.page_attributes(&addresses).iter().enumerate() {
            let word = extended_word(page);
            let entry = entries.wrapping_add(first + offset).cast::<usize>();
            memory::write(entry.wrapping_add(1), &word)?;
        }
        first += addresses.len();
    }
    Ok(())
}

/// A `PSAPI_WORKING_SET_EX_BLOCK`.
fn extended_word(page: &PageAttributes) -> usize {
    let shared = usize::from(page.is_shared);
    if !page.is_valid {
        return shared << 15;
    }
    // Of a shared page, how many share it is not known: one at least.
    1 | shared << 1
        | (page.protection as usize & 0x7FF) << 4
        | shared << 15
        | usize::from(page.is_locked) << 22
}

/// `QueryWorkingSet`: the number of pages, then a word for each; the pages that Pagekeeper manages.
#[unsafe(no_mangle)]
pub extern "C" fn QueryWorkingSet(process: HANDLE, to: *mut c_void, length: DWORD) -> BOOL {
    to_bool(list(process, to.cast(), length as usize))
}

fn list(process: HANDLE, to: *mut usize, length: usize) -> Result<(), Code> {
    let Some(room) = (length / size_of::<usize>()).checked_sub(1) else {
        return Err(Code(ERROR_BAD_LENGTH));
    };
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let pages = space::get()?.working_set();
    memory::write(to, &pages.len())?;
    if pages.len() > room {
        return Err(Code(ERROR_BAD_LENGTH));
    }
    for (index, (page, attributes)) in pages.iter().enumerate() {
        memory::write(to.wrapping_add(index + 1), &plain_word(*page, attributes))?;
    }
    Ok(())
}

/// A `PSAPI_WORKING_SET_BLOCK`.
fn plain_word(page: PageNumber, attributes: &PageAttributes) -> usize {
    // The number that this structure has for each of PAGE_READONLY, PAGE_READWRITE, ...
    let protection = match attributes.protection & 0xFF {
        0x02 => 1,
        0x10 => 2,
        0x20 => 3,
        0x04 => 4,
        0x08 => 5,
        0x40 => 6,
        0x80 => 7,
        _ => 0,
    };
    protection | usize::from(attributes.is_shared) << 8 | (page.get() as usize) << 12
}
