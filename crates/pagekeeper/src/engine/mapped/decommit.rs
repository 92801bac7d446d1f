//! Decommits: pages go out of reach, contents are dropped, pieces with nothing left are closed or kept for a while.

use pagekeeper_sys::map::Access;
use pagekeeper_units::PageRange;

use super::book::{Book, PieceKey, key_of};
use super::change::{Steps, record_nothing};
use super::kernel::Kernel;
use super::piece::{Nature, Piece, Wanted, piece_number, positions, split};
use crate::engine::Change;

/// From so many pages on, a decommit that empties a piece closes it at once instead of fencing its pages.
const CLOSE_AT_ONCE_PAGES: u64 = 64;

/// What becomes of a piece with nothing left in it, unless a decommit of many pages has emptied it: that closes it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenEmpty {
    /// It stays open for a while: opening and closing a piece costs tens of microseconds.
    Keep,
    /// It stays open for a while if it is ordinary memory.
    KeepAnonymous,
    /// It is closed.
    Close,
}

impl Book {
    /// Decommits: contents are dropped, pages fenced; pieces with nothing left are closed, or kept for a while.
    /// `changes` go upwards, so that what happens to one piece comes together: a piece that is emptied by many
    /// small runs is closed once, not fenced run by run.
    pub(super) fn decommit(&mut self, kernel: &Kernel, changes: &[Change], when_empty: WhenEmpty) {
        if let [change] = changes
            && self.fence_some(kernel, change)
        {
            return;
        }
        let mut leaving = Leaving::default();
        let mut parts: Vec<PageRange> = Vec::new();
        let committed = changes.iter().filter(|change| change.before.is_committed());
        for part in committed.flat_map(|change| split(change.range)) {
            let is_other =
                |first: &PageRange| piece_number(first.start()) != piece_number(part.start());
            if parts.first().is_some_and(is_other) {
                self.decommit_in_piece(kernel, &parts, when_empty, &mut leaving);
                parts.clear();
            }
            parts.push(part);
        }
        self.decommit_in_piece(kernel, &parts, when_empty, &mut leaving);
        self.fence_out(kernel, &mut leaving.steps);
        self.close_pieces(kernel, &leaving.to_close);
        for key in leaving.to_close {
            if let Some(piece) = self.piece_by_key(key) {
                let range = piece.range;
                self.make_unreachable(kernel, range);
            }
        }
        for key in leaving.emptied {
            self.keep_empty(kernel, key);
        }
    }

    /// The commonest decommit, without a plan: a run of one piece that markers fence and that leaves something in it. Says whether
    /// it was that.
    fn fence_some(&mut self, kernel: &Kernel, change: &Change) -> bool {
        let markers = self.markers;
        let Some(piece) = self.piece_mut(change.range.start()) else {
            return false;
        };
        let pages = positions(change.range);
        if !markers.fence(piece.nature)
            || !piece.range.covers(change.range)
            || piece.fenced.touches(&pages)
            || !piece.committed.contains_all(pages.clone())
            || piece.committed.count() == pages.len() as u64
            || kernel.install_markers(change.range).is_err()
        {
            return false;
        }
        let (nature, fewer) = (piece.nature, pages.len() as u64);
        let unlocked = piece.locked.count_in(&pages);
        piece.locked.remove(pages.clone());
        record_nothing(piece, pages, true);
        self.account.locked -= unlocked;
        *self.account.committed_mut(nature) -= fewer;
        true
    }

    /// Decommits `parts`, all of one piece.
    fn decommit_in_piece(
        &mut self,
        kernel: &Kernel,
        parts: &[PageRange],
        when_empty: WhenEmpty,
        leaving: &mut Leaving,
    ) {
        let Some(piece) = parts.first().and_then(|part| self.piece(part.start())) else {
            return;
        };
        let key = key_of(piece);
        let mut left = piece.committed;
        let mut count = 0;
        for &part in parts {
            left.remove(positions(part));
            count += part.count().get();
        }
        let closes = match when_empty {
            WhenEmpty::Keep => false,
            // What a file held must be zeroed by a write before it is used again: another place costs no more.
            WhenEmpty::KeepAnonymous => piece.nature != Nature::Anonymous,
            WhenEmpty::Close => true,
        };
        if left.is_empty() && (closes || count >= CLOSE_AT_ONCE_PAGES) {
            for &part in parts {
                self.record(part, Wanted::Nothing);
            }
            leaving.to_close.push(key);
            return;
        }
        let has_markers = self.has_markers(piece.nature);
        for &part in parts {
            leaving
                .steps
                .plan(piece, part, Wanted::Nothing, has_markers);
        }
        leaving.steps.bridge_fences(piece);
        if leaving.steps.is_one_call_full() {
            self.fence_out(kernel, &mut leaving.steps);
        }
        for &part in parts {
            self.record(part, Wanted::Nothing);
        }
        if left.is_empty() {
            leaving.emptied.push(key);
        }
    }

    /// Carries out the steps of a decommit, which may not fail: what markers cannot fence, access does.
    fn fence_out(&mut self, kernel: &Kernel, steps: &mut Steps) {
        let steps = core::mem::take(steps);
        for &range in &steps.fence {
            if kernel.install_markers(range).is_err() && kernel.protect(range, Access::NONE).is_ok()
            {
                let _ = kernel.zap(range);
                for part in split(range) {
                    if let Some(piece) = self.piece_mut(part.start()) {
                        piece.set_access(positions(part), Access::NONE);
                    }
                }
            }
        }
        for change in &steps.access {
            let _ = kernel.protect(change.range, change.to);
        }
        for &range in &steps.drop {
            let _ = kernel.zap(range);
        }
    }
}

/// What a decommit has planned so far.
#[derive(Default)]
struct Leaving {
    steps: Steps,
    /// Pieces that stay open, empty.
    emptied: Vec<PieceKey>,
    /// Pieces that are closed at once.
    to_close: Vec<PieceKey>,
}

impl Steps {
    /// Joins fences of `piece` where only fenced pages lie between them: a marker on a marker changes nothing, and
    /// one call then does for many runs. Not for steps that may be undone.
    fn bridge_fences(&mut self, piece: &Piece) {
        let in_piece = |range: &PageRange| piece.range.covers(*range);
        let first = self.fence.iter().position(in_piece);
        let Some(first) = first else { return };
        let mut joined = first;
        for next in first + 1..self.fence.len() {
            let gap = positions(PageRange::between(
                self.fence[joined].end(),
                self.fence[next].start(),
            ));
            if piece.fenced.contains_all(gap) {
                let start = self.fence[joined].start();
                self.fence[joined] = PageRange::between(start, self.fence[next].end());
            } else {
                joined += 1;
                self.fence[joined] = self.fence[next];
            }
        }
        self.fence.truncate(joined + 1);
    }

    /// Whether there is enough for a call that another thread should not have to wait behind for long.
    fn is_one_call_full(&self) -> bool {
        self.fence.len() + self.access.len() > 4096
    }
}
