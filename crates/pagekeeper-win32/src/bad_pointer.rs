//! Can it be read, written, called? Windows: `IsBadReadPtr` and its family, which answer TRUE for "bad".
//!
//! As on Windows they touch the memory: an armed guard page is disarmed and counts as bad, once. What they say may be untrue a
//! moment later; they are here because old sources use them.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::{c_char, c_void};

use crate::constants::{FALSE, TRUE};
use crate::errors::Code;
use crate::memory::{probe_read, probe_write, read};
use crate::types::BOOL;

const PAGE_SIZE: usize = 4096;

/// `IsBadReadPtr`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadReadPtr(pointer: *const c_void, length: usize) -> BOOL {
    is_bad(pointer.cast_mut().cast(), length, |at| {
        probe_read(at).map(|_| ())
    })
}

/// `IsBadWritePtr`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadWritePtr(pointer: *mut c_void, length: usize) -> BOOL {
    is_bad(pointer.cast(), length, probe_write)
}

/// `IsBadHugeReadPtr`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadHugeReadPtr(pointer: *const c_void, length: usize) -> BOOL {
    IsBadReadPtr(pointer, length)
}

/// `IsBadHugeWritePtr`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadHugeWritePtr(pointer: *mut c_void, length: usize) -> BOOL {
    IsBadWritePtr(pointer, length)
}

/// `IsBadCodePtr`: whether it cannot be read, which is all that Windows looks at too.
#[unsafe(no_mangle)]
pub extern "C" fn IsBadCodePtr(function: *const c_void) -> BOOL {
    IsBadReadPtr(function, 1)
}

/// `IsBadStringPtrA`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadStringPtrA(text: *const c_char, most: usize) -> BOOL {
    is_bad_text(text.cast::<u8>(), most)
}

/// `IsBadStringPtrW`
#[unsafe(no_mangle)]
pub extern "C" fn IsBadStringPtrW(text: *const u16, most: usize) -> BOOL {
    is_bad_text(text, most)
}

/// Probes one byte of every page, the first and the last included. No bytes are never bad.
fn is_bad(first: *mut u8, length: usize, probe: impl Fn(*mut u8) -> Result<(), Code>) -> BOOL {
    if length == 0 {
        return FALSE;
    }
    let Some(last) = first.addr().checked_add(length - 1) else {
        return TRUE;
    };
    let mut at = first.addr();
    loop {
        if probe(first.with_addr(at)).is_err() {
            return TRUE;
        }
        if at == last {
            return FALSE;
        }
        at = (at / PAGE_SIZE + 1).saturating_mul(PAGE_SIZE).min(last);
    }
}

fn is_bad_text<T: crate::memory::Plain + PartialEq + From<u8>>(
    text: *const T,
    most: usize,
) -> BOOL {
    for index in 0..most {
        match read(text.wrapping_add(index)) {
            Err(_) => return TRUE,
            Ok(end) if end == T::from(0) => return FALSE,
            Ok(_) => {}
        }
    }
    FALSE
}
