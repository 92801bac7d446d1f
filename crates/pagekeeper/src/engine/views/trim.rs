//! Taking pages of views out of the page table.
//!
//! Two stations, as in the mapped engine: pages leave the page table here, which never waits for a disk; [`finish`](super::finish)
//! writes them and drops them from the page cache. What another process maps stays there, and is its.
//!
//! Private mappings need care: there, leaving the page table drops a copy for good. So the kernel is asked to reclaim
//! (`MADV_PAGEOUT`), which it does for clean pages only; where it may not (files of others), the pages are
//! first protected from writing.

use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::apart;
use pagekeeper_sys::map::{Access, Advice};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::Core;
use super::book::{Book, View};
use super::finish::Outgoing;
use super::kernel;
use super::look::{self, Counts, There};
use super::modes::Mode;
use super::move_out::Stopped;

/// Pages that are looked at in one step: 2 MiB.
const UNIT: u64 = 512;

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

impl Core {
    /// Takes the next unit in the order of the clock out; copies too, if wanted.
    pub(super) fn trim_step(&self, with_copies: bool) -> Step {
        let (step, outgoing) = {
            let mut book = self.book();
            let is_braked = self.balance.brake.is_on();
            match book.next_of_clock() {
                Some(unit) => book.take_out(unit, with_copies, is_braked),
                None => Default::default(),
            }
        };
        if let Some(outgoing) = outgoing {
            self.finisher.push(outgoing);
        }
        self.balance.note_step(step);
        step
    }

    /// Takes pages of a range out now, as far as they can be written, and waits for it.
    pub(super) fn trim_range(self: &Arc<Self>, range: PageRange) {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let core = Arc::clone(self);
        // By a thread that has the files.
        let started = apart::start("pagekeeper-vtr", 256 << 10, move || {
            crate::inside::stay();
            core.trim_range_here(range);
            drop(core);
            let _ = sender.send(());
        });
        if started {
            let _ = receiver.recv();
        }
    }

    fn trim_range_here(&self, range: PageRange) {
        let mut at = range.start();
        let mut outgoing = Vec::new();
        while at < range.end() {
            let end = PageNumber::new((at.get() / UNIT + 1) * UNIT).min(range.end());
            let mut book = self.book();
            let Some(inside) = book.at(at).map(|view| view.range) else {
                break;
            };
            let unit = PageRange::between(at, end).intersection(inside);
            let (step, taken) = book.take_out(unit, true, self.balance.brake.is_on());
            drop(book);
            self.balance.note_step(step);
            outgoing.extend(taken);
            at = end.min(inside.end());
        }
        outgoing.iter().for_each(Outgoing::start);
        for one in &outgoing {
            self.balance.note_finish(one.finish());
        }
    }
}

impl Book {
    /// Takes the pages of `unit`, which lies in one view, out of the page table. Private pages that were kept from writers stay so
    /// while the brake is on.
    fn take_out(
        &mut self,
        unit: PageRange,
        with_copies: bool,
        is_braked: bool,
    ) -> (Step, Option<Outgoing>) {
        let mut step = Step::default();
        if with_copies {
            let (moved, stopped) = self.move_out(unit, is_braked);
            step = Step {
                left: moved,
                moved,
                stopped,
            };
        }
        let slots = self.slots_of(unit);
        let Some(view) = self.at(unit.start()) else {
            return (step, None);
        };
        for (run, mode) in view.modes.inside(unit) {
            step.left += match mode {
                _ if mode.is_locked => 0,
                _ if mode.is_private => take_private(view, run, mode, is_braked),
                _ => take_shared(run),
            };
        }
        if step.left == 0 {
            return (step, None);
        }
        let slots_file = self.slots.file().ok().filter(|_| !slots.is_empty());
        let outgoing = Outgoing {
            source: Arc::clone(view.source.backing()),
            range: unit,
            offset: view.offset_of(unit.start()),
            slots: slots_file.map(|file| (Arc::clone(file), slots)),
        };
        (step, Some(outgoing))
    }

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
    // Refused where somebody has locked pages by `mlock`: they stay.
    match kernel::advise(run, Advice::Discard) {
        Ok(()) => there,
        Err(_) => 0,
    }
}

/// Takes what was not copied out of a private mapping. Says how many pages left.
fn take_private(view: &View, run: PageRange, mode: Mode, is_braked: bool) -> u64 {
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
    let by_kernel = !is_braked && left > 0 && kernel::advise(run, Advice::PageOut).is_ok();
    if left > 0 && (!by_kernel || of_file(run) > left / 2) {
        take_protected(run, mode, is_braked);
    }
    before.saturating_sub(of_file(run))
}

/// The same with writers kept off. They fault, find nothing wrong, and try again.
fn take_protected(run: PageRange, mode: Mode, is_braked: bool) {
    let access = mode.access();
    let is_written = access.contains(Access::WRITE);
    // Under the brake too: the program may have changed the protection since.
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
    if is_written && !is_braked {
        let _ = kernel::protect(run, access);
    }
}

fn of_file(run: PageRange) -> u64 {
    let mut counts = Counts::default();
    // What cannot be looked at is taken for absent: then nothing is done.
    let _ = look::visit(run, |part, there| counts.add(part, there));
    counts.of_file
}
