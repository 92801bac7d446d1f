//! Taking pages of views out of the address space, and out of memory where nobody else has them.
//!
//! Two stations, as in the mapped engine: pages leave the page table and their writing is started; some steps later what is
//! written and has not come back is dropped from the page cache. What another process maps stays there, and is its.
//!
//! Private mappings need care: there, leaving the page table drops a copy for good. So the kernel is asked to reclaim
//! (`MADV_PAGEOUT`), which it does for clean pages only; where it may not (files of others), the pages are
//! first protected from writing.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::{self, WriteOut};
use pagekeeper_sys::map::{Access, Advice};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::Core;
use super::book::{Book, View};
use super::kernel;
use super::look::{self, Counts, There};
use super::modes::Mode;
use super::move_out::Stopped;
use super::slots::SlotRun;

/// Pages that are looked at in one step: 2 MiB.
const UNIT: u64 = 512;
/// How many steps pages are on their way.
const ON_THE_WAY: usize = 8;
/// Pages that came back leave holes; beyond so many runs all of it is dropped in one call, which skips them.
const RUNS_MAX: usize = 24;

/// Pages that have left the page table and not yet memory.
#[derive(Debug)]
struct Outgoing {
    /// The file, under a number of this thread's table: nothing of the program's table may ever be dropped here. `None`
    /// where it cannot be reached: then the pages are left to the kernel.
    file: Option<OwnedFd>,
    range: PageRange,
    offset: u64,
    slots: Vec<SlotRun>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// Pages that left the page table.
    pub(super) left: u64,
    /// Of these, copies that went to the page file.
    pub(super) moved: u64,
    /// Copied pages cannot leave any more.
    pub(super) stopped: Option<Stopped>,
}

/// The pages on their way out.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    outgoing: VecDeque<Outgoing>,
}

impl Trimmer {
    /// Takes the next unit in the order of the clock out; copies too, if wanted.
    pub(super) fn step(&mut self, core: &Core, with_copies: bool) -> Result<Step, Errno> {
        let step = {
            let mut book = core.book();
            match book.next_of_clock() {
                Some(unit) => self.take(&mut book, unit, with_copies),
                None => Step::default(),
            }
        };
        while self.outgoing.len() > ON_THE_WAY {
            self.finish_one(core)?;
        }
        Ok(step)
    }

    /// Waits for everything on its way.
    pub(super) fn finish(&mut self, core: &Core) -> Result<(), Errno> {
        while !self.outgoing.is_empty() {
            self.finish_one(core)?;
        }
        Ok(())
    }

    fn take(&mut self, book: &mut Book, unit: PageRange, with_copies: bool) -> Step {
        let mut step = Step::default();
        if with_copies {
            match book.move_out(unit) {
                Ok(moved) => (step.left, step.moved) = (moved, moved),
                Err(stopped) => step.stopped = Some(stopped),
            }
        }
        let slots = book.slots_of(unit);
        let Some(view) = book.at(unit.start()) else {
            return step;
        };
        let before = step.left;
        for (run, mode) in view.modes.inside(unit) {
            step.left += if mode.is_private {
                take_private(view, run, mode)
            } else {
                take_shared(run)
            };
        }
        if step.left > before || step.moved > 0 {
            let offset = view.offset_of(unit.start());
            let file = view.source.for_own_thread().ok();
            // A start: the end comes when it is finished.
            if let Some(file) = &file {
                let length = unit.bytes().get();
                let _ = file::write_out(file, offset, length, WriteOut::Start);
            }
            if let Some(slots_file) = (!slots.is_empty())
                .then(|| book.slots.for_own_thread().ok())
                .flatten()
            {
                for run in &slots {
                    let _ =
                        file::write_out(&slots_file, run.offset(), run.bytes(), WriteOut::Start);
                }
            }
            self.outgoing.push_back(Outgoing {
                file,
                range: unit,
                offset,
                slots,
            });
        }
        step
    }

    fn finish_one(&mut self, core: &Core) -> Result<(), Errno> {
        let Some(outgoing) = self.outgoing.pop_front() else {
            return Ok(());
        };
        if let Some(file) = &outgoing.file {
            let length = outgoing.range.bytes().get();
            file::write_out(file, outgoing.offset, length, WriteOut::AndWait)?;
            for run in absent(outgoing.range) {
                let skipped = run.start().since(outgoing.range.start()).bytes().get();
                let _ = file::forget(file, outgoing.offset + skipped, run.bytes().get());
            }
        }
        if !outgoing.slots.is_empty() {
            let file = core.book().slots.for_own_thread()?;
            for run in &outgoing.slots {
                file::write_out(&file, run.offset(), run.bytes(), WriteOut::AndWait)?;
                let _ = file::forget(&file, run.offset(), run.bytes());
            }
        }
        Ok(())
    }
}

impl Book {
    /// The next unit that trimming looks at.
    fn next_of_clock(&mut self) -> Option<PageRange> {
        let above = self
            .views
            .range(self.clock..)
            .next()
            .map(|(start, _)| *start);
        let start = above.or_else(|| self.views.keys().next().copied())?;
        let view = self.views.get_mut(&start)?;
        let from = view.range.start().plus(PageCount::new(view.hand));
        // Units end where the address is a multiple of one, so that huge pages are not cut.
        let end = PageNumber::new((from.get() / UNIT + 1) * UNIT).min(view.range.end());
        view.hand = end.since(view.range.start()).get();
        self.clock = view.range.start();
        if end == view.range.end() {
            view.hand = 0;
            self.clock = view.range.end();
        }
        Some(PageRange::between(from, end))
    }

    /// Pages of all views that are there.
    pub(super) fn count(&self) -> Result<Counts, Errno> {
        let mut counts = Counts::default();
        for view in self.views.values() {
            look::visit(view.range, |run, there| counts.add(run, there))?;
        }
        Ok(counts)
    }

    /// Steps for all views once round.
    pub(super) fn steps(&self) -> u64 {
        let units = |view: &View| view.range.count().get() / UNIT + 2;
        self.views.values().map(units).sum()
    }
}

/// Takes shared pages out of the page table; they stay in the page cache. Says how many were there.
fn take_shared(run: PageRange) -> u64 {
    let mut there = 0;
    if look::visit(run, |part, _| there += part.count().get()).is_err() || there == 0 {
        return 0;
    }
    // Refused where the program has locked pages: they stay.
    match kernel::advise(run, Advice::Discard) {
        Ok(()) => there,
        Err(_) => 0,
    }
}

/// Takes what was not copied out of a private mapping. Says how many pages left.
fn take_private(view: &View, run: PageRange, mode: Mode) -> u64 {
    let before = of_file(run);
    if before == 0 {
        return 0;
    }
    // Copies that moved out are shared mappings of their slots.
    let mut moved = Vec::new();
    for (&page, _) in view.moved.range(run.start()..run.end()) {
        look::join(&mut moved, PageRange::new(page, PageCount::ONE));
    }
    for part in &moved {
        let _ = kernel::advise(*part, Advice::Discard);
    }
    let left = of_file(run);
    if left > 0 && kernel::advise(run, Advice::PageOut).is_err() || of_file(run) > left / 2 {
        take_protected(run, mode);
    }
    before.saturating_sub(of_file(run))
}

/// The same with writers kept off. They fault, find nothing wrong, and try again.
fn take_protected(run: PageRange, mode: Mode) {
    let access = mode.access();
    let is_written = access.contains(Access::WRITE);
    if is_written && kernel::protect(run, access.difference(Access::WRITE)).is_err() {
        return;
    }
    let mut clean = Vec::new();
    let looked = look::visit(run, |part, there| {
        if there == There::OfFile {
            clean.push(part);
        }
    });
    if looked.is_ok() {
        for part in clean {
            let _ = kernel::advise(part, Advice::Discard);
        }
    }
    if is_written {
        let _ = kernel::protect(run, access);
    }
}

fn of_file(run: PageRange) -> u64 {
    let mut counts = Counts::default();
    // What cannot be looked at is taken for absent: then nothing is done.
    let _ = look::visit(run, |part, there| counts.add(part, there));
    counts.of_file
}

/// The runs of pages that have not come back. Everything where that cannot be known or would be many.
fn absent(range: PageRange) -> Vec<PageRange> {
    let mut there = Vec::new();
    let looked = look::visit(range, |part, _| look::join(&mut there, part));
    if looked.is_err() || there.len() > RUNS_MAX {
        return vec![range];
    }
    look::without(range, &there)
}

impl Core {
    /// Takes pages of a range out now, as far as they can be written.
    pub(super) fn trim_range(&self, range: PageRange) {
        let mut trimmer = Trimmer::default();
        let mut at = range.start();
        while at < range.end() {
            let end = PageNumber::new((at.get() / UNIT + 1) * UNIT).min(range.end());
            let mut book = self.book();
            let Some(inside) = book.at(at).map(|view| view.range) else {
                return;
            };
            let unit = PageRange::between(at, end).intersection(inside);
            let step = trimmer.take(&mut book, unit, true);
            drop(book);
            self.balance.note_step(step);
            at = end.min(inside.end());
        }
        if let Err(errno) = trimmer.finish(self) {
            self.balance.fail(errno);
        }
    }
}
