//! A fault, from the page's entry to the page in place. `docs/life-of-a-page-fault.md` tells it in prose.
//!
//! Runs in the fault handler on a work area's stack, or in user context with all signals blocked (pinning, locking,
//! prefetching). Takes frames first, with no lock held, because taking them may mean throwing another extent
//! out; then locks the extent, looks again, and acts.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: fills pages of registered arenas, reads staged frames"
)]

use core::num::NonZeroI32;

use pagekeeper_store::page_file::Slot;
use pagekeeper_store::pool::PoolRef;
use pagekeeper_sys::Errno;
use pagekeeper_sys::userfaultfd::CopyMode;
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::ahead::{BUFFERS as READ_AHEAD_BUFFERS, RunAhead};
use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::{EXTENT_PAGES, ExtentNumber, LockedExtent, QUEUED, RESCUED};
use super::repeat;
use super::staging::{FrameNumber, Stored};
use super::storage::ReadOutcome;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::fault_watch::{self, Arrived};

/// What the program wanted to do with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
    Execute,
}

/// How a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The page is there, or something changed: try the access again.
    Again,
    /// The page is not committed, or its protection forbids the access.
    Violation,
    /// The page is an armed guard page.
    Guard,
    /// The page's contents could not be brought back; with the error number of the disk, if it had one.
    Lost(Option<NonZeroI32>),
    /// The program unmapped the page past us.
    Unmapped,
    /// The program protected the page past us.
    Protected,
}

/// So many pages at once only a stream reads.
const STREAM_RUN: u64 = 32;
/// Runs that are ordered behind it, at most.
const RUNS_AHEAD: u64 = READ_AHEAD_BUFFERS as u64 - 1;
/// And at most this part of the budget, or one.
const AHEAD_SHARE: u64 = 32;

/// How often a fault looks at a changing page before it lets the program try again.
const LOOKS: usize = 64;

/// What a page's rights say to an access.
pub(crate) fn forbidden(entry: Entry, want: Want) -> Option<Answer> {
    if entry.kind() == Kind::Reserved {
        return Some(Answer::Violation);
    }
    let rights = entry.rights();
    if rights.is_guard() {
        return Some(Answer::Guard);
    }
    let allowed = match want {
        Want::Read => rights.allows_read(),
        Want::Write => rights.allows_write(),
        Want::Execute => rights.allows_execute(),
    };
    (!allowed).then_some(Answer::Violation)
}

/// Brings `page` of `arena` in for `want`.
pub(crate) fn bring_in(arena: &Arena, page: PageNumber, want: Want, area: &mut WorkArea) -> Answer {
    let set = arena.set();
    let ahead = set.pages_ahead(page);
    for _ in 0..LOOKS {
        let entry = arena.entry(page).load();
        if let Some(answer) = forbidden(entry, want) {
            return answer;
        }
        if entry.kind() == Kind::Present && !entry.is_busy() {
            return Answer::Again;
        }
        if entry.kind() == Kind::Fill && !fault_watch::is_on() && set.fill_huge(arena, page) {
            return Answer::Again;
        }
        // Who watches wants to see each touch; what a disk is read for comes in together all the same.
        let alone = fault_watch::is_on() && entry.kind() != Kind::File;
        let wanted = if entry.is_busy() || alone {
            1
        } else {
            run_length(arena, page, entry, ahead)
        };
        let taken = set.take_frames(wanted, area);
        let taken = match taken {
            Ok(taken) => taken,
            Err(stuck) => return Answer::Lost(NonZeroI32::new(stuck.errno().raw_os_error())),
        };
        let extent = arena.lock_extent(ExtentNumber::of(page));
        let outcome = act(extent, page, want, taken, area);
        set.frames().give(taken - outcome.used);
        area.arrived = Arrived::from(page, outcome.used, outcome.read_disk);
        set.wake_balancer_when_low();
        if let Some(answer) = outcome.answer {
            return answer;
        }
    }
    Answer::Again
}

/// How many pages from `page` up look like it and may come in together, at most `ahead`, in its extent and arena.
fn run_length(arena: &Arena, page: PageNumber, first: Entry, ahead: u64) -> u64 {
    let end = ExtentNumber::of(page)
        .pages()
        .intersection(arena.range())
        .end();
    let most = ahead.min(end.since(page).get());
    let mut count = 1;
    while count < most {
        let next = arena.entry(page.plus(PageCount::new(count))).load();
        if !continues(first, next, count) {
            break;
        }
        count += 1;
    }
    count
}

/// Whether `next`, `distance` pages above `first`, can come in with it.
fn continues(first: Entry, next: Entry, distance: u64) -> bool {
    if next.kind() != first.kind() || next.is_busy() || next.rights() != first.rights() {
        return false;
    }
    match first.kind() {
        Kind::Fill => next.location() == first.location(),
        Kind::File => u64::from(next.location()) == u64::from(first.location()) + distance,
        Kind::Pool => true,
        _ => false,
    }
}

/// What `act` did: frames used of those taken, for pages from the faulting one up, whether a disk was read for them, and the fault's end, or `None` to look again.
struct Outcome {
    used: u64,
    answer: Option<Answer>,
    read_disk: bool,
}

impl Outcome {
    const LOOK_AGAIN: Self = Self {
        used: 0,
        answer: None,
        read_disk: false,
    };

    const fn answer(answer: Answer) -> Self {
        Self {
            answer: Some(answer),
            ..Self::LOOK_AGAIN
        }
    }

    const fn filled(pages: u64) -> Self {
        Self {
            used: pages,
            answer: Some(Answer::Again),
            ..Self::LOOK_AGAIN
        }
    }
}

/// The extent is locked and `frames` frames are ours: does what the entry calls for.
fn act(
    extent: LockedExtent<'_>,
    page: PageNumber,
    want: Want,
    frames: u64,
    area: &mut WorkArea,
) -> Outcome {
    let entry = extent.entry(page).load();
    if let Some(answer) = forbidden(entry, want) {
        return Outcome::answer(answer);
    }
    if entry.is_busy() {
        extent.wait_for_busy_page();
        return Outcome::LOOK_AGAIN;
    }
    let count = run_length(extent.arena(), page, entry, frames);
    let run = PageRange::new(page, PageCount::new(count));
    match entry.kind() {
        Kind::Present => Outcome::answer(Answer::Again),
        Kind::Fill => fill(&extent, run, entry, area),
        Kind::Staged => take_back(&extent, page, entry, want),
        Kind::Pool => unpack(&extent, run, area),
        Kind::File => read(extent, run, entry, want, area),
        Kind::Lost => Outcome::answer(Answer::Lost(None)),
        Kind::Reserved => Outcome::answer(Answer::Violation),
    }
}

/// Pages that hold one word, repeated: first touches, most of all.
fn fill(extent: &LockedExtent<'_>, run: PageRange, entry: Entry, area: &mut WorkArea) -> Outcome {
    let set = extent.arena().set();
    let source = if entry.location() == 0 {
        set.zeros()
    } else {
        let bounce = area.bounce_mut(run.count().as_usize());
        repeat::fill(bounce, entry.location());
        bounce.as_ptr()
    };
    let done = put(extent, run, source);
    set.counters().zero_faults.add(1);
    for page in done.pages() {
        extent
            .entry(page)
            .update(|entry| entry.moved_to(Kind::Present, 0));
    }
    settle(extent, run, done)
}

/// A page that left the mapping but still has its frame: a soft fault.
fn take_back(extent: &LockedExtent<'_>, page: PageNumber, entry: Entry, want: Want) -> Outcome {
    let set = extent.arena().set();
    let frame = FrameNumber::new(entry.location());
    // SAFETY: the entry names the frame and its extent is locked, so the frame stays.
    let source = unsafe { set.staging().bytes(frame) }.as_ptr();
    let run = PageRange::new(page, PageCount::ONE);
    let done = put(extent, run, source);
    if !done.is_empty() {
        let stored = set.staging().disown(frame);
        let copy = match stored {
            Stored::Perhaps(slot) | Stored::At(Kind::File, slot) if want != Want::Write => {
                Some(slot)
            }
            Stored::Perhaps(slot) | Stored::At(Kind::File, slot) => {
                set.forget_slot(slot);
                None
            }
            Stored::At(Kind::Pool, location) => {
                set.forget_packed(PoolRef::from_bits(location));
                None
            }
            _ => None,
        };
        extent.entry(page).update(|entry| match copy {
            Some(slot) => entry.present_with_copy(slot),
            None => entry.moved_to(Kind::Present, 0),
        });
        extent.set_flag(RESCUED);
        set.counters().soft_faults.add(1);
    }
    settle(extent, run, done)
}

/// Pages in the compressed pool.
fn unpack(extent: &LockedExtent<'_>, run: PageRange, area: &mut WorkArea) -> Outcome {
    let set = extent.arena().set();
    let bounce = area.bounce_mut(run.count().as_usize());
    let mut good = 0;
    for (page, target) in run.pages().zip(bounce.as_chunks_mut::<PAGE_SIZE>().0) {
        let object = PoolRef::from_bits(extent.entry(page).load().location());
        // SAFETY: the extent is locked and the page's entry names the object, so it stays.
        if unsafe { set.pool().read(object, target) }.is_err() {
            break;
        }
        good += 1;
    }
    if good == 0 {
        let before = extent
            .entry(run.start())
            .update(|entry| entry.moved_to(Kind::Lost, 0));
        set.forget_packed(PoolRef::from_bits(before.location()));
        set.counters().lost.add(1);
        return Outcome::answer(Answer::Lost(None));
    }
    let source = bounce.as_ptr();
    let done = put(
        extent,
        PageRange::new(run.start(), PageCount::new(good)),
        source,
    );
    for page in done.pages() {
        let before = extent
            .entry(page)
            .update(|entry| entry.moved_to(Kind::Present, 0));
        set.forget_packed(PoolRef::from_bits(before.location()));
    }
    set.counters().pool_faults.add(1);
    settle(extent, run, done)
}

/// Pages in the page file: read with the extent unlocked, the pages marked busy meanwhile.
fn read(
    extent: LockedExtent<'_>,
    run: PageRange,
    entry: Entry,
    want: Want,
    area: &mut WorkArea,
) -> Outcome {
    let arena = extent.arena();
    let set = arena.set();
    let number = extent.number();
    for page in run.pages() {
        extent.entry(page).update(Entry::busy);
    }
    drop(extent);
    let slot = entry.location();
    let count = run.count().as_usize();
    if run.count().get() >= STREAM_RUN {
        order_next(arena, run.end(), slot);
    }
    let ahead = take_ahead(set, slot, count);
    let (outcome, source) = match &ahead {
        Some(run) => (ReadOutcome::default(), run.bytes().as_ptr()),
        None => {
            let outcome = set.read_slots(slot, area.bounce_mut(count));
            (outcome, area.bounce_address(0))
        }
    };
    let extent = arena.lock_extent(number);
    let mut good = 0;
    while good < count && outcome.is_good(good) {
        good += 1;
    }
    let done = put(
        &extent,
        PageRange::new(run.start(), PageCount::new(good as u64)),
        source,
    );
    for (place, page) in run.pages().enumerate() {
        if done.contains(page) {
            // The slot keeps the same bytes; should the page leave unchanged, it need not be written again. A page
            // that is about to be written to will have changed.
            let keeps = place != 0 || want != Want::Write;
            let own = slot.wrapping_add(place as u32);
            extent.entry(page).update(|entry| match keeps {
                true => entry.present_with_copy(own),
                false => entry.moved_to(Kind::Present, 0),
            });
            if !keeps {
                set.forget_slot(own);
            }
        } else if place == 0 && outcome.is_damaged(0) {
            // (Where the disk failed, it may work next time.)
            extent
                .entry(page)
                .update(|entry| entry.moved_to(Kind::Lost, 0));
            set.forget_slot(slot);
            set.counters().lost.add(1);
        } else {
            extent.entry(page).update(Entry::not_busy);
        }
    }
    set.counters().hard_faults.add(1);
    set.counters().pages_in.add(good as u64);
    if ahead.is_some() {
        set.counters().pages_ahead.add(good as u64);
    }
    extent.wake_waiters();
    if good == 0 {
        let errno = outcome.error().filter(|_| !outcome.is_damaged(0));
        return Outcome::answer(Answer::Lost(errno));
    }
    Outcome {
        read_disk: true,
        ..settle(&extent, run, done)
    }
}

/// What follows a run of a stream: on its way while the program looks at the run at `now`.
fn order_next(arena: &Arena, next: PageNumber, now: u32) {
    let set = arena.set();
    let mut next = next;
    let runs = set.frames().limit().get() / AHEAD_SHARE / EXTENT_PAGES;
    for distance in 0..runs.clamp(1, RUNS_AHEAD) {
        if !arena.range().contains(next) {
            return;
        }
        let entry = arena.entry(next).load();
        if entry.kind() != Kind::File || entry.is_busy() {
            return;
        }
        let count = run_length(arena, next, entry, EXTENT_PAGES);
        if set.ahead().order(entry.location(), count, now, distance) {
            set.wake_balancer.set();
        }
        next = next.plus(PageCount::new(count));
    }
}

/// A run that was read ahead, if it is what its slots hold now.
fn take_ahead(set: &WorkingSet, slot: u32, count: usize) -> Option<RunAhead<'_>> {
    let run = set.ahead().take(slot, count as u64)?;
    let pages = run.bytes().as_chunks::<PAGE_SIZE>().0;
    let is_current = set.files().holds_run(Slot::from_bits(slot), pages);
    is_current.then_some(run)
}

/// A prefetched run has been read: `good` pages of it from the first, at `source`, for pages that are busy and have frames.
pub(crate) fn arrive(arena: &Arena, run: PageRange, slot: u32, good: PageCount, source: *const u8) {
    let set = arena.set();
    let extent = arena.lock_extent(ExtentNumber::of(run.start()));
    let done = put(&extent, PageRange::new(run.start(), good), source);
    for (place, page) in run.pages().enumerate() {
        let own = slot.wrapping_add(place as u32);
        extent
            .entry(page)
            .update(|entry| match done.contains(page) {
                true => entry.present_with_copy(own),
                // A fault on it will find out what is wrong.
                false => entry.not_busy(),
            });
    }
    set.counters().pages_in.add(done.count().get());
    extent.wake_waiters();
    let outcome = settle(&extent, run, done);
    set.frames().give(run.count().get() - outcome.used);
}

/// Copies bytes into the mapping; the pages that arrived. Write-protected where the rights forbid writing.
fn put(extent: &LockedExtent<'_>, run: PageRange, source: *const u8) -> PageRange {
    let set = extent.arena().set();
    let writable = extent.entry(run.start()).load().rights().allows_write();
    let mode = if writable {
        CopyMode::DO_NOT_WAKE
    } else {
        CopyMode::DO_NOT_WAKE | CopyMode::WRITE_PROTECTED
    };
    let mut done = PageCount::ZERO;
    for _ in 0..LOOKS {
        let rest = PageRange::between(run.start().plus(done), run.end());
        if rest.is_empty() {
            break;
        }
        let from = source.wrapping_add(done.as_usize() * PAGE_SIZE);
        // SAFETY: `source` has bytes for the whole run (each caller's), and the run lies in the locked extent of a
        // registered arena whose entries say that these bytes belong there.
        let progress = unsafe { set.userfaultfd().copy(rest, from, mode) };
        done += progress.done_pages();
        match progress.error {
            None => break,
            // Part was done, or the mapping is in flux: ask again.
            Some(Errno::AGAIN) => {}
            // There already: an earlier try was cut short after the page had arrived.
            Some(Errno::EXIST) => done += PageCount::ONE,
            Some(Errno::NOMEM) => core::hint::spin_loop(),
            Some(_) => {
                super::descriptor::hold(set.userfaultfd());
                break;
            }
        }
    }
    PageRange::new(run.start(), done)
}

/// The end of a fill: the extent enters the queue; frames are used for what arrived.
fn settle(extent: &LockedExtent<'_>, run: PageRange, done: PageRange) -> Outcome {
    if done.is_empty() {
        return Outcome::LOOK_AGAIN;
    }
    debug_assert!(run.covers(done));
    if !extent.set_flag(QUEUED) {
        let rescued = extent.clear_flag(RESCUED);
        if !extent.arena().set().enqueue(extent.name(), rescued) {
            // No place in the queue: the next fault in the extent tries again.
            extent.clear_flag(QUEUED);
        }
    }
    Outcome::filled(done.count().get())
}
