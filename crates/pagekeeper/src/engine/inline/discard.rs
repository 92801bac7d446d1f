//! Contents that are of no interest any more. User context.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: drops pages whose entries say that they are untouched"
)]

use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::PageRange;

use super::arena::Arena;
use super::change::{forget_contents, lock_when_idle};
use super::drop::{Span, drop_pages};
use super::entry::Kind;
use super::extent::extents_of;

/// The contents are of no interest: untouched again, still committed.
pub(crate) fn discard(arena: &Arena, range: PageRange) {
    for (number, part) in extents_of(range) {
        // Signals may come in between: a range may be gigabytes.
        let _blocked = SignalsBlocked::new();
        let extent = lock_when_idle(arena, number, part);
        let mut frames = 0;
        let mut present = Span::default();
        for page in part.pages() {
            let now = extent.entry(page).load();
            if now.kind() == Kind::Reserved || now.pins() > 0 || now.is_locked() {
                drop_present(&mut present);
                continue;
            }
            let before = extent
                .entry(page)
                .update(|entry| entry.moved_to(Kind::Fill, 0));
            if before.kind() == Kind::Present {
                frames += 1;
                present.include(page);
            }
            forget_contents(&extent, before);
        }
        drop_present(&mut present);
        extent.leave_queue_if_empty();
        drop(extent);
        arena.set().frames().give(frames);
    }
}

/// Drops a run of pages that are untouched by their entries now, or absent, by one call. Their extent is locked.
fn drop_present(run: &mut Span) {
    if let Some(pages) = core::mem::take(run).range() {
        // SAFETY: the caller's `discard` has just marked them, and nobody is told of anything else.
        let dropped = unsafe { drop_pages(pages) };
        debug_assert!(dropped, "pages could not be dropped");
    }
}
