//! `read` and `write` in all their forms on one buffer. Splitting and pinning: [`super::transfer`].

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_int, c_void};

use libc::off_t;

use super::reach::{reaches, reaches_filled};
use super::transfer::{ATOMIC_MOST, Behind, appends, behind, read_in, write_out};
use super::wrap::{real, rows};

rows! { "file";
    read: "the buffer";
    write: "the buffer";
    pread: "the buffer";
    pread64: "the buffer";
    pwrite: "the buffer";
    pwrite64: "the buffer";
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn read(
    descriptor: c_int,
    buffer: *mut c_void,
    count: usize,
) -> isize {
    let real = real!(read: (c_int, *mut c_void, usize) -> isize);
    if !reaches_filled(buffer, count) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(descriptor, buffer, count) };
    }
    // SAFETY: as above, in parts.
    unsafe {
        read_in(behind(descriptor), buffer.cast(), count, |at, length, _| {
            real(descriptor, at.cast(), length)
        })
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn write(
    descriptor: c_int,
    buffer: *const c_void,
    count: usize,
) -> isize {
    let real = real!(write: (c_int, *const c_void, usize) -> isize);
    if !reaches(buffer, count) {
        // SAFETY: the caller's promises, passed on.
        return unsafe { real(descriptor, buffer, count) };
    }
    // SAFETY: as above, in parts.
    unsafe {
        write_out(
            unsplit(descriptor, count),
            buffer.cast(),
            count,
            |at, length, _| real(descriptor, at.cast(), length),
        )
    }
}

/// What is behind a descriptor that is written to; appending writes of a size that can be kept together are messages.
pub(super) fn unsplit(descriptor: c_int, count: usize) -> Behind {
    match behind(descriptor) {
        Behind::File if count <= ATOMIC_MOST && appends(descriptor) => Behind::Message,
        kind => kind,
    }
}

/// A positioned read.
macro_rules! pread_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(
            descriptor: c_int,
            buffer: *mut c_void,
            count: usize,
            offset: off_t,
        ) -> isize {
            let real = real!($name: (c_int, *mut c_void, usize, off_t) -> isize);
            if !reaches_filled(buffer, count) {
                // SAFETY: the caller's promises, passed on.
                return unsafe { real(descriptor, buffer, count, offset) };
            }
            // SAFETY: as above, in parts.
            unsafe {
                read_in(behind(descriptor), buffer.cast(), count, |at, length, done| {
                    real(descriptor, at.cast(), length, offset.saturating_add(done as off_t))
                })
            }
        }
    )* };
}

/// A positioned write.
macro_rules! pwrite_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(
            descriptor: c_int,
            buffer: *const c_void,
            count: usize,
            offset: off_t,
        ) -> isize {
            let real = real!($name: (c_int, *const c_void, usize, off_t) -> isize);
            if !reaches(buffer, count) {
                // SAFETY: the caller's promises, passed on.
                return unsafe { real(descriptor, buffer, count, offset) };
            }
            // SAFETY: as above, in parts.
            unsafe {
                write_out(unsplit(descriptor, count), buffer.cast(), count, |at, length, done| {
                    real(descriptor, at.cast(), length, offset.saturating_add(done as off_t))
                })
            }
        }
    )* };
}

pread_like! { pread pread64 }
pwrite_like! { pwrite pwrite64 }
