//! Streams: where libc gives the caller's buffer to the kernel instead of its own.
//!
//! `fread`, `fwrite`, `fputs` and `puts` read and write large parts past the stream's buffer. So what reaches paged memory
//! goes through a bounce buffer in parts, with the stream locked from the first part to the last. `fgets`, `getline`,
//! `fscanf` and `ungetc` only ever copy from the stream's own buffer and need nothing. A buffer in paged memory that is
//! given to `setvbuf` is not used: libc takes one of its own.
//!
//! Not covered: `printf` and its like with a `%s` that is longer than the stream's buffer.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_char, c_int, c_void};

use libc::FILE;

use super::reach::{ErrnoKept, admit, fail, reaches, reaches_filled};
use super::scratch::{Scratch, copy, string_length};
use super::transfer::{BOUNCE_BYTES, in_parts};
use super::wrap::{real, rows};
use crate::engine::inline::pin::Want;

rows! { "stdio";
    fread: "the buffer";
    fread_unlocked: "the buffer";
    fwrite: "the buffer";
    fwrite_unlocked: "the buffer";
    fputs: "the string";
    fputs_unlocked: "the string";
    puts: "the string";
    setvbuf: "the buffer, which is not used";
    setbuf: "the buffer, which is not used";
    setbuffer: "the buffer, which is not used";
}

unsafe extern "C" {
    fn flockfile(stream: *mut FILE);
    fn funlockfile(stream: *mut FILE);
    #[link_name = "stdout"]
    static STANDARD_OUTPUT: *mut FILE;
}

/// The stream, locked until dropped.
struct Locked(*mut FILE);

impl Locked {
    unsafe fn new(stream: *mut FILE) -> Self {
        // SAFETY: the caller's stream.
        unsafe { flockfile(stream) };
        Self(stream)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: locked by `new`.
        unsafe { funlockfile(self.0) };
    }
}

type Read = unsafe extern "C-unwind" fn(*mut c_void, usize, usize, *mut FILE) -> usize;
type Write = unsafe extern "C-unwind" fn(*const c_void, usize, usize, *mut FILE) -> usize;

/// `fread` in parts. Returns bytes.
unsafe fn read_parts(real: Read, buffer: *mut u8, count: usize, stream: *mut FILE) -> usize {
    // SAFETY: the caller's stream and buffer.
    unsafe {
        let _locked = Locked::new(stream);
        let Ok(bounce) = Scratch::new(count.min(BOUNCE_BYTES)) else {
            return fail(libc::ENOMEM);
        };
        bytes(in_parts(count, BOUNCE_BYTES, |done, part| {
            let at = buffer.wrapping_add(done);
            admit(at, part, Want::Write)?;
            let arrived = real(bounce.start().cast(), 1, part, stream);
            let _kept = ErrnoKept::new();
            copy(bounce.start(), at, arrived);
            Ok(arrived as isize)
        }))
    }
}

/// `fwrite` in parts. Returns bytes.
unsafe fn write_parts(real: Write, buffer: *const u8, count: usize, stream: *mut FILE) -> usize {
    // SAFETY: the caller's stream and buffer.
    unsafe {
        let _locked = Locked::new(stream);
        let Ok(bounce) = Scratch::new(count.min(BOUNCE_BYTES)) else {
            return fail(libc::ENOMEM);
        };
        bytes(in_parts(count, BOUNCE_BYTES, |done, part| {
            let at = buffer.wrapping_add(done);
            admit(at, part, Want::Read)?;
            copy(at, bounce.start(), part);
            Ok(real(bounce.start().cast(), 1, part, stream) as isize)
        }))
    }
}

/// A stream has no way to say "nothing, and why" but errno.
fn bytes(moved: isize) -> usize {
    usize::try_from(moved).unwrap_or(0)
}

macro_rules! fread_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(buffer: *mut c_void, size: usize, items: usize, stream: *mut FILE) -> usize {
            let real = real!($name: (*mut c_void, usize, usize, *mut FILE) -> usize);
            let count = size.saturating_mul(items);
            if !reaches_filled(buffer, count) {
                // SAFETY: the caller's promises, passed on.
                return unsafe { real(buffer, size, items, stream) };
            }
            // SAFETY: as above, in parts.
            unsafe { read_parts(real, buffer.cast(), count, stream) / size }
        }
    )* };
}

macro_rules! fwrite_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(buffer: *const c_void, size: usize, items: usize, stream: *mut FILE) -> usize {
            let real = real!($name: (*const c_void, usize, usize, *mut FILE) -> usize);
            let count = size.saturating_mul(items);
            if !reaches(buffer, count) {
                // SAFETY: the caller's promises, passed on.
                return unsafe { real(buffer, size, items, stream) };
            }
            // SAFETY: as above, in parts.
            unsafe { write_parts(real, buffer.cast(), count, stream) / size }
        }
    )* };
}

fread_like! { fread fread_unlocked }
fwrite_like! { fwrite fwrite_unlocked }

/// Writes a string that reaches paged memory; whether all of it went.
unsafe fn put_string(text: *const c_char, stream: *mut FILE) -> Result<bool, c_int> {
    let address = slots::fwrite.address();
    if address.is_null() {
        return Err(libc::ENOSYS);
    }
    // SAFETY: libc's `fwrite` has this type; the caller's string and stream.
    unsafe {
        let write = core::mem::transmute::<*mut c_void, Write>(address);
        let length = string_length(text.cast(), usize::MAX)?;
        Ok(write_parts(write, text.cast(), length, stream) == length)
    }
}

macro_rules! fputs_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(text: *const c_char, stream: *mut FILE) -> c_int {
            let real = real!($name: (*const c_char, *mut FILE) -> c_int);
            if !reaches(text, 1) {
                // SAFETY: the caller's promises, passed on.
                return unsafe { real(text, stream) };
            }
            // SAFETY: as above.
            match unsafe { put_string(text, stream) } {
                Ok(all) => if all { 1 } else { libc::EOF },
                Err(number) => fail(number),
            }
        }
    )* };
}

fputs_like! { fputs fputs_unlocked }

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn puts(text: *const c_char) -> c_int {
    let real = real!(puts: (*const c_char) -> c_int);
    if !reaches(text, 1) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(text) };
    }
    // SAFETY: libc's own stream; the string and its line end leave together.
    unsafe {
        let _locked = Locked::new(STANDARD_OUTPUT);
        match put_string(text, STANDARD_OUTPUT) {
            Ok(true) if libc::fputc(c_int::from(b'\n'), STANDARD_OUTPUT) != libc::EOF => 1,
            Ok(_) => libc::EOF,
            Err(number) => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setvbuf(
    stream: *mut FILE,
    buffer: *mut c_char,
    mode: c_int,
    size: usize,
) -> c_int {
    let real = real!(setvbuf: (*mut FILE, *mut c_char, c_int, usize) -> c_int);
    let buffer = if reaches_filled(buffer, size) {
        core::ptr::null_mut()
    } else {
        buffer
    };
    // SAFETY: the caller's promises, passed on; without a buffer libc makes one.
    unsafe { real(stream, buffer, mode, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setbuf(stream: *mut FILE, buffer: *mut c_char) {
    // SAFETY: what `setbuf` does.
    unsafe { setbuffer(stream, buffer, libc::BUFSIZ as usize) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setbuffer(stream: *mut FILE, buffer: *mut c_char, size: usize) {
    let mode = if buffer.is_null() {
        libc::_IONBF
    } else {
        libc::_IOFBF
    };
    // SAFETY: what `setbuffer` does.
    unsafe { setvbuf(stream, buffer, mode, size) };
}
