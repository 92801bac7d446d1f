//! Changes of pages that nobody touched yet: no lock, no system call.
//!
//! An extent's lock is taken with all signals blocked, which costs two system calls. A page that was never touched (or is
//! all zeros again) has nothing in the mapping and nothing stored, so its entry's state is all there is to change. The one
//! thing in the way is a fault that is about to fill the page: it holds the lock, has seen the entry as it was, and
//! will put `Present` over ours. So:
//!
//! 1. the states are changed by compare-and-exchange;
//! 2. then the lock is looked at: when it is free, no such fault is under way any more, and any later one sees the new
//!    entries (taking the lock and changing an entry are full barriers on x86-64, so one of the two sees the other);
//! 3. then the entries are looked at again: as they were left, so no fault of before has changed one.
//!
//! Where any of this is not so, the caller does the whole change again under the lock, whatever the entries are by
//! then. Changes are made under the space lock, so there is never a second change beside this one; and whatever else
//! alters entries (moving out, reading in, pinning) begins with a page that is present or stored, not with one of these.

use core::sync::atomic::{Ordering, fence};

use pagekeeper_sys::lock::RawLock;
use pagekeeper_units::PageRange;

use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::ExtentNumber;

/// Changes the entries of `part`, which lies in the extent, if all its pages are untouched or reserved (those stay). `false`:
/// do it under the lock; some entries may have been changed already.
pub(super) fn change(
    arena: &Arena,
    extent: ExtentNumber,
    part: PageRange,
    change: impl Fn(Entry) -> Entry,
) -> bool {
    for page in part.pages() {
        let cell = arena.entry(page);
        // Not written to needlessly: that would make table memory of what is only reserved.
        if cell.load() == Entry::RESERVED {
            continue;
        }
        if cell
            .try_update(|entry| is_untouched(entry).then(|| change(entry)))
            .is_err()
        {
            return false;
        }
    }
    fence(Ordering::SeqCst);
    !RawLock::of(arena.extent_words(extent).lock).is_locked()
        && part.pages().all(|page| {
            let entry = arena.entry(page).load();
            // Every change that comes here does nothing when done again.
            entry == Entry::RESERVED || is_untouched(entry) && change(entry) == entry
        })
}

/// Whether the entry is all there is of the page.
fn is_untouched(entry: Entry) -> bool {
    matches!(entry.kind(), Kind::Reserved | Kind::Fill)
        && entry.location() == 0
        && !entry.is_busy()
        && !entry.is_locked()
        && entry.pins() == 0
}
