//! The caller's memory, read and written without trusting it: a bad pointer is an error number, never a crash.
//!
//! As on Windows, an armed guard page in the caller's buffer is disarmed and fails the call once.
//!
//! Source: windows-memory-behaviour.md 8.2 and 8.3.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches the caller's memory; faults there are caught by address"
)]

use core::mem::MaybeUninit;

use pagekeeper::{Access, Verdict};
use pagekeeper_sys::checked_copy::{copy_checked, is_writable};

use crate::constants::{ERROR_NOACCESS, ERROR_SWAPERROR, STATUS_GUARD_PAGE_VIOLATION};
use crate::errors::Code;
use crate::space;

/// Copies are tried again where the rules say that the access is allowed: another thread changed the page meanwhile.
const TRIES: usize = 16;

/// What is left after that: the rules allow the access, and the page cannot be brought in. Windows: `STATUS_IN_PAGE_ERROR`.
const CANNOT_BE_BROUGHT_IN: Code = Code(ERROR_SWAPERROR);

/// Values that are plain bytes in C: any bytes are one, and all of its bytes mean nothing but it.
///
/// # Safety
/// Every bit pattern is a value of the type.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers, pointers and structures of them, as C has them.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl<T> Plain for *mut T {}
// SAFETY: as above.
unsafe impl Plain for crate::types::MEMORY_BASIC_INFORMATION {}
// SAFETY: as above.
unsafe impl Plain for crate::types::SYSTEM_INFO {}
// SAFETY: as above.
unsafe impl Plain for crate::types::MEMORYSTATUS {}
// SAFETY: as above.
unsafe impl Plain for crate::types::MEMORYSTATUSEX {}
// SAFETY: as above.
unsafe impl Plain for crate::types::PERFORMANCE_INFORMATION {}
// SAFETY: as above.
unsafe impl Plain for crate::types::PSAPI_WORKING_SET_EX_INFORMATION {}
// SAFETY: as above.
unsafe impl Plain for crate::types::PSAPI_WS_WATCH_INFORMATION {}
// SAFETY: as above.
unsafe impl Plain for crate::types::PSAPI_WS_WATCH_INFORMATION_EX {}
// SAFETY: as above.
unsafe impl Plain for crate::types::WIN32_MEMORY_RANGE_ENTRY {}
// SAFETY: as above.
unsafe impl Plain for crate::types::MEM_ADDRESS_REQUIREMENTS {}
// SAFETY: as above.
unsafe impl Plain for crate::types::BY_HANDLE_FILE_INFORMATION {}
// SAFETY: as above.
unsafe impl Plain for crate::types::OVERLAPPED {}
// SAFETY: as above.
unsafe impl Plain for crate::types::MEM_EXTENDED_PARAMETER {}
// SAFETY: as above.
unsafe impl Plain for crate::types::PROCESS_HEAP_ENTRY {}
// SAFETY: as above.
unsafe impl Plain for crate::types::HEAP_SUMMARY {}

/// Reads a value at an address that may be bad or unaligned.
pub(crate) fn read<T: Plain>(from: *const T) -> Result<T, Code> {
    let mut value = MaybeUninit::<T>::uninit();
    copy(
        value.as_mut_ptr().cast(),
        from.cast(),
        size_of::<T>(),
        Access::Read,
    )?;
    // SAFETY: all of its bytes were written, and any bytes are a value.
    Ok(unsafe { value.assume_init() })
}

/// Writes a value to an address that may be bad or unaligned. (Its padding is the caller's bytes, or ours from the stack: copied
/// as C would copy it.)
pub(crate) fn write<T: Plain>(to: *mut T, value: &T) -> Result<(), Code> {
    copy(
        to.cast(),
        core::ptr::from_ref(value).cast(),
        size_of::<T>(),
        Access::Write,
    )
}

/// Writes the first `length` bytes of a value.
pub(crate) fn write_prefix(to: *mut u8, from: *const u8, length: usize) -> Result<(), Code> {
    copy(to, from, length, Access::Write)
}

/// Whether a value could be written there now; nothing is changed.
pub(crate) fn check_writable<T: Plain>(to: *mut T) -> Result<(), Code> {
    let first = to.cast::<u8>();
    probe_write(first)?;
    // A value that is not aligned may reach into a second page.
    probe_write(first.wrapping_add(size_of::<T>() - 1))
}

/// Whether the byte can be written now; it keeps its value.
pub(crate) fn probe_write(to: *mut u8) -> Result<(), Code> {
    space::get()?;
    for _ in 0..TRIES {
        // SAFETY: the space has installed the fault handler that catches what is bad; the byte keeps its value.
        if unsafe { is_writable(to) } {
            return Ok(());
        }
        failure_at(to.addr(), Access::Write)?;
    }
    Err(CANNOT_BE_BROUGHT_IN)
}

/// Whether the byte can be read now.
pub(crate) fn probe_read(from: *const u8) -> Result<u8, Code> {
    read(from)
}

/// `foreign` says which of the two sides is the caller's: written or read.
fn copy(to: *mut u8, from: *const u8, count: usize, foreign: Access) -> Result<(), Code> {
    space::get()?;
    let mut done = 0;
    for _ in 0..TRIES {
        // SAFETY: the space has installed the fault handler that catches what is bad on the caller's side; a caller that
        // gives an address allows it to be read or written.
        let left =
            unsafe { copy_checked(to.wrapping_add(done), from.wrapping_add(done), count - done) };
        done = count - left;
        if left == 0 {
            return Ok(());
        }
        let side = match foreign {
            Access::Write => to.addr(),
            _ => from.addr(),
        };
        failure_at(side.wrapping_add(done), foreign)?;
    }
    Err(CANNOT_BE_BROUGHT_IN)
}

/// Why an access at `address` failed; `Ok` when it would not fail now.
fn failure_at(address: usize, access: Access) -> Result<(), Code> {
    match space::get()?.access(address as u64, access) {
        Verdict::Ok => Ok(()),
        Verdict::Guard(_) => Err(Code(STATUS_GUARD_PAGE_VIOLATION)),
        Verdict::AccessViolation(_) | Verdict::Foreign => Err(Code(ERROR_NOACCESS)),
    }
}
