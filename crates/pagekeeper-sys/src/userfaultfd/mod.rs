//! userfaultfd: the kernel asks us what belongs into a page.
//!
//! The whole interface, bound by hand (no crate covers moving, poisoning and asynchronous
//! write-protection). Resolving calls report how far they came *and* why they stopped, because a
//! pager must tell `EEXIST` (there already), `ENOENT` (mapping gone), `EAGAIN` (ask again) and
//! `EBUSY` (page pinned or shared) apart. Nothing here allocates except opening, and no call
//! touches `errno`.
//!
//! | module | what |
//! |---|---|
//! | here | opening, features, registering |
//! | resolve | copy, zero, move, continue, poison, write-protect, wake |
//! | events | what a descriptor in message mode reports |
//! | [`TakeOut`] | an extent out into staging memory: by moving pages, or the mapping |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: registering takes faults of a range over; the caller owns the range"
)]

mod events;
mod resolve;
mod take_out;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::general as c;
use pagekeeper_units::PageRange;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Opcode, Updater, opcode};

pub use events::{Event, EventBuffer};
pub use resolve::{CopyMode, MoveMode, Progress};
pub use take_out::{ByMove, ByRemap, TakeOut, taker};

use crate::descriptor::Lost;
use crate::handle::Handle;
use crate::map::byte_length;
use crate::{Errno, raw};

const KIND: u8 = c::UFFDIO as u8;
const API: Opcode = opcode::read_write::<c::uffdio_api>(KIND, c::_UFFDIO_API as u8);
const REGISTER: Opcode = opcode::read_write::<c::uffdio_register>(KIND, c::_UFFDIO_REGISTER as u8);
// The kernel declares these two as reading although they only take a range.
const UNREGISTER: Opcode = opcode::read::<c::uffdio_range>(KIND, c::_UFFDIO_UNREGISTER as u8);
const IOC_NEW: Opcode = opcode::none(c::USERFAULTFD_IOC as u8, 0);

bitflags::bitflags! {
    /// What a userfaultfd of this kernel can do (`UFFD_FEATURE_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct UffdFeatures: u64 {
        /// Faults say whether they are write-protect faults.
        const PAGEFAULT_FLAG_WP = c::UFFD_FEATURE_PAGEFAULT_FLAG_WP as u64;
        /// Fork is an event (needs `CAP_SYS_PTRACE`).
        const EVENT_FORK = c::UFFD_FEATURE_EVENT_FORK as u64;
        /// `mremap` is an event.
        const EVENT_REMAP = c::UFFD_FEATURE_EVENT_REMAP as u64;
        /// `madvise` that drops pages is an event.
        const EVENT_REMOVE = c::UFFD_FEATURE_EVENT_REMOVE as u64;
        /// `munmap` is an event.
        const EVENT_UNMAP = c::UFFD_FEATURE_EVENT_UNMAP as u64;
        /// Missing faults on hugetlbfs.
        const MISSING_HUGETLBFS = c::UFFD_FEATURE_MISSING_HUGETLBFS as u64;
        /// Missing faults on shared memory.
        const MISSING_SHMEM = c::UFFD_FEATURE_MISSING_SHMEM as u64;
        /// Faults are SIGBUS on the faulting thread instead of messages.
        const SIGBUS = c::UFFD_FEATURE_SIGBUS as u64;
        /// Messages name the thread.
        const THREAD_ID = c::UFFD_FEATURE_THREAD_ID as u64;
        /// Minor faults on hugetlbfs.
        const MINOR_HUGETLBFS = c::UFFD_FEATURE_MINOR_HUGETLBFS as u64;
        /// Minor faults on shared memory (`UFFDIO_CONTINUE`).
        const MINOR_SHMEM = c::UFFD_FEATURE_MINOR_SHMEM as u64;
        /// Messages carry the address to the byte.
        const EXACT_ADDRESS = c::UFFD_FEATURE_EXACT_ADDRESS as u64;
        /// Write-protection of hugetlbfs and shared memory.
        const WP_HUGETLBFS_SHMEM = c::UFFD_FEATURE_WP_HUGETLBFS_SHMEM as u64;
        /// Write-protection of pages that are not there yet (6.4).
        const WP_UNPOPULATED = c::UFFD_FEATURE_WP_UNPOPULATED as u64;
        /// Poisoned pages (6.6).
        const POISON = c::UFFD_FEATURE_POISON as u64;
        /// Writes lift the protection without asking (6.7).
        const WP_ASYNC = c::UFFD_FEATURE_WP_ASYNC as u64;
        /// Moving pages (6.8).
        const MOVE = c::UFFD_FEATURE_MOVE as u64;
        /// Features of later kernels.
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// Which faults of a range are ours (`UFFDIO_REGISTER_MODE_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Modes: u64 {
        /// Pages that are not there.
        const MISSING = c::UFFDIO_REGISTER_MODE_MISSING as u64;
        /// Writes to write-protected pages.
        const WRITE_PROTECT = c::UFFDIO_REGISTER_MODE_WP as u64;
        /// Pages that are in the page cache but not in the page table.
        const MINOR = c::UFFDIO_REGISTER_MODE_MINOR as u64;
    }
}

bitflags::bitflags! {
    /// Which calls may be made on a registered range, as the kernel granted them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct RangeCalls: u64 {
        /// [`Userfaultfd::wake`].
        const WAKE = 1 << c::_UFFDIO_WAKE;
        /// [`Userfaultfd::copy`].
        const COPY = 1 << c::_UFFDIO_COPY;
        /// [`Userfaultfd::zero`].
        const ZERO = 1 << c::_UFFDIO_ZEROPAGE;
        /// [`Userfaultfd::move_pages`].
        const MOVE = 1 << c::_UFFDIO_MOVE;
        /// [`Userfaultfd::write_protect`].
        const WRITE_PROTECT = 1 << c::_UFFDIO_WRITEPROTECT;
        /// [`Userfaultfd::continue_faults`].
        const CONTINUE = 1 << c::_UFFDIO_CONTINUE;
        /// [`Userfaultfd::poison`].
        const POISON = 1 << c::_UFFDIO_POISON;
        /// Calls of later kernels.
        const _ = !0;
    }
}

/// Whose faults a descriptor may answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultScope {
    /// Those of user code only (`UFFD_USER_MODE_ONLY`): any user may have such a descriptor. The
    /// kernel's own touches of a missing page are `EFAULT`.
    UserMode,
    /// The kernel's touches too. Needs the device, `CAP_SYS_PTRACE` or the sysctl
    /// `vm.unprivileged_userfaultfd`.
    UserAndKernel,
}

/// Which of the two ways led to the descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpenedBy {
    /// `/dev/userfaultfd`.
    Device,
    /// The system call.
    SystemCall,
}

/// Why there is no userfaultfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Neither way gave a descriptor.
    #[error("userfaultfd is refused: /dev/userfaultfd says {device}, the system call {call}")]
    Refused {
        /// What opening the device, or asking it, gave.
        device: Errno,
        /// What the system call gave.
        call: Errno,
    },
    /// The descriptor came, but lacks features that must be there.
    #[error("this kernel's userfaultfd lacks {missing:?}")]
    Lacking {
        /// The required features that it does not offer.
        missing: UffdFeatures,
    },
    /// The handshake failed although the features are offered (`EPERM`: fork events).
    #[error("the userfaultfd handshake fails: {0}")]
    Handshake(Errno),
}

impl OpenError {
    /// The error number that says most.
    pub fn errno(self) -> Errno {
        match self {
            Self::Refused { call, .. } => call,
            Self::Lacking { .. } => Errno::INVAL,
            Self::Handshake(errno) => errno,
        }
    }
}

/// An open userfaultfd with its features settled.
///
/// Closing it (dropping) unregisters every range: **missing pages read as zeros afterwards**.
#[derive(Debug)]
pub struct Userfaultfd {
    descriptor: Handle,
    features: UffdFeatures,
    opened_by: OpenedBy,
}

impl Userfaultfd {
    /// Opens a descriptor with the features `required`, and those of `optional` that this kernel
    /// has. Close-on-exec and non-blocking.
    ///
    /// # Errors
    /// [`OpenError`], with the error number of every way that was tried.
    pub fn open(
        required: UffdFeatures,
        optional: UffdFeatures,
        scope: FaultScope,
    ) -> Result<Self, OpenError> {
        let offered = Self::offered(scope)?;
        if !offered.contains(required) {
            let missing = required.difference(offered);
            return Err(OpenError::Lacking { missing });
        }
        let wanted = required | (optional & offered);
        let (descriptor, opened_by) = new_descriptor(scope)?;
        handshake(descriptor.as_fd(), wanted).map_err(OpenError::Handshake)?;
        Ok(Self {
            descriptor: descriptor.into(),
            features: wanted,
            opened_by,
        })
    }

    /// Every feature that this kernel offers, asked of a descriptor of its own.
    ///
    /// # Errors
    /// [`OpenError::Refused`] or [`OpenError::Handshake`].
    pub fn offered(scope: FaultScope) -> Result<UffdFeatures, OpenError> {
        let (descriptor, _) = new_descriptor(scope)?;
        let answer =
            handshake(descriptor.as_fd(), UffdFeatures::empty()).map_err(OpenError::Handshake)?;
        Ok(UffdFeatures::from_bits_retain(answer.features))
    }

    /// Takes over a descriptor whose handshake is done, such as one that came back from another
    /// descriptor table.
    pub fn from_descriptor(
        descriptor: impl Into<Handle>,
        features: UffdFeatures,
        opened_by: OpenedBy,
    ) -> Self {
        Self {
            descriptor: descriptor.into(),
            features,
            opened_by,
        }
    }

    /// The features that were granted.
    #[inline]
    pub fn features(&self) -> UffdFeatures {
        self.features
    }

    /// How it was opened.
    pub fn opened_by(&self) -> OpenedBy {
        self.opened_by
    }

    /// Moves the descriptor to the lowest free number that is not below `lowest`, out of the way of
    /// programs that close or replace low numbers. [`keep`](Self::keep) does that and more.
    ///
    /// # Errors
    /// `EINVAL` at or above `RLIMIT_NOFILE`, `EMFILE` when all from there on are taken; the
    /// descriptor stays where it was.
    pub fn raise_above(&mut self, lowest: RawFd) -> Result<(), Errno> {
        if let Handle::Plain(descriptor) = &self.descriptor {
            self.descriptor = rustix::io::fcntl_dupfd_cloexec(descriptor, lowest)?.into();
        }
        Ok(())
    }

    /// Keeps the descriptor safe from the program: a high number, and a second reference elsewhere,
    /// so that missing pages stay missing (and never read as zeros) when the program closes it.
    /// Calls that then fail take it back by themselves.
    ///
    /// # Errors
    /// `EMFILE`; the descriptor stays as it was.
    pub fn keep(&mut self) -> Result<(), Errno> {
        self.descriptor.keep()
    }

    /// Whether a second reference is held, so that missing pages never read as zeros.
    pub fn is_backed(&self) -> bool {
        self.descriptor.is_backed()
    }

    /// Takes the descriptor back when the program closed or replaced it: `true` when it had.
    ///
    /// # Errors
    /// It is lost for good; the process must stop.
    pub fn take_back_if_lost(&self) -> Result<bool, Lost> {
        self.descriptor.take_back_if_lost()
    }

    /// Makes a call, and once more when the descriptor was lost and could be taken back.
    ///
    /// # Safety
    /// Opcode and argument must belong together; what the call does is the caller's duty.
    #[inline]
    unsafe fn request<const OPCODE: Opcode, T>(&self, argument: &mut T) -> Result<(), Errno> {
        // SAFETY: The caller's duty.
        let result = unsafe { ioctl::ioctl(self, Updater::<OPCODE, _>::new(argument)) };
        match result {
            // What a userfaultfd answers.
            Ok(())
            | Err(
                Errno::EXIST
                | Errno::AGAIN
                | Errno::NOENT
                | Errno::BUSY
                | Errno::FAULT
                | Errno::NOMEM
                | Errno::SRCH,
            ) => result,
            // What something else under its number might.
            Err(errno) => match self.take_back_if_lost() {
                // Taken back just now; or another thread did so between our call and our look.
                Ok(taken) if taken || matches!(errno, Errno::BADF | Errno::NOTTY) => {
                    // SAFETY: As above; the first call did nothing to the argument's inputs.
                    unsafe { ioctl::ioctl(self, Updater::<OPCODE, _>::new(argument)) }
                }
                _ => result,
            },
        }
    }

    /// Takes the faults named by `modes` in `range` over, and says what may be called there.
    ///
    /// # Errors
    /// `EINVAL` when a page is not mapped or the kind of mapping cannot be registered that way,
    /// `EBUSY` when another descriptor has it, `EPERM` without write access to the file, `ENOMEM`
    /// when mappings would have to be split beyond the limit.
    ///
    /// # Safety
    /// The caller owns the range and answers every fault in it from now on: in SIGBUS mode an
    /// access to a missing page is a signal, in message mode it waits.
    pub unsafe fn register(&self, range: PageRange, modes: Modes) -> Result<RangeCalls, Errno> {
        let mut argument = c::uffdio_register {
            range: kernel_range(range),
            mode: modes.bits(),
            ioctls: 0,
        };
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        unsafe {
            self.request::<REGISTER, _>(&mut argument)?;
        }
        Ok(RangeCalls::from_bits_retain(argument.ioctls))
    }

    /// Gives the faults of `range` back to the kernel and wakes who waits there. Missing pages read
    /// as zeros afterwards.
    ///
    /// # Errors
    /// `EINVAL` when a page is not mapped or cannot have been registered.
    ///
    /// # Safety
    /// The caller owns the range; what was paged out of it is gone unless brought in before.
    pub unsafe fn unregister(&self, range: PageRange) -> Result<(), Errno> {
        let mut argument = kernel_range(range);
        // SAFETY: Opcode and struct belong together; the effect is the caller's duty.
        unsafe { self.request::<UNREGISTER, _>(&mut argument) }
    }
}

impl AsFd for Userfaultfd {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Userfaultfd {
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[inline]
fn kernel_range(range: PageRange) -> c::uffdio_range {
    c::uffdio_range {
        start: range.address(),
        len: byte_length(range) as u64,
    }
}

/// The device first: it also serves users without any capability, where it was made readable.
fn new_descriptor(scope: FaultScope) -> Result<(OwnedFd, OpenedBy), OpenError> {
    let flags = c::O_CLOEXEC
        | c::O_NONBLOCK
        | match scope {
            FaultScope::UserMode => c::UFFD_USER_MODE_ONLY,
            FaultScope::UserAndKernel => 0,
        };
    let device = match by_device(flags) {
        Ok(descriptor) => return Ok((descriptor, OpenedBy::Device)),
        Err(errno) => errno,
    };
    match by_system_call(flags) {
        Ok(descriptor) => Ok((descriptor, OpenedBy::SystemCall)),
        Err(call) => Err(OpenError::Refused { device, call }),
    }
}

/// Only the device (`USERFAULTFD_IOC_NEW`).
///
/// # Errors
/// `ENOENT` without the device (before 6.1, or not in this container), `EACCES` without the right.
pub(crate) fn by_device(flags: u32) -> Result<OwnedFd, Errno> {
    let device = rustix::fs::open(
        "/dev/userfaultfd",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // SAFETY: The ioctl takes the flags by value and returns a new descriptor.
    unsafe {
        let argument = [
            device.as_raw_fd() as usize,
            IOC_NEW as usize,
            flags as usize,
        ];
        let number = raw::call(c::__NR_ioctl, argument)?;
        Ok(OwnedFd::from_raw_fd(number as RawFd))
    }
}

/// Only the system call.
///
/// # Errors
/// `EPERM` without the privilege, `ENOSYS` without the feature or under a filter.
pub(crate) fn by_system_call(flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: Returns a new descriptor; touches no memory.
    unsafe {
        let number = raw::call(c::__NR_userfaultfd, [flags as usize])?;
        Ok(OwnedFd::from_raw_fd(number as RawFd))
    }
}

fn handshake(descriptor: BorrowedFd<'_>, features: UffdFeatures) -> Result<c::uffdio_api, Errno> {
    let mut argument = c::uffdio_api {
        api: u64::from(c::UFFD_API),
        features: features.bits(),
        ioctls: 0,
    };
    // SAFETY: Opcode and struct belong together.
    unsafe {
        ioctl::ioctl(descriptor, Updater::<API, _>::new(&mut argument))?;
    }
    Ok(argument)
}

#[cfg(test)]
mod tests;
