//! Blocks. Windows: `HeapAlloc`, `HeapReAlloc`, `HeapFree`, `HeapSize`.
//!
//! Source: windows-memory-behaviour.md 16.2 and 16.4.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, takes blocks back by pointer"
)]

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use pagekeeper_heap::{Misuse, ResizeError};

use super::information;
use super::table::{self, Open};
use crate::constants::{
    ERROR_INVALID_PARAMETER, ERROR_NOT_ENOUGH_MEMORY, ERROR_SUCCESS, EXCEPTION_NONCONTINUABLE,
    FALSE, HEAP_REALLOC_IN_PLACE_ONLY, STATUS_ACCESS_VIOLATION, STATUS_HEAP_CORRUPTION,
    STATUS_NO_MEMORY, TRUE,
};
use crate::errors::Code;
use crate::exceptions::raise::RaiseException;
use crate::last_error::or;
use crate::types::{BOOL, DWORD, HANDLE, SIZE_T};

/// What a call came to.
enum Failure {
    Memory { raise: bool },
    Pointer { raise: bool },
    Handle(Code),
}

/// `HeapAlloc`. Where exceptions are asked for it leaves by one.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn HeapAlloc(heap: HANDLE, flags: DWORD, size: SIZE_T) -> *mut c_void {
    let allocate = |open: &Open| {
        let block = open.blocks().allocate(size, open.request(flags));
        let raise = open.raises(flags);
        block.ok_or(Failure::Memory { raise })
    };
    match table::with(heap, allocate) {
        Ok(Ok(block)) => block.as_ptr().cast(),
        Ok(Err(failure)) => fail(&failure, size),
        Err(code) => fail(&Failure::Handle(code), size),
    }
}

/// `HeapReAlloc`
///
/// # Safety
/// Nobody else uses the block meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn HeapReAlloc(
    heap: HANDLE,
    flags: DWORD,
    block: *mut c_void,
    size: SIZE_T,
) -> *mut c_void {
    if block.is_null() {
        return or(Err(Code(ERROR_SUCCESS)), ptr::null_mut());
    }
    let resize = |open: &Open| {
        let in_place = flags & HEAP_REALLOC_IN_PLACE_ONLY != 0;
        let raise = open.raises(flags);
        // SAFETY: the caller's promise.
        let resized = unsafe {
            open.blocks()
                .resize(block.cast(), size, in_place, open.request(flags))
        };
        resized.map_err(|error| match error {
            ResizeError::NoMemory => Failure::Memory { raise },
            ResizeError::Misuse(_) => Failure::Pointer { raise },
        })
    };
    match table::with(heap, resize) {
        Ok(Ok(block)) => block.as_ptr().cast(),
        Ok(Err(failure)) => fail(&failure, size),
        Err(code) => fail(&Failure::Handle(code), size),
    }
}

/// `HeapFree`. NULL is freed by any heap, also by none.
///
/// # Safety
/// Nobody uses the block any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn HeapFree(heap: HANDLE, flags: DWORD, block: *mut c_void) -> BOOL {
    if block.is_null() {
        return TRUE;
    }
    // SAFETY: the caller's promise.
    let free = |open: &Open| unsafe { open.blocks().free(block.cast(), open.request(flags)) };
    match table::with(heap, free) {
        Ok(Ok(())) => TRUE,
        Ok(Err(_)) => {
            corrupt();
            or(Err(Code(ERROR_INVALID_PARAMETER)), FALSE)
        }
        Err(code) => or(Err(code), FALSE),
    }
}

/// `HeapSize`: what was asked for; all ones where there is no such block, and the last error stays.
#[unsafe(no_mangle)]
pub extern "C" fn HeapSize(heap: HANDLE, _flags: DWORD, block: *const c_void) -> SIZE_T {
    let size = |open: &Open| open.blocks().size(block.cast());
    match table::with(heap, size) {
        Ok(Ok(size)) => size,
        _ => SIZE_T::MAX,
    }
}

/// Sets the last error, or raises what was asked for. No lock is held here.
#[cold]
fn fail(failure: &Failure, size: SIZE_T) -> *mut c_void {
    let (code, exception) = match failure {
        Failure::Memory { raise } => (ERROR_NOT_ENOUGH_MEMORY, raise.then_some(STATUS_NO_MEMORY)),
        Failure::Pointer { raise } => {
            corrupt();
            let exception = raise.then_some(STATUS_ACCESS_VIOLATION);
            (ERROR_INVALID_PARAMETER, exception)
        }
        Failure::Handle(Code(code)) => (*code, None),
    };
    if let Some(exception) = exception {
        let size = [size];
        RaiseException(exception, 0, 1, size.as_ptr());
    }
    or(Err(Code(code)), ptr::null_mut())
}

/// A pointer was wrong. Ends the program where it asked for that.
fn corrupt() {
    if information::ends_on_corruption() {
        RaiseException(
            STATUS_HEAP_CORRUPTION,
            EXCEPTION_NONCONTINUABLE,
            0,
            ptr::null(),
        );
    }
}

/// A block of the process's heap, for the families above it.
pub(super) fn of_process(size: usize, zeroed: bool) -> Result<NonNull<u8>, Code> {
    let open = table::of_process()?;
    let request = pagekeeper_heap::Request {
        zeroed,
        ..open.request(0)
    };
    let block = open.blocks().allocate(size, request);
    block.ok_or(Code(ERROR_NOT_ENOUGH_MEMORY))
}

/// The size of a block of the process's heap.
pub(super) fn size_in_process(block: *const u8) -> Result<usize, Misuse> {
    let open = table::of_process().map_err(|_| Misuse::Foreign)?;
    open.blocks().size(block)
}
