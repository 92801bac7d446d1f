//! Decommit and release; placeholders are split and merged. Windows: `VirtualFree`, `VirtualFreeEx`.
//!
//! Source: windows-memory-behaviour.md 5, 12.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, gives memory back by address"
)]

use core::ffi::c_void;

use pagekeeper::FreeRequest;

use crate::constants::{
    ERROR_INVALID_PARAMETER, MEM_COALESCE_PLACEHOLDERS, MEM_DECOMMIT, MEM_PRESERVE_PLACEHOLDER,
    MEM_RELEASE, PROCESS_VM_OPERATION,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::types::{BOOL, DWORD, HANDLE, SIZE_T};
use crate::{process, space};

const BAD: Code = Code(ERROR_INVALID_PARAMETER);
const RELEASE_PRESERVING: DWORD = MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER;
const RELEASE_COALESCING: DWORD = MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS;
const BOTH: DWORD = MEM_RELEASE | MEM_DECOMMIT;

/// `VirtualFree`
///
/// # Safety
/// Nobody uses the memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VirtualFree(address: *mut c_void, size: SIZE_T, kind: DWORD) -> BOOL {
    // SAFETY: passed on.
    unsafe { VirtualFreeEx(process::GetCurrentProcess(), address, size, kind) }
}

/// `VirtualFreeEx`, for the own process.
///
/// # Safety
/// Nobody uses the memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VirtualFreeEx(
    process: HANDLE,
    address: *mut c_void,
    size: SIZE_T,
    kind: DWORD,
) -> BOOL {
    // SAFETY: passed on.
    to_bool(unsafe { free(process, address.addr() as u64, size as u64, kind) })
}

unsafe fn free(process: HANDLE, address: u64, size: u64, kind: DWORD) -> Result<(), Code> {
    let how = match kind {
        MEM_DECOMMIT => FreeRequest::Decommit,
        // Checked before anything else is looked at.
        MEM_RELEASE if size != 0 => return Err(BAD),
        MEM_RELEASE => FreeRequest::Release,
        BOTH => FreeRequest::DecommitAndRelease,
        RELEASE_PRESERVING | RELEASE_COALESCING if size == 0 => return Err(BAD),
        RELEASE_PRESERVING => FreeRequest::PreservePlaceholder,
        RELEASE_COALESCING => FreeRequest::CoalescePlaceholders,
        _ => return Err(BAD),
    };
    process::check_for(process, PROCESS_VM_OPERATION)?;
    // SAFETY: the caller says that nobody uses the memory.
    unsafe { space::get()?.free_at(address, size, how) }?;
    Ok(())
}
