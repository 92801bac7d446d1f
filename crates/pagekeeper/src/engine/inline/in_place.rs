//! The short way out, for pages that lie scattered: packed where they are, then dropped together.
//!
//! A move flushes the translation caches of the other processors once for each run of neighbours, and scattered pages have
//! none: on two virtual processors those interrupts were a third of all processor time. Here a whole 2 MiB piece is
//! write-protected by one call, its pages are packed into the pool (or known to be in the page file) while their readers go on
//! undisturbed, and one call drops them: two flushes for as many pages as the piece holds. What does not pack stays, and
//! leaves by a move when its turn comes again.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads and drops pages of registered arenas whose extents are locked"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use pagekeeper_store::codec;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::drop::drop_pages;
use super::entry::{Entry, Kind};
use super::extent::{ExtentNumber, HUGE, LockedExtent, PIECE_EXTENTS, QUEUED};
use super::staging::Stored;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;

/// An extent with so few pages in memory leaves with its neighbours.
const FEW_PAGES: u64 = 24;
/// From so many runs of neighbours on, an extent's pages are scattered.
const SCATTERED: u64 = 3;
/// One search for a victim in so many tries this way although it did not pay lately.
const TRY_AGAIN: u32 = 64;

/// Locked extents of one arena, by their place in their 2 MiB piece.
pub(super) type Party<'arena> = [Option<LockedExtent<'arena>>; PIECE_EXTENTS];

/// Whether this way pays, by what became of the last pages.
#[derive(Debug)]
pub(crate) struct Yield {
    /// The share of pages that could be packed, in 256ths; recent ones count more.
    share: AtomicU32,
    skipped: AtomicU32,
}

impl Yield {
    const ALL: u32 = 256;

    pub(crate) const fn new() -> Self {
        Self {
            share: AtomicU32::new(Self::ALL),
            skipped: AtomicU32::new(0),
        }
    }

    fn is_worth_a_try(&self) -> bool {
        self.share.load(Ordering::Relaxed) >= Self::ALL / 2
            || self
                .skipped
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(TRY_AGAIN)
    }

    /// Racing notes may lose one another: it is an estimate.
    fn note(&self, packed: u64, tried: u64) {
        let Some(share) = (packed * u64::from(Self::ALL)).checked_div(tried) else {
            return;
        };
        let before = self.share.load(Ordering::Relaxed);
        let after = (before * 3 + share as u32) / 4;
        self.share.store(after, Ordering::Relaxed);
    }
}

impl WorkingSet {
    /// Whether the victim's pages should be packed where they are.
    pub(super) fn packs_in_place(&self, victim: &LockedExtent<'_>) -> bool {
        let (_, runs) = victim.present_pages_and_runs();
        runs >= SCATTERED && !victim.has_flag(HUGE) && self.yield_in_place().is_worth_a_try()
    }

    /// The victim and such neighbours in its 2 MiB as hold few pages too. Those are only tried for: whoever has one of
    /// them locked may be waiting for another.
    pub(super) fn gather<'arena>(&self, victim: LockedExtent<'arena>) -> Party<'arena> {
        let (arena, own, name) = (victim.arena(), victim.number(), victim.name());
        let mut party: Party<'arena> = core::array::from_fn(|_| None);
        let (pages, _) = victim.present_pages_and_runs();
        let mut victim = Some(victim);
        for (number, place) in own.piece().zip(&mut party) {
            *place = if number == own {
                victim.take()
            } else if pages <= FEW_PAGES {
                LockedExtent::try_lock(arena, number).filter(|extent| {
                    extent.has_flag(QUEUED)
                        && !extent.has_flag(HUGE)
                        && (1..=FEW_PAGES).contains(&extent.present_pages_and_runs().0)
                        && self.join_victim(extent.name(), name)
                        && extent.clear_flag(QUEUED)
                })
            } else {
                None
            };
        }
        party
    }

    /// Packs pages of the party, at most `most`, and drops them; how many. Their frames are free then.
    pub(super) fn pack_in_place(
        &self,
        party: &Party<'_>,
        most: u64,
        area: &mut WorkArea,
    ) -> PageCount {
        for neighbours in neighbours_of(party) {
            // SAFETY: the extents are locked, so a write from here on faults and waits for them.
            if unsafe { self.userfaultfd().write_protect(neighbours, true) }.is_err() {
                return PageCount::ZERO;
            }
        }
        let mut leaving = Leaving::default();
        let mut tried = 0;
        for extent in party.iter().flatten() {
            for page in extent.pages().pages() {
                let entry = extent.entry(page).load();
                if entry.kind() != Kind::Present {
                    continue;
                }
                let stored = match entry.is_evictable() && tried < most {
                    true => {
                        tried += 1;
                        self.store_in_place(page, entry, area)
                    }
                    false => Stored::No,
                };
                match stored {
                    Stored::At(kind, location) => {
                        extent
                            .entry(page)
                            .update(|entry| entry.moved_to(kind, location));
                        leaving.include(page);
                    }
                    _ => leaving.end_run(),
                }
            }
        }
        leaving.end_run();
        self.yield_in_place().note(leaving.count, tried);
        self.frames().give(leaving.count);
        PageCount::new(leaving.count)
    }

    /// Where the contents of a present, write-protected page of a locked extent are from now on; `No` when they need the disk.
    fn store_in_place(&self, page: PageNumber, entry: Entry, area: &mut WorkArea) -> Stored {
        // SAFETY: the page is in the mapping and nobody can write to it; it stays there while its extent is locked.
        let bytes = unsafe { &*(page.address() as *const codec::Page) };
        let copy = entry.has_copy().then(|| entry.location());
        if let Some(copy) = copy
            && self.slot_holds(copy, bytes)
        {
            self.counters().clean_drops.add(1);
            return Stored::At(Kind::File, copy);
        }
        let packed = self.pack(bytes, page, area);
        if packed != Stored::No {
            self.counters().packed_in_place.add(1);
        }
        if let (Some(outdated), Stored::At(..)) = (copy, packed) {
            self.forget_slot(outdated);
        }
        packed
    }
}

/// The ranges of the party's extents that lie side by side.
fn neighbours_of(party: &Party<'_>) -> impl Iterator<Item = PageRange> {
    let mut extents = party.iter().flatten().map(LockedExtent::pages).peekable();
    core::iter::from_fn(move || {
        let mut range = extents.next()?;
        while let Some(next) = extents.next_if(|next| next.start() == range.end()) {
            range = PageRange::between(range.start(), next.end());
        }
        Some(range)
    })
}

/// Pages that are stored and have to go, collected into runs with nothing in between that must stay.
#[derive(Default)]
struct Leaving {
    run: Option<PageRange>,
    count: u64,
}

impl Leaving {
    /// `page` goes; pages come in rising order.
    fn include(&mut self, page: PageNumber) {
        let end = page.plus(PageCount::ONE);
        self.count += 1;
        let joined = self.run.filter(|run| {
            // Across a whole extent that takes no part there may be pages of others.
            let last = PageNumber::new(run.end().get() - 1);
            ExtentNumber::of(page).get() - ExtentNumber::of(last).get() <= 1
        });
        match joined {
            Some(run) => self.run = Some(PageRange::between(run.start(), end)),
            None => {
                self.end_run();
                self.run = Some(PageRange::between(page, end));
            }
        }
    }

    /// What comes next stays.
    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            // SAFETY: the entries of the run's pages say that they are stored elsewhere, or were absent before, and all
            // its extents are locked.
            let dropped = unsafe { drop_pages(run) };
            debug_assert!(dropped, "pages could not be dropped");
        }
    }
}
