//! The thread's last error. Windows: `GetLastError`, `SetLastError`.
//!
//! A call that succeeds leaves it as it was (windows-memory-behaviour.md 1.5).

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::cell::Cell;

use crate::constants::{FALSE, TRUE};
use crate::errors::Code;
use crate::types::{BOOL, DWORD};

thread_local! {
    // Constant and without a destructor: reading it neither allocates nor registers anything.
    static LAST_ERROR: Cell<DWORD> = const { Cell::new(0) };
}

/// `GetLastError`
#[unsafe(no_mangle)]
pub extern "C" fn GetLastError() -> DWORD {
    LAST_ERROR.get()
}

/// `SetLastError`
#[unsafe(no_mangle)]
pub extern "C" fn SetLastError(code: DWORD) {
    LAST_ERROR.set(code);
}

/// The result of a call, with the last error set if it failed.
pub(crate) fn or<T>(result: Result<T, Code>, failure: T) -> T {
    result.unwrap_or_else(|Code(code)| {
        LAST_ERROR.set(code);
        failure
    })
}

/// The same for calls that only say whether they worked.
pub(crate) fn to_bool(result: Result<(), Code>) -> BOOL {
    or(result.map(|()| TRUE), FALSE)
}
