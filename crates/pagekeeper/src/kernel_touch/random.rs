//! Random bytes, in any number.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_uint, c_void};

use super::reach::reaches_filled;
use super::transfer::{Behind, read_in};
use super::wrap::{real, rows};

rows! { "facts";
    getrandom: "the buffer";
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn getrandom(
    buffer: *mut c_void,
    size: usize,
    flags: c_uint,
) -> isize {
    let real = real!(getrandom: (*mut c_void, usize, c_uint) -> isize);
    if !reaches_filled(buffer, size) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(buffer, size, flags) };
    }
    // SAFETY: as above, in parts; one after the other, as from a file.
    unsafe {
        read_in(Behind::File, buffer.cast(), size, |at, length, _| {
            real(at.cast(), length, flags)
        })
    }
}
