//! The short way out, for pages that lie scattered: packed where they are, then dropped together.
//!
//! A move flushes the translation caches of the other processors once for each run of neighbours, and scattered pages have
//! none: on two virtual processors those interrupts were a third of all processor time. Here a whole 2 MiB piece is
//! write-protected by one call, its pages are packed into the pool (or known to be in the page file) while their readers go on
//! undisturbed, and one call drops them: two flushes for as many pages as the piece holds. What does not pack stays, and
//! leaves by a move when its turn comes again.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads, protects and drops pages of registered arenas whose extents are locked"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use pagekeeper_store::codec;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::drop::drop_pages;
use super::entry::{Entry, Kind};
use super::extent::{EXTENT_PAGES, HUGE, LockedExtent, PIECE_EXTENTS, QUEUED};
use super::staging::Stored;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;

/// An extent with so few pages in memory leaves with its neighbours.
const FEW_PAGES: u64 = 24;
/// From so many runs of neighbours on, an extent's pages are scattered.
const SCATTERED: u64 = 3;
/// How often the kernel may say that the mappings are in flux.
const PROTECT_TRIES: u32 = 16;
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
    /// How many pages of the victim's are in the mapping, if they should be packed where they are.
    pub(super) fn packs_in_place(&self, victim: &LockedExtent<'_>) -> Option<u64> {
        let (pages, runs) = victim.present_pages_and_runs();
        let packs =
            runs >= SCATTERED && !victim.has_flag(HUGE) && self.yield_in_place().is_worth_a_try();
        packs.then_some(pages)
    }

    /// The victim, which has `pages` in the mapping, and such neighbours in its 2 MiB as hold few too. Those are only tried for: whoever has one of
    /// them locked may be waiting for another.
    pub(super) fn gather<'arena>(
        &self,
        victim: LockedExtent<'arena>,
        pages: u64,
        most: u64,
    ) -> Party<'arena> {
        let (arena, own, name) = (victim.arena(), victim.number(), victim.name());
        let mut party: Party<'arena> = core::array::from_fn(|_| None);
        let mut gathered = pages;
        let mut victim = Some(victim);
        for (number, place) in own.piece().zip(&mut party) {
            *place = if number == own {
                victim.take()
            } else if pages <= FEW_PAGES && gathered < most {
                LockedExtent::try_lock(arena, number).filter(|extent| {
                    let (pages, _) = extent.present_pages_and_runs();
                    let joins = extent.has_flag(QUEUED)
                        && !extent.has_flag(HUGE)
                        && (1..=FEW_PAGES).contains(&pages)
                        && self.join_victim(extent.name(), name)
                        && extent.clear_flag(QUEUED);
                    gathered += if joins { pages } else { 0 };
                    joins
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
        // Chosen once: a pin may be lifted meanwhile, and a page that was not protected may not be packed.
        let chosen = choose(party, most);
        if !self.protect(party, &chosen, true) {
            self.protect(party, &chosen, false);
            return PageCount::ZERO;
        }
        let mut gone = NO_PAGES;
        let mut stay = NO_PAGES;
        for (place, extent) in party.iter().enumerate() {
            let Some(extent) = extent else { continue };
            for page in pages_of(extent, chosen[place]) {
                let cell = extent.entry(page);
                match self.store_in_place(page, cell.load(), area) {
                    Stored::At(kind, location) => {
                        cell.update(|entry| entry.moved_to(kind, location));
                        gone[place] |= bit(page);
                    }
                    _ => stay[place] |= bit(page),
                }
            }
        }
        for_each_run(party, &gone, |run| {
            // SAFETY: the entries of the run's pages say that they are stored elsewhere, or were absent before, and all
            // its extents are locked.
            let dropped = unsafe { drop_pages(run) };
            debug_assert!(dropped, "pages could not be dropped");
        });
        self.protect(party, &stay, false);
        let count = count_of(&gone);
        self.yield_in_place().note(count, count_of(&chosen));
        self.frames().give(count);
        PageCount::new(count)
    }

    /// Write-protects the named pages of a party, or lets those be written that may be; whether the kernel did it all.
    ///
    /// Pages that are pinned or locked are never named: the kernel may be writing to them, and would get `EFAULT`.
    fn protect(&self, party: &Party<'_>, pages: &Pages, on: bool) -> bool {
        let mut pages = *pages;
        if !on {
            for (extent, bits) in party.iter().zip(&mut pages) {
                let Some(extent) = extent else { continue };
                *bits = pages_of(extent, *bits)
                    .filter(|page| extent.entry(*page).load().rights().allows_write())
                    .fold(0, |bits, page| bits | bit(page));
            }
        }
        let mut done = true;
        for_each_run(party, &pages, |run| {
            let act = || {
                // SAFETY: the extents are locked, so a write that faults waits for them; what may be written again is
                // where it was.
                unsafe { self.userfaultfd().write_protect(run, on) }.is_ok()
            };
            done &= (0..PROTECT_TRIES).any(|_| act());
        });
        done
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

/// Pages of a party's extents, a bit each.
type Pages = [u64; PIECE_EXTENTS];

const NO_PAGES: Pages = [0; PIECE_EXTENTS];

fn bit(page: PageNumber) -> u64 {
    1 << (page.get() % EXTENT_PAGES)
}

fn count_of(pages: &Pages) -> u64 {
    pages.iter().map(|bits| u64::from(bits.count_ones())).sum()
}

fn pages_of(extent: &LockedExtent<'_>, bits: u64) -> impl Iterator<Item = PageNumber> {
    let pages = extent.pages().pages();
    pages.filter(move |page| bits & bit(*page) != 0)
}

/// Evictable pages of the party, at most `most`.
fn choose(party: &Party<'_>, most: u64) -> Pages {
    let mut chosen = NO_PAGES;
    let mut left = most;
    for (extent, bits) in party.iter().zip(&mut chosen) {
        let Some(extent) = extent else { continue };
        for page in extent.pages().pages() {
            if left > 0 && extent.entry(page).load().is_evictable() {
                *bits |= bit(page);
                left -= 1;
            }
        }
    }
    chosen
}

/// Calls `act` for runs that hold the named pages, absent ones in between, and no other page of the mapping.
fn for_each_run(party: &Party<'_>, named: &Pages, mut act: impl FnMut(PageRange)) {
    let mut run: Option<PageRange> = None;
    for (extent, bits) in party.iter().zip(named) {
        let Some(extent) = extent else {
            run.take().map(&mut act);
            continue;
        };
        for page in extent.pages().pages() {
            if bits & bit(page) != 0 {
                let start = run.map_or(page, PageRange::start);
                run = Some(PageRange::between(start, page.plus(PageCount::ONE)));
            } else if extent.entry(page).load().kind() == Kind::Present {
                run.take().map(&mut act);
            }
        }
    }
    run.map(act);
}
