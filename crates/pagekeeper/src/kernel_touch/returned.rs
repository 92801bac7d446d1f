//! Functions that return the pointer that they were given.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_char;

use super::reach::{ErrnoKept, fail, reaches, reaches_filled};
use super::scratch::{StandIns, mutable_text};
use super::wrap::{real, rows};

/// The longest path, its zero included.
const PATH_MAX: usize = libc::PATH_MAX as usize;

rows! { "file";
    getcwd: "the result";
    realpath: "the path, the result";
    mkdtemp: "the template";
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char {
    let real = real!(getcwd: (*mut c_char, usize) -> *mut c_char);
    let size_used = size.min(PATH_MAX);
    if buffer.is_null() || !reaches_filled(buffer, size_used) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(buffer, size) };
    }
    let mut stand_ins = StandIns::new();
    // SAFETY: as above.
    unsafe {
        match stand_ins.output(buffer.cast(), size_used) {
            Ok(stand_in) => back(&stand_ins, real(stand_in.cast(), size_used), buffer),
            Err(number) => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn realpath(
    path: *const c_char,
    resolved: *mut c_char,
) -> *mut c_char {
    let real = real!(realpath: (*const c_char, *mut c_char) -> *mut c_char);
    let to_caller = !resolved.is_null() && reaches_filled(resolved, PATH_MAX);
    if path.is_null() || (!reaches(path, PATH_MAX) && !to_caller) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(path, resolved) };
    }
    let mut stand_ins = StandIns::new();
    // SAFETY: as above.
    unsafe {
        let path = match stand_ins.path(path.cast()) {
            Ok(path) => path,
            Err(number) => return fail(number),
        };
        if !to_caller {
            return real(path.cast(), resolved);
        }
        match stand_ins.output(resolved.cast(), PATH_MAX) {
            Ok(stand_in) => back(&stand_ins, real(path.cast(), stand_in.cast()), resolved),
            Err(number) => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mkdtemp(template: *mut c_char) -> *mut c_char {
    let real = real!(mkdtemp: (*mut c_char) -> *mut c_char);
    if template.is_null() || !reaches_filled(template, PATH_MAX) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(template) };
    }
    let mut stand_ins = StandIns::new();
    // SAFETY: as above.
    unsafe {
        match stand_ins.output(template.cast(), mutable_text(template)) {
            Ok(stand_in) => back(&stand_ins, real(stand_in.cast()), template),
            Err(number) => fail(number),
        }
    }
}

/// After the call: what it wrote, and the caller's pointer for the stand-in.
unsafe fn back(stand_ins: &StandIns, result: *mut c_char, caller: *mut c_char) -> *mut c_char {
    let _kept = ErrnoKept::new();
    // SAFETY: the caller's promises.
    unsafe { stand_ins.copy_back() };
    if result.is_null() { result } else { caller }
}
