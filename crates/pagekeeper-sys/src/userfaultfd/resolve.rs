//! The calls that answer faults and take pages out.
//!
//! Each says how many bytes it got done and why it stopped. The kernel's own result is a signed
//! field: bytes done, or a negated error number when nothing was done; and when *part* was done the
//! call itself says `EAGAIN`. [`Progress`] keeps these apart.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: fills, moves and protects pages of ranges that the caller registered"
)]

use linux_raw_sys::general as c;
use pagekeeper_units::{PAGE_SHIFT, PageCount, PageNumber, PageRange};
use rustix::ioctl::{Opcode, opcode};

use super::{KIND, Userfaultfd, kernel_range};
use crate::Errno;
use crate::map::byte_length;

const WAKE: Opcode = opcode::read::<c::uffdio_range>(KIND, c::_UFFDIO_WAKE as u8);
const COPY: Opcode = opcode::read_write::<c::uffdio_copy>(KIND, c::_UFFDIO_COPY as u8);
const ZEROPAGE: Opcode = opcode::read_write::<c::uffdio_zeropage>(KIND, c::_UFFDIO_ZEROPAGE as u8);
const MOVE: Opcode = opcode::read_write::<c::uffdio_move>(KIND, c::_UFFDIO_MOVE as u8);
const WRITEPROTECT: Opcode =
    opcode::read_write::<c::uffdio_writeprotect>(KIND, c::_UFFDIO_WRITEPROTECT as u8);
const CONTINUE: Opcode = opcode::read_write::<c::uffdio_continue>(KIND, c::_UFFDIO_CONTINUE as u8);
const POISON: Opcode = opcode::read_write::<c::uffdio_poison>(KIND, c::_UFFDIO_POISON as u8);

// Mode bits that linux-raw-sys leaves out: shifted constants of the kernel's header.
const WRITEPROTECT_MODE_WP: u64 = 1 << 0;
const WRITEPROTECT_MODE_DONTWAKE: u64 = 1 << 1;
const MOVE_MODE_DONTWAKE: u64 = 1 << 0;
const MOVE_MODE_ALLOW_SRC_HOLES: u64 = 1 << 1;

bitflags::bitflags! {
    /// How copied pages arrive.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CopyMode: u64 {
        /// Do not wake who waits for the page (nobody does in SIGBUS mode).
        const DO_NOT_WAKE = c::UFFDIO_COPY_MODE_DONTWAKE as u64;
        /// Write-protected from the start.
        const WRITE_PROTECTED = c::UFFDIO_COPY_MODE_WP as u64;
    }
}

bitflags::bitflags! {
    /// How pages are moved.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MoveMode: u64 {
        /// Do not wake who waits for the page.
        const DO_NOT_WAKE = MOVE_MODE_DONTWAKE;
        /// Source pages that are not there are passed over (and counted as done).
        const ALLOW_HOLES = MOVE_MODE_ALLOW_SRC_HOLES;
    }
}

/// How far a resolving call came, and why it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Progress {
    /// Bytes done from the start of the range; a multiple of the page size.
    pub done_bytes: u64,
    /// `None` when the whole range was done. With some bytes done the kernel only says `EAGAIN`:
    /// asking again for the rest gives the reason. Else: `EEXIST` a page is there already,
    /// `ENOENT` the range is not (any more) one mapping that is registered here, or a source page
    /// is missing, `EAGAIN` an event waits to be read or the pages are in flux, `EBUSY` a page to be
    /// moved is shared or pinned, `EFAULT` the source cannot be read, `ENOMEM`, `ESRCH` the
    /// process is gone, `EINVAL` the arguments.
    pub error: Option<Errno>,
}

impl Progress {
    #[inline]
    fn new(result: Result<(), Errno>, field: i64, length: usize) -> Self {
        match result {
            Ok(()) => Self {
                done_bytes: length as u64,
                error: None,
            },
            Err(errno) => Self {
                done_bytes: field.clamp(0, length as i64) as u64,
                error: Some(errno),
            },
        }
    }

    /// Whether the whole range was done.
    #[inline]
    pub fn is_complete(self) -> bool {
        self.error.is_none()
    }

    /// Whole pages done from the start.
    #[inline]
    pub fn done_pages(self) -> PageCount {
        PageCount::new(self.done_bytes >> PAGE_SHIFT)
    }

    /// What is left of `range`.
    #[inline]
    pub fn rest_of(self, range: PageRange) -> PageRange {
        PageRange::between(range.start().plus(self.done_pages()), range.end())
    }
}

impl Userfaultfd {
    /// Fills the missing pages of `to` with copies of the bytes at `from`, each page atomically.
    ///
    /// # Safety
    /// `from` must be readable for the length of `to` (else `EFAULT`), and `to` a registered range
    /// of the caller's, whose pages are to hold these bytes.
    #[inline]
    pub unsafe fn copy(&self, to: PageRange, from: *const u8, mode: CopyMode) -> Progress {
        let length = byte_length(to);
        let mut argument = c::uffdio_copy {
            dst: to.address(),
            src: from.expose_provenance() as u64,
            len: length as u64,
            mode: mode.bits(),
            copy: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        let result = unsafe { self.request::<COPY, _>(&mut argument) };
        Progress::new(result, argument.copy, length)
    }

    /// Maps the shared zero page into the missing pages of `range`.
    ///
    /// # Safety
    /// `range` must be a registered range of the caller's, whose pages are to read as zero.
    #[inline]
    pub unsafe fn zero(&self, range: PageRange) -> Progress {
        let mut argument = c::uffdio_zeropage {
            range: kernel_range(range),
            mode: u64::from(c::UFFDIO_ZEROPAGE_MODE_DONTWAKE) * u64::from(self.wakes_nobody()),
            zeropage: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        let result = unsafe { self.request::<ZEROPAGE, _>(&mut argument) };
        Progress::new(result, argument.zeropage, byte_length(range))
    }

    /// Moves the pages of `from` to the missing pages from `to` on, without copying: out of a
    /// registered range into staging memory or back. Only `to` has to be registered when pages come
    /// in; going out, the *staging* area is the destination and must be registered.
    ///
    /// Drops write-protection on the way. Every moved page costs a TLB flush on the processors that
    /// run this process, so move whole extents.
    ///
    /// # Safety
    /// Both ranges must be the caller's, with no reference into either alive.
    #[inline]
    pub unsafe fn move_pages(&self, to: PageNumber, from: PageRange, mode: MoveMode) -> Progress {
        let length = byte_length(from);
        let mut argument = c::uffdio_move {
            dst: to.address(),
            src: from.address(),
            len: length as u64,
            mode: mode.bits(),
            move_: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        let result = unsafe { self.request::<MOVE, _>(&mut argument) };
        Progress::new(result, argument.move_, length)
    }

    /// Write-protects the pages of `range`, or lifts that. Lifting wakes who waits (message mode).
    ///
    /// Pages that are not there are only protected with [`super::UffdFeatures::WP_UNPOPULATED`].
    ///
    /// # Errors
    /// `ENOENT` when the range is not one registered mapping, `EAGAIN` while an event is unread,
    /// `EINVAL` when registered without write-protection.
    ///
    /// # Safety
    /// `range` must be the caller's; on a synchronous descriptor writes fault from now on.
    #[inline]
    pub unsafe fn write_protect(&self, range: PageRange, on: bool) -> Result<(), Errno> {
        let mode = match (on, self.wakes_nobody()) {
            // The kernel refuses DONTWAKE together with WP.
            (true, _) => WRITEPROTECT_MODE_WP,
            (false, true) => WRITEPROTECT_MODE_DONTWAKE,
            (false, false) => 0,
        };
        let mut argument = c::uffdio_writeprotect {
            range: kernel_range(range),
            mode,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        unsafe { self.request::<WRITEPROTECT, _>(&mut argument) }
    }

    /// Maps the pages of `range` that are in the page cache already (answers minor faults).
    /// `EFAULT` when one is not there.
    ///
    /// # Safety
    /// `range` must be a range of the caller's, registered for minor faults.
    #[inline]
    pub unsafe fn continue_faults(&self, range: PageRange) -> Progress {
        let mut argument = c::uffdio_continue {
            range: kernel_range(range),
            mode: u64::from(self.wakes_nobody()),
            mapped: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        let result = unsafe { self.request::<CONTINUE, _>(&mut argument) };
        Progress::new(result, argument.mapped, byte_length(range))
    }

    /// Marks the missing pages of `range` as lost: an access is SIGBUS (`BUS_MCEERR_AR`).
    /// Windows: `EXCEPTION_IN_PAGE_ERROR`.
    ///
    /// # Safety
    /// `range` must be a registered range of the caller's.
    #[inline]
    pub unsafe fn poison(&self, range: PageRange) -> Progress {
        let mut argument = c::uffdio_poison {
            range: kernel_range(range),
            mode: u64::from(self.wakes_nobody()),
            updated: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        let result = unsafe { self.request::<POISON, _>(&mut argument) };
        Progress::new(result, argument.updated, byte_length(range))
    }

    /// Wakes every thread that waits for a page of `range`.
    ///
    /// # Errors
    /// `EINVAL` for an empty range.
    pub fn wake(&self, range: PageRange) -> Result<(), Errno> {
        let mut argument = kernel_range(range);
        // SAFETY: Opcode and struct belong together; waiters only look again.
        unsafe { self.request::<WAKE, _>(&mut argument) }
    }

    /// In SIGBUS mode nobody ever waits, so the search for waiters can be left out.
    #[inline]
    fn wakes_nobody(&self) -> bool {
        self.features().contains(super::UffdFeatures::SIGBUS)
    }
}
