//! The engine's record: arenas, their opened pieces, and what is charged to whom.
//!
//! Guarded by one mutex, which is taken in user context only (no fault of this engine ever comes to us). The
//! space lock lies outside it.

use std::collections::{BTreeMap, VecDeque};

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::empties::Empties;
use super::files::{Files, Run};
use super::kernel::{Kernel, Markers};
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, Piece, Place, piece_number};
use crate::error::EngineError;

/// An inaccessible stretch of address space, some pieces of which are open.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) range: PageRange,
    /// By the number of their 2 MiB.
    pub(super) pieces: BTreeMap<u64, Box<Piece>>,
}

impl Arena {
    /// How many of the two pieces beside the one with this number are open.
    fn open_beside(&self, number: u64) -> u64 {
        let is_open = |number: Option<u64>| number.is_some_and(|n| self.pieces.contains_key(&n));
        u64::from(is_open(number.checked_sub(1))) + u64::from(is_open(number.checked_add(1)))
    }

    /// What of the 2 MiB with this number lies in the arena.
    pub(super) fn piece_range(&self, number: u64) -> PageRange {
        let start = PageNumber::new(number * PIECE_PAGES as u64);
        self.range
            .intersection(PageRange::new(start, PageCount::new(PIECE_PAGES as u64)))
    }
}

/// What the budget is charged with, in pages.
#[derive(Debug)]
pub(super) struct Account {
    /// The RAM budget.
    pub(super) ram: u64,
    pub(super) anonymous_share_percent: u8,
    /// Charged to the anonymous share: every page of every anonymous piece, committed or not, because a piece
    /// never changes its nature and must be able to take all its commits.
    pub(super) anonymous_charged: u64,
    /// Committed in anonymous pieces: the most that they can have resident.
    pub(super) anonymous_committed: u64,
    /// Committed in file pieces.
    pub(super) file_committed: u64,
    /// Pinned by `lock`, of either nature.
    pub(super) locked: u64,
}

impl Account {
    /// What is committed in pieces of a nature.
    pub(super) fn committed_mut(&mut self, nature: Nature) -> &mut u64 {
        match nature {
            Nature::Anonymous => &mut self.anonymous_committed,
            Nature::File(_) => &mut self.file_committed,
        }
    }

    /// The anonymous share in pages. Without a page file everything is anonymous.
    pub(super) fn anonymous_share(&self, files_are_possible: bool) -> u64 {
        if files_are_possible {
            self.ram * u64::from(self.anonymous_share_percent) / 100
        } else {
            self.ram
        }
    }
}

/// A piece that a queue speaks of, if it still is that piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceKey {
    pub(super) page: PageNumber,
    pub(super) number: u64,
}

/// Everything that the mutex guards.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) arenas: BTreeMap<u64, Arena>,
    pub(super) account: Account,
    pub(super) files: Files,
    pub(super) markers: Markers,
    /// Whether `markers.file` has been found out.
    pub(super) file_markers_known: bool,
    /// File pieces in the order in which they are looked at for victims.
    pub(super) clock: VecDeque<PieceKey>,
    pub(super) file_pieces: u64,
    pub(super) empties: Empties,
    /// Pieces that were opened only to join others, near the mapping limit.
    spares: Vec<PieceKey>,
    /// Runs of adjoining open pieces: each is a mapping or two.
    islands: u64,
    /// Mappings that the kernel allows the process.
    pub(super) mapping_limit: u64,
    next_number: u64,
}

impl Book {
    pub(super) fn new(account: Account, files: Files, markers: Markers) -> Self {
        Self {
            arenas: BTreeMap::new(),
            account,
            files,
            markers,
            file_markers_known: !markers.file,
            clock: VecDeque::new(),
            file_pieces: 0,
            empties: Empties::default(),
            spares: Vec::new(),
            islands: 0,
            mapping_limit: u64::MAX,
            next_number: 1,
        }
    }

    /// A number that no piece had before.
    pub(super) fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Whether pieces of that nature are fenced by markers; by `PROT_NONE` otherwise.
    pub(super) fn has_markers(&self, nature: Nature) -> bool {
        self.markers.fence(nature)
    }

    pub(super) fn arena(&self, page: PageNumber) -> Option<&Arena> {
        let (_, arena) = self.arenas.range(..=page.get()).next_back()?;
        arena.range.contains(page).then_some(arena)
    }

    pub(super) fn arena_mut(&mut self, page: PageNumber) -> Option<&mut Arena> {
        let (_, arena) = self.arenas.range_mut(..=page.get()).next_back()?;
        arena.range.contains(page).then_some(arena)
    }

    pub(super) fn piece(&self, page: PageNumber) -> Option<&Piece> {
        self.arena(page)?
            .pieces
            .get(&piece_number(page))
            .map(|piece| &**piece)
    }

    pub(super) fn piece_mut(&mut self, page: PageNumber) -> Option<&mut Piece> {
        self.arena_mut(page)?
            .pieces
            .get_mut(&piece_number(page))
            .map(|piece| &mut **piece)
    }

    /// The piece that a queue means, unless that is gone.
    pub(super) fn piece_by_key(&mut self, key: PieceKey) -> Option<&mut Piece> {
        self.piece_mut(key.page)
            .filter(|piece| piece.number == key.number)
    }

    /// Enters a piece that has just been mapped.
    pub(super) fn enter(&mut self, piece: Piece) {
        let key = PieceKey {
            page: piece.range.start(),
            number: piece.number,
        };
        let count = piece.range.count().get();
        let committed = piece.committed.count();
        match piece.nature {
            Nature::Anonymous => {
                self.account.anonymous_charged += count;
                self.account.anonymous_committed += committed;
            }
            Nature::File(_) => {
                self.account.file_committed += committed;
                self.file_pieces += 1;
                self.clock.push_back(key);
            }
        }
        if let Some(arena) = self.arena_mut(key.page) {
            let number = piece_number(key.page);
            arena.pieces.insert(number, Box::new(piece));
            let beside = arena.open_beside(number);
            self.islands = (self.islands + 1).saturating_sub(beside);
        }
    }

    /// How many pieces are to be opened together: one, unless the mappings of isolated pieces come near what the kernel
    /// allows. Larger pieces leave fewer gaps, and adjoining ones are one mapping.
    pub(super) fn pieces_at_once(&self) -> u64 {
        let mappings = self.islands * 2;
        match () {
            () if mappings < self.mapping_limit / 4 => 1,
            () if mappings < self.mapping_limit / 2 => 8,
            // What lies together in a page file.
            () => 32,
        }
    }

    /// A piece that was opened with nothing in it. It goes when its share or its place is wanted.
    pub(super) fn keep_spare(&mut self, key: PieceKey) {
        self.spares.push(key);
    }

    /// Closes pieces in which nothing is committed: `keys` upwards. Where the kernel refuses, a piece stays
    /// open, empty.
    pub(super) fn close_pieces(&mut self, kernel: &Kernel, keys: &[PieceKey]) {
        let mut rest = keys;
        while let Some(&first) = rest.first() {
            let mut end = self.piece_end(first);
            let mut count = 1;
            while let Some(next) = rest.get(count)
                && Some(next.page) == end
            {
                end = self.piece_end(*next);
                count += 1;
            }
            if let Some(end) = end
                && kernel.close(PageRange::between(first.page, end)).is_ok()
            {
                self.forget_pieces(&rest[..count]);
            }
            rest = &rest[count..];
        }
    }

    fn piece_end(&self, key: PieceKey) -> Option<PageNumber> {
        self.piece(key.page).map(|piece| piece.range.end())
    }

    /// Strikes out pieces whose mapping is gone, and gives their places and charges back.
    pub(super) fn forget_pieces(&mut self, keys: &[PieceKey]) {
        let mut runs: Vec<Run> = Vec::new();
        for key in keys {
            let Some(arena) = self.arena_mut(key.page) else {
                continue;
            };
            let number = piece_number(key.page);
            let Some(piece) = arena.pieces.remove(&number) else {
                continue;
            };
            let beside = arena.open_beside(number);
            self.islands = (self.islands + beside).saturating_sub(1);
            let committed = piece.committed.count();
            self.account.locked -= piece.locked.count();
            match piece.nature {
                Nature::Anonymous => {
                    self.account.anonymous_charged -= piece.range.count().get();
                    self.account.anonymous_committed -= committed;
                }
                Nature::File(place) => {
                    self.account.file_committed -= committed;
                    self.file_pieces -= 1;
                    append(&mut runs, place);
                }
            }
        }
        self.files.give_back(&runs);
    }

    /// Closes the pieces among those opened along that `which` names, as far as they are still empty; the others of these
    /// have become pieces like any. Says whether there were any.
    pub(super) fn close_spares(&mut self, kernel: &Kernel, which: impl Fn(&Piece) -> bool) -> bool {
        let before = self.spares.len();
        for key in std::mem::take(&mut self.spares) {
            match self.piece_by_key(key).map(|piece| which(piece)) {
                None => {}
                Some(true) => self.close_if_empty(kernel, key),
                Some(false) => self.spares.push(key),
            }
        }
        before > self.spares.len()
    }

    pub(super) fn close_if_empty(&mut self, kernel: &Kernel, key: PieceKey) {
        if self
            .piece_by_key(key)
            .is_some_and(|piece| piece.committed.is_empty())
        {
            self.close_pieces(kernel, &[key]);
        }
    }

    /// Every piece, upwards.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.arenas
            .values()
            .flat_map(|arena| arena.pieces.values().map(|piece| &**piece))
    }

    /// Bytes that the records take, about.
    pub(super) fn record_bytes(&self) -> u64 {
        let pieces: u64 = self.pieces().map(|piece| piece.record_bytes() + 32).sum();
        let queues = (self.clock.capacity() + self.spares.capacity()) * size_of::<PieceKey>();
        pieces + queues as u64 + self.empties.record_bytes() + self.files.record_bytes()
    }

    /// An arena goes: nothing in it is committed, or nobody cares any more.
    pub(super) fn close_arena(
        &mut self,
        kernel: &Kernel,
        range: PageRange,
    ) -> Result<(), EngineError> {
        kernel
            .close_arena(range)
            .map_err(|errno| EngineError::Kernel {
                call: "munmap",
                errno,
            })?;
        let Some(arena) = self.arenas.get(&range.start().get()) else {
            return Ok(());
        };
        let keys: Vec<_> = arena.pieces.values().map(|piece| key_of(piece)).collect();
        self.forget_pieces(&keys);
        self.arenas.remove(&range.start().get());
        Ok(())
    }
}

/// The key under which queues speak of a piece.
pub(super) fn key_of(piece: &Piece) -> PieceKey {
    PieceKey {
        page: piece.range.start(),
        number: piece.number,
    }
}

/// Adds a place to the last run where it continues that.
fn append(runs: &mut Vec<Run>, place: Place) {
    match runs.last_mut() {
        Some(run)
            if run.place.file == place.file
                && u64::from(run.place.slot) + run.pieces == u64::from(place.slot) =>
        {
            run.pieces += 1;
        }
        _ => runs.push(Run { place, pieces: 1 }),
    }
}
