//! One system call after the other: `preadv` and `pwritev`. Works everywhere.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands the buffers of a request to the kernel"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as c;

use super::{BlockIo, Direction, MAX_BUFFERS, RawBuffer, Request};
use crate::descriptor::InUse;
use crate::handle::Handle;
use crate::{Errno, raw};

/// A single attempt at a transfer, which may be short or interrupted. What [`Positioned`] repeats
/// until it is whole.
pub trait OneTransfer: Send + Sync + core::fmt::Debug {
    /// Transfers some bytes between the file at `offset` and `buffers`; says how many. Zero when
    /// reading means the end of the file.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Safety
    /// Every buffer must be mapped and be the caller's (reading) or not change (writing).
    unsafe fn transfer(
        &self,
        direction: Direction,
        offset: u64,
        buffers: &[RawBuffer],
    ) -> Result<usize, Errno>;
}

impl OneTransfer for OwnedFd {
    #[inline]
    unsafe fn transfer(
        &self,
        direction: Direction,
        offset: u64,
        buffers: &[RawBuffer],
    ) -> Result<usize, Errno> {
        // SAFETY: The caller's promise.
        unsafe { by_system_call(self.as_fd(), direction, offset, buffers) }
    }
}

/// One `pread`, `pwrite`, `preadv` or `pwritev`.
///
/// # Safety
/// As for [`OneTransfer::transfer`].
#[inline]
unsafe fn by_system_call(
    file: BorrowedFd<'_>,
    direction: Direction,
    offset: u64,
    buffers: &[RawBuffer],
) -> Result<usize, Errno> {
    let file = file.as_raw_fd() as usize;
    // SAFETY: The kernel transfers to or from the buffers only, which is the caller's promise.
    unsafe {
        if let [one] = buffers {
            let number = match direction {
                Direction::Read => c::__NR_pread64,
                Direction::Write => c::__NR_pwrite64,
            };
            let base = one.base.expose_provenance();
            return raw::call(number, [file, base, one.length, offset as usize]);
        }
        let number = match direction {
            Direction::Read => c::__NR_preadv,
            Direction::Write => c::__NR_pwritev,
        };
        let array = buffers.as_ptr().expose_provenance();
        // The offset travels in two halves, of which 64-bit kernels use the first.
        raw::call(number, [file, array, buffers.len(), offset as usize, 0])
    }
}

impl OneTransfer for Handle {
    /// Looks first whether the number still stands for our file (a quarter of a microsecond when it
    /// is kept): bytes must never go to, or come from, a stranger's.
    #[inline]
    unsafe fn transfer(
        &self,
        direction: Direction,
        offset: u64,
        buffers: &[RawBuffer],
    ) -> Result<usize, Errno> {
        let _in_use = InUse::begin();
        if self.take_back_if_lost().is_err() {
            return Err(Errno::BADF);
        }
        // SAFETY: The caller's promise.
        unsafe { by_system_call(self.as_fd(), direction, offset, buffers) }
    }
}

/// Block I/O by positioned system calls.
#[derive(Debug)]
pub struct Positioned<F = OwnedFd> {
    file: F,
}

impl<F: OneTransfer> Positioned<F> {
    /// Over an open file, or anything that can make one transfer.
    pub fn new(file: F) -> Self {
        Self { file }
    }

    /// What it works on.
    pub fn file(&self) -> &F {
        &self.file
    }

    pub(super) fn file_mut(&mut self) -> &mut F {
        &mut self.file
    }

    /// Carries one request out from its byte `done` on.
    pub(super) fn finish(&self, request: &mut Request<'_>, done: usize) {
        let result = self.transfer_from(request, done);
        request.set_result(result);
    }

    fn transfer_from(&self, request: &Request<'_>, mut done: usize) -> Result<(), Errno> {
        let buffers = request.raw_buffers();
        if buffers.len() > MAX_BUFFERS {
            return Err(Errno::INVAL);
        }
        let (direction, offset) = (request.direction(), request.offset());
        let mut first = 0;
        let mut before = 0;
        loop {
            // Pass over what is done already; a buffer that is done in part goes by itself.
            while let Some(buffer) = buffers.get(first)
                && before + buffer.length <= done
            {
                before += buffer.length;
                first += 1;
            }
            let Some(buffer) = buffers.get(first) else {
                return Ok(());
            };
            let inside = done - before;
            let at = offset + done as u64;
            // SAFETY: The request's maker promised its buffers; a part of one is one.
            let result = unsafe {
                if inside == 0 {
                    self.file.transfer(direction, at, &buffers[first..])
                } else {
                    let rest = RawBuffer {
                        base: buffer.base.wrapping_add(inside),
                        length: buffer.length - inside,
                    };
                    self.file.transfer(direction, at, &[rest])
                }
            };
            match result {
                Ok(0) if direction == Direction::Read => return Err(Errno::NODATA),
                // A write of nothing makes no progress and never will.
                Ok(0) => return Err(Errno::IO),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl<F: OneTransfer> BlockIo for Positioned<F> {
    fn submit_and_wait(&self, requests: &mut [Request<'_>]) {
        for request in requests {
            self.finish(request, 0);
        }
    }

    fn name(&self) -> &'static str {
        "positioned"
    }
}

impl<F: AsFd> AsFd for Positioned<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
