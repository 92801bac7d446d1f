//! Processes as handles, as far as one process has to do with them, and a few small calls that sources of this kind use.
//!
//! The only process that a program here can name is itself. A handle of another, which cannot be had, is a bad handle.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use std::time::Duration;

use crate::constants::{ERROR_INVALID_HANDLE, INFINITE};
use crate::errors::Code;
use crate::handles::{CURRENT_PROCESS, CURRENT_THREAD, Object, entry};
use crate::types::{DWORD, HANDLE};

/// Refuses every handle but one of the own process with these rights. Its pseudo handle has all; what `DuplicateHandle` made
/// of it may have fewer.
pub(crate) fn check_for(process: HANDLE, rights: DWORD) -> Result<(), Code> {
    let entry = entry(process)?;
    match entry.object {
        Object::Process => entry.needs(rights),
        _ => Err(Code(ERROR_INVALID_HANDLE)),
    }
}

/// `GetCurrentProcess`: a pseudo handle, always the same.
#[unsafe(no_mangle)]
pub extern "C" fn GetCurrentProcess() -> HANDLE {
    core::ptr::without_provenance_mut(CURRENT_PROCESS)
}

/// `GetCurrentThread`: a pseudo handle, always the same, of whoever asks.
#[unsafe(no_mangle)]
pub extern "C" fn GetCurrentThread() -> HANDLE {
    core::ptr::without_provenance_mut(CURRENT_THREAD)
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
