//! Long buffers in and out: how a call on one buffer becomes calls on parts of it.
//!
//! | what is behind the descriptor | in | out |
//! |---|---|---|
//! | files, block devices | parts are pinned, one after the other, until one comes short | the same; with `O_APPEND` one call from a bounce buffer, up to [`ATOMIC_MOST`] |
//! | pipes, stream sockets, terminals | one part through a bounce buffer: a short count | parts through a bounce buffer until one comes short |
//! | datagrams, packets, the rest | one call through a bounce buffer | the same |
//!
//! Pages that are copied on write in a view are never pinned, and only matter where they are filled: always through a
//! bounce buffer.
//!
//! What may wait for somebody else never holds pins: a reader that waits for an hour would keep its pages out
//! of everybody's reach for an hour. Where the share for pins is used up, files go through a bounce buffer too.

#![allow(unsafe_code, reason = "UNSAFETY: the caller's buffers, in parts")]

use core::ffi::c_int;

use super::reach::{ErrnoKept, Piece, fail, first_piece, number_of, pages_of};
use super::real::{Slot, errno, set_errno};
use super::scratch::{Scratch, copy};
use crate::engine::inline::pin::{PinRefused, Pinned, Share, Want};

/// The kernel moves no more in one call.
const KERNEL_MOST: usize = 0x7FFF_F000;
/// A part that goes through a bounce buffer.
pub(super) const BOUNCE_BYTES: usize = 256 << 10;
/// Calls that must not be split go through a bounce buffer up to this size; longer ones are split all the same.
pub(super) const ATOMIC_MOST: usize = 16 << 20;

/// What is behind a descriptor, as far as it decides about splitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// A file or block device: never waits for anybody, may be split.
    File,
    /// Bytes in a row that may have to be waited for: may be split.
    Stream,
    /// Every call is a message of its own: may not be split.
    Message,
}

static FSTAT: Slot = Slot::new("fstat\0");
static FCNTL: Slot = Slot::new("fcntl\0");
static GETSOCKOPT: Slot = Slot::new("getsockopt\0");

/// Looks what is behind a descriptor; keeps errno.
pub(super) fn behind(descriptor: c_int) -> Behind {
    let _kept = ErrnoKept::new();
    let address = FSTAT.address();
    if address.is_null() {
        return Behind::Message;
    }
    // SAFETY: libc's `fstat` has this type, and fills the struct when it returns 0.
    let status = unsafe {
        let fstat: unsafe extern "C-unwind" fn(c_int, *mut libc::stat) -> c_int =
            core::mem::transmute(address);
        let mut status = core::mem::zeroed::<libc::stat>();
        if fstat(descriptor, &raw mut status) != 0 {
            return Behind::Message;
        }
        status
    };
    match status.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFBLK => Behind::File,
        libc::S_IFIFO => Behind::Stream,
        libc::S_IFSOCK if is_stream_socket(descriptor) => Behind::Stream,
        _ => Behind::Message,
    }
}

fn is_stream_socket(descriptor: c_int) -> bool {
    let address = GETSOCKOPT.address();
    if address.is_null() {
        return false;
    }
    let mut kind: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: libc's `getsockopt` has this type; value and length are ours.
    let result = unsafe {
        let getsockopt: unsafe extern "C-unwind" fn(
            c_int,
            c_int,
            c_int,
            *mut c_int,
            *mut libc::socklen_t,
        ) -> c_int = core::mem::transmute(address);
        getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            &raw mut kind,
            &raw mut length,
        )
    };
    result == 0 && kind == libc::SOCK_STREAM
}

/// Whether writes go to the end of the file, in one piece each.
pub(super) fn appends(descriptor: c_int) -> bool {
    let _kept = ErrnoKept::new();
    let address = FCNTL.address();
    if address.is_null() {
        return false;
    }
    // SAFETY: libc's `fcntl` with a command that takes no argument.
    let flags = unsafe {
        let fcntl: unsafe extern "C-unwind" fn(c_int, c_int, usize) -> c_int =
            core::mem::transmute(address);
        fcntl(descriptor, libc::F_GETFL, 0)
    };
    flags != -1 && flags & libc::O_APPEND != 0
}

/// Reads into a buffer that reaches paged memory. `call` gets where to, how many, and how many bytes are done.
///
/// # Safety
/// The caller's promises to `read`; `call` fills at most what it is told and returns how many, or -1 with errno.
pub(super) unsafe fn read_in(
    behind: Behind,
    buffer: *mut u8,
    count: usize,
    mut call: impl FnMut(*mut u8, usize, usize) -> isize,
) -> isize {
    let count = count.min(KERNEL_MOST);
    if behind == Behind::Message {
        // SAFETY: passed on.
        return unsafe {
            message_in(buffer, count.min(ATOMIC_MOST), |at, length| {
                call(at, length, 0)
            })
        };
    }
    let mut done = 0;
    while done < count {
        let at = buffer.wrapping_add(done);
        let (part, result) = match first_piece(at, count - done, Want::Write) {
            Piece::Forbidden => (0, Err(libc::EFAULT)),
            Piece::Foreign(length) => (length, Ok(call(at, length, done))),
            Piece::Inline { at_once, .. } if behind == Behind::File => {
                // SAFETY: passed on; the part allows writing.
                (at_once, unsafe {
                    pinned_or_bounced_in(at, at_once, |to, length| call(to, length, done))
                })
            }
            Piece::Inline { length, .. } | Piece::Copied(length) => {
                let part = length.min(BOUNCE_BYTES);
                // SAFETY: passed on; the part allows writing.
                (part, unsafe {
                    bounced_in(at, part, |to, length| call(to, length, done))
                })
            }
        };
        match advance(&mut done, part, result) {
            Step::End(result) => return result,
            // More may not be there yet, and then waiting for it would be wrong.
            Step::Next if behind == Behind::Stream => return done as isize,
            Step::Next => {}
        }
    }
    done as isize
}

/// Writes from a buffer that reaches paged memory. `call` gets where from, how many, and how many bytes are done.
///
/// # Safety
/// The caller's promises to `write`; `call` returns how many it wrote, or -1 with errno.
pub(super) unsafe fn write_out(
    behind: Behind,
    buffer: *const u8,
    count: usize,
    mut call: impl FnMut(*const u8, usize, usize) -> isize,
) -> isize {
    let count = count.min(KERNEL_MOST);
    let most = if behind == Behind::Message {
        ATOMIC_MOST
    } else {
        BOUNCE_BYTES
    };
    let mut done = 0;
    while done < count {
        let at = buffer.wrapping_add(done);
        let (part, result) = match first_piece(at, count - done, Want::Read) {
            Piece::Forbidden => (0, Err(libc::EFAULT)),
            Piece::Inline { at_once, .. } if behind == Behind::File => {
                // SAFETY: passed on; the part allows reading.
                (at_once, unsafe {
                    pinned_or_bounced_out(at, at_once, |from, length| call(from, length, done))
                })
            }
            Piece::Foreign(length) if behind != Behind::Message => {
                (length, Ok(call(at, length, done)))
            }
            _ if behind == Behind::Message => {
                let part = (count - done).min(most);
                // SAFETY: passed on.
                (part, unsafe {
                    bounced_out(at, part, |from, length| call(from, length, done))
                })
            }
            Piece::Inline { length, .. } | Piece::Copied(length) | Piece::Foreign(length) => {
                let part = length.min(most);
                // SAFETY: passed on; the part allows reading.
                (part, unsafe {
                    bounced_out(at, part, |from, length| call(from, length, done))
                })
            }
        };
        if let Step::End(result) = advance(&mut done, part, result) {
            return result;
        }
    }
    done as isize
}

/// Moves `total` bytes in parts of at most `most`, until one comes short. `move_part` gets how many bytes are done and how many
/// are to be moved, and says how many it moved (-1: errno is set), or an error number.
pub(super) fn in_parts(
    total: usize,
    most: usize,
    mut move_part: impl FnMut(usize, usize) -> Result<isize, c_int>,
) -> isize {
    let mut done = 0;
    while done < total {
        let part = (total - done).min(most);
        let result = move_part(done, part);
        if let Step::End(result) = advance(&mut done, part, result) {
            return result;
        }
    }
    done as isize
}

/// Whether a transfer goes on after a part.
enum Step {
    Next,
    End(isize),
}

/// Counts a part: on after a full one; the sum after a short one or an error, unless nothing was done at all.
fn advance(done: &mut usize, part: usize, result: Result<isize, c_int>) -> Step {
    match result {
        Ok(moved) if moved >= 0 => {
            *done += moved as usize;
            if (moved as usize) < part {
                Step::End(*done as isize)
            } else {
                Step::Next
            }
        }
        _ if *done > 0 => Step::End(*done as isize),
        Ok(failed) => Step::End(failed),
        Err(number) => Step::End(fail(number)),
    }
}

/// One call on pinned pages, or through a bounce buffer when no more may be pinned.
unsafe fn pinned_or_bounced_in(
    at: *mut u8,
    length: usize,
    call: impl FnOnce(*mut u8, usize) -> isize,
) -> Result<isize, c_int> {
    match Pinned::new(pages_of(at.addr(), length), Want::Write, Share::Wrapper) {
        Ok(_pinned) => Ok(call(at, length)),
        // SAFETY: passed on.
        Err(PinRefused::Busy) => unsafe { bounced_in(at, length, call) },
        Err(refused) => Err(number_of(refused)),
    }
}

unsafe fn pinned_or_bounced_out(
    at: *const u8,
    length: usize,
    call: impl FnOnce(*const u8, usize) -> isize,
) -> Result<isize, c_int> {
    match Pinned::new(pages_of(at.addr(), length), Want::Read, Share::Wrapper) {
        Ok(_pinned) => Ok(call(at, length)),
        // SAFETY: passed on.
        Err(PinRefused::Busy) => unsafe { bounced_out(at, length, call) },
        Err(refused) => Err(number_of(refused)),
    }
}

/// One call into a bounce buffer; what arrived is copied. The bytes must allow writing.
pub(super) unsafe fn bounced_in(
    at: *mut u8,
    length: usize,
    call: impl FnOnce(*mut u8, usize) -> isize,
) -> Result<isize, c_int> {
    // Lost pages show before anything is taken from the other side: a first look at one page is enough of a promise
    // for streams, the rest is looked at when it is copied.
    super::reach::admit(at, 1, Want::Write)?;
    let bounce = Scratch::new(length)?;
    let moved = call(bounce.start(), length);
    let _kept = ErrnoKept::new();
    if moved > 0 {
        // SAFETY: the bounce buffer holds what arrived, and the caller's bytes allow writing.
        unsafe { copy(bounce.start(), at, (moved as usize).min(length)) };
    }
    Ok(moved)
}

/// One call from a bounce buffer.
pub(super) unsafe fn bounced_out(
    at: *const u8,
    length: usize,
    call: impl FnOnce(*const u8, usize) -> isize,
) -> Result<isize, c_int> {
    super::reach::admit(at, length, Want::Read)?;
    let bounce = Scratch::new(length)?;
    // SAFETY: the caller's bytes allow reading, and the bounce buffer has room.
    unsafe { copy(at, bounce.start(), length) };
    Ok(call(bounce.start(), length))
}

/// A message in: one call with all the room that the caller gives. A message that reaches further than the caller's
/// memory allows is gone, with `EFAULT`, as with the kernel.
///
/// # Safety
/// As for [`read_in`].
pub(super) unsafe fn message_in(
    buffer: *mut u8,
    count: usize,
    call: impl FnOnce(*mut u8, usize) -> isize,
) -> isize {
    let allowed = match first_piece(buffer, count, Want::Write) {
        Piece::Forbidden => return fail(libc::EFAULT),
        Piece::Foreign(length) | Piece::Copied(length) | Piece::Inline { length, .. } => length,
    };
    if let Err(number) = super::reach::admit(buffer, 1, Want::Write) {
        return fail(number);
    }
    let bounce = match Scratch::new(count) {
        Ok(bounce) => bounce,
        Err(number) => return fail(number),
    };
    let moved = call(bounce.start(), count);
    if moved <= 0 {
        return moved;
    }
    let arrived = (moved as usize).min(count);
    let after = errno();
    if arrived > allowed {
        let rest =
            super::reach::admit(buffer.wrapping_add(allowed), arrived - allowed, Want::Write);
        if let Err(number) = rest {
            return fail(number);
        }
    }
    // SAFETY: what arrived lies in the bounce buffer, and the caller's bytes allow writing.
    unsafe { copy(bounce.start(), buffer, arrived) };
    set_errno(after);
    moved
}
