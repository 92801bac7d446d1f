//! The way out: evict an extent, clean what left, recycle its frames.
//!
//! ```text
//! mapping --evict: one move--> modified --clean: pool or page file--> standby --recycle: one call--> frames
//! ```
//!
//! Done by the balancer in the background and, when there are no frames, by the faulting thread itself.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: moves pages out of registered arenas, reads and drops staged frames"
)]

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{Advice, advise};
use pagekeeper_sys::pagemap;
use pagekeeper_sys::userfaultfd::{CopyMode, MoveMode, UffdFeatures};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::drop::drop_pages;
use super::entry::Kind;
use super::extent::{EXTENT_PAGES, ExtentName, HUGE, LockedExtent, QUEUED};
use super::patience::{Patience, Stuck};
use super::staging::{List, SlotNumber, Stored};
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::registry::Reading;

/// How often the kernel may say "ask again" before a page is left alone.
const MOVE_TRIES: usize = 200;
/// Without `UFFDIO_MOVE`, pages that exist twice until their sources are dropped: beyond the budget, so few.
const COPIED_AT_ONCE: u64 = 8;
/// Slots whose frames are dropped together.
pub(crate) const RECYCLED_AT_ONCE: usize = 8;
/// Victims looked at in one search. Those that stay go back into the queue when it is over, not before: the queue would
/// offer the same few again and again.
const VICTIMS: usize = 256;

/// Where a victim's pages are.
pub(crate) enum Evicted {
    /// In a slot, which the caller owns now.
    Staged(SlotNumber),
    /// Stored; their frames are free.
    Gone,
}

impl WorkingSet {
    /// Frames for a fault: `wanted` if they are there, else as few as one, throwing something out when there is none.
    ///
    /// # Errors
    /// Why nothing could be thrown out, once waiting is of no use any more; see [`Patience`].
    pub(crate) fn take_frames(&self, wanted: u64, area: &mut WorkArea) -> Result<u64, Stuck> {
        let mut patience = Patience::default();
        loop {
            if self.frames().take_for_fault(wanted) {
                return Ok(wanted);
            }
            // Whoever wants many is filling or scanning: one eviction gives room for all of them.
            let made_room = wanted > 1 && self.make_room(area);
            if made_room && self.frames().take_for_fault(wanted) {
                return Ok(wanted);
            }
            if wanted > 1 && self.frames().take_for_fault(1) {
                return Ok(1);
            }
            if !made_room && !self.make_room(area) {
                // Others hold everything that could leave: they are at work, or pinned it for a moment.
                patience.wait(self)?;
            }
        }
    }

    /// One step towards free frames; whether there was one to take.
    pub(crate) fn make_room(&self, area: &mut WorkArea) -> bool {
        if self.recycle_standby(1) {
            return true;
        }
        let came_free = match self.next_out(area) {
            Some(Evicted::Staged(slot)) => self.clean_and(slot, area, true),
            Some(Evicted::Gone) => true,
            None => false,
        };
        came_free || self.pool().give_back_cached(self.frames()) > 0
    }

    /// Cleans an owned slot and, when asked, recycles it at once; else it stands by. Whether it came clean.
    pub(crate) fn clean_and(&self, slot: SlotNumber, area: &mut WorkArea, recycle: bool) -> bool {
        if !self.clean(slot, area) {
            // Those that are stored may leave all the same: with every slot of the page files taken, the frames that they
            // free are what lets another page come in, and its slot is what the others wait for.
            let frames = if recycle { self.leave_stored(slot) } else { 0 };
            self.frames().give(frames);
            self.staging().put(List::Modified, slot);
            return frames > 0;
        }
        if recycle {
            self.recycle(slot);
        } else {
            self.staging().put(List::Standby, slot);
        }
        true
    }

    /// What could not be cleaned earlier, else the next victim's pages: piling up more of the former helps nobody.
    pub(crate) fn next_out(&self, area: &mut WorkArea) -> Option<Evicted> {
        match self.staging().take(List::Modified) {
            Some(slot) => Some(Evicted::Staged(slot)),
            None => self.evict_next(self.batch(), area),
        }
    }

    /// Takes the next victim's pages, at most `most`, out of the mapping.
    pub(crate) fn evict_next(&self, most: u64, area: &mut WorkArea) -> Option<Evicted> {
        let slot = self.staging().take(List::Free)?;
        let reading = Reading::begin();
        let mut kept = Kept::new(self);
        let mut moves_tried = false;
        for _ in 0..VICTIMS {
            let Some(name) = self.next_victim() else {
                break;
            };
            let Some(arena) = self.arena_of(&reading, name) else {
                continue;
            };
            let extent = arena.lock_extent(name.number());
            extent.clear_flag(QUEUED);
            if let Some(pages) = self.packs_in_place(&extent) {
                let party = self.gather(extent, pages, most);
                let packed = self.pack_in_place(&party, most, area);
                party
                    .iter()
                    .flatten()
                    .for_each(|extent| kept.keep_if_present(extent));
                if packed.is_zero() {
                    continue;
                }
                drop(kept);
                match moves_tried {
                    true => self.put_back_empty(slot),
                    false => self.staging().put(List::Free, slot),
                }
                return Some(Evicted::Gone);
            }
            moves_tried = true;
            let moved = self.move_out(&extent, extent.pages(), slot, most);
            kept.keep_if_present(&extent);
            drop(extent);
            if moved > 0 {
                return Some(Evicted::Staged(slot));
            }
        }
        drop(kept);
        self.put_back_empty(slot);
        None
    }

    /// A slot into which nothing was moved, or perhaps something that nobody was told of.
    pub(crate) fn put_back_empty(&self, slot: SlotNumber) {
        self.staging().sweep(slot);
        self.staging().put(List::Free, slot);
    }

    /// The arena of an extent, if it is (still) one of ours.
    pub(super) fn arena_of<'reading>(
        &self,
        reading: &'reading Reading,
        name: ExtentName,
    ) -> Option<&'reading Arena> {
        let arena = reading.owner(name.first_page())?;
        core::ptr::eq(&**arena.set(), self).then_some(arena)
    }

    /// Moves evictable pages of `range`, at most `most`, from a locked extent into an owned slot; how many.
    pub(crate) fn move_out(
        &self,
        extent: &LockedExtent<'_>,
        range: PageRange,
        slot: SlotNumber,
        most: u64,
    ) -> u64 {
        self.staging().begin(slot, extent.name());
        let mut moved = 0;
        let mut at = range.start();
        while at < range.end() && moved < most {
            let Some(run) = next_run(extent, PageRange::between(at, range.end()), most - moved)
            else {
                break;
            };
            moved += self.move_run(extent, run, slot);
            at = run.end();
        }
        moved
    }

    /// Moves one run, in which every page is evictable or absent.
    ///
    /// The kernel's count of what it moved is not to be trusted when it stops early: with two threads moving parts of one
    /// huge page it was seen (6.18) to say "nothing, ask again" after a page had gone. But it looks at the destination
    /// first, and a free slot has no frames; so `EEXIST` says that the page at hand went before, and every page is
    /// asked about until the answer is not "again".
    fn move_run(&self, extent: &LockedExtent<'_>, run: PageRange, slot: SlotNumber) -> u64 {
        let first_place = run.start().since(extent.number().first_page());
        let base = self.staging().range(slot).start();
        let mut moved = 0;
        let mut rest = run;
        let mut tries = 0;
        while !rest.is_empty() {
            let to = base.plus(first_place + rest.start().since(run.start()));
            let (done, error) = self.move_or_copy(extent, rest, to);
            moved += self.note_moved(extent, PageRange::new(rest.start(), done), slot);
            rest = PageRange::between(rest.start().plus(done), rest.end());
            let first = PageRange::new(rest.start(), PageCount::new(rest.count().get().min(1)));
            let behind_first = PageRange::between(first.end(), rest.end());
            match error {
                None => break,
                Some(Errno::EXIST) if !is_resident(rest.start()) => {
                    moved += self.note_moved(extent, first, slot);
                    rest = behind_first;
                }
                Some(Errno::AGAIN) if tries < MOVE_TRIES => {
                    tries += 1;
                    if tries > MOVE_TRIES / 2 {
                        pagekeeper_sys::time::pause(core::time::Duration::from_micros(20));
                    }
                }
                // Pinned by the kernel, shared with a child, or in its way for long: it stays, the next one goes.
                Some(_) => {
                    tries = 0;
                    let to = base.plus(first_place + first.start().since(run.start()));
                    // A frame alone proves nothing: one may be left of an earlier victim whose move went unnoticed.
                    if is_resident(to) && !is_resident(first.start()) {
                        moved += self.note_moved(extent, first, slot);
                    }
                    rest = behind_first;
                }
            }
        }
        moved
    }

    /// One call for a run; pages done from its start, and why it stopped.
    fn move_or_copy(
        &self,
        extent: &LockedExtent<'_>,
        run: PageRange,
        to: PageNumber,
    ) -> (PageCount, Option<Errno>) {
        if !self.userfaultfd().features().contains(UffdFeatures::MOVE) {
            return self.copy_out(extent, run, to);
        }
        let is_there = |page: PageNumber| extent.entry(page).load().kind() == Kind::Present;
        let holes = match run.pages().all(is_there) {
            true => MoveMode::empty(),
            false => MoveMode::ALLOW_HOLES,
        };
        // SAFETY: the extent is locked and its pages are not pinned, so no one but the program looks at them, and its
        // accesses fault and wait. The slot's frames are ours.
        let progress = unsafe {
            self.userfaultfd()
                .move_pages(to, run, holes | MoveMode::DO_NOT_WAKE)
        };
        match progress.error {
            // Executable memory cannot be moved to memory that is not.
            Some(Errno::INVAL) if progress.done_bytes == 0 => self.copy_out(extent, run, to),
            error => (progress.done_pages(), error),
        }
    }

    /// Without `UFFDIO_MOVE`: protect, copy, drop. Only on a synchronous write-protect descriptor is that safe:
    /// a write in between faults and waits for the extent.
    fn copy_out(
        &self,
        extent: &LockedExtent<'_>,
        run: PageRange,
        to: PageNumber,
    ) -> (PageCount, Option<Errno>) {
        let absent = |page: &PageNumber| extent.entry(*page).load().kind() != Kind::Present;
        let holes = run.pages().take_while(absent).count() as u64;
        if holes > 0 {
            let again = (holes < run.count().get()).then_some(Errno::AGAIN);
            return (PageCount::new(holes), again);
        }
        let present = run.pages().take_while(|page| !absent(page)).count() as u64;
        let part = PageRange::new(run.start(), PageCount::new(present.min(COPIED_AT_ONCE)));
        // SAFETY: the part lies in the locked extent; a write to it waits from here on.
        if let Err(errno) = unsafe { self.userfaultfd().write_protect(part, true) } {
            return (PageCount::ZERO, Some(errno));
        }
        let target = PageRange::new(to, part.count());
        // SAFETY: the source is present and protected; the target are absent frames of our slot.
        let progress = unsafe {
            self.userfaultfd()
                .copy(target, part.address() as *const u8, CopyMode::DO_NOT_WAKE)
        };
        let copied = PageRange::new(part.start(), progress.done_pages());
        if !copied.is_empty() {
            // SAFETY: the pages are copied and nobody could write to them since.
            if !unsafe { drop_pages(copied) } {
                // They stay where they are, and can be written to again; their copies go.
                let copies = PageRange::new(to, copied.count());
                // SAFETY: frames of our slot, which nobody knows of.
                let _ = unsafe { advise(copies, Advice::Discard) };
                // SAFETY: the part lies in the locked extent.
                let _ = unsafe { self.userfaultfd().write_protect(part, false) };
                return (PageCount::ZERO, Some(Errno::BUSY));
            }
        }
        let left = PageRange::between(copied.end(), part.end());
        if !left.is_empty() {
            // What was not copied is to stay: a kernel's write to it would fail where a program's only waits.
            // SAFETY: as above.
            let _ = unsafe { self.userfaultfd().write_protect(left, false) };
        }
        let error = progress
            .error
            .or((part.count() < run.count()).then_some(Errno::AGAIN));
        (copied.count(), error)
    }

    /// The pages of `done` (holes apart) are in the slot now.
    fn note_moved(&self, extent: &LockedExtent<'_>, done: PageRange, slot: SlotNumber) -> u64 {
        let mut moved = 0;
        for page in done.pages() {
            let cell = extent.entry(page);
            let entry = cell.load();
            if entry.kind() != Kind::Present {
                continue;
            }
            let frame = slot.frame(page.get() % EXTENT_PAGES);
            let stored = if entry.has_copy() {
                Stored::Perhaps(entry.location())
            } else {
                Stored::No
            };
            self.staging().receive(frame, page, stored);
            cell.update(|entry| entry.moved_to(Kind::Staged, frame.get()));
            moved += 1;
        }
        moved
    }

    /// Gives the frames of the oldest slots that stand by back, at most [`RECYCLED_AT_ONCE`] of them; whether there were any.
    /// Dropping frames flushes the translation caches of every processor that runs the process, so slots that lie
    /// side by side (they go round in order, so most do) are dropped by one call.
    pub(crate) fn recycle_standby(&self, most: usize) -> bool {
        let mut slots = [None; RECYCLED_AT_ONCE];
        let mut count = 0;
        for place in slots.iter_mut().take(most) {
            let Some(slot) = self.staging().take(List::Standby) else {
                break;
            };
            *place = Some(slot);
            count += 1;
        }
        let slots = &mut slots[..count];
        for place in slots.iter_mut() {
            if let Some(slot) = *place
                && !self.leave(slot)
            {
                self.staging().put(List::Modified, slot);
                *place = None;
            }
        }
        let frames = self.staging().empty_all(slots);
        self.frames().give(frames);
        for slot in slots.iter().flatten() {
            self.staging().put(List::Free, *slot);
        }
        count > 0
    }

    /// Gives the frames of one owned, clean slot back.
    pub(super) fn recycle(&self, slot: SlotNumber) {
        if self.leave(slot) {
            let frames = self.staging().empty_all(&[Some(slot)]);
            self.frames().give(frames);
            self.staging().put(List::Free, slot);
        } else {
            self.staging().put(List::Modified, slot);
        }
    }

    /// The pages of an owned slot that are still staged leave for where they are stored. `false` when one is not stored:
    /// then its frame is the only place where it is.
    fn leave(&self, slot: SlotNumber) -> bool {
        let (_, unstored) = self.leave_where_stored(slot);
        debug_assert_eq!(unstored, 0, "an unclean slot was to be recycled");
        unstored == 0
    }

    /// The pages of an owned slot that are stored leave; frames that then have no owner are dropped one by one, those
    /// of pages that were taken back too; how many.
    fn leave_stored(&self, slot: SlotNumber) -> u64 {
        self.leave_where_stored(slot);
        self.staging().empty_unowned(slot)
    }

    /// The staged pages of a slot go over to where they are stored. One bit each: those that did, those that are not stored.
    fn leave_where_stored(&self, slot: SlotNumber) -> (u64, u64) {
        let name = self.staging().extent(slot);
        let reading = Reading::begin();
        let (mut left, mut unstored) = (0, 0);
        let Some(arena) = self.arena_of(&reading, name) else {
            return (left, unstored);
        };
        let extent = arena.lock_extent(name.number());
        for place in 0..EXTENT_PAGES {
            let frame = slot.frame(place);
            let Some(owner) = self.staging().owner(frame) else {
                continue;
            };
            let Stored::At(kind, location) = self.staging().stored(frame) else {
                unstored |= 1 << place;
                continue;
            };
            self.staging().disown(frame);
            extent
                .entry(owner)
                .update(|entry| entry.moved_to(kind, location));
            left |= 1 << place;
        }
        (left, unstored)
    }
}

/// Whether a frame holds memory, as far as `mincore` can tell.
fn is_resident(frame: PageNumber) -> bool {
    let mut answer = [0];
    let asked = pagemap::residence(PageRange::new(frame, PageCount::ONE), &mut answer);
    asked.is_ok() && answer[0] & 1 != 0
}

/// Victims that keep pages; back in the queue when dropped.
struct Kept<'set> {
    set: &'set WorkingSet,
    numbers: [u32; VICTIMS],
    count: usize,
}

impl<'set> Kept<'set> {
    fn new(set: &'set WorkingSet) -> Self {
        Self {
            set,
            numbers: [0; VICTIMS],
            count: 0,
        }
    }

    /// A victim that still has pages in the mapping stays in the queue.
    fn keep_if_present(&mut self, extent: &LockedExtent<'_>) {
        if !extent.has_present_pages() {
            extent.clear_flag(HUGE);
        } else if !extent.set_flag(QUEUED) {
            self.push(extent.name());
        }
    }

    fn push(&mut self, name: ExtentName) {
        match self.numbers.get_mut(self.count) {
            Some(place) => {
                *place = name.get();
                self.count += 1;
            }
            None => self.set.requeue(name),
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        for number in self.numbers.iter().take(self.count) {
            self.set.requeue(ExtentName::new(*number));
        }
    }
}

/// The first run in `range` that may be moved by one call: present and evictable pages, holes between them allowed, ending
/// before a page that has to stay, and with at most `most` pages in it. Where a huge page may lie, no holes.
fn next_run(extent: &LockedExtent<'_>, range: PageRange, most: u64) -> Option<PageRange> {
    let evictable = |page: &PageNumber| extent.entry(*page).load().is_evictable();
    let start = range.pages().find(evictable)?;
    let mut end = start;
    let mut count = 0;
    for page in PageRange::between(start, range.end()).pages() {
        let entry = extent.entry(page).load();
        if entry.kind() != Kind::Present {
            if extent.has_flag(HUGE) {
                break;
            }
            continue;
        }
        if !entry.is_evictable() || count == most {
            break;
        }
        end = page;
        count += 1;
    }
    Some(PageRange::between(start, end.plus(PageCount::ONE)))
}
