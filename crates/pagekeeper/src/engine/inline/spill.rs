//! From the compressed pool to the page file: the oldest packed pages make room for younger ones.
//!
//! Objects of the block that has been in use longest are unpacked into bounce pages, written in one run, and their pages'
//! entries changed from pool to file. A page is busy meanwhile, so nobody reads the object while it goes.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads packed objects whose pages are busy, hence ours"
)]

use pagekeeper_store::codec::Page;
use pagekeeper_store::pool::{DrainList, PoolObject};
use pagekeeper_units::PAGE_SIZE;

use super::entry::{Entry, Kind};
use super::extent::{EXTENT_PAGES, ExtentNumber};
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::registry::Reading;

/// Objects that leave in one write.
const BATCH: usize = EXTENT_PAGES as usize;

impl WorkingSet {
    /// Moves the objects of the oldest block to the page file; whether any went.
    pub(crate) fn spill(&self, area: &mut WorkArea, list: &mut DrainList) -> bool {
        let Some(block) = self.pool().drain_oldest(list) else {
            return false;
        };
        let mut moved = 0;
        for batch in list.objects().chunks(BATCH) {
            moved += self.spill_batch(batch, area);
        }
        self.pool().end_drain(block);
        moved > 0
    }

    fn spill_batch(&self, batch: &[PoolObject], area: &mut WorkArea) -> usize {
        let mut taken = [None; BATCH];
        let mut count = 0;
        for object in batch {
            let Some(place) = taken.get_mut(count) else {
                break;
            };
            let Some(bounce) = area
                .bounce_mut(count + 1)
                .as_chunks_mut::<PAGE_SIZE>()
                .0
                .last_mut()
            else {
                break;
            };
            if self.take_for_spill(*object, bounce) {
                *place = Some(*object);
                count += 1;
            }
        }
        let moved = self.write_spilled(&taken[..count], area);
        for object in taken.iter().skip(moved).flatten() {
            self.settle_spilled(*object, None);
        }
        moved
    }

    /// Marks the object's page busy and unpacks it; `false` when the page has moved on or cannot be unpacked.
    fn take_for_spill(&self, object: PoolObject, target: &mut Page) -> bool {
        let reading = Reading::begin();
        let Some(arena) = reading
            .find_inline(object.owner)
            .filter(|arena| core::ptr::eq(&**arena.set(), self))
        else {
            return false;
        };
        let extent = arena.lock_extent(ExtentNumber::of(object.owner));
        let cell = extent.entry(object.owner);
        let is_it = |entry: Entry| {
            entry.kind() == Kind::Pool
                && entry.location() == object.object.bits()
                && !entry.is_busy()
        };
        if cell
            .try_update(|entry| is_it(entry).then(|| entry.busy()))
            .is_err()
        {
            return false;
        }
        // SAFETY: the page is busy by our hand and its entry names the object, so it stays.
        if unsafe { self.pool().read(object.object, target) }.is_ok() {
            return true;
        }
        cell.update(Entry::not_busy);
        extent.wake_waiters();
        false
    }

    /// Writes the unpacked pages; how many of them, from the first, are in the page file.
    fn write_spilled(&self, taken: &[Option<PoolObject>], area: &mut WorkArea) -> usize {
        let mut done = 0;
        while done < taken.len() {
            let Some(run) = self.take_slots((taken.len() - done) as u32) else {
                break;
            };
            let count = run.count as usize;
            let pages = area.bounce_mut(taken.len());
            let pages = pages.as_chunks::<PAGE_SIZE>().0;
            let Some(pages) = pages.get(done..done + count) else {
                break;
            };
            if self.write_slots(run, pages.iter()).is_err() {
                break;
            }
            self.counters().pages_out.add(count as u64);
            for (slot, object) in run
                .slots()
                .zip(taken.iter().skip(done).take(count).flatten())
            {
                self.settle_spilled(*object, Some(slot.bits()));
            }
            done += count;
        }
        done
    }

    /// The object's page is in `slot` now, or stays where it was.
    fn settle_spilled(&self, object: PoolObject, slot: Option<u32>) {
        let reading = Reading::begin();
        let Some(arena) = reading.find_inline(object.owner) else {
            return;
        };
        let extent = arena.lock_extent(ExtentNumber::of(object.owner));
        match slot {
            Some(slot) => {
                extent
                    .entry(object.owner)
                    .update(|entry| entry.moved_to(Kind::File, slot));
                self.forget_packed(object.object);
            }
            None => {
                extent.entry(object.owner).update(Entry::not_busy);
            }
        }
        extent.wake_waiters();
    }
}
