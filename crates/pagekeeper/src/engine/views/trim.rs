//! Taking pages of views out of the page table.
//!
//! Two stations, as in the mapped engine: pages leave the page table here, which never waits for a disk; [`finish`](super::finish)
//! writes them and drops them from the page cache. What another process maps stays there, and is its.
//!
//! Private mappings need care: there, leaving the page table drops a copy for good. So the pages are first protected from
//! writing. (Asking the kernel to reclaim, `MADV_PAGEOUT`, spares that, but it leaves files of others, and most else.)

use core::ops::ControlFlow;
use std::collections::VecDeque;
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::apart;
use pagekeeper_sys::map::{Access, Advice};
use pagekeeper_units::{PageNumber, PageRange};

use super::Core;
use super::book::{Book, View};
use super::finish::{FilePart, Outgoing};
use super::kernel;
use super::look::{self, Counts, There};
use super::modes::Mode;
use super::move_out::Stopped;

/// Pages that are found before some of them are taken out: 8 MiB.
const AT_ONCE: u64 = 2048;

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

/// What a look saw in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The first of the pages.
    pub(super) first: PageNumber,
    /// Where the unit ends.
    end: PageNumber,
    /// How many there are.
    pub(super) pages: u64,
}

/// What is to be taken out of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Pages of files. A look saw so many.
    OfFile(u64),
    /// Copies as well.
    All,
}

/// Adds a run of `view`, above all others, to the units in which it lies.
fn note_units(units: &mut Vec<Seen>, view: &View, run: PageRange) {
    let mut at = run.start();
    while at < run.end() {
        let end = view.unit_around(at).end();
        let pages = PageRange::between(at, end.min(run.end())).count().get();
        match units.last_mut() {
            Some(last) if last.end == end => last.pages += pages,
            _ => units.push(Seen {
                first: at,
                end,
                pages,
            }),
        }
        at = end;
    }
}

impl Core {
    /// Takes the unit out that holds `page`. In a hurry, what can be left to the other thread is.
    pub(super) fn trim_step(&self, page: PageNumber, what: What, in_a_hurry: bool) -> Step {
        let (step, outgoing) = {
            let mut book = self.book();
            match book.at(page).map(|view| view.unit_around(page)) {
                Some(unit) => book.take_out(unit, what),
                None => Default::default(),
            }
        };
        if let Some(outgoing) = outgoing {
            self.finisher.take_over(outgoing, in_a_hurry);
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
            let mut book = self.book();
            let Some(unit) = book.at(at).map(|view| view.unit_around(at)) else {
                break;
            };
            let end = unit.end().min(range.end());
            let unit = PageRange::between(at, end);
            let (step, taken) = book.take_out(unit, What::All);
            drop(book);
            self.balance.note_step(step);
            outgoing.extend(taken);
            at = end;
        }
        outgoing.iter().for_each(Outgoing::start);
        for one in &outgoing {
            self.balance.note_finish(one.finish());
        }
    }
}

impl Book {
    /// Takes the pages of `unit`, which lies in one view, out of the page table.
    fn take_out(&mut self, unit: PageRange, what: What) -> (Step, Option<Outgoing>) {
        let mut step = Step::default();
        if what == What::All {
            let (moved, stopped) = self.move_out(unit);
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
            step.left += match (mode, what) {
                _ if mode.is_locked => 0,
                _ if mode.is_private => take_private(run, mode),
                // Looking again is half the work: what was seen is believed where it was one run.
                (_, What::OfFile(pages)) if run == unit => take_shared(run, pages),
                _ => take_shared(run, pages_of_file(run)),
            };
        }
        if step.left == 0 {
            return (step, None);
        }
        let slots_file = self.slots.file().ok().filter(|_| !slots.is_empty());
        let file = if view.was_writable {
            FilePart::Written
        } else if self.is_shown_elsewhere(view, unit) {
            FilePart::Held
        } else {
            FilePart::Clean
        };
        let outgoing = Outgoing {
            source: Arc::clone(view.source.backing()),
            file,
            range: unit,
            offset: view.offset_of(unit.start()),
            slots: slots_file.map(|file| (Arc::clone(file), slots)),
        };
        (step, Some(outgoing))
    }

    /// Whether another view of this process has some of the same part of the file in its page table: the page cache keeps it then, and
    /// trying to drop it is expensive. Whichever of them goes last drops it.
    fn is_shown_elsewhere(&self, view: &View, unit: PageRange) -> bool {
        let start = view.offset_of(unit.start());
        let end = start + unit.bytes().get();
        let others = self.views.values().filter(|other| {
            other.range != view.range && other.source.identity() == view.source.identity()
        });
        let mut same_parts = others.filter_map(|other| other.showing(start, end));
        same_parts.any(|part| pages_of_file(part) > 0)
    }

    /// How much of all views is there, and where copies are.
    pub(super) fn count(&self) -> Result<(Counts, VecDeque<Seen>), Errno> {
        let (mut counts, mut copied) = (Counts::default(), Vec::new());
        for view in self.views.values() {
            look::visit(view.range, |run, there| {
                counts.add(run, there);
                if there == There::Copied {
                    note_units(&mut copied, view, run);
                }
            })?;
        }
        Ok((counts, copied.into()))
    }

    /// Units from `from` on that hold pages, as far as one look goes, and where to go on: nothing more behind the last
    /// view.
    pub(super) fn units_from(
        &self,
        from: PageNumber,
    ) -> Result<(Vec<Seen>, Option<PageNumber>), Errno> {
        let (mut units, mut found) = (Vec::new(), 0);
        let first = self.at(from).map_or(from, |view| view.range.start());
        for view in self.views.range(first..).map(|(_, view)| view) {
            let rest = PageRange::between(view.range.start().max(from), view.range.end());
            let stopped = look::visit_present(rest, |run| {
                note_units(&mut units, view, run);
                found += run.count().get();
                match found < AT_ONCE {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
            if found >= AT_ONCE {
                return Ok((units, Some(stopped)));
            }
        }
        Ok((units, None))
    }
}

/// Takes shared pages, of which so many are there, out of the page table; they stay in the page cache. Says how many left.
fn take_shared(run: PageRange, there: u64) -> u64 {
    if there == 0 {
        return 0;
    }
    // Refused where somebody has locked pages by `mlock`: they stay.
    match kernel::advise(run, Advice::Discard) {
        Ok(()) => there,
        Err(_) => 0,
    }
}

/// Takes what was not copied out of a private mapping, with writers kept off. They fault, find nothing wrong, and try again.
/// Says how many pages left. Copies that moved out are shared mappings of their slots, and go along. Where there are only
/// copies nobody is kept off: what cannot move would be asked for over and over.
fn take_private(run: PageRange, mode: Mode) -> u64 {
    if pages_of_file(run) == 0 {
        return 0;
    }
    let access = mode.access();
    let is_written = access.contains(Access::WRITE);
    if is_written && kernel::protect(run, access.difference(Access::WRITE)).is_err() {
        return 0;
    }
    let mut clean = Vec::new();
    let looked = look::visit(run, |part, there| {
        if there == There::OfFile {
            look::join(&mut clean, part);
        }
    });
    let mut left = 0;
    if looked.is_ok() {
        left = kernel::advise_each(&clean, Advice::Discard).get();
    }
    if is_written {
        let _ = kernel::protect(run, access);
    }
    left
}

/// How much there is to be taken. What cannot be looked at is taken for absent: then nothing is done.
fn pages_of_file(run: PageRange) -> u64 {
    let mut counts = Counts::default();
    let _ = look::visit(run, |part, there| counts.add(part, there));
    counts.of_file
}
