//! Which pages were written. Windows: `MEM_WRITE_WATCH`, `GetWriteWatch`, `ResetWriteWatch`.
//!
//! The kernel keeps the marks: watched memory is registered with a userfaultfd for asynchronous write-protection, and a scan of
//! the page map tells what was written since a page was protected, atomically with protecting it again. Writes that the
//! kernel makes inside system calls count like any other. Pages are protected when they are committed, which costs their
//! page tables; what is only reserved costs nothing.
//!
//! What the kernel forgets (pages that are decommitted, dropped or mapped anew) is asked for before, and kept here.
//!
//! The inline engine has its memory registered with a descriptor of its own kind, and a range can only have one: watched
//! reservations are served by the mapped engine then.
//!
//! Source: windows-memory-behaviour.md 9; paging-mechanisms.md A (WP_ASYNC, PAGEMAP_SCAN).

#![allow(
    unsafe_code,
    reason = "UNSAFETY: registers watched memory, where no access ever fails because of it"
)]

use pagekeeper_model::{Access, Change, Refusal, RegionState};
use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{Advice, advise};
use pagekeeper_sys::pagemap::{Categories, PageRun, Query, Scan};
use pagekeeper_sys::userfaultfd::{FaultScope, Modes, UffdFeatures, Userfaultfd};
use pagekeeper_units::{PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::page_runs::PageRuns;
use super::{Core, Request, Shared, Space};
use crate::error::{EngineError, Error};

/// The descriptor that watched memory is registered with, and what the kernel cannot tell.
#[derive(Default)]
pub(crate) struct Writes {
    descriptor: Option<Userfaultfd>,
    /// Pages that were written before the kernel forgot them.
    remembered: PageRuns,
    /// Pages that could not be registered: they always count as written.
    blind: PageRuns,
    /// Whether this kernel can tell its markers from pages (6.15).
    knows_markers: bool,
}

/// What a page means that is marked as written but is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It was written and left memory.
    Written,
    /// Only that the kernel forgot its mark.
    Unknown,
}

impl Space {
    /// The pages of a watched range that were written since they were committed or reset, the lowest `most` of them,
    /// upwards. With `reset` these pages, and only these, count as not written from now on; a write in between is not lost.
    ///
    /// Windows: `GetWriteWatch`.
    ///
    /// # Errors
    /// `NotWatched` where the range does not lie in one reservation that was made to be watched, `SizeZero`.
    pub fn written_at(
        &self,
        address: u64,
        size: u64,
        most: usize,
        reset: bool,
    ) -> Result<Vec<PageNumber>, Error> {
        let request = Request::new("ask for writes", address, size);
        let mut core = self.shared().enter(request)?;
        let range = core.watched_range(request)?;
        let scan = open_scan(request)?;
        let found = core
            .find_written(&scan, range, most)
            .map_err(|errno| failed(request, errno))?;
        if reset {
            for run in runs_of(&found) {
                core.reset_writes(&scan, run)
                    .map_err(|errno| failed(request, errno))?;
            }
        }
        Ok(found)
    }

    /// Every page of a watched range counts as not written from now on. Windows: `ResetWriteWatch`.
    ///
    /// # Errors
    /// As [`Space::written_at`].
    pub fn reset_writes_at(&self, address: u64, size: u64) -> Result<(), Error> {
        let request = Request::new("reset writes", address, size);
        let mut core = self.shared().enter(request)?;
        let range = core.watched_range(request)?;
        let scan = open_scan(request)?;
        core.reset_writes(&scan, range)
            .map_err(|errno| failed(request, errno))
    }
}

impl Shared {
    /// Makes ready for watching; the reservation is refused where this kernel cannot.
    pub(crate) fn prepare_write_watch(&self, request: Request) -> Result<(), Error> {
        let mut core = self.enter(request)?;
        if core.writes.descriptor.is_none() {
            let scan = open_scan(request)?;
            let markers = Query::new()
                .none_of(Categories::GUARD)
                .report(Categories::WRITTEN);
            core.writes.knows_markers = scan.once(PageRange::default(), markers, &mut []).is_ok();
            core.writes.descriptor = Some(open_descriptor(request)?);
        }
        Ok(())
    }
}

impl Core {
    /// The range of a request, if it lies in one watched allocation.
    fn watched_range(&self, request: Request) -> Result<PageRange, Error> {
        let address = request.address;
        if request.size == 0 {
            return Err(request.refused(Refusal::SizeZero));
        }
        let allocation = self
            .model
            .allocation_at(PageNumber::containing(address))
            .filter(|allocation| allocation.write_watch);
        let range = PageRange::touched_by(address, request.size);
        match (allocation, range) {
            (Some(allocation), Some(range)) if allocation.range.covers(range) => Ok(range),
            _ => Err(request.refused(Refusal::NotWatched { address })),
        }
    }

    /// The lowest `most` written pages of `range`, upwards.
    fn find_written(
        &self,
        scan: &Scan,
        range: PageRange,
        most: usize,
    ) -> Result<Vec<PageNumber>, Errno> {
        let mut found: Vec<PageNumber> = Vec::new();
        let mut kept = Vec::new();
        for known in [&self.writes.remembered, &self.writes.blind] {
            let pages = known.inside(range).flat_map(PageRange::pages);
            kept.extend(pages.take(most));
        }
        for run in self.committed_parts(range) {
            let mut rest = run;
            while found.len() < most && !rest.is_empty() {
                let query = self
                    .written()
                    .at_most(PageCount::new((most - found.len()) as u64));
                let mut runs = [PageRun::default(); 64];
                let scanned = match scan.once(rest, query, &mut runs) {
                    Err(Errno::INTR) => continue,
                    other => other?,
                };
                for part in &runs[..scanned.runs.min(runs.len())] {
                    found.extend(part.range().pages());
                }
                if scanned.stopped_at <= rest.start() {
                    break;
                }
                rest = PageRange::between(scanned.stopped_at, run.end());
            }
        }
        found.append(&mut kept);
        found.sort_unstable();
        found.dedup();
        found.truncate(most);
        Ok(found)
    }

    fn reset_writes(&mut self, scan: &Scan, range: PageRange) -> Result<(), Errno> {
        self.writes.remembered.remove(range);
        for run in self.committed_parts(range) {
            for part in without(&self.writes.blind, run) {
                scan.walk(part, self.written().protect_matching(), |_, _| {})?;
            }
        }
        Ok(())
    }

    /// Pages that were written: the page of zeros that a read brings was not, nor was a marker.
    fn written(&self) -> Query {
        let not = if self.writes.knows_markers {
            Categories::ZERO | Categories::GUARD
        } else {
            Categories::ZERO
        };
        Query::new()
            .all_of(Categories::WRITTEN)
            .none_of(not)
            .report(Categories::WRITTEN)
    }

    fn committed_parts(&self, range: PageRange) -> Vec<PageRange> {
        self.model
            .regions(range)
            .filter(|region| matches!(region.state, RegionState::Committed(_)))
            .map(|region| region.range)
            .collect()
    }

    /// Whether the allocation of these changes is watched.
    fn watches(&self, changes: &[Change]) -> bool {
        self.writes.descriptor.is_some()
            && changes.first().is_some_and(|change| {
                self.model
                    .allocation_at(change.range.start())
                    .is_some_and(|allocation| allocation.write_watch)
            })
    }

    /// Called after an engine has changed pages of `whole`, a watched allocation: whatever is committed now is watched, also
    /// where the change has made the kernel forget its marks. What was written before is remembered.
    pub(crate) fn watch_changes(&mut self, changes: &[Change], whole: PageRange) {
        for change in changes.iter().filter(|change| change.after.is_committed()) {
            let watched = self.register(change.range, whole).and_then(|()| {
                // Nobody can have written what was not there, or cannot be touched.
                if !change.before.is_committed() || closes(change) {
                    self.protect_fresh(change.range)
                } else {
                    self.harvest(change.range, Absent::Unknown)
                }
            });
            if watched.is_err() {
                self.writes.blind.insert(change.range);
            }
        }
    }

    /// The same for a recorded allocation, if it is watched.
    pub(crate) fn watch_again(&mut self, changes: &[Change]) {
        if self.watches(changes)
            && let Some(allocation) = self.model.allocation_at(changes[0].range.start())
        {
            self.watch_changes(changes, allocation.range);
        }
    }

    /// Registers what an engine opens at once, so that mappings are cut where it cuts them.
    fn register(&self, run: PageRange, whole: PageRange) -> Result<(), Errno> {
        let descriptor = self.writes.descriptor.as_ref().ok_or(Errno::BADF)?;
        let piece = PAGES_PER_HUGE_PAGE;
        let start = run.start().get() / piece * piece;
        let end = run.end().get().next_multiple_of(piece);
        let opened =
            PageRange::between(PageNumber::new(start), PageNumber::new(end)).intersection(whole);
        // SAFETY: 1. The range belongs to a reservation of ours that is watched; in asynchronous mode no access ever waits
        // or fails because of the registration. 2. Without huge pages contents stay what they are; with them a write
        // would mark all its neighbours.
        unsafe {
            match advise(opened, Advice::NoHugePages) {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
            descriptor.register(opened, Modes::WRITE_PROTECT)?;
        }
        Ok(())
    }

    /// Pages that nobody can have written yet.
    fn protect_fresh(&self, run: PageRange) -> Result<(), Errno> {
        let descriptor = self.writes.descriptor.as_ref().ok_or(Errno::BADF)?;
        // SAFETY: registered, and ours.
        unsafe { descriptor.write_protect(run, true) }
    }

    /// Called before pages are decommitted, protected otherwise or dropped: what was written stays known.
    pub(crate) fn remember_writes(&mut self, changes: &[Change]) {
        if !self.watches(changes) {
            return;
        }
        for change in changes.iter().filter(|change| change.before.is_committed()) {
            if self.harvest(change.range, Absent::Written).is_err() {
                // Rather too much than too little.
                self.writes.remembered.insert(change.range);
            }
            if closes(change) {
                self.lift(change.range);
            }
        }
    }

    /// Lifts the protection of pages in which an engine may be about to install markers: over protected pages of files the
    /// kernel (6.18) never comes to an end with that. A write by another thread in just this moment is not seen.
    fn lift(&self, range: PageRange) {
        let Some(descriptor) = &self.writes.descriptor else {
            return;
        };
        for part in without(&self.writes.blind, range) {
            // SAFETY: ours; nothing waits for a fault there.
            let _ = unsafe { descriptor.write_protect(part, false) };
        }
    }

    /// Takes over what the kernel knows of `range`, and lets it begin anew, in one step for each page.
    fn harvest(&mut self, range: PageRange, absent: Absent) -> Result<(), Errno> {
        let scan = Scan::open()?;
        let here = Categories::PRESENT | Categories::SWAPPED;
        let mut seen = Vec::new();
        for part in without(&self.writes.blind, range) {
            let query = self.written().report(here).protect_matching();
            scan.walk(part, query, |part, categories| {
                if absent == Absent::Written || categories.intersects(here) {
                    seen.push(part);
                }
            })?;
        }
        seen.into_iter()
            .for_each(|part| self.writes.remembered.insert(part));
        Ok(())
    }

    /// An allocation goes, and with it all that is known of its writes. `committed` are its committed runs.
    pub(crate) fn forget_writes(&mut self, range: PageRange, committed: &[Change]) {
        if self.writes.descriptor.is_some() {
            if self.watches(committed) {
                committed.iter().for_each(|change| self.lift(change.range));
            }
            self.writes.remembered.remove(range);
            self.writes.blind.remove(range);
        }
    }
}

/// Whether a change takes away every right, so that an engine may install markers.
fn closes(change: &Change) -> bool {
    match change.after.protection() {
        None => true,
        Some(protection) => protection.is_guard() || !protection.allows(Access::Read),
    }
}

/// The runs in sorted pages.
fn runs_of(pages: &[PageNumber]) -> impl Iterator<Item = PageRange> + '_ {
    pages
        .chunk_by(|one, next| one.plus(PageCount::ONE) == *next)
        .map(|run| PageRange::new(run[0], PageCount::new(run.len() as u64)))
}

/// The parts of `range` that are not in `runs`.
fn without(runs: &PageRuns, range: PageRange) -> Vec<PageRange> {
    let mut parts = Vec::new();
    let mut at = range.start();
    for hole in runs.inside(range) {
        if at < hole.start() {
            parts.push(PageRange::between(at, hole.start()));
        }
        at = hole.end();
    }
    if at < range.end() {
        parts.push(PageRange::between(at, range.end()));
    }
    parts
}

fn open_descriptor(request: Request) -> Result<Userfaultfd, Error> {
    let mut descriptor = Userfaultfd::open(
        UffdFeatures::WP_ASYNC,
        UffdFeatures::empty(),
        FaultScope::UserMode,
    )
    .map_err(|error| unavailable(request, error.to_string()))?;
    descriptor
        .keep()
        .map_err(|errno| unavailable(request, errno.to_string()))?;
    Ok(descriptor)
}

fn open_scan(request: Request) -> Result<Scan, Error> {
    Scan::open().map_err(|errno| unavailable(request, format!("scanning the page map: {errno}")))
}

fn unavailable(request: Request, reason: String) -> Error {
    request.failed(EngineError::Unavailable {
        engine: "write watch",
        reason,
    })
}

fn failed(request: Request, errno: Errno) -> Error {
    request.failed(EngineError::Kernel {
        call: "PAGEMAP_SCAN",
        errno,
    })
}
