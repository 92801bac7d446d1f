//! A forked child must know that it is one.
//!
//! The library's ranges are not inherited (`MADV_DONTFORK`), but the child has a copy of our tables and, worse, the
//! parent's userfaultfd: filling a page through it would fill the *parent's*. So a page that the kernel wipes in the
//! child tells the two apart. Unlike comparing process numbers that is right for `vfork` (same memory, same
//! process as far as we are concerned) and for a bare `clone`.
//!
//! A child may make spaces of its own. It then marks itself with a number that no process before it had, so that what it
//! inherited (which remembers the number of its maker) stays dead while its own works.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads one word of a page that is never unmapped"
)]

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pagekeeper_sys::map::{self, Access, Advice, Treatment};
use pagekeeper_units::PageCount;

use crate::engine::{inline, views};
use crate::error::EngineError;
use crate::fault_watch;
use crate::registry;

/// The word that holds the process's number, from 1 up, and 0 in its forked children. Null before.
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());
/// The last number that was given; inherited.
static LAST: AtomicU32 = AtomicU32::new(1);

/// Marks this process as one that owns reservations. Once; later calls do nothing.
pub(crate) fn mark_process() -> Result<(), EngineError> {
    if is_child() {
        become_owner();
    }
    if !MARK.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    let kernel = |call| move |errno| EngineError::Kernel { call, errno };
    let page = map::reserve(PageCount::ONE, Access::READ_WRITE, Treatment::NOT_DUMPED)
        .map_err(EngineError::AddressSpace)?;
    // SAFETY: the page is ours and holds nothing yet.
    unsafe { map::advise(page.range(), Advice::WipeOnFork) }.map_err(kernel("MADV_WIPEONFORK"))?;
    let word = page.base().cast::<AtomicU32>();
    // SAFETY: the page is mapped, zeroed and aligned; an atomic integer may live there.
    unsafe { &*word }.store(1, Ordering::Release);
    let taken = MARK.compare_exchange(
        core::ptr::null_mut(),
        word,
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    if taken.is_ok() {
        // It stays for the rest of the process's life.
        core::mem::forget(page);
        crate::space::watch_forks();
    }
    Ok(())
}

/// A forked child becomes an owner of reservations: nothing that it inherited is its own.
pub(crate) fn become_owner() {
    registry::forget_all();
    inline::pin::forget_all();
    views::filled::forget_all();
    fault_watch::forget_all();
    let mark = MARK.load(Ordering::Acquire);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: a child has a mark, and a non-null mark points to a page that is never unmapped.
    unsafe { &*mark }.store(number, Ordering::Release);
}

/// The number of this process: 0 in a forked child that has not made anything of its own.
pub(crate) fn process_mark() -> u32 {
    let mark = MARK.load(Ordering::Acquire);
    // SAFETY: a non-null mark points to a page that is never unmapped.
    unsafe { mark.as_ref() }.map_or(0, |word| word.load(Ordering::Relaxed))
}

/// Whether this process is a forked child of the one that owns the reservations.
#[inline]
pub(crate) fn is_child() -> bool {
    let mark = MARK.load(Ordering::Acquire);
    // SAFETY: a non-null mark points to a page that is never unmapped.
    !mark.is_null() && unsafe { &*mark }.load(Ordering::Relaxed) == 0
}
