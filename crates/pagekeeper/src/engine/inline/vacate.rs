//! Leaving a page file that is being taken away. User context.
//!
//! What lies in it is read and written to another file, slot by slot, past the mapping: no frame is taken and no page is brought
//! in, so it does not matter who may touch it. The pages are busy meanwhile; a fault on one of them waits. Pages in memory forget
//! that the file holds the same. What is staged leaves as it would anyway, and is found in its slot the next time: so
//! the space goes round until nothing is left.

use pagekeeper_store::codec::Page;
use pagekeeper_store::page_file::{PageFileId, Slot};
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::{EXTENT_PAGES, ExtentNumber, LockedExtent, extents_of};
use super::staging::{List, Stored};
use super::storage::ReadOutcome;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::engine::Vacated;

/// How many runs of slots may refuse a write before the pages stay where they are. Each refusal withdraws the run's slots.
const WRITE_TRIES: usize = 3;
/// How many pages the disk may refuse to read before the caller is asked whether to go on: each may take as long as the disk
/// waits, and the space is locked meanwhile.
const READ_FAILURES: usize = 8;

/// Pages of `range` leave the file, those that can.
pub(crate) fn leave(arena: &Arena, range: PageRange, file: PageFileId) -> Vacated {
    let set = arena.set();
    let is_in = |slot: u32| set.files().is_in(Slot::from_bits(slot), file);
    let concerns = |entry: Entry| match entry.kind() {
        Kind::File => is_in(entry.location()),
        Kind::Present => entry.has_copy() && is_in(entry.location()),
        _ => false,
    };
    let mut failures = 0;
    for (number, part) in extents_of(range) {
        if !part.pages().any(|page| concerns(arena.entry(page).load())) {
            continue;
        }
        // Signals may come in between: a range may be gigabytes.
        let _blocked = SignalsBlocked::new();
        let mut area = set.areas().take();
        let extent = arena.lock_extent(number);
        set.forget_copies(&extent, part, is_in);
        drop(extent);
        let mut rest = part;
        while !rest.is_empty() {
            let extent = arena.lock_extent(number);
            let Some(run) = claim(&extent, rest, &is_in) else {
                break;
            };
            let slot = extent.entry(run.start()).load().location();
            drop(extent);
            let relocated = relocate(arena, number, run, slot, &mut area);
            let end = run.start().plus(relocated.done);
            if relocated.is_refused {
                return Vacated::Refused(end);
            }
            rest = PageRange::between(end, rest.end());
            failures += usize::from(relocated.is_unreadable);
            if failures == READ_FAILURES {
                return Vacated::Unreadable(end);
            }
        }
    }
    Vacated::All
}

/// Stores what is staged, and lets what is stored in the file go there.
pub(crate) fn store_staged(set: &WorkingSet, file: PageFileId) {
    let staging = set.staging();
    for _ in 0..staging.count(List::Modified) {
        let _blocked = SignalsBlocked::new();
        let Some(slot) = staging.take(List::Modified) else {
            break;
        };
        set.clean_and(slot, &mut set.areas().take(), false);
    }
    for _ in 0..staging.count(List::Standby) {
        let _blocked = SignalsBlocked::new();
        let Some(slot) = staging.take(List::Standby) else {
            break;
        };
        let lies_there = |place| match staging.stored(slot.frame(place)) {
            Stored::At(Kind::File, slot) => set.files().is_in(Slot::from_bits(slot), file),
            _ => false,
        };
        match (0..EXTENT_PAGES).any(lies_there) {
            true => set.recycle(slot),
            false => staging.put(List::Standby, slot),
        }
    }
}

/// Marks the first pages of `range` busy that lie in neighbouring slots of the file.
fn claim(
    extent: &LockedExtent<'_>,
    range: PageRange,
    is_in: &impl Fn(u32) -> bool,
) -> Option<PageRange> {
    let lies_there =
        |entry: Entry| entry.kind() == Kind::File && !entry.is_busy() && is_in(entry.location());
    let start = range
        .pages()
        .find(|page| lies_there(extent.entry(*page).load()))?;
    let first = extent.entry(start).load().location();
    let follows = |place: u64, entry: Entry| {
        lies_there(entry) && u64::from(entry.location()) == u64::from(first) + place
    };
    let count = (0..)
        .zip(PageRange::between(start, range.end()).pages())
        .take_while(|(place, page)| follows(*place, extent.entry(*page).load()))
        .count();
    let run = PageRange::new(start, PageCount::new(count as u64));
    for page in run.pages() {
        extent.entry(page).update(Entry::busy);
    }
    Some(run)
}

/// What became of a run.
struct Relocated {
    /// Pages from its first on that are done with; the rest is asked for anew.
    done: PageCount,
    /// The last of these could not be read and stays.
    is_unreadable: bool,
    /// The other files did not take the page behind them.
    is_refused: bool,
}

/// Copies the busy pages of a run, from `slot` up, to slots of other files; none is busy afterwards.
fn relocate(
    arena: &Arena,
    number: ExtentNumber,
    run: PageRange,
    slot: u32,
    area: &mut WorkArea,
) -> Relocated {
    let set = arena.set();
    let count = run.count().as_usize();
    let read = set.read_slots(slot, area.bounce_mut(count));
    set.counters().pages_in.add(count as u64);
    let pages = area.bounce_mut(count).as_chunks::<PAGE_SIZE>().0;
    let page_at = |place: usize| run.start().plus(PageCount::new(place as u64));
    let mut done = 0;
    while done < count && (read.is_good(done) || read.is_damaged(done)) {
        let good = good_pages(read, done, count);
        let written = store(set, &pages[done..done + good]);
        let extent = arena.lock_extent(number);
        if good == 0 {
            give_up(set, &extent, page_at(done), slot.wrapping_add(done as u32));
            done += 1;
        }
        let (first, moved) = written.unwrap_or((Slot::from_bits(0), 0));
        for place in 0..moved {
            extent
                .entry(page_at(done + place))
                .update(|entry| entry.moved_to(Kind::File, first.plus(place as u32).bits()));
            set.forget_slot(slot.wrapping_add((done + place) as u32));
        }
        set.counters().pages_out.add(moved as u64);
        done += moved;
        extent.wake_waiters();
        if good > 0 && moved == 0 {
            break;
        }
    }
    let is_refused = done < count && read.is_good(done);
    let is_unreadable = done < count && !is_refused;
    let extent = arena.lock_extent(number);
    for place in done..count {
        extent.entry(page_at(place)).update(Entry::not_busy);
    }
    extent.wake_waiters();
    Relocated {
        done: PageCount::new(done as u64 + u64::from(is_unreadable)),
        is_unreadable,
        is_refused,
    }
}

/// How many pages from `first` on came back as they were written.
fn good_pages(read: ReadOutcome, first: usize, count: usize) -> usize {
    (first..count)
        .take_while(|&place| read.is_good(place))
        .count()
}

/// A busy page whose slot returned other bytes than were written: they will not get better.
fn give_up(set: &WorkingSet, extent: &LockedExtent<'_>, page: PageNumber, slot: u32) {
    extent
        .entry(page)
        .update(|entry| entry.moved_to(Kind::Lost, 0));
    set.forget_slot(slot);
    set.counters().lost.add(1);
}

/// Writes the first of `pages` to slots side by side: the first of these, and how many. `None` when no slot takes them.
fn store(set: &WorkingSet, pages: &[Page]) -> Option<(Slot, usize)> {
    let mut tries = 0;
    while tries < WRITE_TRIES && !pages.is_empty() {
        let Some(run) = set.take_slots(pages.len() as u32) else {
            // Second copies of what is in memory make room, as everywhere.
            match set.drop_copies() {
                true => continue,
                false => return None,
            }
        };
        let count = run.count as usize;
        if set.write_slots(run, pages.iter().take(count)).is_ok() {
            set.clear_write_error();
            return Some((run.first, count));
        }
        tries += 1;
    }
    None
}
