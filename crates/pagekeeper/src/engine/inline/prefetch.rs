//! Pages brought in ahead of time, with many reads in flight. User context.
//!
//! A fault reads one run and waits for it: about 60 µs on a disk that could serve 64 such reads in 800. So pages that the
//! program says it will need are read in batches of up to 64, wherever in the page file they lie, and copied into place
//! when the batch is there. They are busy meanwhile: a fault on one of them waits for the batch.

use pagekeeper_store::page_file::{Slot, SlotRead};
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::{PAGE_SIZE, PageCount, PageRange};

use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::{EXTENT_PAGES, extents_of};
use super::fault::{Answer, Want, arrive, bring_in};
use super::work_area::WorkArea;

/// Neighbouring pages of one extent in neighbouring slots.
struct Run {
    pages: PageRange,
    slot: u32,
}

/// Brings the pages of `range` in that are out; stops where no frames are free or can be freed.
pub(crate) fn prefetch(arena: &Arena, range: PageRange) {
    let _blocked = SignalsBlocked::new();
    let mut area = arena.set().areas().take();
    let mut batch = Vec::with_capacity(EXTENT_PAGES as usize);
    let mut pages = 0;
    for (_, part) in extents_of(range) {
        let mut rest = part;
        while !rest.is_empty() {
            let room = EXTENT_PAGES - pages;
            match next_out(arena, rest, room) {
                Found::InFile(run) => {
                    let frames = run.pages.count().get();
                    if !take(arena, frames, &mut area) {
                        finish(arena, &mut batch, &mut area);
                        return;
                    }
                    rest = PageRange::between(run.pages.end(), rest.end());
                    match claim(arena, run) {
                        Some(run) => {
                            arena.set().frames().give(frames - run.pages.count().get());
                            pages += run.pages.count().get();
                            batch.push(run);
                        }
                        None => arena.set().frames().give(frames),
                    }
                    if pages == EXTENT_PAGES {
                        finish(arena, &mut batch, &mut area);
                        pages = 0;
                    }
                }
                Found::Elsewhere(page) => {
                    // In the pool or staged: no disk, hence nothing to overlap. What is claimed comes first, since
                    // nobody may wait for frames while pages are busy by its hand.
                    finish(arena, &mut batch, &mut area);
                    pages = 0;
                    if bring_in(arena, page, Want::Read, &mut area) != Answer::Again {
                        return finish(arena, &mut batch, &mut area);
                    }
                    rest = PageRange::between(page.plus(PageCount::ONE), rest.end());
                }
                Found::Nothing => break,
            }
        }
    }
    finish(arena, &mut batch, &mut area);
}

/// The next page of a range that is out, and where it is.
enum Found {
    InFile(Run),
    Elsewhere(pagekeeper_units::PageNumber),
    Nothing,
}

fn next_out(arena: &Arena, range: PageRange, most: u64) -> Found {
    let wanted = |entry: Entry| !entry.is_busy() && entry.rights().may_be_present();
    for page in range.pages() {
        let entry = arena.entry(page).load();
        match entry.kind() {
            Kind::Pool | Kind::Staged if wanted(entry) => return Found::Elsewhere(page),
            Kind::File if wanted(entry) => {}
            _ => continue,
        }
        let mut count = 1;
        while count < most && page.get() + count < range.end().get() {
            let next = arena.entry(page.plus(PageCount::new(count))).load();
            let follows = u64::from(next.location()) == u64::from(entry.location()) + count;
            if next.kind() != Kind::File
                || !follows
                || !wanted(next)
                || next.rights() != entry.rights()
            {
                break;
            }
            count += 1;
        }
        let pages = PageRange::new(page, PageCount::new(count));
        return Found::InFile(Run {
            pages,
            slot: entry.location(),
        });
    }
    Found::Nothing
}

/// Frames for a run, throwing something out at most once for it: what is wanted soon is worth what was not used for long.
fn take(arena: &Arena, frames: u64, area: &mut WorkArea) -> bool {
    let set = arena.set();
    set.wake_balancer_when_low();
    set.frames().take_for_fault(frames)
        || (set.make_room(area) && set.frames().take_for_fault(frames))
}

/// Marks the pages of a run busy, those that are still as they were seen.
fn claim(arena: &Arena, run: Run) -> Option<Run> {
    let (number, _) = extents_of(run.pages).next()?;
    let extent = arena.lock_extent(number);
    let mut count = 0;
    for page in run.pages.pages() {
        let expected = u64::from(run.slot) + count;
        let is_it = |entry: Entry| {
            entry.kind() == Kind::File
                && u64::from(entry.location()) == expected
                && !entry.is_busy()
                && entry.rights().may_be_present()
        };
        let claimed = extent
            .entry(page)
            .try_update(|entry| is_it(entry).then(|| entry.busy()));
        if claimed.is_err() {
            break;
        }
        count += 1;
    }
    let pages = PageRange::new(run.pages.start(), PageCount::new(count));
    (count > 0).then_some(Run {
        pages,
        slot: run.slot,
    })
}

/// Reads the claimed runs together and puts their pages in place.
fn finish(arena: &Arena, batch: &mut Vec<Run>, area: &mut WorkArea) {
    let total: u64 = batch.iter().map(|run| run.pages.count().get()).sum();
    let mut rest = area.bounce_mut(total as usize);
    let mut reads = Vec::with_capacity(batch.len());
    for run in batch.iter() {
        let (bytes, behind) = rest.split_at_mut(run.pages.count().as_usize() * PAGE_SIZE);
        reads.push(SlotRead::new(Slot::from_bits(run.slot), bytes));
        rest = behind;
    }
    arena.set().files().read_many(&mut reads);
    let outcomes: Vec<u64> = reads
        .iter()
        .zip(batch.iter())
        .map(|(read, run)| {
            let pages = run.pages.count().as_usize();
            (0..pages)
                .take_while(|place| read.outcome().page(*place).is_ok())
                .count() as u64
        })
        .collect();
    drop(reads);
    let mut place = 0;
    for (run, good) in batch.drain(..).zip(outcomes) {
        arrive(
            arena,
            run.pages,
            run.slot,
            PageCount::new(good),
            area.bounce_address(place),
        );
        place += run.pages.count().as_usize();
    }
}
