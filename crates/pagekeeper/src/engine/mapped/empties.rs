//! Pieces with nothing left in them that stay open for a while.
//!
//! Opening a piece and closing it costs many times what a page in an open one costs, and programs that commit and decommit
//! pages here and there come back to the same pieces. An empty piece of ordinary memory costs a page of page tables, its part
//! of the anonymous share and two mappings; so as many stay as none of these is missed. Mappings are the process's: all spaces
//! together keep an eighth of them, and a space closes all of its own before it passes the kernel's refusal of one more on. One of a
//! page file holds disk space and old contents in the cache: few stay.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;

use pagekeeper_units::PageRange;

use super::book::{Book, PieceKey, key_of};
use super::kernel::Kernel;
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, piece_number};

/// Pieces of page files, and the least of ordinary memory, that stay.
const LEAST_KEPT: u64 = 8;
/// One page of page tables for so many pages of RAM.
const RAM_FOR_ONE: u64 = 256;
/// One piece for so many mappings that the kernel allows: an eighth of them at most.
const MAPPINGS_FOR_ONE: u64 = 16;

/// Pieces of ordinary memory that all spaces of the process keep.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// Those that stay, the oldest first. A piece may have been used again, or closed, since it was entered.
#[derive(Debug, Default)]
pub(super) struct Empties {
    anonymous: VecDeque<PieceKey>,
    file: VecDeque<PieceKey>,
}

impl Empties {
    fn len(&self, nature: Nature) -> u64 {
        match nature {
            Nature::Anonymous => self.anonymous.len() as u64,
            Nature::File(_) => self.file.len() as u64,
        }
    }

    fn push(&mut self, nature: Nature, key: PieceKey) {
        match nature {
            Nature::Anonymous => {
                self.anonymous.push_back(key);
                KEPT.fetch_add(1, Ordering::Relaxed);
            }
            Nature::File(_) => self.file.push_back(key),
        }
    }

    fn pop(&mut self, nature: Nature) -> Option<PieceKey> {
        match nature {
            Nature::Anonymous => {
                let key = self.anonymous.pop_front()?;
                KEPT.fetch_sub(1, Ordering::Relaxed);
                Some(key)
            }
            Nature::File(_) => self.file.pop_front(),
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(PieceKey) -> bool) {
        let before = self.anonymous.len();
        self.anonymous.retain(|key| stays(*key));
        KEPT.fetch_sub((before - self.anonymous.len()) as u64, Ordering::Relaxed);
        self.file.retain(|key| stays(*key));
    }

    /// Those of ordinary memory that other spaces keep.
    fn of_others(&self) -> u64 {
        KEPT.load(Ordering::Relaxed)
            .saturating_sub(self.anonymous.len() as u64)
    }

    /// Bytes that the queues take.
    pub(super) fn record_bytes(&self) -> u64 {
        let keys = self.anonymous.capacity() + self.file.capacity();
        (keys * size_of::<PieceKey>()) as u64
    }
}

impl Drop for Empties {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.anonymous.len() as u64, Ordering::Relaxed);
    }
}

impl Book {
    /// A piece has become empty, and may be wanted again soon: it stays open for a while.
    pub(super) fn keep_empty(&mut self, kernel: &Kernel, key: PieceKey) {
        let Some(piece) = self.piece_by_key(key) else {
            return;
        };
        let nature = piece.nature;
        if !std::mem::replace(&mut piece.is_kept, true) {
            self.empties.push(nature, key);
        }
        let most = self.empties_kept(nature);
        // Two, so that fewer stay soon when fewer may.
        for _ in 0..2 {
            if self.empties.len(nature) > most {
                self.close_oldest_empty(kernel, nature);
            }
        }
    }

    fn empties_kept(&self, nature: Nature) -> u64 {
        match nature {
            Nature::Anonymous => (self.account.ram / RAM_FOR_ONE)
                .min(
                    (self.mapping_limit / MAPPINGS_FOR_ONE)
                        .saturating_sub(self.empties.of_others()),
                )
                .max(LEAST_KEPT),
            Nature::File(_) => LEAST_KEPT,
        }
    }

    /// Lets the one that has been kept longest go; `false` when there is none.
    fn close_oldest_empty(&mut self, kernel: &Kernel, nature: Nature) -> bool {
        let Some(key) = self.empties.pop(nature) else {
            return false;
        };
        if let Some(piece) = self.piece_by_key(key) {
            piece.is_kept = false;
        }
        self.close_if_empty(kernel, key);
        true
    }

    /// Closes empty pieces of ordinary memory, as many as it takes for `pages` more to fit the anonymous share.
    pub(super) fn close_empties_for(&mut self, kernel: &Kernel, pages: u64, share: u64) {
        while self.account.anonymous_charged + pages > share
            && self.close_oldest_empty(kernel, Nature::Anonymous)
        {}
    }

    /// The budget has changed: closes as many as have no room in it any more.
    pub(super) fn fit_empties(&mut self, kernel: &Kernel) {
        let share = self.account.anonymous_share(self.files.are_possible());
        self.close_empties_for(kernel, 0, share);
        let nature = Nature::Anonymous;
        while self.empties.len(nature) > self.empties_kept(nature)
            && self.close_oldest_empty(kernel, nature)
        {}
    }

    /// Entries of those that are kept.
    #[cfg(test)]
    pub(super) fn empties_count(&self) -> usize {
        self.empties.anonymous.len() + self.empties.file.len()
    }

    /// Closes every piece that is open without need, kept or opened along. Says whether there were any.
    pub(super) fn close_whatever_is_empty(&mut self, kernel: &Kernel) -> bool {
        self.close_empties(kernel) | self.close_spares(kernel, |_| true)
    }

    /// Closes all that are kept. Says whether there were any.
    pub(super) fn close_empties(&mut self, kernel: &Kernel) -> bool {
        let empties = std::mem::take(&mut self.empties);
        let mut keys: Vec<PieceKey> = empties
            .anonymous
            .iter()
            .chain(&empties.file)
            .copied()
            .collect();
        keys.retain(|key| {
            self.piece_by_key(*key).is_some_and(|piece| {
                piece.is_kept = false;
                piece.committed.is_empty()
            })
        });
        // Neighbours go in one call.
        keys.sort_unstable_by_key(|key| key.page);
        self.close_pieces(kernel, &keys);
        !keys.is_empty()
    }

    /// Closes those that are kept in `range`, which lies in one arena.
    pub(super) fn close_empties_in(&mut self, kernel: &Kernel, range: PageRange) {
        let Some(arena) = self.arena(range.start()) else {
            return;
        };
        let first = piece_number(range.start());
        let end = range.end().get().div_ceil(PIECE_PAGES as u64);
        let keys: Vec<PieceKey> = arena
            .pieces
            .range(first..end.max(first))
            .filter(|(_, piece)| piece.is_kept && piece.committed.is_empty())
            .map(|(_, piece)| key_of(piece))
            .collect();
        if keys.is_empty() {
            return;
        }
        self.close_pieces(kernel, &keys);
        // Entries of pieces that are gone would count as pieces that are kept.
        let mut empties = std::mem::take(&mut self.empties);
        empties.retain(|key| !range.contains(key.page) || self.piece_by_key(key).is_some());
        self.empties = empties;
    }
}
