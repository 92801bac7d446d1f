//! Keeping our descriptors safe from the program.
//!
//! A program that daemonises closes every descriptor (`close_range(3, ~0)`), and one that says `dup2(x, 700)`
//! replaces whatever was there. If that was a userfaultfd, pages that are out would read as **zeros**; if it was
//! the page file, they would be lost. So:
//!
//! 1. Our numbers lie high, where programs do not go by accident ([`KeptDescriptor::keep`]).
//! 2. A keeper thread with a descriptor table of its own (`keeper.rs`) holds a second reference to each file. As
//!    long as it lives, a userfaultfd stays registered and a touch is a fault, never zeros.
//! 3. [`KeptDescriptor::verify`] asks with one `fstat` whether a number still is our file, and
//!    [`KeptDescriptor::recover`] takes the file back from the keeper, under the old number if that is free.
//!    Both allocate nothing, so the fault path may call them. Where recovering fails the caller has to stop the
//!    process; it must not go on.
//! 4. [`own_numbers`] lists the numbers for wrappers of `close_range`, and [`vacate()`] makes room for `dup2`.
//!
//! Files of the program's that we open for ourselves are not kept but [`apart`].
//!
//! After `fork` the child has the descriptors but not the keeper: there `recover` fails, unless the number is still
//! good or the kernel lets the child reach into its parent. What the child keeps itself gets a keeper of its own.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: system calls on descriptor numbers that another owner may have closed"
)]

pub mod apart;
mod keeper;
mod message;
mod vacate;

pub(crate) use vacate::InUse;
pub use vacate::vacate;

use core::sync::atomic::{AtomicI32, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use linux_raw_sys::general::{
    __NR_close, __NR_fcntl, __NR_fstat, __NR_kcmp, F_DUPFD_CLOEXEC, stat,
};
use rustix::process::{Resource, getrlimit};

use crate::Errno;
use crate::lock::FutexLock;
use crate::raw;

/// What the keeper's thread is called.
pub const KEEPER_NAME: &str = "pagekeeper-fds";

/// How many descriptors one process can keep.
pub const MAXIMUM_KEPT: usize = 256;

/// Room left above our numbers, below the soft limit.
const HEADROOM: u64 = 128;
/// A soft limit of a million does not mean a table of a million entries (8 MiB of the kernel's memory).
const HIGHEST_BASE: u64 = 16_384 - HEADROOM;
/// A free place in the list.
const NONE: RawFd = -1;

/// The numbers of all kept descriptors in the program's table.
static NUMBERS: [AtomicI32; MAXIMUM_KEPT] = [const { AtomicI32::new(NONE) }; MAXIMUM_KEPT];

/// Held while a lost descriptor is taken back, so that two threads do not both do it. Taken on the fault path.
static RECOVERY: FutexLock<()> = FutexLock::new(());

/// What tells a file from others: its inode. Userfaultfd and io_uring descriptors have one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file system (`st_dev`).
    pub device: u64,
    /// The inode (`st_ino`).
    pub inode: u64,
    /// Type and permission bits (`st_mode`); the type alone is compared, as permissions may change.
    pub kind: u32,
}

/// Why a lost descriptor could not be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a descriptor of the pager was closed or replaced and could not be taken back: {0}")]
pub struct Lost(pub Errno);

/// A descriptor that survives the program's closing and replacing.
///
/// Dropping it closes the number if it still is ours, and the keeper's reference.
#[derive(Debug)]
pub struct KeptDescriptor {
    /// Index in [`NUMBERS`]; the number there is the current one.
    place: usize,
    identity: Identity,
    /// Whether other files share the inode, so that `fstat` alone cannot tell.
    is_shared_inode: bool,
    /// The keeper's number for the file, if it has one.
    kept: Option<keeper::Kept>,
}

impl KeptDescriptor {
    /// Moves `descriptor` to a high number and gives a second reference to the keeper, which is started if need be.
    ///
    /// # Errors
    /// `EMFILE` if no number or no place ([`MAXIMUM_KEPT`]) is free, and whatever the kernel says. Without a keeper
    /// (threads or local sockets refused) the descriptor is made all the same: see [`KeptDescriptor::is_backed`].
    pub fn keep(descriptor: OwnedFd) -> Result<Self, Errno> {
        let number = move_high(descriptor)?;
        let result = Self::keep_number(number.as_raw_fd());
        if result.is_ok() {
            // From here on the number may be anybody's at any time: it is closed only after a look.
            let _ = number.into_raw_fd();
        }
        result
    }

    fn keep_number(number: RawFd) -> Result<Self, Errno> {
        let identity = identity_of(number)?;
        let place = NUMBERS
            .iter()
            .position(|place| {
                place
                    .compare_exchange(NONE, number, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            })
            .ok_or(Errno::MFILE)?;
        Ok(Self {
            place,
            identity,
            is_shared_inode: is_shared_inode(identity),
            kept: keeper::keep(number).ok(),
        })
    }

    /// Whether a quarter of all places is still free: those who can do without ask first.
    pub fn has_room() -> bool {
        own_numbers().count() < MAXIMUM_KEPT / 4 * 3
    }

    /// The number, as it is now. Nothing is checked: the program may have closed or replaced it.
    #[inline]
    pub fn number(&self) -> RawFd {
        NUMBERS
            .get(self.place)
            .map_or(NONE, |number| number.load(Ordering::Acquire))
    }

    /// The descriptor, for a call. Nothing is checked, as with [`KeptDescriptor::number`].
    #[inline]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: A number of ours is never -1. Should the program have closed it the call fails with EBADF;
        // that the file may be another one is what `verify` is for.
        unsafe { BorrowedFd::borrow_raw(self.number()) }
    }

    /// What tells the file from others.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the keeper holds a second reference. Without one a lost descriptor is noticed but stays lost.
    pub fn is_backed(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether the number still is our file. One `fstat` (about 250 ns); one `kcmp` more for the few kinds of file
    /// that share an inode.
    pub fn verify(&self) -> bool {
        let number = self.number();
        identity_of(number).is_ok_and(|identity| self.is_same(identity))
            && (!self.is_shared_inode || self.is_kept_file(number))
    }

    /// Takes the file back if its number is lost, under the old number if that is free. Allocates nothing.
    ///
    /// # Errors
    /// [`Lost`]: the caller must stop the process rather than go on without the file.
    pub fn recover(&self) -> Result<(), Lost> {
        let _guard = RECOVERY.lock_outside_handler();
        if self.verify() {
            return Ok(());
        }
        let kept = self.kept.as_ref().ok_or(Lost(Errno::BADF))?;
        let fresh = keeper::take(kept).map_err(Lost)?;
        let result = self.put_back(fresh);
        if result != Ok(fresh) {
            close(fresh);
        }
        result.map(|_| ())
    }

    /// Gives the file `fresh` its lasting number, which is returned.
    fn put_back(&self, fresh: RawFd) -> Result<RawFd, Lost> {
        let identity = identity_of(fresh).map_err(Lost)?;
        if !self.is_same(identity) {
            return Err(Lost(Errno::BADF));
        }
        // The lowest free number from the old one on: the old one, unless the program has something there.
        let number = duplicate_from(fresh, self.number()).or_else(|_| {
            let base = high_base();
            duplicate_from(fresh, base)
        });
        // With a full table the number that we have is as good as any.
        let number = number.unwrap_or(fresh);
        if let Some(place) = NUMBERS.get(self.place) {
            place.store(number, Ordering::Release);
        }
        Ok(number)
    }

    fn is_same(&self, other: Identity) -> bool {
        const KIND: u32 = 0o170_000;
        self.identity.device == other.device
            && self.identity.inode == other.inode
            && self.identity.kind & KIND == other.kind & KIND
    }

    /// Whether `number` is the very open file that the keeper has. `true` if nobody can say.
    fn is_kept_file(&self, number: RawFd) -> bool {
        const KCMP_FILE: usize = 0;
        let Some(kept) = &self.kept else { return true };
        let this = rustix::thread::gettid().as_raw_nonzero().get() as usize;
        // SAFETY: Touches no memory.
        let result = unsafe {
            raw::call(
                __NR_kcmp,
                [
                    this,
                    kept.thread() as usize,
                    KCMP_FILE,
                    number as usize,
                    kept.number() as usize,
                ],
            )
        };
        match result {
            Ok(order) => order == 0,
            Err(Errno::BADF) => false,
            Err(_) => true,
        }
    }
}

/// The number that it has at that moment, as with [`KeptDescriptor::number`].
impl AsFd for KeptDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Drop for KeptDescriptor {
    fn drop(&mut self) {
        let _guard = RECOVERY.lock_outside_handler();
        if self.verify() {
            close(self.number());
        }
        if let Some(place) = NUMBERS.get(self.place) {
            place.store(NONE, Ordering::Release);
        }
        if let Some(kept) = self.kept.take() {
            keeper::release(&kept);
        }
    }
}

/// The numbers in the program's table that belong to the pager, in no order.
pub fn own_numbers() -> impl Iterator<Item = RawFd> {
    NUMBERS
        .iter()
        .map(|number| number.load(Ordering::Acquire))
        .filter(|&number| number != NONE)
}

/// Keeps the keeper's record and the worker's as they are across a fork, so that the child finds their locks free.
pub fn hold_across_fork() -> impl Sized {
    (keeper::hold(), apart::hold())
}

/// In a child that was forked this moment: closes its copies of the pager's descriptors. The parent's are not touched;
/// whatever used them here must not be used any more, nor dropped.
pub fn close_inherited() {
    for place in &NUMBERS {
        let number = place.swap(NONE, Ordering::AcqRel);
        if number != NONE {
            close(number);
        }
    }
}

/// Whether `number` belongs to the pager.
pub fn is_own_number(number: RawFd) -> bool {
    number != NONE && own_numbers().any(|own| own == number)
}

/// Moves a descriptor to a high number.
fn move_high(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    let low = descriptor.as_raw_fd();
    let number = duplicate_from(low, high_base()).or_else(|_| {
        // The high numbers are taken: the upper half, then anything.
        duplicate_from(low, high_base() / 2).or_else(|_| duplicate_from(low, 3))
    })?;
    // SAFETY: The kernel just made the number for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The lowest number that we like: near the soft limit, where programs do not go by accident.
fn high_base() -> RawFd {
    let soft = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let base = soft
        .saturating_sub(HEADROOM.min(soft / 4))
        .min(HIGHEST_BASE);
    RawFd::try_from(base).unwrap_or(3)
}

/// A second number for `number`, the lowest free one from `lowest` on, closed on exec.
fn duplicate_from(number: RawFd, lowest: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: Touches no memory and closes nothing.
    unsafe {
        raw::call(
            __NR_fcntl,
            [number as usize, F_DUPFD_CLOEXEC as usize, lowest as usize],
        )
    }
    .map(|number| number as RawFd)
}

/// Closes a number that is ours.
fn close(number: RawFd) {
    // SAFETY: The callers have made or verified the number.
    let _ = unsafe { raw::call(__NR_close, [number as usize]) };
}

/// The identity of whatever `number` is now.
fn identity_of(number: RawFd) -> Result<Identity, Errno> {
    let mut status = core::mem::MaybeUninit::<stat>::uninit();
    // SAFETY: The kernel fills the struct when the call succeeds, and touches nothing otherwise.
    let status = unsafe {
        raw::call(__NR_fstat, [number as usize, status.as_mut_ptr() as usize])?;
        status.assume_init()
    };
    Ok(Identity {
        device: status.st_dev,
        inode: status.st_ino,
        kind: status.st_mode,
    })
}

/// Whether the inode is the one that all simple anonymous files (eventfd, epoll, ...) share.
fn is_shared_inode(identity: Identity) -> bool {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
        .and_then(|event| identity_of(event.as_raw_fd()))
        .is_ok_and(|shared| shared.device == identity.device && shared.inode == identity.inode)
}

#[cfg(test)]
mod tests;
