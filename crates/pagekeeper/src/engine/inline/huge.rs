//! First touches where everything fits: whole huge pages, so that data within the budget is as fast as ordinary memory.
//!
//! A huge page cannot be copied into a registered range, but it can be moved there (paging-mechanisms.md A.2): the kernel makes
//! zeroed huge pages in memory of ours, and one call moves up to eight of them into place.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: moves zeroed pages of our own into a registered arena"
)]

use pagekeeper_sys::userfaultfd::MoveMode;
use pagekeeper_units::{PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::drop::drop_pages;
use super::entry::Kind;
use super::extent::{EXTENT_PAGES, HUGE, LockedExtent, QUEUED, extents_of};
use super::work_area::HUGE_AT_ONCE;
use super::working_set::WorkingSet;

impl WorkingSet {
    /// Fills the whole 2 MiB piece around `page` with a huge page of zeros, and up to seven more after it, if all
    /// is committed, untouched, writable, and fits. Says whether it did.
    pub(crate) fn fill_huge(&self, arena: &Arena, page: PageNumber) -> bool {
        if !self.everything_fits() {
            return false;
        }
        let first = PageNumber::new(page.get() & !(PAGES_PER_HUGE_PAGE - 1));
        let mut count = 0;
        while count < HUGE_AT_ONCE {
            let start = first.plus(PageCount::new(count * PAGES_PER_HUGE_PAGE));
            let piece = PageRange::new(start, PageCount::new(PAGES_PER_HUGE_PAGE));
            if !arena.range().covers(piece) || !is_untouched(arena, piece) {
                break;
            }
            count += 1;
        }
        let pages = count * PAGES_PER_HUGE_PAGE;
        if count == 0 || !self.frames().take_for_fault(pages) {
            return false;
        }
        let filled = self
            .areas()
            .huge
            .with_zeros(count, |zeros| self.move_huge(arena, first, zeros));
        let filled = filled.unwrap_or(0);
        self.frames().give(pages - filled);
        if filled > 0 {
            self.counters().zero_faults.add(1);
        }
        filled > 0
    }

    /// Moves prepared zeros to `first` and on; the pages that arrived.
    fn move_huge(&self, arena: &Arena, first: PageNumber, zeros: PageRange) -> u64 {
        let target = PageRange::new(first, zeros.count());
        // All extents of the pieces, in rising order. (`in_place` holds several too, but tries for all but its first.)
        let mut locked: [Option<LockedExtent<'_>>;
            (HUGE_AT_ONCE * PAGES_PER_HUGE_PAGE / EXTENT_PAGES) as usize] =
            core::array::from_fn(|_| None);
        for ((extent, _), held) in extents_of(target).zip(&mut locked) {
            *held = Some(arena.lock_extent(extent));
        }
        if !is_untouched(arena, target) {
            return 0;
        }
        // The fault itself left an empty table of small pages in its 2 MiB, and the kernel moves a huge page whole only to
        // where there is none. Since 6.14 dropping a whole 2 MiB frees the table; before, that one piece is split.
        // SAFETY: by their entries these pages are untouched, and their extents are locked.
        let freed = unsafe { drop_pages(target) };
        debug_assert!(freed, "absent pages could not be dropped");
        // SAFETY: the source is the huge source's own memory, the target lies in a registered arena and is absent, as
        // its entries say, which cannot change while all its extents are locked.
        let progress = unsafe {
            self.userfaultfd()
                .move_pages(first, zeros, MoveMode::DO_NOT_WAKE)
        };
        let done = PageRange::new(first, progress.done_pages());
        if progress.error.is_some() {
            // The kernel may have moved more than it says: nothing may be there that is not accounted for.
            let rest = progress.rest_of(target);
            // SAFETY: by their entries these pages are untouched, and their extents are locked.
            let dropped = unsafe { drop_pages(rest) };
            debug_assert!(dropped, "pages could not be dropped");
        }
        for entry in arena.entries(done) {
            entry.change_blank(|entry| entry.moved_to(Kind::Present, 0));
        }
        for extent in locked.iter().flatten() {
            if extent.pages().intersection(done).is_empty() {
                continue;
            }
            extent.set_flag(HUGE);
            if !extent.set_flag(QUEUED) && !self.enqueue(extent.name(), false) {
                extent.clear_flag(QUEUED);
            }
        }
        done.count().get()
    }
}

fn is_untouched(arena: &Arena, range: PageRange) -> bool {
    let mut entries = arena.entries(range);
    entries.len() > 0 && entries.all(|entry| entry.load().is_blank())
}
