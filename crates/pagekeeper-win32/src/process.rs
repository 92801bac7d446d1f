//! Processes as handles, as far as one process has to do with them, and a few small calls that sources of this kind use.
//!
//! The only process that a program here can name is itself. A handle of another, which cannot be had, is a bad handle.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use std::time::Duration;

use crate::constants::{ERROR_INVALID_HANDLE, INFINITE, TRUE};
use crate::errors::Code;
use crate::handles::{CURRENT_PROCESS, CURRENT_THREAD, Object, entry};
use crate::types::{BOOL, DWORD, HANDLE};

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

/// `SwitchToThread`: TRUE, as if there always were another one to switch to; Linux does not say.
#[unsafe(no_mangle)]
pub extern "C" fn SwitchToThread() -> BOOL {
    std::thread::yield_now();
    TRUE
}

/// `GetTickCount64`: milliseconds since the machine was started.
#[unsafe(no_mangle)]
pub extern "C" fn GetTickCount64() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills a structure of ours; this clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// `GetTickCount`: the same, beginning anew every 49.7 days.
#[unsafe(no_mangle)]
pub extern "C" fn GetTickCount() -> DWORD {
    GetTickCount64() as DWORD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_sleep() {
        let before = GetTickCount64();
        Sleep(20);
        let after = GetTickCount64();
        assert!(after >= before + 20, "{before} {after}");
        let low = GetTickCount();
        assert!(low.wrapping_sub(after as DWORD) < 60_000);
    }
}
