//! Messages: `sendmsg`, `recvmsg` and their plural forms.
//!
//! The message's parts (header, address, vectors, buffers, control data) may each be out. Where any of them is, a message
//! is made anew in ordinary memory, with one buffer, and taken apart afterwards.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_int, c_uint, c_void};

use libc::{iovec, mmsghdr, msghdr, timespec};

use super::reach::{ErrnoKept, admit, fail, reaches, reaches_filled, reaches_wanted};
use super::scratch::{Scratch, StandIns};
use super::sockets::{later_flags, split_for_send};
use super::transfer::{ATOMIC_MOST, BOUNCE_BYTES, Behind};
use super::vectored::Vectors;
use super::wrap::{real, rows};
use crate::engine::inline::pin::Want;

/// Control data and addresses are no longer than this.
const CONTROL_MOST: usize = 1 << 20;

rows! { "sockets";
    sendmsg: "the message with all its parts";
    recvmsg: "the message with all its parts";
    sendmmsg: "the messages with all their parts";
    recvmmsg: "the messages with all their parts, the time";
}

type Send = unsafe extern "C-unwind" fn(c_int, *const msghdr, c_int) -> isize;
type Receive = unsafe extern "C-unwind" fn(c_int, *mut msghdr, c_int) -> isize;

/// Whether any part of a message reaches paged memory; `want` is what the kernel does with the buffers.
unsafe fn reach(message: *const msghdr, want: Want) -> bool {
    if message.is_null() || !super::reach::active() {
        return false;
    }
    // SAFETY: the caller of the wrapped function promised a message.
    unsafe {
        reaches_wanted(message, size_of::<msghdr>(), want) || {
            let message = &*message;
            reaches_wanted(message.msg_name, message.msg_namelen as usize, want)
                || reaches_wanted(message.msg_control, message.msg_controllen, want)
                || Vectors::reach(message.msg_iov, message.msg_iovlen, want)
        }
    }
}

/// A message in ordinary memory, its buffers made one.
struct Copied {
    caller: *mut msghdr,
    header: msghdr,
    vectors: Vectors,
    parts: StandIns,
}

impl Copied {
    /// `want`: what the kernel does with the buffers.
    unsafe fn new(caller: *const msghdr, want: Want) -> Result<Self, c_int> {
        admit(caller.cast(), size_of::<msghdr>(), want)?;
        let mut parts = StandIns::new();
        // SAFETY: the caller's promises about the message and its parts.
        unsafe {
            let header = caller.read();
            let mut place = |at: *mut c_void, length: usize| {
                if at.is_null() || length == 0 {
                    return Ok(at);
                }
                let length = length.min(CONTROL_MOST);
                if want == Want::Read {
                    parts.input(at.cast(), length)
                } else {
                    parts.output(at.cast(), length)
                }
                .map(|at| at.cast::<c_void>())
            };
            let name = place(header.msg_name, header.msg_namelen as usize)?;
            let control = place(header.msg_control, header.msg_controllen)?;
            let count = header.msg_iovlen;
            if count > libc::UIO_MAXIOV as usize {
                return Err(libc::EMSGSIZE);
            }
            let vectors = Vectors::new(header.msg_iov, count)?;
            let header = msghdr {
                msg_name: name,
                msg_control: control,
                ..header
            };
            Ok(Self {
                caller: caller.cast_mut(),
                header,
                vectors,
                parts,
            })
        }
    }

    unsafe fn send(
        mut self,
        kind: Behind,
        flags: c_int,
        call: impl Fn(*const msghdr, c_int) -> isize,
    ) -> isize {
        let total = self.vectors.total();
        let most = if kind == Behind::Message {
            ATOMIC_MOST
        } else {
            BOUNCE_BYTES
        };
        let Ok(bounce) = Scratch::new(total.min(most)) else {
            return fail(libc::ENOMEM);
        };
        let mut done = 0;
        loop {
            let part = (total - done).min(most);
            if let Err(number) = self.vectors.admit(done, part, Want::Read) {
                return if done > 0 {
                    done as isize
                } else {
                    fail(number)
                };
            }
            // SAFETY: looked at; the bounce buffer has room for a part.
            unsafe { self.vectors.gather(done, part, bounce.start()) };
            let mut vector = iovec {
                iov_base: bounce.start().cast(),
                iov_len: part,
            };
            self.header.msg_iov = &raw mut vector;
            self.header.msg_iovlen = 1;
            let moved = call(&raw const self.header, later_flags(flags, done));
            if moved < 0 {
                return if done > 0 { done as isize } else { moved };
            }
            done += moved as usize;
            if (moved as usize) < part || done >= total {
                return done as isize;
            }
            // Control data goes once, with the first bytes.
            self.header.msg_control = core::ptr::null_mut();
            self.header.msg_controllen = 0;
        }
    }

    unsafe fn receive(mut self, call: impl FnOnce(*mut msghdr) -> isize) -> isize {
        let total = self.vectors.total().min(ATOMIC_MOST);
        if let Err(number) = self.vectors.admit(0, total.min(1), Want::Write) {
            return fail(number);
        }
        let Ok(bounce) = Scratch::new(total) else {
            return fail(libc::ENOMEM);
        };
        let mut vector = iovec {
            iov_base: bounce.start().cast(),
            iov_len: total,
        };
        self.header.msg_iov = &raw mut vector;
        self.header.msg_iovlen = 1;
        let moved = call(&raw mut self.header);
        if moved < 0 {
            return moved;
        }
        let arrived = (moved as usize).min(total);
        if let Err(number) = self.vectors.admit(0, arrived, Want::Write) {
            return fail(number);
        }
        let _kept = ErrnoKept::new();
        // SAFETY: the caller's message and its parts, which allow writing.
        unsafe {
            self.vectors.spread(0, arrived, bounce.start());
            self.parts.copy_back();
            (*self.caller).msg_namelen = self.header.msg_namelen;
            (*self.caller).msg_controllen = self.header.msg_controllen;
            (*self.caller).msg_flags = self.header.msg_flags;
        }
        moved
    }
}

unsafe fn send_one(real: Send, socket: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reach(message, Want::Read) {
            return real(socket, message, flags);
        }
        let Some(kind) = split_for_send(socket, flags) else {
            return fail(libc::ENOBUFS);
        };
        match Copied::new(message, Want::Read) {
            Ok(copied) => copied.send(kind, flags, |message, flags| real(socket, message, flags)),
            Err(number) => fail(number),
        }
    }
}

unsafe fn receive_one(real: Receive, socket: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reach(message, Want::Write) {
            return real(socket, message, flags);
        }
        match Copied::new(message, Want::Write) {
            Ok(copied) => copied.receive(|message| real(socket, message, flags)),
            Err(number) => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn sendmsg(
    socket: c_int,
    message: *const msghdr,
    flags: c_int,
) -> isize {
    let real = real!(sendmsg: (c_int, *const msghdr, c_int) -> isize);
    // SAFETY: the caller's promises, passed on.
    unsafe { send_one(real, socket, message, flags) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn recvmsg(
    socket: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> isize {
    let real = real!(recvmsg: (c_int, *mut msghdr, c_int) -> isize);
    // SAFETY: the caller's promises, passed on.
    unsafe { receive_one(real, socket, message, flags) }
}

/// Whether any of several messages reaches paged memory.
unsafe fn any_reaches(messages: *const mmsghdr, count: c_uint, want: Want) -> bool {
    if messages.is_null() || !super::reach::active() {
        return false;
    }
    let count = (count as usize).min(libc::UIO_MAXIOV as usize);
    // SAFETY: the caller promised so many messages.
    reaches_filled(messages, count * size_of::<mmsghdr>())
        || (0..count).any(|index| unsafe { reach(&raw const (*messages.add(index)).msg_hdr, want) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmmsg(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let real = real!(sendmmsg: (c_int, *mut mmsghdr, c_uint, c_int) -> c_int);
    let one = real!(sendmsg: (c_int, *const msghdr, c_int) -> isize);
    // SAFETY: the caller's promises, passed on, message by message.
    unsafe {
        if !any_reaches(messages, count, Want::Read) {
            return real(socket, messages, count, flags);
        }
        for index in 0..count.min(libc::UIO_MAXIOV as c_uint) {
            let message = messages.add(index as usize);
            let moved = send_one(one, socket, &raw const (*message).msg_hdr, flags);
            if moved < 0 {
                return if index > 0 { index as c_int } else { -1 };
            }
            (*message).msg_len = moved as c_uint;
        }
        count.min(libc::UIO_MAXIOV as c_uint) as c_int
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmmsg(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    time: *mut timespec,
) -> c_int {
    let real = real!(recvmmsg: (c_int, *mut mmsghdr, c_uint, c_int, *mut timespec) -> c_int);
    let one = real!(recvmsg: (c_int, *mut msghdr, c_int) -> isize);
    // SAFETY: the caller's promises, passed on, message by message.
    unsafe {
        if !any_reaches(messages, count, Want::Write) && !reaches(time, size_of::<timespec>()) {
            return real(socket, messages, count, flags, time);
        }
        let limit = (!time.is_null())
            .then(|| core::time::Duration::new((*time).tv_sec as u64, (*time).tv_nsec as u32));
        let start = std::time::Instant::now();
        let mut flags = flags;
        for index in 0..count.min(libc::UIO_MAXIOV as c_uint) {
            let message = messages.add(index as usize);
            let moved = receive_one(
                one,
                socket,
                &raw mut (*message).msg_hdr,
                flags & !libc::MSG_WAITFORONE,
            );
            if moved < 0 {
                return if index > 0 { index as c_int } else { -1 };
            }
            (*message).msg_len = moved as c_uint;
            if flags & libc::MSG_WAITFORONE != 0 {
                flags |= libc::MSG_DONTWAIT;
            }
            // As in the kernel, the time is looked at after a message, not while waiting for one.
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return index as c_int + 1;
            }
        }
        count.min(libc::UIO_MAXIOV as c_uint) as c_int
    }
}
