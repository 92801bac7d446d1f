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
use super::extent::{ExtentNumber, LockedExtent, extents_of};
use super::staging::List;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;

/// How many runs of slots may refuse a write before the pages stay where they are.
const WRITE_TRIES: usize = 3;
/// How many pages of an extent the disk may refuse to read, one behind the other, until the next extent is tried: each
/// may take as long as the disk waits.
const READ_FAILURES: usize = 8;

/// Pages of `range` leave the file, those that can.
pub(crate) fn leave(arena: &Arena, range: PageRange, file: PageFileId) {
    let set = arena.set();
    let is_in = |slot: u32| set.files().is_in(Slot::from_bits(slot), file);
    let concerns = |entry: Entry| match entry.kind() {
        Kind::File => is_in(entry.location()),
        Kind::Present => entry.has_copy() && is_in(entry.location()),
        _ => false,
    };
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
        let mut failures = 0;
        while !rest.is_empty() && failures < READ_FAILURES {
            let extent = arena.lock_extent(number);
            let Some(run) = claim(&extent, rest, &is_in) else {
                break;
            };
            let slot = extent.entry(run.start()).load().location();
            drop(extent);
            let done = relocate(arena, number, run, slot, &mut area);
            failures = if done == run.count() { 0 } else { failures + 1 };
            rest = PageRange::between(run.start().plus(done), rest.end());
        }
    }
}

/// Stores what is staged, and lets it go to where it is stored.
pub(crate) fn store_staged(set: &WorkingSet) {
    let _blocked = SignalsBlocked::new();
    let mut area = set.areas().take();
    for _ in 0..set.staging().count(List::Modified) {
        let Some(slot) = set.staging().take(List::Modified) else {
            break;
        };
        set.clean_and(slot, &mut area, false);
    }
    for _ in 0..set.staging().count(List::Standby) {
        if !set.recycle_standby(1) {
            break;
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

/// Copies the busy pages of a run, from `slot` up, to slots of other files; none is busy afterwards. How many from the first on
/// are done with: all, or up to and with one that the disk refused to read.
fn relocate(
    arena: &Arena,
    number: ExtentNumber,
    run: PageRange,
    slot: u32,
    area: &mut WorkArea,
) -> PageCount {
    let set = arena.set();
    let count = run.count().as_usize();
    let read = set.read_slots(slot, area.bounce_mut(count));
    let pages = area.bounce_mut(count).as_chunks::<PAGE_SIZE>().0;
    let mut done = 0;
    while done < count {
        let good = (done..count)
            .take_while(|&place| read.is_good(place))
            .count();
        let written = match good {
            0 => None,
            _ => store(set, &pages[done..done + good]),
        };
        let moved = written.map_or(0, |(_, moved)| moved);
        let extent = arena.lock_extent(number);
        let old = |place: usize| slot.wrapping_add(place as u32);
        for place in 0..moved {
            let new = written.map_or(0, |(first, _)| first.plus(place as u32).bits());
            extent
                .entry(page_of(run, done + place))
                .update(|entry| entry.moved_to(Kind::File, new));
            set.forget_slot(old(done + place));
        }
        done += moved;
        let is_damaged = done < count && !read.is_good(done) && read.error().is_none();
        if is_damaged {
            // Other bytes than were written: they will not get better.
            extent
                .entry(page_of(run, done))
                .update(|entry| entry.moved_to(Kind::Lost, 0));
            set.forget_slot(old(done));
            set.counters().lost.add(1);
            done += 1;
        }
        let goes_on = moved > 0 || is_damaged;
        if !goes_on {
            // Refused by one disk or the other: it stays, and what lies behind it is asked for anew.
            for place in done..count {
                extent.entry(page_of(run, place)).update(Entry::not_busy);
            }
        }
        extent.wake_waiters();
        if !goes_on {
            return PageCount::new(done as u64 + 1);
        }
    }
    run.count()
}

fn page_of(run: PageRange, place: usize) -> PageNumber {
    run.start().plus(PageCount::new(place as u64))
}

/// Writes the first of `pages` to slots side by side: the first of these, and how many. `None` when no slot takes them.
fn store(set: &WorkingSet, pages: &[Page]) -> Option<(Slot, usize)> {
    for _ in 0..WRITE_TRIES {
        let run = set.take_slots(pages.len() as u32)?;
        let count = run.count as usize;
        if set.write_slots(run, pages.iter().take(count)).is_ok() {
            set.clear_write_error();
            return Some((run.first, count));
        }
    }
    None
}
