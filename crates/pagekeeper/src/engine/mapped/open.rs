//! Opening pieces: from inaccessible address space to memory, anonymous or of the page file.
//!
//! The order of calls is such that no other thread ever reaches a page that is not committed: what is
//! mapped is mapped inaccessible, the pages that stay out of reach are fenced first, and one `mprotect` at the
//! end opens the rest. A run of pieces costs as many calls as one piece.

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageRange};

use super::book::{Book, PieceKey};
use super::files::Run;
use super::kernel::{Kernel, file_markers_work};
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, Piece, Place, Wanted, piece_number, positions, split};
use crate::error::EngineError;

/// Consecutive closed pieces that are opened together.
struct Group {
    /// All their pages.
    range: PageRange,
    /// Committed and reachable from the start; may be empty.
    visible: PageRange,
}

/// What kind of pieces a group becomes.
enum Backing {
    Anonymous,
    File(Vec<Run>),
}

impl Book {
    /// Opens every closed piece that `range` touches. Pages of `range` in them are committed at once where they
    /// are wanted readable and writable; other pages are fenced, and so is all the rest of these pieces.
    ///
    /// With `widen`, neighbours are opened along near the mapping limit. Making room may close empty pieces, also in
    /// `range`: look again afterwards.
    ///
    /// On an error nothing is open that was not before. `opened` gets the new pieces, also those before the error.
    pub(super) fn open_pieces(
        &mut self,
        kernel: &Kernel,
        range: PageRange,
        wanted: Wanted,
        widen: bool,
        opened: &mut Vec<PieceKey>,
    ) -> Result<(), EngineError> {
        let mut closed: Option<PageRange> = None;
        for part in split(range) {
            let is_open = self.piece(part.start()).is_some();
            if !is_open {
                closed =
                    Some(closed.map_or(part, |run| PageRange::between(run.start(), part.end())));
            }
            if (is_open || part.end() == range.end())
                && let Some(run) = closed.take()
            {
                self.open_run(kernel, run, wanted, widen, opened)?;
            }
        }
        Ok(())
    }

    /// Opens the pieces of a run, all of which are closed, and near the mapping limit their neighbours as well.
    fn open_run(
        &mut self,
        kernel: &Kernel,
        run: PageRange,
        wanted: Wanted,
        widen: bool,
        opened: &mut Vec<PieceKey>,
    ) -> Result<(), EngineError> {
        let whole = self.whole_pieces(run)?;
        self.make_room(kernel, whole);
        let visible = if wanted == Wanted::Open(Access::READ_WRITE) {
            run
        } else {
            PageRange::default()
        };
        let wide = match widen {
            true => self.widened(whole),
            false => whole,
        };
        if wide != whole {
            let before = opened.len();
            if self.open_whole(kernel, wide, visible, opened).is_ok() {
                for key in opened.get(before..).unwrap_or_default() {
                    if !whole.contains(key.page) {
                        self.keep_spare(*key);
                    }
                }
                return Ok(());
            }
            // No room for so much: then what is wanted alone.
        }
        self.open_whole(kernel, whole, visible, opened)
    }

    /// `whole` with the closed pieces beside it that are to be opened along. All of one nature, so that opening them is
    /// all or nothing.
    fn widened(&self, whole: PageRange) -> PageRange {
        let at_once = self.pieces_at_once();
        if at_once == 1 {
            return whole;
        }
        let Some(arena) = self.arena(whole.start()) else {
            return whole;
        };
        let last = whole.end().get() - 1;
        let (mut first, mut end) = (piece_number(whole.start()), last / PIECE_PAGES as u64 + 1);
        let lowest = first / at_once * at_once;
        let highest = end.next_multiple_of(at_once);
        let is_free = |number: u64| {
            !arena.pieces.contains_key(&number) && !arena.piece_range(number).is_empty()
        };
        while first > lowest && is_free(first - 1) {
            first -= 1;
        }
        while end < highest && is_free(end) {
            end += 1;
        }
        let wide = PageRange::between(
            arena.piece_range(first).start(),
            arena.piece_range(end - 1).end(),
        );
        let of_whole = self.anonymous_end(whole);
        let of_wide = self.anonymous_end(wide);
        let is_anonymous = of_whole == whole.end() && of_wide == wide.end();
        let is_file = of_whole == whole.start() && of_wide == wide.start();
        if is_anonymous || is_file { wide } else { whole }
    }

    /// Opens whole pieces: anonymous as far as the share goes, then file pieces.
    fn open_whole(
        &mut self,
        kernel: &Kernel,
        whole: PageRange,
        visible: PageRange,
        opened: &mut Vec<PieceKey>,
    ) -> Result<(), EngineError> {
        let split_at = self.anonymous_end(whole);
        let group = |range: PageRange| Group {
            range,
            visible: range.intersection(visible),
        };
        let anonymous = PageRange::between(whole.start(), split_at);
        if !anonymous.is_empty() {
            self.open_group(kernel, group(anonymous), Backing::Anonymous, opened)?;
        }
        let rest = PageRange::between(split_at, whole.end());
        if !rest.is_empty() {
            let count = piece_number(rest.end().plus(PageCount::new(PIECE_PAGES as u64 - 1)))
                - piece_number(rest.start());
            let runs = self.take_places(kernel, piece_number(rest.start()), count)?;
            self.find_out_file_markers();
            self.open_group(kernel, group(rest), Backing::File(runs), opened)?;
        }
        Ok(())
    }

    /// All pages of the pieces that `run` touches.
    fn whole_pieces(&self, run: PageRange) -> Result<PageRange, EngineError> {
        let last = run.start().plus(run.count().saturating_sub(PageCount::ONE));
        let arena = self
            .arena(run.start())
            .filter(|arena| arena.range.covers(run))
            .ok_or(EngineError::AddressSpace(Errno::FAULT))?;
        Ok(PageRange::between(
            arena.piece_range(piece_number(run.start())).start(),
            arena.piece_range(piece_number(last)).end(),
        ))
    }

    /// Empty pieces that are kept open go where the anonymous share has no room for `whole` beside them; what was only opened
    /// along goes where not even the first piece has.
    fn make_room(&mut self, kernel: &Kernel, whole: PageRange) {
        let share = self.account.anonymous_share(self.files.are_possible());
        self.close_empties_for(kernel, whole.count().get(), share);
        let first = split(whole).next().map_or(0, |part| part.count().get());
        if self.account.anonymous_charged + first > share {
            self.close_spares(kernel, |piece| piece.nature == Nature::Anonymous);
        }
    }

    /// How far pieces of `whole` fit the anonymous share.
    fn anonymous_end(&self, whole: PageRange) -> pagekeeper_units::PageNumber {
        let share = self.account.anonymous_share(self.files.are_possible());
        let mut charged = self.account.anonymous_charged;
        let mut end = whole.start();
        for part in split(whole) {
            charged += part.count().get();
            if charged > share {
                break;
            }
            end = part.end();
        }
        end
    }

    fn take_places(
        &mut self,
        kernel: &Kernel,
        first: u64,
        count: u64,
    ) -> Result<Vec<Run>, EngineError> {
        self.files.take(first, count).or_else(|error| {
            let closed = self.close_empties(kernel)
                | self.close_spares(kernel, |piece| piece.nature != Nature::Anonymous);
            let punched = self.files.punch_retired();
            if closed || punched {
                self.files.take(first, count)
            } else {
                Err(error)
            }
        })
    }

    /// Markers on file mappings came later than those on private memory, so they are tried on the file itself.
    fn find_out_file_markers(&mut self) {
        if self.file_markers_known {
            return;
        }
        if let Some(file) = self.files.open().next()
            && let Ok(descriptor) = file.descriptor()
        {
            self.markers.file = file_markers_work(descriptor);
            self.file_markers_known = true;
        }
    }

    /// Maps, fences and opens a group, and enters its pieces.
    fn open_group(
        &mut self,
        kernel: &Kernel,
        group: Group,
        backing: Backing,
        opened: &mut Vec<PieceKey>,
    ) -> Result<(), EngineError> {
        let has_markers = match backing {
            Backing::Anonymous => self.markers.anonymous,
            Backing::File(_) => self.markers.file,
        };
        let mapped = self
            .map_group(kernel, &group, &backing)
            .and_then(|()| fence_and_open(kernel, &group, has_markers));
        if let Err(error) = mapped {
            // Nothing in it was ever reachable, or what was is taken back. Should even this be refused, the
            // address space stays unusable until the arena goes; it is inaccessible or fenced all the same.
            let _ = kernel.close(group.range);
            if let Backing::File(runs) = &backing {
                self.files.give_back(runs);
            }
            return Err(error);
        }
        let mut places = match backing {
            Backing::Anonymous => Vec::new(),
            Backing::File(runs) => runs.into_iter().flat_map(places_of).collect(),
        }
        .into_iter();
        for range in split(group.range) {
            let nature = places.next().map_or(Nature::Anonymous, Nature::File);
            let open = positions(range.intersection(group.visible));
            let open = if range.overlaps(group.visible) {
                open
            } else {
                0..0
            };
            let number = self.fresh_number();
            self.enter(Piece::new(number, range, nature, open, !has_markers));
            opened.push(PieceKey {
                page: range.start(),
                number,
            });
        }
        Ok(())
    }

    /// Puts the page file in the place of address space, inaccessible; nothing to do for anonymous pieces.
    fn map_group(
        &self,
        kernel: &Kernel,
        group: &Group,
        backing: &Backing,
    ) -> Result<(), EngineError> {
        let Backing::File(runs) = backing else {
            return Ok(());
        };
        let mut first = piece_number(group.range.start());
        for run in runs {
            let pages = PageRange::new(
                pagekeeper_units::PageNumber::new(first * PIECE_PAGES as u64),
                PageCount::new(run.pieces * PIECE_PAGES as u64),
            );
            // The first and the last piece may be cut off by the ends of the arena.
            let range = pages.intersection(group.range);
            let offset = run.place.offset(positions(range).start);
            let file = self.files.file(run.place)?;
            let descriptor = file.descriptor().map_err(|errno| EngineError::Kernel {
                call: "fstat",
                errno,
            })?;
            kernel.map_file(range, descriptor, offset)?;
            first += run.pieces;
        }
        Ok(())
    }
}

impl Book {
    /// Pages that were lent, and whose use has ended, become what the record says of them: not committed and out of reach, in
    /// the mapping that their piece is. By access where others are fenced by markers; the next commit there changes both.
    pub(super) fn take_back_lent(
        &mut self,
        kernel: &Kernel,
        range: PageRange,
    ) -> Result<(), EngineError> {
        kernel.lent.remove(range);
        let result = split(range).try_for_each(|part| self.map_again(kernel, part));
        if result.is_err() {
            // Nothing that was done shows: it is out of reach, and stays so.
            kernel.lent.add(range);
        }
        result
    }

    fn map_again(&mut self, kernel: &Kernel, part: PageRange) -> Result<(), EngineError> {
        let pages = positions(part);
        let place = self
            .piece(part.start())
            .and_then(|piece| piece.nature.place());
        match place {
            None => kernel.close(part).map_err(|errno| EngineError::Kernel {
                call: "mmap",
                errno,
            })?,
            Some(place) => {
                let file = self.files.file(place)?;
                let descriptor = file.descriptor().map_err(|errno| EngineError::Kernel {
                    call: "fstat",
                    errno,
                })?;
                kernel.map_file(part, descriptor, place.offset(pages.start))?;
            }
        }
        if let Some(piece) = self.piece_mut(part.start()) {
            debug_assert!(piece.fenced.contains_all(pages.clone()));
            piece.set_access(pages, Access::NONE);
        }
        Ok(())
    }
}

/// The place of each piece of a run.
fn places_of(run: Run) -> impl Iterator<Item = Place> {
    (0..run.pieces as u32).map(move |index| Place {
        file: run.place.file,
        slot: run.place.slot + index,
    })
}

/// Fences what is not visible, then opens the group.
fn fence_and_open(kernel: &Kernel, group: &Group, has_markers: bool) -> Result<(), EngineError> {
    if !has_markers {
        return match group.visible.is_empty() {
            true => Ok(()),
            false => kernel.protect(group.visible, Access::READ_WRITE),
        };
    }
    let (head, tail) = if group.visible.is_empty() {
        (group.range, PageRange::default())
    } else {
        (
            PageRange::between(group.range.start(), group.visible.start()),
            PageRange::between(group.visible.end(), group.range.end()),
        )
    };
    for fenced in [head, tail] {
        if !fenced.is_empty() {
            kernel.install_markers(fenced)?;
        }
    }
    kernel.protect(group.range, Access::READ_WRITE)
}
