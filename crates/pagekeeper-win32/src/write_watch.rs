//! Which pages were written. Windows: `GetWriteWatch`, `ResetWriteWatch`. Both return 0, or all ones and set the last error.
//!
//! Source: windows-memory-behaviour.md 9.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use crate::constants::{ERROR_INVALID_PARAMETER, ERROR_NOACCESS, WRITE_WATCH_FLAG_RESET};
use crate::errors::Code;
use crate::last_error::or;
use crate::system_info::PAGE_SIZE;
use crate::types::{DWORD, SIZE_T, UINT, ULONG_PTR};
use crate::{memory, space};

const FAILURE: UINT = UINT::MAX;

/// `GetWriteWatch`
#[unsafe(no_mangle)]
pub extern "C" fn GetWriteWatch(
    flags: DWORD,
    base: *mut c_void,
    size: SIZE_T,
    addresses: *mut *mut c_void,
    count: *mut ULONG_PTR,
    granularity: *mut DWORD,
) -> UINT {
    or(
        get(flags, base, size, addresses, count, granularity),
        FAILURE,
    )
}

fn get(
    flags: DWORD,
    base: *mut c_void,
    size: SIZE_T,
    addresses: *mut *mut c_void,
    count: *mut ULONG_PTR,
    granularity: *mut DWORD,
) -> Result<UINT, Code> {
    if count.is_null() || granularity.is_null() {
        return Err(Code(ERROR_NOACCESS));
    }
    let capacity = memory::read(count)?;
    if flags & !WRITE_WATCH_FLAG_RESET != 0 || capacity == 0 || size == 0 || base.is_null() {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    if addresses.is_null() {
        return Err(Code(ERROR_NOACCESS));
    }
    // Whatever cannot be told afterwards is not reset: all that is written is looked at before.
    memory::check_writable(count)?;
    memory::check_writable(granularity)?;
    let space = space::get()?;
    let (address, bytes) = (base.addr() as u64, size as u64);
    let pages = space.written_at(address, bytes, capacity, false)?;
    for index in 0..pages.len() {
        memory::check_writable(addresses.wrapping_add(index))?;
    }
    let pages = if flags & WRITE_WATCH_FLAG_RESET == 0 {
        pages
    } else {
        // More may have been written meanwhile; not more than there is room that was looked at.
        let most = pages.len().max(1).min(capacity);
        space.written_at(address, bytes, most, true)?
    };
    for (index, page) in pages.iter().enumerate() {
        let page = ptr::with_exposed_provenance_mut::<c_void>(page.address() as usize);
        memory::write(addresses.wrapping_add(index), &page)?;
    }
    memory::write(count, &pages.len())?;
    memory::write(granularity, &(PAGE_SIZE as DWORD))?;
    Ok(0)
}

/// `ResetWriteWatch`
#[unsafe(no_mangle)]
pub extern "C" fn ResetWriteWatch(base: *mut c_void, size: SIZE_T) -> UINT {
    or(reset(base.addr() as u64, size as u64), FAILURE)
}

fn reset(base: u64, size: u64) -> Result<UINT, Code> {
    space::get()?.reset_writes_at(base, size)?;
    Ok(0)
}
