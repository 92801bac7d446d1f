//! State changes of pages: what commit, decommit, protect, release, lock and trim do to the table and the mapping.
//!
//! User context, under the space lock. What concerns untouched pages only takes no lock ([`super::untouched`]); all else
//! takes extent locks and hence blocks all signals.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: drops and write-protects pages of registered arenas"
)]

use pagekeeper_model::{PageState, Protection};
use pagekeeper_store::pool::PoolRef;
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::drop::{Span, drop_pages};
use super::entry::{Entry, Kind, Rights};
use super::execution::{allow_execution, restore_execution};
use super::extent::{EXTENT_PAGES, ExtentNumber, LockedExtent, extents_of};
use super::fault::{Answer, Want, bring_in};
use super::staging::{FrameNumber, List, Stored};
use super::untouched;
use super::work_area::WorkArea;
use crate::engine::{Change, Residence};
use crate::error::EngineError;

pub(super) fn rights_of(state: PageState) -> Option<Rights> {
    match state {
        PageState::Reserved => None,
        PageState::Committed(protection) => Some(Rights::of(protection)),
    }
}

/// Carries out a commit or a protection change: all runs or none.
pub(crate) fn apply(arena: &Arena, changes: &[Change]) -> Result<(), EngineError> {
    allow_execution(arena, changes)?;
    for (done, change) in changes.iter().enumerate() {
        let Some(rights) = rights_of(change.after) else {
            continue;
        };
        if change.before == PageState::Reserved {
            commit_fresh(arena, change.range, rights);
        } else if change.before != change.after {
            let before = rights_of(change.before).unwrap_or(rights);
            if let Err(error) = change_rights(arena, change.range, before, rights) {
                undo(arena, changes.get(..done).unwrap_or_default());
                restore_execution(arena, changes);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// A later run of the same call failed: these are as they were again.
fn undo(arena: &Arena, changes: &[Change]) {
    for change in changes {
        let back = Change {
            range: change.range,
            before: change.after,
            after: change.before,
        };
        match (rights_of(back.before), rights_of(back.after)) {
            (Some(_), None) => decommit(arena, &[back]),
            (Some(before), Some(after)) if before != after => {
                // Refused only for pages that are pinned and may not be touched afterwards; no call could have pinned
                // them in the meantime, because they could not be touched before either.
                let _ = change_rights(arena, back.range, before, after);
            }
            _ => {}
        }
    }
}

/// Fresh pages: no lock, no system call. Nobody else changes a reserved page's entry but its pins.
fn commit_fresh(arena: &Arena, range: PageRange, rights: Rights) {
    // Before the first page can be touched.
    let fresh = extents_of(range).filter(|(number, _)| arena.expect_extent(*number));
    arena.set().expect_extents(fresh.count() as u64);
    for page in range.pages() {
        arena.entry(page).update(|entry| entry.committed(rights));
    }
    arena.set().note_committed(range.count(), PageCount::ZERO);
}

/// New rights for committed pages. Pages that may not be touched any more leave the mapping, so none of them may be pinned:
/// after waiting for a while that is refused, and what was changed so far is as it was.
fn change_rights(
    arena: &Arena,
    range: PageRange,
    before: Rights,
    rights: Rights,
) -> Result<(), EngineError> {
    let refuse = |changed_to: PageNumber| {
        for (number, part) in extents_of(PageRange::between(range.start(), changed_to)) {
            // What may be touched again needs no waiting.
            set_rights(arena, number, part, before);
        }
        Err(EngineError::Kernel {
            call: "protect",
            errno: pagekeeper_sys::Errno::BUSY,
        })
    };
    let mut blocked = None;
    for (number, part) in extents_of(range) {
        if untouched::change(arena, number, part, |entry| entry.with_rights(rights)) {
            continue;
        }
        blocked.get_or_insert_with(SignalsBlocked::new);
        if !set_rights(arena, number, part, rights) {
            return refuse(part.start());
        }
        if !rights.may_be_present() {
            let mut area = arena.set().areas().take();
            if !expel(arena, part, &mut area) {
                return refuse(part.end());
            }
        }
    }
    Ok(())
}

/// Waits for pins at most about this often, a tenth of a millisecond each.
const PIN_WAITS: u32 = 10_000;

/// So often in a row nothing may move when pages are taken out of reach: a fifth of a millisecond to a millisecond each.
const EXPEL_TRIES: u32 = 5_000;

/// Sets the rights of one extent's part. `false` when pages that are to become untouchable stay pinned.
fn set_rights(arena: &Arena, number: ExtentNumber, part: PageRange, rights: Rights) -> bool {
    for _ in 0..PIN_WAITS {
        let extent = lock_when_idle(arena, number, part);
        let pinned = |page: PageNumber| extent.entry(page).load().pins() > 0;
        if rights.may_be_present() || !part.pages().any(pinned) {
            for page in part.pages() {
                extent.entry(page).update(|entry| entry.with_rights(rights));
            }
            if rights.may_be_present() {
                write_protect_present(&extent, part, !rights.allows_write());
            }
            return true;
        }
        drop(extent);
        pagekeeper_sys::time::pause(core::time::Duration::from_micros(100));
    }
    false
}

/// The extent, locked, with no page of `part` busy.
pub(super) fn lock_when_idle<'arena>(
    arena: &'arena Arena,
    number: ExtentNumber,
    part: PageRange,
) -> LockedExtent<'arena> {
    loop {
        let extent = arena.lock_extent(number);
        if !part.pages().any(|page| extent.entry(page).load().is_busy()) {
            return extent;
        }
        extent.wait_for_busy_page();
    }
}

fn write_protect_present(extent: &LockedExtent<'_>, part: PageRange, on: bool) {
    let present = |page: &PageNumber| extent.entry(*page).load().kind() == Kind::Present;
    let Some(first) = part.pages().find(present) else {
        return;
    };
    let Some(last) = part.pages().rev().find(present) else {
        return;
    };
    let span = PageRange::between(first, last.plus(PageCount::ONE));
    for _ in 0..16 {
        // SAFETY: the span lies in a registered arena whose extent is locked; writers that fault wait for it.
        if unsafe { extent.arena().set().userfaultfd().write_protect(span, on) }.is_ok() {
            return;
        }
    }
}

/// Takes all pages of one extent's `part`, which nobody may touch or pin any more, out of the mapping; contents are kept.
/// `false` when that does not end: the kernel holds a page (as io_uring's buffer, merged with others), or the disk takes nothing.
fn expel(arena: &Arena, part: PageRange, area: &mut WorkArea) -> bool {
    let set = arena.set();
    let Some((number, _)) = extents_of(part).next() else {
        return true;
    };
    let mut in_vain = 0;
    while in_vain < EXPEL_TRIES {
        let extent = arena.lock_extent(number);
        let stays = |page: PageNumber| extent.entry(page).load().kind() == Kind::Present;
        if !part.pages().any(stays) {
            extent.leave_queue_if_empty();
            return true;
        }
        let Some(slot) = set.staging().take(List::Free) else {
            drop(extent);
            if !set.make_room(area) {
                in_vain += 1;
                pagekeeper_sys::time::pause(core::time::Duration::from_millis(1));
            }
            continue;
        };
        // `VirtualLock` does not keep a page that may not be touched.
        let mut unlocked = 0;
        for page in part.pages() {
            let before = extent.entry(page).update(|entry| entry.locked(false));
            unlocked += i64::from(before.is_locked());
        }
        set.note_locked(-unlocked);
        let moved = set.move_out(&extent, part, slot, EXTENT_PAGES);
        drop(extent);
        if moved > 0 {
            in_vain = 0;
            set.clean_and(slot, area, true);
        } else {
            // The kernel holds on to a page for a moment.
            in_vain += 1;
            set.put_back_empty(slot);
            pagekeeper_sys::time::pause(core::time::Duration::from_micros(200));
        }
    }
    false
}

/// Drops the contents of committed pages and makes them reserved: of all pages of the changes that are committed.
pub(crate) fn decommit(arena: &Arena, changes: &[Change]) {
    let mut committed = PageCount::ZERO;
    let mut span = PageRange::default();
    let mut blocked = None;
    for change in changes.iter().filter(|change| change.before.is_committed()) {
        if rights_of(change.before).is_some_and(Rights::allows_execute) {
            // Cannot fail in a way that matters: the right to execute what is not there does no harm.
            let _ = arena.set_executable(change.range, false);
        }
        committed += change.range.count();
        // Runs that lie close to each other go together: an extent is looked through once, however it is divided. What lies
        // between two of them is reserved, and stays so.
        if !span.is_empty() && change.range.start().since(span.end()) < PageCount::new(EXTENT_PAGES)
        {
            span = PageRange::between(span.start(), change.range.end());
        } else {
            decommit_span(arena, span, &mut blocked);
            span = change.range;
        }
    }
    decommit_span(arena, span, &mut blocked);
    arena.set().note_committed(PageCount::ZERO, committed);
}

/// Makes every page of `range` reserved. Blocks signals, for as long as `blocked` lives, when an extent has to be locked.
fn decommit_span(arena: &Arena, range: PageRange, blocked: &mut Option<SignalsBlocked>) {
    let set = arena.set();
    let mut unlocked = 0;
    let mut emptied = 0;
    for (number, part) in extents_of(range) {
        if untouched::change(arena, number, part, Entry::decommitted) {
            emptied += u64::from(arena.is_emptied(number));
            continue;
        }
        blocked.get_or_insert_with(SignalsBlocked::new);
        let extent = lock_when_idle(arena, number, part);
        let mut frames = 0;
        let mut span = Span::default();
        for page in part.pages() {
            let before = extent.entry(page).update(Entry::decommitted);
            if before.kind() == Kind::Reserved {
                continue;
            }
            unlocked += i64::from(before.is_locked());
            if before.kind() == Kind::Present {
                frames += 1;
                span.include(page);
            }
            forget_contents(&extent, before);
        }
        // Under the lock: what is not in the table may not be in the mapping, or an eviction would carry it along.
        if let Some(span) = span.range() {
            // SAFETY: every page of the span is reserved now, or was never present.
            let dropped = unsafe { drop_pages(span) };
            debug_assert!(dropped, "pages could not be dropped");
        }
        extent.leave_queue_if_empty();
        emptied += u64::from(arena.is_emptied(number));
        drop(extent);
        set.frames().give(frames);
    }
    set.expect_fewer_extents(emptied);
    set.note_locked(-unlocked);
}

/// Storage outside the mapping that an entry named.
pub(super) fn forget_contents(extent: &LockedExtent<'_>, before: Entry) {
    let set = extent.arena().set();
    match before.kind() {
        Kind::Present if before.has_copy() => set.forget_slot(before.location()),
        Kind::Pool => set.forget_packed(PoolRef::from_bits(before.location())),
        Kind::File => set.forget_slot(before.location()),
        Kind::Staged => match set.staging().disown(FrameNumber::new(before.location())) {
            Stored::Perhaps(slot) => set.forget_slot(slot),
            Stored::At(kind, location) => set.forget(kind, location),
            Stored::No => {}
        },
        _ => {}
    }
}

/// Takes pages out of the working set now; they stand by for soft faults.
pub(crate) fn trim(arena: &Arena, range: PageRange) {
    let set = arena.set();
    for (number, part) in extents_of(range) {
        if !part
            .pages()
            .any(|page| arena.entry(page).load().is_evictable())
        {
            continue;
        }
        // Signals may come in between: a range may be gigabytes.
        let _blocked = SignalsBlocked::new();
        let mut area = set.areas().take();
        let slot = loop {
            match set.staging().take(List::Free) {
                Some(slot) => break slot,
                None if set.make_room(&mut area) => {}
                None => return,
            }
        };
        let extent = arena.lock_extent(number);
        let moved = set.move_out(&extent, part, slot, EXTENT_PAGES);
        extent.leave_queue_if_empty();
        drop(extent);
        if moved > 0 {
            set.clean_and(slot, &mut area, false);
        } else {
            set.put_back_empty(slot);
        }
    }
}

/// Brings pages in and keeps them (`VirtualLock`).
pub(crate) fn lock(arena: &Arena, range: PageRange) -> Result<(), EngineError> {
    let set = arena.set();
    let room = set
        .frames()
        .limit()
        .saturating_sub(set.frames().headroom())
        .get();
    let fresh = range
        .pages()
        .filter(|page| !arena.entry(*page).load().is_locked())
        .count() as u64;
    // Half of the budget has to stay movable.
    if set.locked_pages() + fresh > room / 2 {
        return Err(EngineError::LockedTooMuch);
    }
    let _blocked = SignalsBlocked::new();
    let mut area = set.areas().take();
    let mut locked = Vec::new();
    for page in range.pages() {
        match hold(arena, page, &mut area, |entry| entry.locked(true)) {
            Some(before) if before.is_locked() => {}
            Some(_) => {
                set.note_locked(1);
                locked.push(page);
            }
            None => {
                // Only what this call locked goes back.
                for page in locked {
                    unlock(arena, PageRange::new(page, PageCount::ONE));
                }
                let errno = pagekeeper_sys::Errno::IO;
                return Err(EngineError::Kernel {
                    call: "VirtualLock",
                    errno,
                });
            }
        }
    }
    Ok(())
}

/// Brings a page in and changes its entry in the same breath; the entry before. `None` when it cannot be brought in.
fn hold(
    arena: &Arena,
    page: PageNumber,
    area: &mut WorkArea,
    mark: impl Fn(Entry) -> Entry,
) -> Option<Entry> {
    loop {
        // Under the lock: an eviction that has begun reads the entry under it too, so a mark is never too late.
        let extent = arena.lock_extent(ExtentNumber::of(page));
        let marked = extent.entry(page).try_update(|entry| {
            let here = entry.kind() == Kind::Present && !entry.is_busy();
            here.then(|| mark(entry))
        });
        drop(extent);
        if let Ok(before) = marked {
            return Some(before);
        }
        if !matches!(bring_in(arena, page, Want::Read, area), Answer::Again) {
            return None;
        }
    }
}

/// Lets locked pages go again.
pub(crate) fn unlock(arena: &Arena, range: PageRange) {
    let mut unlocked = 0;
    for page in range.pages() {
        if arena
            .entry(page)
            .update(|entry| entry.locked(false))
            .is_locked()
        {
            unlocked += 1;
        }
    }
    arena.set().note_locked(-unlocked);
}

/// Where each page is, in runs.
pub(crate) fn residence(
    arena: &Arena,
    range: PageRange,
    visit: &mut dyn FnMut(PageRange, Residence),
) {
    let staging = arena.set().staging();
    let of = |entry: Entry| match entry.kind() {
        Kind::Reserved => None,
        Kind::Fill if entry.location() == 0 => Some(Residence::Untouched),
        Kind::Fill | Kind::Pool => Some(Residence::Compressed),
        Kind::Present => Some(Residence::Resident),
        Kind::Staged => match staging.stored(FrameNumber::new(entry.location())) {
            Stored::At(..) => Some(Residence::Standby),
            _ => Some(Residence::Modified),
        },
        Kind::File => Some(Residence::PageFile),
        Kind::Lost => Some(Residence::Lost),
    };
    let mut start = range.start();
    let mut current = None;
    for page in range.pages() {
        let now = of(arena.entry(page).load());
        if now != current {
            if let Some(residence) = current {
                visit(PageRange::between(start, page), residence);
            }
            start = page;
            current = now;
        }
    }
    if let Some(residence) = current {
        visit(PageRange::between(start, range.end()), residence);
    }
}

/// A guard page was disarmed: only its rights change, it was not in the mapping.
pub(crate) fn disarm(
    arena: &Arena,
    page: PageNumber,
    remaining: Protection,
) -> Result<(), EngineError> {
    let rights = Rights::of(remaining);
    change_rights(arena, PageRange::new(page, PageCount::ONE), rights, rights)
}

/// Lets a present, writable page be written. Signals are blocked.
pub(crate) fn lift_write_protection(arena: &Arena, page: PageNumber) {
    let extent = arena.lock_extent(ExtentNumber::of(page));
    if extent.entry(page).load().rights().allows_write() {
        write_protect_present(&extent, PageRange::new(page, PageCount::ONE), false);
    }
}
