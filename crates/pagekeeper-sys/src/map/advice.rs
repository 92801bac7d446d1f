//! `madvise`, with a name for every advice that the pager uses.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: some advice throws contents away; the caller owns the range"
)]

use linux_raw_sys::general as c;
use pagekeeper_units::PageRange;

use super::byte_length;
use crate::{Errno, raw};

/// One piece of advice to the kernel about a range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Advice {
    /// Nothing special (`MADV_NORMAL`).
    Normal = c::MADV_NORMAL,
    /// No read-ahead (`MADV_RANDOM`).
    Random = c::MADV_RANDOM,
    /// Much read-ahead (`MADV_SEQUENTIAL`).
    Sequential = c::MADV_SEQUENTIAL,
    /// Start reading now (`MADV_WILLNEED`).
    WillNeed = c::MADV_WILLNEED,
    /// Drop the pages: anonymous ones read as zero afterwards, shared file pages stay in the page
    /// cache (`MADV_DONTNEED`).
    Discard = c::MADV_DONTNEED,
    /// As `Discard`, locked pages too (`MADV_DONTNEED_LOCKED`, 5.18).
    DiscardLocked = c::MADV_DONTNEED_LOCKED,
    /// Drop anonymous pages when memory is short (`MADV_FREE`).
    Free = c::MADV_FREE,
    /// Punch the file as well (`MADV_REMOVE`).
    Remove = c::MADV_REMOVE,
    /// A child does not have the range (`MADV_DONTFORK`).
    DoNotInherit = c::MADV_DONTFORK,
    /// A child has it again (`MADV_DOFORK`).
    Inherit = c::MADV_DOFORK,
    /// A child sees zeros (`MADV_WIPEONFORK`).
    WipeOnFork = c::MADV_WIPEONFORK,
    /// Leave out of core dumps (`MADV_DONTDUMP`).
    DoNotDump = c::MADV_DONTDUMP,
    /// Put into core dumps (`MADV_DODUMP`).
    Dump = c::MADV_DODUMP,
    /// Huge pages wanted (`MADV_HUGEPAGE`).
    HugePages = c::MADV_HUGEPAGE,
    /// Huge pages forbidden (`MADV_NOHUGEPAGE`).
    NoHugePages = c::MADV_NOHUGEPAGE,
    /// Make huge pages of what is there, now (`MADV_COLLAPSE`, 6.1).
    Collapse = c::MADV_COLLAPSE,
    /// Early victims (`MADV_COLD`).
    Cold = c::MADV_COLD,
    /// Reclaim now (`MADV_PAGEOUT`).
    PageOut = c::MADV_PAGEOUT,
    /// Fault all pages in for reading (`MADV_POPULATE_READ`, 5.14).
    PopulateRead = c::MADV_POPULATE_READ,
    /// Fault all pages in for writing (`MADV_POPULATE_WRITE`, 5.14).
    PopulateWrite = c::MADV_POPULATE_WRITE,
    /// Markers: an access is SIGSEGV without a mapping of its own. Destroys anonymous contents,
    /// keeps those of file mappings (`MADV_GUARD_INSTALL`, 6.13, on files 6.15).
    GuardInstall = c::MADV_GUARD_INSTALL,
    /// Takes the markers away (`MADV_GUARD_REMOVE`).
    GuardRemove = c::MADV_GUARD_REMOVE,
    /// Kernel same-page merging off (`MADV_UNMERGEABLE`).
    DoNotMerge = c::MADV_UNMERGEABLE,
}

/// Gives the kernel `advice` about `range`.
///
/// # Errors
/// `EINVAL` when this kernel does not know the advice or refuses it for this kind of mapping,
/// `ENOMEM` for unmapped pages, `EFAULT` when populating a page fails, `EAGAIN` when the kernel
/// wants to be asked again.
///
/// # Safety
/// Advice that drops contents, or makes accesses fail, does so: the caller must own the range, and
/// nothing may rely on what it held.
#[inline]
pub unsafe fn advise(range: PageRange, advice: Advice) -> Result<(), Errno> {
    // SAFETY: The caller's duty.
    unsafe {
        raw::call(
            c::__NR_madvise,
            [
                range.address() as usize,
                byte_length(range),
                advice as usize,
            ],
        )?;
    }
    Ok(())
}
