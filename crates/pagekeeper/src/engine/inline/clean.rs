//! Cleaning: the pages of a staged slot are stored somewhere, so that their frames can be reused.
//!
//! Each page becomes a word in its entry, an object in the compressed pool, or a slot of the page file; one that came from
//! the page file and is unchanged keeps its slot. The slot's owner works without any lock and publishes the result under
//! the extent's lock, for those pages that are still staged then.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads staged frames whose slot the caller owns"
)]

use core::sync::atomic::Ordering;

use pagekeeper_store::codec::{self, Compressed};
use pagekeeper_store::page_file::{RUNS_AT_ONCE, Slot, SlotRun};
use pagekeeper_sys::time::monotonic_nanoseconds;
use pagekeeper_units::{PageNumber, PageRange};

use super::entry::Kind;
use super::extent::{EXTENT_PAGES, LockedExtent};
use super::repeat;
use super::staging::{SlotNumber, Stored};
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::registry::Reading;

/// How many writes may be refused before the pages stay in memory.
const WRITE_TRIES: usize = 3;
/// Where there were no copies, none are looked for during so many times what looking took.
const REST_AFTER_LOOKING: u64 = 2;
/// What a thread waits when all of them failed.
const AFTER_FAILURES: core::time::Duration = core::time::Duration::from_millis(10);

impl WorkingSet {
    /// Stores every page of an owned slot somewhere; whether that worked for all.
    pub(crate) fn clean(&self, slot: SlotNumber, area: &mut WorkArea) -> bool {
        let mut found = [Stored::No; EXTENT_PAGES as usize];
        let mut to_file = 0_u64;
        let mut outdated = 0_u64;
        let mut kept = 0_u64;
        for place in 0..EXTENT_PAGES {
            let frame = slot.frame(place);
            let Some(owner) = self.staging().owner(frame) else {
                continue;
            };
            let stored = self.staging().stored(frame);
            // SAFETY: we own the slot, and the frame has an owner, so it holds memory.
            let page = unsafe { self.staging().bytes(frame) };
            let result = match stored {
                Stored::At(..) => continue,
                Stored::Perhaps(copy) if self.slot_stays(copy) && self.slot_holds(copy, page) => {
                    self.counters().clean_drops.add(1);
                    kept |= 1 << place;
                    Stored::At(Kind::File, copy)
                }
                Stored::Perhaps(_) => {
                    outdated |= 1 << place;
                    self.pack(page, owner, area)
                }
                Stored::No => self.pack(page, owner, area),
            };
            if result == Stored::No {
                to_file |= 1 << place;
            }
            found[place as usize] = result;
        }
        // First, so that a page can always be written to the slot that it had.
        self.drop_outdated(slot, outdated);
        let clean = self.write_out(slot, to_file, &mut found);
        self.publish(slot, &found, kept);
        clean
    }

    /// Page-file slots that no longer hold what their staged pages hold are free.
    fn drop_outdated(&self, slot: SlotNumber, outdated: u64) {
        if outdated == 0 {
            return;
        }
        let name = self.staging().extent(slot);
        let reading = Reading::begin();
        let Some(arena) = self.arena_of(&reading, name) else {
            return;
        };
        let _extent = arena.lock_extent(name.number());
        for place in bits(outdated) {
            let frame = slot.frame(place);
            // A page that was taken back meanwhile took its slot along.
            if let Stored::Perhaps(old) = self.staging().stored(frame) {
                self.staging().set_stored(frame, Stored::No);
                self.forget_slot(old);
            }
        }
    }

    /// Packs one page: as a word, or into the pool; `No` when it has to go to the page file.
    pub(super) fn pack(
        &self,
        page: &codec::Page,
        owner: PageNumber,
        area: &mut WorkArea,
    ) -> Stored {
        let found = if self.outlook().is_worth_a_try() {
            codec::compress(page, &mut area.codec)
        } else {
            codec::same_filled(page).map_or(Compressed::Incompressible, Compressed::Same)
        };
        self.outlook().note(found != Compressed::Incompressible);
        let packed = match found {
            Compressed::Same(word) => match repeat::half(word) {
                Some(word) => return Stored::At(Kind::Fill, word),
                None => self
                    .pool()
                    .insert(&repeat::packed(word), owner, self.frames()),
            },
            Compressed::Packed(bytes) if !self.pool_is_full() => {
                self.pool().insert(bytes, owner, self.frames())
            }
            Compressed::Packed(_) | Compressed::Incompressible => None,
        };
        packed.map_or(Stored::No, |object| Stored::At(Kind::Pool, object.bits()))
    }

    /// Writes the pages named by `places` to the page file, as many neighbours together as slots allow, and all runs at once.
    fn write_out(
        &self,
        slot: SlotNumber,
        places: u64,
        found: &mut [Stored; EXTENT_PAGES as usize],
    ) -> bool {
        let mut left = places;
        let mut failures = 0;
        while left != 0 && failures < WRITE_TRIES {
            let mut runs = [SlotRun::one(Slot::from_bits(0)); RUNS_AT_ONCE];
            let runs = self.take_runs(left.count_ones(), &mut runs);
            if runs.is_empty() {
                if self.drop_copies_again() {
                    continue;
                }
                return false;
            }
            let chosen = lowest_bits(left, runs.iter().map(|run| run.count).sum());
            // SAFETY: as in `clean`.
            let pages =
                bits(chosen).map(|place| unsafe { self.staging().bytes(slot.frame(place)) });
            let results = self.write_runs(runs, pages);
            let mut places = bits(chosen);
            let mut failed = false;
            for (run, result) in runs.iter().zip(results) {
                let places = places.by_ref().take(run.count as usize);
                if result.is_err() {
                    failed = true;
                    places.for_each(drop);
                    continue;
                }
                for (place, stored) in places.zip(run.slots()) {
                    found[place as usize] = Stored::At(Kind::File, stored.bits());
                    left &= !(1 << place);
                }
                self.counters().pages_out.add(u64::from(run.count));
            }
            if !failed {
                self.clear_write_error();
                continue;
            }
            failures += 1;
            if failures == WRITE_TRIES {
                // Each failure withdraws its slots: a disk that fails for a second must not take the whole file along.
                pagekeeper_sys::time::pause(AFTER_FAILURES);
            }
        }
        left == 0
    }

    /// Slots for `want` pages in as few runs as the page files have, or for fewer: how many fit `runs`.
    fn take_runs<'runs>(
        &self,
        want: u32,
        runs: &'runs mut [SlotRun; RUNS_AT_ONCE],
    ) -> &'runs [SlotRun] {
        let mut taken = 0;
        let mut count = 0;
        for place in runs.iter_mut() {
            if count == want {
                break;
            }
            let Some(run) = self.take_slots(want - count) else {
                break;
            };
            count += run.count;
            *place = run;
            taken += 1;
        }
        &runs[..taken]
    }

    /// Notes where the slot's pages are stored, for those that are still staged; drops what was stored in vain.
    fn publish(&self, slot: SlotNumber, found: &[Stored; EXTENT_PAGES as usize], kept: u64) {
        let name = self.staging().extent(slot);
        let reading = Reading::begin();
        let extent = self
            .arena_of(&reading, name)
            .map(|arena| arena.lock_extent(name.number()));
        for (place, stored) in found.iter().enumerate() {
            let Stored::At(kind, location) = *stored else {
                continue;
            };
            let frame = slot.frame(place as u64);
            let still = extent.is_some() && self.staging().owner(frame).is_some();
            if !still {
                // A copy that was there before went with the page; anything else was stored just now, for nobody.
                if kept & (1 << place) == 0 {
                    self.forget(kind, location);
                }
                continue;
            }
            self.staging().set_stored(frame, *stored);
        }
    }

    /// As [`WorkingSet::drop_copies`], unless there were none just now: with full files every thread that waits comes here
    /// each millisecond, and looking goes through the whole queue.
    fn drop_copies_again(&self) -> bool {
        let began = monotonic_nanoseconds();
        if began < self.no_copies_until().load(Ordering::Relaxed) {
            return false;
        }
        let dropped = self.drop_copies();
        if !dropped {
            let now = monotonic_nanoseconds();
            let until = now + now.saturating_sub(began) * REST_AFTER_LOOKING;
            self.no_copies_until().store(until, Ordering::Relaxed);
        }
        dropped
    }

    /// Slots of the page file are short: gives up those that only spare a second write of a page that is in memory.
    /// Whether any was given up.
    pub(super) fn drop_copies(&self) -> bool {
        let reading = Reading::begin();
        let mut dropped = 0;
        let mut from = Some(0);
        while let Some(at) = from {
            let (name, next) = self.queued_from(at);
            from = next;
            let Some(name) = name else { continue };
            let Some(arena) = self.arena_of(&reading, name) else {
                continue;
            };
            let extent = arena.lock_extent(name.number());
            dropped += self.forget_copies(&extent, extent.pages(), |_| true);
            if dropped >= EXTENT_PAGES {
                break;
            }
        }
        dropped > 0
    }
}

impl WorkingSet {
    /// Pages of `part` that are in memory forget what page-file slot holds the same, where `which` says so; how many.
    pub(super) fn forget_copies(
        &self,
        extent: &LockedExtent<'_>,
        part: PageRange,
        which: impl Fn(u32) -> bool,
    ) -> u64 {
        let mut forgotten = 0;
        for page in part.pages() {
            let gone = extent.entry(page).try_update(|entry| {
                (entry.kind() == Kind::Present && entry.has_copy() && which(entry.location()))
                    .then(|| entry.moved_to(Kind::Present, 0))
            });
            if let Ok(before) = gone {
                self.forget_slot(before.location());
                forgotten += 1;
            }
        }
        forgotten
    }
}

/// The numbers of the bits that are set, upwards.
fn bits(mut word: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        let bit = u64::from(word.trailing_zeros());
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

/// The lowest `count` bits that are set.
fn lowest_bits(word: u64, count: u32) -> u64 {
    bits(word)
        .take(count as usize)
        .fold(0, |chosen, bit| chosen | 1 << bit)
}
