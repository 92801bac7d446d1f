//! Unmapping and flushing views. Windows: `UnmapViewOfFile`, `UnmapViewOfFileEx`, `UnmapViewOfFile2`, `FlushViewOfFile`.
//!
//! Source: windows-memory-behaviour.md 13.3.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, takes views away by address"
)]

use core::ffi::c_void;

use crate::constants::{
    ERROR_INVALID_PARAMETER, MEM_PRESERVE_PLACEHOLDER, MEM_UNMAP_WITH_TRANSIENT_BOOST,
    PROCESS_VM_OPERATION,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::types::{BOOL, HANDLE, SIZE_T, ULONG};
use crate::{process, space};

/// `UnmapViewOfFile`: any address in the view will do.
///
/// # Safety
/// Nobody uses the view any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn UnmapViewOfFile(address: *const c_void) -> BOOL {
    // SAFETY: passed on.
    unsafe { UnmapViewOfFileEx(address.cast_mut(), 0) }
}

/// `UnmapViewOfFileEx`: the boost is a hint that changes nothing here; a view that took the place of a placeholder may leave it.
///
/// # Safety
/// As [`UnmapViewOfFile`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn UnmapViewOfFileEx(address: *mut c_void, flags: ULONG) -> BOOL {
    // SAFETY: passed on.
    to_bool(unsafe { unmap(address.addr() as u64, flags) })
}

/// `UnmapViewOfFile2`, for the own process.
///
/// # Safety
/// As [`UnmapViewOfFile`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn UnmapViewOfFile2(
    process: HANDLE,
    address: *mut c_void,
    flags: ULONG,
) -> BOOL {
    let own = process::check_for(process, PROCESS_VM_OPERATION);
    // SAFETY: passed on.
    to_bool(own.and_then(|()| unsafe { unmap(address.addr() as u64, flags) }))
}

unsafe fn unmap(address: u64, flags: ULONG) -> Result<(), Code> {
    let known = MEM_UNMAP_WITH_TRANSIENT_BOOST | MEM_PRESERVE_PLACEHOLDER;
    if flags & !known != 0 {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let space = space::get()?;
    // SAFETY: the caller says that nobody uses it.
    unsafe {
        match flags & MEM_PRESERVE_PLACEHOLDER {
            0 => space.unmap_at(address),
            _ => space.unmap_to_placeholder_at(address),
        }
    }?;
    Ok(())
}

/// `FlushViewOfFile`: writing begins; `FlushFileBuffers` waits for the disk. Size 0: to the end of the view.
#[unsafe(no_mangle)]
pub extern "C" fn FlushViewOfFile(address: *const c_void, size: SIZE_T) -> BOOL {
    to_bool(flush(address.addr() as u64, size as u64))
}

fn flush(address: u64, size: u64) -> Result<(), Code> {
    Ok(space::get()?.flush_view_at(address, size, false)?)
}
