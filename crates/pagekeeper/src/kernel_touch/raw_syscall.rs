//! `syscall`: system calls by number, as Rust's standard library makes them for its locks.
//!
//! Numbers that have a wrapper of their own go there. A futex that is waited on is pinned while the thread waits. All
//! other numbers go to the kernel as they are; the *instruction* `syscall` in somebody's own code comes by no function.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's function of the same name"
)]

use core::ffi::{c_int, c_long, c_uint, c_void};
use core::time::Duration;

use super::reach::{fail, pages_of, reaches};
use super::wrap::{real, rows};
use super::{descriptors, file_io, messages, random, sockets, vectored};
use crate::engine::inline::pin::{PinRefused, Pinned, Share, Want};

rows! { "raw";
    syscall: "futexes while waiting; reads, writes, messages, random bytes and descriptors as by their own names";
}

type Word = usize;
type Real = unsafe extern "C-unwind" fn(c_long, Word, Word, Word, Word, Word, Word) -> c_long;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn syscall(
    number: c_long,
    first: Word,
    second: Word,
    third: Word,
    fourth: Word,
    fifth: Word,
    sixth: Word,
) -> c_long {
    let real: Real = real!(syscall: (c_long, Word, Word, Word, Word, Word, Word) -> c_long);
    let words = [first, second, third, fourth, fifth, sixth];
    // SAFETY: the caller's promises, passed on.
    unsafe {
        match number {
            libc::SYS_futex => futex(real, words),
            libc::SYS_close | libc::SYS_close_range | libc::SYS_dup2 | libc::SYS_dup3 => {
                descriptors_call(number, words)
            }
            _ if !super::reach::active() => {
                real(number, first, second, third, fourth, fifth, sixth)
            }
            _ => transfer(number, words)
                .unwrap_or_else(|| real(number, first, second, third, fourth, fifth, sixth)),
        }
    }
}

fn pointer<T>(word: Word) -> *mut T {
    core::ptr::with_exposed_provenance_mut(word)
}

unsafe fn descriptors_call(number: c_long, words: [Word; 6]) -> c_long {
    let [first, second, third, ..] = words;
    // SAFETY: the caller's promises, passed on.
    c_long::from(unsafe {
        match number {
            libc::SYS_close => descriptors::close(first as c_int),
            libc::SYS_dup2 => descriptors::dup2(first as c_int, second as c_int),
            libc::SYS_dup3 => descriptors::dup3(first as c_int, second as c_int, third as c_int),
            _ => descriptors::close_range(first as c_uint, second as c_uint, third as c_int),
        }
    })
}

/// Calls that have a wrapper.
unsafe fn transfer(number: c_long, words: [Word; 6]) -> Option<c_long> {
    let [first, second, third, fourth, fifth, sixth] = words;
    let descriptor = first as c_int;
    // SAFETY: the caller's promises, passed on.
    Some(unsafe {
        match number {
            libc::SYS_read => file_io::read(descriptor, pointer(second), third),
            libc::SYS_write => file_io::write(descriptor, pointer(second), third),
            libc::SYS_pread64 => {
                file_io::pread64(descriptor, pointer(second), third, fourth as i64)
            }
            libc::SYS_pwrite64 => {
                file_io::pwrite64(descriptor, pointer(second), third, fourth as i64)
            }
            libc::SYS_readv => vectored::readv(descriptor, pointer(second), third as c_int),
            libc::SYS_writev => vectored::writev(descriptor, pointer(second), third as c_int),
            libc::SYS_preadv => {
                vectored::preadv64(descriptor, pointer(second), third as c_int, fourth as i64)
            }
            libc::SYS_pwritev => {
                vectored::pwritev64(descriptor, pointer(second), third as c_int, fourth as i64)
            }
            libc::SYS_sendto => {
                let to = pointer::<c_void>(fifth).cast_const().cast();
                sockets::sendto(
                    descriptor,
                    pointer::<c_void>(second),
                    third,
                    fourth as c_int,
                    to,
                    sixth as c_uint,
                )
            }
            libc::SYS_recvfrom => {
                let from = pointer::<c_void>(fifth).cast();
                sockets::recvfrom(
                    descriptor,
                    pointer(second),
                    third,
                    fourth as c_int,
                    from,
                    pointer(sixth),
                )
            }
            libc::SYS_sendmsg => messages::sendmsg(descriptor, pointer(second), third as c_int),
            libc::SYS_recvmsg => messages::recvmsg(descriptor, pointer(second), third as c_int),
            libc::SYS_getrandom => random::getrandom(pointer(first), second, third as c_uint),
            _ => return None,
        }
    } as c_long)
}

/// A futex: its word is pinned while the thread waits. Where no more may be pinned, the wait ends early, as it may at
/// any time, after a pause.
unsafe fn futex(real: Real, words: [Word; 6]) -> c_long {
    const OPERATION: Word = 127;
    const WAIT: Word = 0;
    const WAIT_BITSET: Word = 9;
    let [word, operation, value, time, second, third] = words;
    // SAFETY: the caller's promises, passed on.
    let call =
        |time: Word| unsafe { real(libc::SYS_futex, word, operation, value, time, second, third) };
    let waits = matches!(operation & OPERATION, WAIT | WAIT_BITSET);
    let object: *const u32 = pointer(word);
    let time_copy;
    let mut time = time;
    if waits && reaches(pointer::<libc::timespec>(time), size_of::<libc::timespec>()) {
        // SAFETY: the caller's time.
        time_copy = unsafe { *pointer::<libc::timespec>(time) };
        time = (&raw const time_copy).expose_provenance();
    }
    if !reaches(object, size_of::<u32>()) {
        return call(time);
    }
    // The others wait for nobody, or for little: they may have the places that waiters leave.
    let share = if waits { Share::Wrapper } else { Share::Brief };
    match Pinned::new(pages_of(word, size_of::<u32>()), Want::Write, share) {
        Ok(_pinned) => call(time),
        Err(PinRefused::Busy) if waits => {
            pagekeeper_sys::time::pause(Duration::from_micros(200));
            // As if woken: whoever waits looks at the word again.
            0
        }
        Err(PinRefused::Busy) => call(time),
        Err(refused) => fail(super::reach::number_of(refused)),
    }
}
