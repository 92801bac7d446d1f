//! Processes as handles, as far as one process has to do with them, and a few small calls that sources of this kind use.
//!
//! The only process that a program here can name is itself. A handle of another, which cannot be had, is a bad handle.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use std::time::Duration;

use crate::constants::ERROR_INVALID_HANDLE;
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::notification;
use crate::types::{BOOL, DWORD, HANDLE};

/// The number behind the pseudo handle of the own process.
const CURRENT_PROCESS: usize = usize::MAX;
/// Sleeping that long never ends.
const INFINITE: DWORD = u32::MAX;

/// Refuses every handle but the own process's.
pub(crate) fn check(process: HANDLE) -> Result<(), Code> {
    if process.addr() == CURRENT_PROCESS {
        Ok(())
    } else {
        Err(Code(ERROR_INVALID_HANDLE))
    }
}

/// `GetCurrentProcess`: a pseudo handle, always the same.
#[unsafe(no_mangle)]
pub extern "C" fn GetCurrentProcess() -> HANDLE {
    core::ptr::without_provenance_mut(CURRENT_PROCESS)
}

/// `GetCurrentProcessId`: what Linux calls the process.
#[unsafe(no_mangle)]
pub extern "C" fn GetCurrentProcessId() -> DWORD {
    std::process::id()
}

/// `GetCurrentThreadId`: what Linux calls the thread.
#[unsafe(no_mangle)]
pub extern "C" fn GetCurrentThreadId() -> DWORD {
    // SAFETY: asks for a number.
    (unsafe { libc::gettid() }) as DWORD
}

/// `Sleep`
#[unsafe(no_mangle)]
pub extern "C" fn Sleep(milliseconds: DWORD) {
    if milliseconds == 0 {
        std::thread::yield_now();
    } else if milliseconds == INFINITE {
        loop {
            std::thread::park();
        }
    } else {
        std::thread::sleep(Duration::from_millis(u64::from(milliseconds)));
    }
}

/// `CloseHandle`: of a memory notification; a pseudo handle needs no closing, and that is no error.
#[unsafe(no_mangle)]
pub extern "C" fn CloseHandle(object: HANDLE) -> BOOL {
    to_bool(check(object).or_else(|_| notification::close(object)))
}
