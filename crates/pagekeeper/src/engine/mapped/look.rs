//! Where pages are, figures, and the hints that bring pages in or throw their contents away.

use core::sync::atomic::Ordering;

use pagekeeper_sys::file::cache_state;
use pagekeeper_sys::pagemap::{self, Entries, Entry};
use pagekeeper_sys::perf;
use pagekeeper_units::{ByteCount, PageCount, PageRange};

use super::engine::{Core, MappedEngine};
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, Piece, positions, split};
use super::read_ahead::read_in_requests;
use crate::engine::Residence;
use crate::statistics::{EngineStatistics, Exactness};

/// From so many pages on, discarding file pages zeroes them in the file; fewer are left as they are.
const DISCARD_PAGES: usize = 16;

/// What the kernel knows of the pages of one piece.
struct View {
    entries: [Entry; PIECE_PAGES],
    /// Per page, bit 0: in memory (for file pieces: in the page cache).
    cached: [u8; PIECE_PAGES],
    /// File pieces: nothing of it waits to be written.
    is_clean: bool,
}

impl Core {
    /// Starts reading the file pages of `runs`, and waits until they are there: as much as half of the file part
    /// can hold.
    pub(super) fn prefetch(&self, runs: &[(PageRange, Nature)]) {
        let mut room = self.levels().target / 2;
        let mut wanted = Vec::new();
        for (range, nature) in runs {
            let Some(place) = nature.place() else {
                continue;
            };
            let pages = range.count().get().min(room);
            room -= pages;
            let range = PageRange::new(range.start(), PageCount::new(pages));
            let Ok(file) = self.book().files.file(place).cloned() else {
                continue;
            };
            let offset = place.offset(positions(range).start);
            if pages > 0 && read_in_requests(&file, offset, pages).is_ok() {
                self.balance.pages_ahead.add(pages);
                wanted.push(range);
            }
        }
        for range in wanted {
            self.kernel.populate(range);
        }
    }

    /// Drops contents: private pages read as zero afterwards, larger runs of file pages as well.
    pub(super) fn discard(&self, range: PageRange) {
        let book = self.book();
        for part in split(range) {
            let Some(piece) = book.piece(part.start()) else {
                continue;
            };
            for (run, is_committed) in piece.committed.runs(positions(part)) {
                if is_committed && !piece.locked.touches(&run) {
                    self.discard_run(&book, piece, run);
                }
            }
        }
    }

    fn discard_run(&self, book: &super::book::Book, piece: &Piece, run: core::ops::Range<usize>) {
        let pages = piece.pages(run.clone());
        match piece.nature {
            Nature::Anonymous => {
                let _ = self.kernel.zap(pages);
            }
            Nature::File(place) if run.len() >= DISCARD_PAGES => {
                if let Ok(file) = book.files.file(place) {
                    let _ = file.zero(place.offset(run.start), run.len());
                }
            }
            Nature::File(_) => {}
        }
    }

    /// Where pages are, in runs.
    pub(super) fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence)) {
        let entries = Entries::open().ok();
        let mut pending: Option<(PageRange, Residence)> = None;
        let mut add = |range: PageRange, residence: Residence| match &mut pending {
            Some((run, what)) if *what == residence && run.end() == range.start() => {
                *run = PageRange::between(run.start(), range.end());
            }
            _ => {
                if let Some((run, what)) = pending.replace((range, residence)) {
                    visit(run, what);
                }
            }
        };
        for part in split(range) {
            let book = self.book();
            let Some(piece) = book.piece(part.start()) else {
                add(part, Residence::Untouched);
                continue;
            };
            let view = self.view(&book, piece, part, entries.as_ref());
            for (index, page) in part.pages().enumerate() {
                let residence = residence_of(piece, positions(part).start + index, &view, index);
                add(PageRange::new(page, PageCount::ONE), residence);
            }
        }
        if let Some((run, what)) = pending {
            visit(run, what);
        }
    }

    fn view(
        &self,
        book: &super::book::Book,
        piece: &Piece,
        part: PageRange,
        entries: Option<&Entries>,
    ) -> View {
        let count = part.count().as_usize();
        let mut view = View {
            entries: [Entry::default(); PIECE_PAGES],
            cached: [0; PIECE_PAGES],
            is_clean: false,
        };
        let is_known =
            entries.is_some_and(|entries| entries.read(part, &mut view.entries[..count]).is_ok());
        if is_known && view.entries[..count].iter().all(|entry| entry.is_present()) {
            return view;
        }
        let _ = pagemap::residence(part, &mut view.cached[..count]);
        if let Nature::File(place) = piece.nature
            && view.cached.iter().any(|answer| answer & 1 != 0)
            && let Ok(file) = book.files.file(place)
            && let Ok(descriptor) = file.descriptor()
        {
            let offset = place.offset(positions(part).start);
            let state = cache_state(descriptor, offset, part.bytes().get());
            view.is_clean = state.is_ok_and(|state| state.dirty_pages + state.writeback_pages == 0);
        }
        view
    }
}

impl MappedEngine {
    /// The figures of [`EngineStatistics`]; all but budget and page file are looked up in the kernel.
    pub(super) fn figures(&self) -> EngineStatistics {
        let core = &self.core;
        if let Ok((cached, dirty)) = core.count_cached() {
            core.balance.cached.store(cached, Ordering::Relaxed);
            core.balance.dirty.store(dirty, Ordering::Relaxed);
            core.balance.peak.fetch_max(cached, Ordering::Relaxed);
        }
        let (budget, anonymous, page_file) = {
            let book = core.book();
            let anonymous: Vec<PageRange> = book
                .pieces()
                .filter(|piece| piece.nature == Nature::Anonymous && !piece.committed.is_empty())
                .map(|piece| piece.range)
                .collect();
            (
                book.account.ram,
                anonymous,
                book.files.taken_pieces() * PIECE_PAGES as u64,
            )
        };
        let mut present = 0;
        for range in anonymous {
            let _ = core.kernel.lent.each_other(range, |part| {
                present += pagemap::resident_pages(part)?.get();
                Ok::<_, pagekeeper_sys::Errno>(())
            });
        }
        let anonymous = present;
        let cached = core.balance.cached.load(Ordering::Relaxed);
        let modified = core.balance.dirty.load(Ordering::Relaxed).min(cached);
        let faults = perf::process_faults().unwrap_or_default();
        let hard = faults.major.saturating_sub(self.faults_before.major);
        EngineStatistics {
            budget: PageCount::new(budget),
            resident: PageCount::new(anonymous + cached - modified),
            modified: PageCount::new(modified),
            page_file: PageCount::new(page_file),
            peak: PageCount::new(anonymous + core.balance.peak.load(Ordering::Relaxed)),
            pool: ByteCount::ZERO,
            residence: Exactness::Sampled,
            soft_faults: faults.minor.saturating_sub(self.faults_before.minor),
            hard_faults: hard,
            faults: Exactness::Sampled,
            pages_in: hard + core.balance.pages_ahead.get(),
            pages_ahead: core.balance.pages_ahead.get(),
            pages_out: core.balance.pages_out.get(),
            clean_drops: core.balance.clean_drops.get(),
            ..EngineStatistics::default()
        }
    }
}

/// Where page `page` of a piece is, by its record and what the kernel says (`index`: its place in the view).
fn residence_of(piece: &Piece, page: usize, view: &View, index: usize) -> Residence {
    let is_cached = view.cached.get(index).is_some_and(|answer| answer & 1 != 0);
    let entry = view.entries.get(index).copied().unwrap_or_default();
    if !piece.committed.contains(page) {
        return Residence::Untouched;
    }
    match piece.nature {
        Nature::Anonymous if entry.is_present() || is_cached => Residence::Resident,
        // The host's own swap.
        Nature::Anonymous if entry.is_swapped() && !entry.is_guard() => Residence::PageFile,
        Nature::Anonymous => Residence::Untouched,
        Nature::File(_) if entry.is_present() => Residence::Resident,
        Nature::File(_) if is_cached && view.is_clean => Residence::Standby,
        Nature::File(_) if is_cached => Residence::Modified,
        Nature::File(_) if piece.was_out => Residence::PageFile,
        Nature::File(_) => Residence::Untouched,
    }
}
