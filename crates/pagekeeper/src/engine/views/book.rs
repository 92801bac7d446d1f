//! Every view of an engine, and the changes to one.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagekeeper_model::Change;
use pagekeeper_sys::Errno;
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::filled;
use super::kernel::{self, named};
use super::look;
use super::modes::{Mode, Modes};
use super::slots::{SlotRun, Slots};
use super::source::Source;
use crate::error::EngineError;
use crate::inside::Inside;

/// Pages that leave together at most: 2 MiB.
const UNIT: u64 = 512;

/// One view.
#[derive(Debug)]
pub(super) struct View {
    pub(super) range: PageRange,
    pub(super) source: Arc<Source>,
    /// Where in the file its first page lies.
    pub(super) offset: u64,
    pub(super) modes: Modes,
    /// Pages that may be copied, with room promised.
    pub(super) promised: PageCount,
    /// Copied pages that moved out: page → slot, mapped there.
    pub(super) moved: BTreeMap<PageNumber, u64>,
    /// Until which commit of others the view of a reserved section shows what they committed.
    pub(super) followed: Option<u64>,
    /// Whether pages could ever be changed through it, so that they are in the file or on their way there.
    pub(super) was_writable: bool,
}

/// Who has committed pages in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The caller, now.
    Us,
    /// Others, or another view, before: it is only to be shown here.
    Others,
}

/// The views of an engine, by first page, and the slots of their copied pages.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) views: BTreeMap<PageNumber, View>,
    pub(super) slots: Slots,
    /// Pages of RAM for all views.
    pub(super) ram: u64,
}

/// The book, and that the thread which has it is inside: [`filled`](super::filled) must not ask for it again.
pub(super) struct HeldBook<'core> {
    // Given back first.
    book: MutexGuard<'core, Book>,
    _inside: Inside,
}

impl<'core> HeldBook<'core> {
    pub(super) fn new(book: &'core Mutex<Book>) -> Self {
        let inside = Inside::enter();
        Self {
            book: book.lock().unwrap_or_else(PoisonError::into_inner),
            _inside: inside,
        }
    }
}

impl Deref for HeldBook<'_> {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

impl DerefMut for HeldBook<'_> {
    fn deref_mut(&mut self) -> &mut Book {
        &mut self.book
    }
}

impl Book {
    pub(super) fn new(slots: Slots, ram: u64) -> Self {
        Self {
            views: BTreeMap::new(),
            slots,
            ram,
        }
    }

    /// The view that holds `page`.
    pub(super) fn at(&self, page: PageNumber) -> Option<&View> {
        let (_, view) = self.views.range(..=page).next_back()?;
        view.range.contains(page).then_some(view)
    }

    pub(super) fn at_mut(&mut self, page: PageNumber) -> Option<&mut View> {
        let (_, view) = self.views.range_mut(..=page).next_back()?;
        view.range.contains(page).then_some(view)
    }

    /// Maps a new view at a free place of an arena.
    pub(super) fn map(
        &mut self,
        range: PageRange,
        (source, offset): (Arc<Source>, u64),
        mode: Mode,
    ) -> Result<(), EngineError> {
        let promised = if mode.is_private {
            range.count()
        } else {
            PageCount::ZERO
        };
        self.slots.promise(promised)?;
        if mode.is_private {
            filled::note(range);
        }
        if let Err(error) = map_part(&source, range, offset, mode) {
            let _ = kernel::clear(range);
            self.slots.release(promised);
            return Err(error);
        }
        let view = View {
            range,
            source,
            offset,
            modes: Modes::uniform(range, mode),
            promised,
            moved: BTreeMap::new(),
            followed: None,
            was_writable: mode.writes_to_file(),
        };
        self.views.insert(range.start(), view);
        Ok(())
    }

    /// Takes a view out of the address space.
    pub(super) fn unmap(&mut self, range: PageRange) {
        let Some(view) = self.views.remove(&range.start()) else {
            return;
        };
        // Refused only at the mapping limit, which this cannot raise by more than one: the pages are fenced then.
        if kernel::clear(view.range).is_err() {
            let _ = kernel::protect(view.range, Access::NONE);
        }
        for slot in view.moved.into_values() {
            self.slots.give_back(SlotRun {
                first: slot,
                count: 1,
            });
        }
        self.slots.release(view.promised);
    }

    /// Gives a page the access that it is to have. Whoever has the book knows that no page is on its way out: what is still
    /// refused was left so by a call that failed.
    pub(super) fn restore_access(&self, page: PageNumber) {
        let one = PageRange::new(page, PageCount::ONE);
        let modes = self.at(page).map(|view| view.modes.inside(one));
        for (run, mode) in modes.into_iter().flatten() {
            // Refused only at the mapping limit: the access faults again and comes back here.
            let _ = kernel::protect(run, mode.access());
        }
    }

    /// Records that pages of one view are locked in memory, or not any more.
    pub(super) fn note_lock(&mut self, range: PageRange, is_locked: bool) {
        let Some(view) = self.at_mut(range.start()) else {
            return;
        };
        for (run, mode) in view.modes.inside(range.intersection(view.range)) {
            view.modes.set(run, Mode { is_locked, ..mode });
        }
    }

    /// Carries out a change of state of pages of one view; what was done is undone when it fails.
    pub(super) fn change(&mut self, changes: &[Change], by: By) -> Result<(), EngineError> {
        for (done, change) in changes.iter().enumerate() {
            if let Err(error) = self.change_one(change, by) {
                for done in changes[..=done].iter().rev() {
                    let back = Change {
                        before: done.after,
                        after: done.before,
                        ..*done
                    };
                    // Towards what was there already; a refusal leaves a page less accessible than it may be.
                    let _ = self.change_one(&back, By::Others);
                }
                // What was committed in the section stays so, and is to be followed.
                if let Some(view) = self.at_mut(change.range.start()) {
                    view.followed = None;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn change_one(&mut self, change: &Change, by: By) -> Result<(), EngineError> {
        let Some(view) = self.views.range_mut(..=change.range.start()).next_back() else {
            return Ok(());
        };
        let view = view.1;
        if by == By::Us && !change.before.is_committed() && change.after.is_committed() {
            let pages = view.pages_of_source(change.range);
            let before = view.source.commit(pages).map_err(no_room)?;
            view.note_own_commit(before);
        }
        for (run, mode) in view.modes.inside(change.range) {
            let next = mode.under(change.after.protection());
            view.was_writable |= next.writes_to_file();
            if next.is_private && !mode.is_private {
                let promise = run
                    .count()
                    .min(view.range.count().saturating_sub(view.promised));
                self.slots.promise(promise)?;
                view.promised += promise;
                filled::note(run);
                view.remap(run, next)?;
            } else if next.is_private && next.wants_shared_writes() {
                view.share_again(run, next)?;
            } else {
                kernel::protect(run, next.access()).map_err(named("mprotect"))?;
                view.modes.set(run, next);
            }
        }
        Ok(())
    }
}

/// Maps a part of a source, and keeps it from children.
fn map_part(source: &Source, range: PageRange, offset: u64, mode: Mode) -> Result<(), EngineError> {
    let mapped = source.with(move |file| {
        kernel::map_file(range, (file, offset), mode.access(), mode.is_private)?;
        kernel::keep_from_children(range)
    });
    mapped.map_err(named("mmap"))??;
    if mode.is_locked {
        // What was locked stays so, as far as the limit allows.
        let _ = kernel::lock(range);
    }
    Ok(())
}

/// Room on the disk for a commit.
fn no_room(errno: Errno) -> EngineError {
    EngineError::PageFileSpace(format!("a section could not be committed: {errno}"))
}

impl View {
    /// Pages of the view as pages of its section, counted from the section's first.
    pub(super) fn pages_of_source(&self, range: PageRange) -> PageRange {
        let first = (self.offset - self.source.data_offset()) / PAGE_SIZE as u64;
        let start = first + range.start().since(self.range.start()).get();
        PageRange::new(PageNumber::new(start), range.count())
    }

    /// The same the other way round.
    pub(super) fn pages_of_view(&self, range: PageRange) -> PageRange {
        let first = (self.offset - self.source.data_offset()) / PAGE_SIZE as u64;
        let start = PageCount::new(range.start().get() - first);
        PageRange::new(self.range.start().plus(start), range.count())
    }

    /// Where in the file a page lies.
    pub(super) fn offset_of(&self, page: PageNumber) -> u64 {
        self.offset + page.since(self.range.start()).bytes().get()
    }

    /// The pages that show the bytes of the file from `start` to `end`, if there are any.
    pub(super) fn showing(&self, start: u64, end: u64) -> Option<PageRange> {
        let page = |bytes: u64| {
            let after = bytes.saturating_sub(self.offset) / PAGE_SIZE as u64;
            let page = self.range.start().plus(PageCount::new(after));
            page.min(self.range.end())
        };
        let part = PageRange::between(page(start), page(end));
        (!part.is_empty()).then_some(part)
    }

    /// The pages around `page` that leave together: 2 MiB of the file, beginning at a multiple of that *there*. The page cache
    /// drops its large pages, which lie like that, as a whole or not at all.
    pub(super) fn unit_around(&self, page: PageNumber) -> PageRange {
        let inside = self.offset_of(page) / PAGE_SIZE as u64 % UNIT;
        let before = inside.min(page.since(self.range.start()).get());
        let end = page.plus(PageCount::new(UNIT - inside));
        PageRange::between(PageNumber::new(page.get() - before), end).intersection(self.range)
    }

    /// Maps pages anew, shared or private, with nothing copied.
    fn remap(&mut self, run: PageRange, mode: Mode) -> Result<(), EngineError> {
        map_part(&self.source, run, self.offset_of(run.start()), mode)?;
        self.modes.set(run, mode);
        Ok(())
    }

    /// Private pages are to be written by all again. Those that were copied stay copies.
    fn share_again(&mut self, run: PageRange, mode: Mode) -> Result<(), EngineError> {
        // From here on nobody copies another page: a writer faults and comes back when this is done.
        kernel::protect(run, Access::READ).map_err(named("mprotect"))?;
        let copied = self.copied(run).map_err(named("pagemap"))?;
        for part in look::without(run, &copied) {
            let shared = Mode {
                is_private: false,
                ..mode
            };
            self.remap(part, shared)?;
        }
        for part in copied {
            kernel::protect(part, mode.access()).map_err(named("mprotect"))?;
            self.modes.set(part, mode);
        }
        Ok(())
    }

    /// The pages of `range` that were copied, in RAM or moved out, as runs, upwards.
    pub(super) fn copied(&self, range: PageRange) -> Result<Vec<PageRange>, Errno> {
        let mut runs = Vec::new();
        for (run, mode) in self.modes.inside(range) {
            if mode.is_private {
                runs.extend(look::copied(run)?);
            }
        }
        let moved = self.moved.range(range.start()..range.end());
        runs.extend(moved.map(|(page, _)| PageRange::new(*page, PageCount::ONE)));
        runs.sort_by_key(|run| run.start());
        let mut joined = Vec::new();
        for run in runs {
            look::join(&mut joined, run);
        }
        Ok(joined)
    }

    /// How often somebody has committed pages of its section, where that is done page by page.
    pub(super) fn commits(&self) -> Option<u64> {
        let commits = self.source.header()?.commits()?;
        Some(commits.load(Ordering::Acquire))
    }

    /// It has committed pages, which it shows, after so many commits by anybody: nothing to follow, if it had followed all those.
    fn note_own_commit(&mut self, before: Option<u64>) {
        if before.is_some() && self.followed == before {
            self.followed = before.map(|before| before + 1);
        }
    }

    /// The first such run. Looks no further than twice as far as that ends: a walk through all regions is not to look at all
    /// pages for each.
    pub(super) fn first_copied(&self, range: PageRange) -> Option<PageRange> {
        const FIRST_LOOK: PageCount = PageCount::new(64);
        let mut from = range.start();
        let mut length = FIRST_LOOK;
        while from < range.end() {
            let window = PageRange::new(from, length).intersection(range);
            from = match self.copied(window).ok()?.first() {
                None => window.end(),
                Some(run) if run.end() < window.end() || window.end() == range.end() => {
                    return Some(*run);
                }
                // It may go on.
                Some(run) => run.start(),
            };
            length += length;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use pagekeeper_sys::descriptor::apart::ApartDescriptor;
    use pagekeeper_sys::file;

    use super::super::source::Returned;
    use super::*;

    fn range(from: u64, to: u64) -> PageRange {
        PageRange::between(PageNumber::new(from), PageNumber::new(to))
    }

    /// Pages `from` to `to` show a file from its page `first` on.
    fn view(from: u64, to: u64, first: u64) -> View {
        let file = file::create_in_memory("book").unwrap();
        let file = ApartDescriptor::adopt(file).unwrap();
        let range = range(from, to);
        let mode = Mode {
            protection: Some(pagekeeper_model::Protection::READ_ONLY),
            is_private: false,
            is_locked: false,
        };
        View {
            range,
            source: Arc::new(Source::of_file(file, Returned::default()).unwrap()),
            offset: first * PAGE_SIZE as u64,
            modes: Modes::uniform(range, mode),
            promised: PageCount::ZERO,
            moved: BTreeMap::new(),
            followed: None,
            was_writable: false,
        }
    }

    #[test]
    fn units_begin_where_the_file_says() {
        let around = |view: &View, page| view.unit_around(PageNumber::new(page));
        let aligned = view(1024, 4096, 0);
        assert_eq!(around(&aligned, 1024), range(1024, 1536));
        assert_eq!(around(&aligned, 1535), range(1024, 1536));
        assert_eq!(around(&aligned, 1536), range(1536, 2048));
        assert_eq!(around(&aligned, 4095), range(3584, 4096));
        // The view begins 16 pages past such a place in the file, and lies anywhere.
        let shifted = view(1040, 3000, 528);
        assert_eq!(around(&shifted, 1040), range(1040, 1536));
        assert_eq!(around(&shifted, 1536), range(1536, 2048));
        let other = view(1000, 1600, 16);
        assert_eq!(around(&other, 1000), range(1000, 1496));
        assert_eq!(around(&other, 1495), range(1000, 1496));
        assert_eq!(around(&other, 1496), range(1496, 1600));
    }

    #[test]
    fn a_commit_of_ones_own_is_followed_only_if_all_before_were() {
        let mut view = view(1000, 1100, 0);
        for (followed, before, then) in [
            (Some(5), Some(5), Some(6)),
            // Somebody else has committed after we followed, the same page perhaps.
            (Some(5), Some(6), Some(5)),
            (None, Some(0), None),
            (None, None, None),
        ] {
            view.followed = followed;
            view.note_own_commit(before);
            assert_eq!(view.followed, then, "{followed:?} {before:?}");
        }
    }

    #[test]
    fn a_part_of_the_file_is_found_in_a_view() {
        let bytes = |page: u64| page * PAGE_SIZE as u64;
        let view = view(1000, 1100, 50);
        for (start, end, shown) in [
            (0, 50, None),
            (0, 51, Some(range(1000, 1001))),
            (60, 70, Some(range(1010, 1020))),
            (140, 900, Some(range(1090, 1100))),
            (150, 900, None),
        ] {
            assert_eq!(view.showing(bytes(start), bytes(end)), shown);
        }
    }
}
