//! Sockets: bytes and datagrams, addresses and options. Messages with several parts: [`super::messages`].
//!
//! Everything goes through bounce buffers: whoever waits for another machine must not hold pages. `MSG_ZEROCOPY` from
//! paged memory fails with `ENOBUFS`, which is what the kernel says when it cannot pin, and after which programs send
//! again without it. `getaddrinfo` and its like read their strings in user space and need nothing. A `setsockopt` value
//! that holds pointers itself (socket filters) is copied, what it points to is not.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_int, c_void};

use libc::{sockaddr, socklen_t};

use super::reach::{fail, reaches, reaches_filled};
use super::scratch::StandIns;
use super::transfer::{BOUNCE_BYTES, Behind, behind, read_in, write_out};
use super::wrap::{real, rows, touch};

/// Addresses and options are no longer than this.
const VALUE_MOST: usize = 64 << 10;

rows! { "sockets";
    send: "the buffer";
    sendto: "the buffer, the address";
    recv: "the buffer";
    recvfrom: "the buffer, the address and its length";
    connect: "the address";
    bind: "the address";
    accept: "the address and its length";
    accept4: "the address and its length";
    getsockname: "the address and its length";
    getpeername: "the address and its length";
    getsockopt: "the value and its length";
    setsockopt: "the value";
    pipe: "the two numbers";
    pipe2: "the two numbers";
    socketpair: "the two numbers";
    eventfd_read: "the value";
}

/// The length that a caller gave by a pointer.
fn length_at(length: *const socklen_t) -> usize {
    if length.is_null() {
        return 0;
    }
    // SAFETY: the caller of the wrapped function promised a length.
    (unsafe { *length } as usize).min(VALUE_MOST)
}

touch! { fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int { read address[(length as usize).min(VALUE_MOST)] } }
touch! { fn bind(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int { read address[(length as usize).min(VALUE_MOST)] } }
touch! { fn accept(socket: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int { fill address[length_at(length)], fill length } }
touch! { fn accept4(socket: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int { fill address[length_at(length)], fill length } }
touch! { fn getsockname(socket: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int { fill address[length_at(length)], fill length } }
touch! { fn getpeername(socket: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int { fill address[length_at(length)], fill length } }
touch! { fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int { fill value[length_at(length)], fill length } }
touch! { fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int { read value[(length as usize).min(VALUE_MOST)] } }
touch! { fn pipe(numbers: *mut c_int) -> c_int { fill numbers[2 * size_of::<c_int>()] } }
touch! { fn pipe2(numbers: *mut c_int, flags: c_int) -> c_int { fill numbers[2 * size_of::<c_int>()] } }
touch! { fn socketpair(domain: c_int, kind: c_int, protocol: c_int, numbers: *mut c_int) -> c_int { fill numbers[2 * size_of::<c_int>()] } }
touch! { fn eventfd_read(descriptor: c_int, value: *mut u64) -> c_int { fill value } }

/// How a send with these flags may be split; `None`: not possible from paged memory.
pub(super) fn split_for_send(socket: c_int, flags: c_int) -> Option<Behind> {
    if flags & libc::MSG_ZEROCOPY != 0 {
        return None;
    }
    // The last byte of an urgent message is what is urgent.
    Some(if flags & libc::MSG_OOB != 0 {
        Behind::Message
    } else {
        behind(socket)
    })
}

/// The flags of a later part: no second signal for a peer that is gone, the count already tells.
pub(super) fn later_flags(flags: c_int, done: usize) -> c_int {
    if done > 0 {
        flags | libc::MSG_NOSIGNAL
    } else {
        flags
    }
}

/// Receives bytes: everything that was asked for where the caller said so, else what is there.
unsafe fn receive(
    socket: c_int,
    buffer: *mut u8,
    count: usize,
    flags: c_int,
    mut call: impl FnMut(*mut u8, usize) -> isize,
) -> isize {
    const WHOLE: c_int = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_OOB | libc::MSG_ERRQUEUE;
    let kind = if flags & WHOLE != 0 {
        Behind::Message
    } else {
        behind(socket)
    };
    let all = flags & libc::MSG_WAITALL != 0 && kind == Behind::Stream;
    let mut done = 0;
    loop {
        let rest = count - done;
        // SAFETY: the caller's buffer.
        let moved = unsafe {
            read_in(kind, buffer.wrapping_add(done), rest, |at, length, _| {
                call(at, length)
            })
        };
        if moved < 0 {
            return if done > 0 { done as isize } else { moved };
        }
        done += moved as usize;
        let short = (moved as usize) < rest.min(BOUNCE_BYTES);
        if !all || short || done >= count {
            return done as isize;
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn send(
    socket: c_int,
    buffer: *const c_void,
    count: usize,
    flags: c_int,
) -> isize {
    let real = real!(send: (c_int, *const c_void, usize, c_int) -> isize);
    // SAFETY: the caller's promises, passed on, in parts.
    unsafe {
        if !reaches(buffer, count) {
            return real(socket, buffer, count, flags);
        }
        let Some(kind) = split_for_send(socket, flags) else {
            return fail(libc::ENOBUFS);
        };
        write_out(kind, buffer.cast(), count, |at, length, done| {
            real(socket, at.cast(), length, later_flags(flags, done))
        })
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn sendto(
    socket: c_int,
    buffer: *const c_void,
    count: usize,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> isize {
    let real =
        real!(sendto: (c_int, *const c_void, usize, c_int, *const sockaddr, socklen_t) -> isize);
    let address_bytes = (length as usize).min(VALUE_MOST);
    let mut stand_ins = StandIns::new();
    // SAFETY: the caller's promises, passed on, in parts.
    unsafe {
        let mut target = address;
        if reaches(address, address_bytes) {
            match stand_ins.input(address.cast(), address_bytes) {
                Ok(copy) => target = copy.cast(),
                Err(number) => return fail(number),
            }
        }
        if !reaches(buffer, count) {
            return real(socket, buffer, count, flags, target, length);
        }
        let Some(kind) = split_for_send(socket, flags) else {
            return fail(libc::ENOBUFS);
        };
        write_out(kind, buffer.cast(), count, |at, part, done| {
            real(
                socket,
                at.cast(),
                part,
                later_flags(flags, done),
                target,
                length,
            )
        })
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn recv(
    socket: c_int,
    buffer: *mut c_void,
    count: usize,
    flags: c_int,
) -> isize {
    let real = real!(recv: (c_int, *mut c_void, usize, c_int) -> isize);
    // SAFETY: the caller's promises, passed on, in parts.
    unsafe {
        if !reaches_filled(buffer, count) {
            return real(socket, buffer, count, flags);
        }
        receive(socket, buffer.cast(), count, flags, |at, length| {
            real(socket, at.cast(), length, flags)
        })
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn recvfrom(
    socket: c_int,
    buffer: *mut c_void,
    count: usize,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> isize {
    let real =
        real!(recvfrom: (c_int, *mut c_void, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize);
    // SAFETY: the caller's promises, passed on, in parts.
    unsafe {
        let room = length_at(length);
        if !reaches_filled(buffer, count)
            && !reaches_filled(address, room)
            && !reaches_filled(length, size_of::<socklen_t>())
        {
            return real(socket, buffer, count, flags, address, length);
        }
        let mut stand_ins = StandIns::new();
        let (mut to, mut to_length) = (address, length);
        if !address.is_null() && !length.is_null() {
            let made = stand_ins.output(address.cast(), room).and_then(|address| {
                Ok((
                    address,
                    stand_ins.output(length.cast(), size_of::<socklen_t>())?,
                ))
            });
            match made {
                Ok((address, length)) => (to, to_length) = (address.cast(), length.cast()),
                Err(number) => return fail(number),
            }
        }
        let moved = if reaches_filled(buffer, count) {
            receive(socket, buffer.cast(), count, flags, |at, part| {
                real(socket, at.cast(), part, flags, to, to_length)
            })
        } else {
            real(socket, buffer, count, flags, to, to_length)
        };
        let _kept = super::reach::ErrnoKept::new();
        stand_ins.copy_back();
        moved
    }
}
