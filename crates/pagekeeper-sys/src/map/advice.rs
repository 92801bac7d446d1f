//! `madvise`, with a name for every advice that the pager uses.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: some advice throws contents away; the caller owns the range"
)]

use core::sync::atomic::{AtomicBool, Ordering};

use linux_raw_sys::general as c;
use pagekeeper_units::{PageCount, PageRange};

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

/// Ranges that one call gives advice about.
const AT_ONCE: usize = 64;

/// Whether the kernel takes a list for the own process (6.13).
static TAKES_LISTS: AtomicBool = AtomicBool::new(true);

/// Gives the kernel `advice` about several ranges, passing over those for which it is refused. One call for many, and one
/// flush of the processors' caches of addresses (`process_madvise`), where the kernel can. Returns how many pages took it.
///
/// # Safety
/// As for [`advise`], for every range.
pub unsafe fn advise_each(ranges: &[PageRange], advice: Advice) -> PageCount {
    let mut pages = PageCount::ZERO;
    for some in ranges.chunks(AT_ONCE) {
        let mut rest = some;
        while let Some((first, others)) = rest.split_first() {
            // SAFETY: The caller's duty.
            let taken = match unsafe { advise_list(rest, advice) } {
                0 => {
                    // The first was refused, or lists are.
                    // SAFETY: The caller's duty.
                    if unsafe { advise(*first, advice) }.is_ok() {
                        pages += first.count();
                    }
                    rest = others;
                    continue;
                }
                taken => taken,
            };
            for range in &rest[..taken] {
                pages += range.count();
            }
            rest = &rest[taken..];
        }
    }
    pages
}

/// Advice about up to [`AT_ONCE`] ranges. Says how many of them took it, from the first on.
///
/// # Safety
/// As for [`advise`], for every range.
unsafe fn advise_list(ranges: &[PageRange], advice: Advice) -> usize {
    if ranges.len() < 2 || !TAKES_LISTS.load(Ordering::Relaxed) {
        return 0;
    }
    let mut list = [[0; 2]; AT_ONCE];
    for (place, range) in list.iter_mut().zip(ranges) {
        *place = [range.address() as usize, byte_length(*range)];
    }
    let count = ranges.len().min(AT_ONCE);
    // SAFETY: The list is ours and has so many entries, each a `struct iovec`; the rest is the caller's duty.
    let taken = unsafe {
        raw::call(
            c::__NR_process_madvise,
            [
                c::PIDFD_SELF_THREAD_GROUP as usize,
                list.as_ptr().expose_provenance(),
                count,
                advice as usize,
                0,
            ],
        )
    };
    let mut left = match taken {
        Ok(bytes) => bytes,
        Err(Errno::NOSYS | Errno::BADF | Errno::PERM) => {
            TAKES_LISTS.store(false, Ordering::Relaxed);
            0
        }
        Err(_) => 0,
    };
    // What was taken are whole ranges, from the first on.
    let is_taken = |range: &&PageRange| {
        let length = byte_length(**range);
        let whole = left >= length;
        left = left.saturating_sub(length);
        whole
    };
    ranges.iter().take_while(is_taken).count()
}
