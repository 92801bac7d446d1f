//! Waiting until objects are signalled. Windows: `WaitForSingleObject`, `WaitForMultipleObjects`.
//!
//! What can be waited for: memory notifications, signalled while they are true; files, always signalled (no call returns before
//! its transfer has ended); the own process and thread, which are not signalled as long as somebody could ask.
//!
//! Nobody tells when memory becomes low, so waiting looks again and again.
//!
//! Source: windows-memory-behaviour.md 15.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use std::time::{Duration, Instant};

use crate::constants::{
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, FALSE, INFINITE, MAXIMUM_WAIT_OBJECTS,
    WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use crate::errors::Code;
use crate::handles::{Object, entry};
use crate::last_error::or;
use crate::memory;
use crate::types::{BOOL, DWORD, HANDLE};

/// Between two looks. Windows' own threshold is looked at about as often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// `WaitForSingleObject`
#[unsafe(no_mangle)]
pub extern "C" fn WaitForSingleObject(object: HANDLE, milliseconds: DWORD) -> DWORD {
    or(
        entry(object).and_then(|entry| wait(&[entry.object], false, milliseconds)),
        WAIT_FAILED,
    )
}

/// `WaitForSingleObjectEx`: there are no asynchronous calls that could end it early.
#[unsafe(no_mangle)]
pub extern "C" fn WaitForSingleObjectEx(
    object: HANDLE,
    milliseconds: DWORD,
    _alertable: BOOL,
) -> DWORD {
    WaitForSingleObject(object, milliseconds)
}

/// `WaitForMultipleObjects`: for one of them, or for all at once.
#[unsafe(no_mangle)]
pub extern "C" fn WaitForMultipleObjects(
    count: DWORD,
    handles: *const HANDLE,
    all: BOOL,
    milliseconds: DWORD,
) -> DWORD {
    let all = all != FALSE;
    let result = objects(count, handles, all).and_then(|objects| wait(&objects, all, milliseconds));
    or(result, WAIT_FAILED)
}

fn objects(count: DWORD, handles: *const HANDLE, all: bool) -> Result<Vec<Object>, Code> {
    if count == 0 || count > MAXIMUM_WAIT_OBJECTS {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let mut found: Vec<Object> = Vec::new();
    for index in 0..count as usize {
        let object = entry(memory::read(handles.wrapping_add(index))?)?.object;
        // Waiting for all of them twice could never end.
        if all && found.iter().any(|other| other.is_same(&object)) {
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
        found.push(object);
    }
    Ok(found)
}

/// Waits, and returns what the call answers.
fn wait(objects: &[Object], all: bool, milliseconds: DWORD) -> Result<DWORD, Code> {
    let end = (milliseconds != INFINITE)
        .then(|| Instant::now() + Duration::from_millis(u64::from(milliseconds)));
    loop {
        let mut signalled = 0;
        for (index, object) in objects.iter().enumerate() {
            if is_signalled(object)? {
                signalled += 1;
                if !all {
                    return Ok(WAIT_OBJECT_0 + index as DWORD);
                }
            }
        }
        if all && signalled == objects.len() {
            return Ok(WAIT_OBJECT_0);
        }
        let pause = match end {
            None => BETWEEN_LOOKS,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(WAIT_TIMEOUT);
                }
                left.min(BETWEEN_LOOKS)
            }
        };
        std::thread::sleep(pause);
    }
}

fn is_signalled(object: &Object) -> Result<bool, Code> {
    match object {
        Object::Process | Object::Thread => Ok(false),
        Object::Notification(notification) => notification.is_so(),
        Object::File(_) => Ok(true),
        // Not a thing to wait for.
        Object::Section(_) => Err(Code(ERROR_INVALID_HANDLE)),
    }
}
