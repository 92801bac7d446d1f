//! The kernel calls of this engine, each on pages inside one of its arenas.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: changes what addresses mean; every range given here lies in an arena of this engine"
)]

use std::os::fd::BorrowedFd;

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{self, Access, Advice, Treatment};
use pagekeeper_units::{PAGES_PER_GRANULE, PageCount, PageRange};

use crate::error::EngineError;

/// A forked child has no views.
const TREATMENT: Treatment = Treatment::NOT_INHERITED;

/// The error of a call by its name.
pub(super) fn named(call: &'static str) -> impl Fn(Errno) -> EngineError {
    move |errno| EngineError::Kernel { call, errno }
}

/// Takes address space for an arena.
pub(super) fn open_arena(at: Option<PageRange>, pages: PageCount) -> Result<PageRange, Errno> {
    let alignment = PageCount::new(PAGES_PER_GRANULE);
    let mapping = match at {
        Some(range) => map::reserve_at(range, Access::NONE, TREATMENT)?,
        None => map::reserve_aligned(pages, alignment, Access::NONE, TREATMENT)?,
    };
    // Under mlockall(MCL_FUTURE) it was born locked.
    let _ = map::unlock(mapping.range());
    Ok(mapping.into_range())
}

/// Takes an arena out of the address space.
pub(super) fn close_arena(arena: PageRange) -> Result<(), Errno> {
    // SAFETY: Module text; the caller says that nothing is in it any more.
    unsafe { map::unmap(arena) }
}

/// Makes pages what their arena is: inaccessible and empty.
pub(super) fn clear(range: PageRange) -> Result<(), Errno> {
    // SAFETY: Module text; the view there is being unmapped.
    unsafe { map::reserve_over(range, Access::NONE, TREATMENT) }
}

/// Puts a part of a file in the place of what lies there, shared or copied on write. To be kept from children afterwards.
pub(super) fn map_file(
    range: PageRange,
    (file, offset): (BorrowedFd<'_>, u64),
    access: Access,
    is_private: bool,
) -> Result<(), EngineError> {
    // SAFETY: Module text; the caller replaces what the program asked to have replaced.
    unsafe {
        if is_private {
            map::map_file_private_over(range, file, offset, access)
        } else {
            map::map_file_shared_over(range, file, offset, access)
        }
    }
    .map_err(named("mmap"))
}

/// A forked child does not get these pages.
pub(super) fn keep_from_children(range: PageRange) -> Result<(), EngineError> {
    advise(range, Advice::DoNotInherit).map_err(named("madvise"))
}

/// Brings pages in and keeps them there. Nothing is copied by it: `mlock` would write to every page of a private mapping.
pub(super) fn lock(range: PageRange) -> Result<(), Errno> {
    match map::lock_as_touched(range) {
        Ok(()) => {}
        // Before 4.4.
        Err(Errno::NOSYS) => return map::lock(range),
        Err(errno) => return Err(errno),
    }
    match advise(range, Advice::PopulateRead) {
        Ok(()) => Ok(()),
        // Before 5.14.
        Err(Errno::INVAL) => map::lock(range),
        Err(errno) => {
            let _ = map::unlock(range);
            Err(errno)
        }
    }
}

/// Changes what the processor may do.
pub(super) fn protect(range: PageRange, access: Access) -> Result<(), Errno> {
    // SAFETY: Module text; the caller changes what the program asked to have changed, or restores it soon.
    unsafe { map::protect(range, access) }
}

/// Gives advice; what drops pages is used on shared mappings only, whose contents stay in the page cache, or on pages
/// that nobody can write to at that moment.
pub(super) fn advise(range: PageRange, advice: Advice) -> Result<(), Errno> {
    // SAFETY: Above, and module text.
    unsafe { map::advise(range, advice) }
}

/// The same for several ranges; those for which it is refused are passed over. Says how many pages took it.
pub(super) fn advise_each(ranges: &[PageRange], advice: Advice) -> PageCount {
    // SAFETY: As for `advise`.
    unsafe { map::advise_each(ranges, advice) }
}

/// The bytes of pages that can be read and do not change.
///
/// # Safety
/// Nobody writes to them, and they stay mapped, while the slice is used.
pub(super) unsafe fn bytes<'pages>(range: PageRange) -> &'pages [u8] {
    let start = core::ptr::with_exposed_provenance(range.address() as usize);
    // SAFETY: The caller's promise.
    unsafe { core::slice::from_raw_parts(start, range.bytes().get() as usize) }
}
