//! Copied pages move out: into slots of our file, which are then mapped in their place.
//!
//! For the moment of the copy nobody can write: a thread that does faults, is sent to the dispatch of exceptions, finds
//! nothing wrong and tries again. A system call that writes there at that moment gets `EFAULT`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads pages of views as bytes while nobody can write to them"
)]

use std::os::fd::{AsFd, BorrowedFd};

use pagekeeper_sys::Errno;
use pagekeeper_sys::file;
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageRange};

use super::book::Book;
use super::kernel;
use super::look;
use super::modes::Mode;
use super::slots::SlotRun;

/// The largest run that moves in one go.
const MOST: u64 = 512;

/// Why copied pages do not move out any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The kernel gives no more mappings, or there is no file: they stay in RAM.
    NoRoom,
    /// The page file could not be written.
    Failed(Errno),
}

impl Book {
    /// Moves copied pages of `range`, which lies in one view, out. Says how many.
    pub(super) fn move_out(&mut self, range: PageRange) -> Result<u64, Stopped> {
        let file = self.slots.for_own_thread().map_err(|_| Stopped::NoRoom)?;
        let Some(view) = self.at(range.start()) else {
            return Ok(0);
        };
        let mut copies = Vec::new();
        for (run, mode) in view.modes.inside(range.intersection(view.range)) {
            if !mode.is_private {
                continue;
            }
            let found = look::copied(run).map_err(Stopped::Failed)?;
            copies.extend(found.into_iter().map(|run| (run, mode)));
        }
        let mut moved = 0;
        for (run, mode) in copies {
            moved += self.move_run(run, mode, file.as_fd())?;
        }
        Ok(moved)
    }

    fn move_run(
        &mut self,
        run: PageRange,
        mode: Mode,
        file: BorrowedFd<'_>,
    ) -> Result<u64, Stopped> {
        let mut rest = run;
        while !rest.is_empty() {
            let Some(slots) = self.slots.take(rest.count().get().min(MOST)) else {
                return Err(Stopped::NoRoom);
            };
            let part = PageRange::new(rest.start(), PageCount::new(slots.count));
            if let Err(stopped) = self.move_part(part, slots, mode.access(), file) {
                self.slots.give_back(slots);
                return Err(stopped);
            }
            rest = PageRange::between(part.end(), rest.end());
        }
        Ok(run.count().get())
    }

    fn move_part(
        &mut self,
        part: PageRange,
        slots: SlotRun,
        access: Access,
        file: BorrowedFd<'_>,
    ) -> Result<(), Stopped> {
        kernel::protect(part, Access::READ).map_err(|_| Stopped::NoRoom)?;
        // SAFETY: Copied pages of a view, which no access writes to now; the book is locked, so they stay mapped.
        let bytes = unsafe { kernel::bytes(part) };
        if let Err(errno) = file::write_at(file, bytes, slots.offset()) {
            // Refused again only at the mapping limit; then the pages can be read, and writing retries.
            let _ = kernel::protect(part, access);
            return Err(Stopped::Failed(errno));
        }
        if kernel::map_file(part, (file, slots.offset()), access, false).is_err() {
            let _ = kernel::protect(part, access);
            return Err(Stopped::NoRoom);
        }
        let Some(view) = self.at_mut(part.start()) else {
            return Ok(());
        };
        for (page, slot) in part.pages().zip(slots.first..) {
            view.moved.insert(page, slot);
        }
        Ok(())
    }

    /// The slots of moved pages in `range`, as runs.
    pub(super) fn slots_of(&self, range: PageRange) -> Vec<SlotRun> {
        let Some(view) = self.at(range.start()) else {
            return Vec::new();
        };
        let mut runs: Vec<SlotRun> = Vec::new();
        for (_, &slot) in view.moved.range(range.start()..range.end()) {
            match runs.last_mut() {
                Some(run) if run.first + run.count == slot => run.count += 1,
                _ => runs.push(SlotRun {
                    first: slot,
                    count: 1,
                }),
            }
        }
        runs
    }
}
