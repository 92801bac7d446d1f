//! Copied pages move out: into slots of our file, which are then mapped in their place.
//!
//! For the moment of the copy nobody can write: a thread that does faults, is sent to the dispatch of exceptions, finds
//! nothing wrong and tries again. System calls that write there: [`filled`](super::filled).

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads pages of views as bytes while nobody can write to them"
)]

use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file;
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageRange};

use super::book::Book;
use super::kernel;
use super::look;
use super::modes::Mode;
use super::slots::SlotRun;
use super::source::Backing;

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
    /// Moves copied pages of `range`, which lies in one view, out. Says how many, and what ended it early.
    pub(super) fn move_out(&mut self, range: PageRange) -> (u64, Option<Stopped>) {
        let slots = match self.slots.file() {
            // A file whose pages are lost takes no more of them.
            Ok(file) if file.failure().is_none() => Arc::clone(file),
            _ => return (0, Some(Stopped::NoRoom)),
        };
        let Some(view) = self.at(range.start()) else {
            return (0, None);
        };
        let mut runs = view.modes.inside(range.intersection(view.range));
        runs.retain(|(_, mode)| mode.is_private && !mode.is_locked);
        let mut moved = 0;
        for (run, mode) in runs {
            match self.move_out_of_run(run, mode, &slots) {
                (count, None) => moved += count,
                (count, stopped) => return (moved + count, stopped),
            }
        }
        (moved, None)
    }

    /// The same for pages of one mode. Writers are kept off for that time.
    fn move_out_of_run(
        &mut self,
        run: PageRange,
        mode: Mode,
        slots: &Arc<Backing>,
    ) -> (u64, Option<Stopped>) {
        match look::copied(run) {
            Ok(copies) if copies.is_empty() => return (0, None),
            Ok(_) => {}
            Err(errno) => return (0, Some(Stopped::Failed(errno))),
        }
        let access = mode.access();
        let quiet = access.difference(Access::WRITE) | Access::READ;
        if kernel::protect(run, quiet).is_err() {
            return (0, Some(Stopped::NoRoom));
        }
        let mut moved = 0;
        let mut stopped = None;
        // From here on no more are copied.
        for copies in look::copied(run).unwrap_or_default() {
            let mut rest = copies;
            while !rest.is_empty() && stopped.is_none() {
                match self.move_part(rest, access, slots) {
                    Ok(part) => {
                        moved += part.count().get();
                        rest = PageRange::between(part.end(), rest.end());
                    }
                    Err(why) => stopped = Some(why),
                }
            }
        }
        if moved > 0 {
            // Refused only where mappings run short: then a forked child has pages of ours, which harms nobody.
            let _ = kernel::keep_from_children(run);
        }
        if access != quiet {
            // Refused only at the mapping limit: who faults there mends it.
            let _ = kernel::protect(run, access);
        }
        (moved, stopped)
    }

    /// Moves the first pages of a copied run, and says which.
    fn move_part(
        &mut self,
        copies: PageRange,
        access: Access,
        file: &Arc<Backing>,
    ) -> Result<PageRange, Stopped> {
        let Some(slots) = self.slots.take(copies.count().get().min(MOST)) else {
            return Err(Stopped::NoRoom);
        };
        let part = PageRange::new(copies.start(), PageCount::new(slots.count));
        let written = file.with(move |file| {
            // SAFETY: Copied pages of a view, which no access writes to now; the book is locked, so they stay mapped.
            let bytes = unsafe { kernel::bytes(part) };
            file::write_at(file, bytes, slots.offset())
        });
        if let Err(errno) = written.and_then(|result| result) {
            self.slots.give_back(slots);
            return Err(Stopped::Failed(errno));
        }
        let place = slots.offset();
        let mapped = file.with(move |file| kernel::map_file(part, (file, place), access, false));
        if !matches!(mapped, Ok(Ok(()))) {
            // Whatever the refusal was, the old pages are still there: the kernel checks before it unmaps.
            self.slots.give_back(slots);
            return Err(Stopped::NoRoom);
        }
        if let Some(view) = self.at_mut(part.start()) {
            view.moved.extend(part.pages().zip(slots.first..));
        }
        Ok(part)
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
