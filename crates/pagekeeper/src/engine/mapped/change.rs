//! Carrying out commits and changes of rights: planned against the record, then done in an order in which no other thread
//! sees a page too early or loses one too early, then recorded. On a refusal everything done is undone.
//!
//! | step | why there |
//! |---|---|
//! | zero stale bytes of the file | while a fence is up |
//! | fence | before anything else of the page changes |
//! | change access | fenced pages: unseen; others: one call |
//! | drop contents | while inaccessible |
//! | take fences away | last: only now is the page reached |
//!
//! A commit inside an opened piece is one step (a fence goes), or none.

use core::ops::Range;

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::Access;
use pagekeeper_units::PageRange;

use super::book::{Book, PieceKey};
use super::kernel::Kernel;
use super::piece::{Piece, Place, Wanted, positions, split};
use crate::engine::Change;
use crate::error::EngineError;

/// A change of access, and what it was before.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessChange {
    pub(super) range: PageRange,
    from: Access,
    pub(super) to: Access,
}

/// What the kernel has to be asked for, by kind of call, each list upwards and joined where pages adjoin.
#[derive(Debug, Default)]
pub(super) struct Steps {
    zero: Vec<(Place, Range<usize>)>,
    pub(super) fence: Vec<PageRange>,
    pub(super) access: Vec<AccessChange>,
    pub(super) drop: Vec<PageRange>,
    unfence: Vec<PageRange>,
}

/// Adds pages above the last ones, joined with them where they adjoin.
fn join(list: &mut Vec<PageRange>, range: PageRange) {
    match list.last_mut() {
        Some(last) if last.end() == range.start() => {
            *last = PageRange::between(last.start(), range.end());
        }
        _ => list.push(range),
    }
}

impl Steps {
    fn add_access(&mut self, range: PageRange, from: Access, to: Access) {
        if from == to {
            return;
        }
        match self.access.last_mut() {
            Some(last)
                if last.range.end() == range.start() && last.from == from && last.to == to =>
            {
                last.range = PageRange::between(last.range.start(), range.end());
            }
            _ => self.access.push(AccessChange { range, from, to }),
        }
    }

    /// Plans one run of pages of a piece that are alike.
    fn plan_run(&mut self, piece: &Piece, run: Range<usize>, wanted: Wanted, has_markers: bool) {
        let pages = piece.pages(run.clone());
        let is_fenced = piece.fenced.contains(run.start);
        let access = piece.access(run.start);
        let place = piece.nature.place();
        match wanted {
            Wanted::Open(to) => {
                if piece.stale.contains(run.start)
                    && let Some(place) = place
                {
                    self.zero.push((place, run));
                }
                self.add_access(pages, access, to);
                if is_fenced && has_markers {
                    join(&mut self.unfence, pages);
                }
            }
            Wanted::Hidden if is_fenced => {}
            Wanted::Hidden if has_markers && place.is_some() => join(&mut self.fence, pages),
            Wanted::Hidden => self.add_access(pages, access, Access::NONE),
            Wanted::Nothing if is_fenced => {}
            Wanted::Nothing if has_markers => join(&mut self.fence, pages),
            Wanted::Nothing => {
                self.add_access(pages, access, Access::NONE);
                if place.is_none() {
                    join(&mut self.drop, pages);
                }
            }
        }
    }

    pub(super) fn plan(
        &mut self,
        piece: &Piece,
        part: PageRange,
        wanted: Wanted,
        has_markers: bool,
    ) {
        let all = positions(part);
        let kind = |page: usize| {
            (
                piece.fenced.contains(page),
                piece.stale.contains(page),
                piece.access(page),
            )
        };
        let mut start = all.start;
        while start < all.end {
            let alike = kind(start);
            let mut end = start + 1;
            while end < all.end && kind(end) == alike {
                end += 1;
            }
            self.plan_run(piece, start..end, wanted, has_markers);
            start = end;
        }
    }

    /// Makes the calls. On an error what was done is undone.
    fn carry_out(&self, book: &Book, kernel: &Kernel) -> Result<(), EngineError> {
        for (place, run) in &self.zero {
            // Nothing to undo: these pages are out of reach, and zero is what they are to be.
            let file = book.files.file(*place)?;
            file.zero(place.offset(run.start), run.len())
                .map_err(|errno| EngineError::PageFileSpace(errno.to_string()))?;
        }
        let mut done = (0, 0, 0);
        let result = self.carry_out_counting(kernel, &mut done);
        if result.is_err() {
            self.undo(kernel, done);
        }
        result
    }

    /// `done` counts fences, access changes and fences taken away.
    fn carry_out_counting(
        &self,
        kernel: &Kernel,
        done: &mut (usize, usize, usize),
    ) -> Result<(), EngineError> {
        for &range in &self.fence {
            done.0 += 1;
            kernel.install_markers(range)?;
        }
        for change in &self.access {
            // Also a refused mprotect may have changed a part.
            done.1 += 1;
            kernel.protect(change.range, change.to)?;
        }
        for &range in &self.drop {
            kernel.zap(range)?;
        }
        for &range in &self.unfence {
            done.2 += 1;
            kernel.remove_markers(range)?;
        }
        Ok(())
    }

    /// Undoes what was done, in the reverse order. A marker never covered private contents here: those are
    /// hidden by access. Each call merges what an earlier one split, so the mapping limit does not refuse it.
    fn undo(&self, kernel: &Kernel, done: (usize, usize, usize)) {
        for &range in self.unfence[..done.2].iter().rev() {
            let _ = kernel.install_markers(range);
        }
        for change in self.access[..done.1].iter().rev() {
            let _ = kernel.protect(change.range, change.from);
        }
        for &range in self.fence[..done.0].iter().rev() {
            let _ = kernel.remove_markers(range);
        }
    }
}

impl Book {
    /// Commits, recommits or changes protection: all or nothing.
    pub(super) fn change(
        &mut self,
        kernel: &Kernel,
        changes: &[Change],
    ) -> Result<(), EngineError> {
        if let Some(result) = self.open_fenced(kernel, changes) {
            return result;
        }
        let result = self.change_or_take_back(kernel, changes);
        if let Err(EngineError::Kernel { errno, .. }) = &result
            && *errno == Errno::NOMEM
            && self.close_whatever_is_empty(kernel)
        {
            // Mappings are the process's, and a program may have come to the limit by its own: what stands open without need goes
            // before anything is refused.
            return self.change_or_take_back(kernel, changes);
        }
        result
    }

    fn change_or_take_back(
        &mut self,
        kernel: &Kernel,
        changes: &[Change],
    ) -> Result<(), EngineError> {
        let mut opened = Vec::new();
        let result = self.change_opening(kernel, changes, &mut opened);
        if result.is_err() && !opened.is_empty() {
            self.take_back(kernel, &opened);
        }
        result
    }

    /// The commonest commit, without a plan: read-write pages of one opened piece that need nothing but their markers taken away.
    /// `None` where it is not that.
    fn open_fenced(
        &mut self,
        kernel: &Kernel,
        changes: &[Change],
    ) -> Option<Result<(), EngineError>> {
        let [change] = changes else { return None };
        if Wanted::of(change.after) != Wanted::Open(Access::READ_WRITE) {
            return None;
        }
        let markers = self.markers;
        let piece = self.piece_mut(change.range.start())?;
        if !markers.fence(piece.nature) || !piece.range.covers(change.range) {
            return None;
        }
        let pages = positions(change.range);
        let is_plain = piece.is_read_write_throughout()
            && piece.fenced.contains_all(pages.clone())
            && !piece.stale.touches(&pages);
        if !is_plain {
            return None;
        }
        if let Err(error) = kernel.remove_markers(change.range) {
            let _ = kernel.install_markers(change.range);
            return Some(Err(error));
        }
        let fresh = pages.len() as u64 - piece.committed.count_in(&pages);
        piece.committed.insert(pages.clone());
        piece.fenced.remove(pages);
        let nature = piece.nature;
        *self.account.committed_mut(nature) += fresh;
        Some(Ok(()))
    }

    fn change_opening(
        &mut self,
        kernel: &Kernel,
        changes: &[Change],
        opened: &mut Vec<PieceKey>,
    ) -> Result<(), EngineError> {
        let mut widen = true;
        loop {
            for change in changes {
                let wanted = Wanted::of(change.after);
                if wanted != Wanted::Nothing {
                    self.open_pieces(kernel, change.range, wanted, widen, opened)?;
                }
            }
            // Opening one piece may close kept ones to make room, also some that this very change is about. It ends: a piece that
            // has just been opened is not kept, so each further time has fewer to close, and none are added.
            if self.are_open(changes) {
                break;
            }
            widen = false;
        }
        let mut steps = Steps::default();
        for change in changes {
            self.plan_change(&mut steps, change);
        }
        steps.carry_out(self, kernel)?;
        for change in changes {
            let wanted = Wanted::of(change.after);
            for part in split(change.range) {
                self.record(part, wanted);
            }
        }
        Ok(())
    }

    /// Whether every page that is to be committed lies in an opened piece.
    fn are_open(&self, changes: &[Change]) -> bool {
        changes
            .iter()
            .filter(|change| Wanted::of(change.after) != Wanted::Nothing)
            .flat_map(|change| split(change.range))
            .all(|part| self.piece(part.start()).is_some())
    }

    fn plan_change(&self, steps: &mut Steps, change: &Change) {
        for part in split(change.range) {
            if let Some(piece) = self.piece(part.start()) {
                let has_markers = self.has_markers(piece.nature);
                steps.plan(piece, part, Wanted::of(change.after), has_markers);
            }
        }
    }

    /// Pieces that were opened for a commit that was refused later.
    fn take_back(&mut self, kernel: &Kernel, opened: &[PieceKey]) {
        for key in opened {
            let Some(piece) = self.piece(key.page) else {
                continue;
            };
            let range = piece.range;
            self.record(range, Wanted::Nothing);
        }
        self.close_pieces(kernel, opened);
        for key in opened {
            // The kernel would not close it: it stays, empty, and out of reach.
            if self.piece_by_key(*key).is_some() {
                let range = self
                    .piece(key.page)
                    .map(|piece| piece.range)
                    .unwrap_or_default();
                self.make_unreachable(kernel, range);
            }
        }
    }

    /// Fences all of a piece whatever the record says.
    pub(super) fn make_unreachable(&mut self, kernel: &Kernel, range: PageRange) {
        let fenced = self
            .piece(range.start())
            .is_some_and(|piece| self.has_markers(piece.nature))
            && kernel.install_markers(range).is_ok();
        if !fenced && kernel.protect(range, Access::NONE).is_ok() {
            let _ = kernel.zap(range);
        }
    }

    /// Enters what the pages of `part`, which lie in one piece, have become.
    pub(super) fn record(&mut self, part: PageRange, wanted: Wanted) {
        let pages = positions(part);
        let Some(nature) = self.piece(part.start()).map(|piece| piece.nature) else {
            return;
        };
        let has_markers = self.has_markers(nature);
        let Some(piece) = self.piece_mut(part.start()) else {
            return;
        };
        let before = piece.committed.count_in(&pages);
        let mut unlocked = 0;
        match wanted {
            Wanted::Open(access) => {
                piece.committed.insert(pages.clone());
                piece.fenced.remove(pages.clone());
                piece.stale.remove(pages.clone());
                piece.set_access(pages.clone(), access);
            }
            Wanted::Hidden => record_hidden(piece, pages.clone(), has_markers),
            Wanted::Nothing => {
                record_nothing(piece, pages.clone(), has_markers);
                unlocked = piece.locked.count_in(&pages);
                piece.locked.remove(pages.clone());
            }
        }
        let after = piece.committed.count_in(&pages);
        self.account.locked -= unlocked;
        let committed = self.account.committed_mut(nature);
        *committed = *committed + after - before;
    }
}

fn record_hidden(piece: &mut Piece, pages: Range<usize>, has_markers: bool) {
    piece.committed.insert(pages.clone());
    let by_marker = has_markers && piece.nature.place().is_some();
    for (run, is_fenced) in piece.fenced.runs(pages).collect::<Vec<_>>() {
        if is_fenced {
            continue;
        }
        if by_marker {
            piece.fenced.insert(run);
        } else {
            piece.set_access(run, Access::NONE);
        }
    }
}

/// Enters that pages of a piece are not committed any more.
pub(super) fn record_nothing(piece: &mut Piece, pages: Range<usize>, has_markers: bool) {
    if piece.nature.place().is_some() {
        // What was committed may have been written; the bytes are still in the file.
        for (run, was_committed) in piece.committed.runs(pages.clone()) {
            if was_committed {
                piece.stale.insert(run);
            }
        }
    }
    piece.committed.remove(pages.clone());
    piece.fenced.insert(pages.clone());
    if !has_markers {
        piece.set_access(pages, Access::NONE);
    }
}
