//! Extents: 64 neighbouring pages (256 KiB, aligned to the address), the unit of locking and of leaving memory.
//!
//! Going out in extents means one kernel call and one flush of the processors' translation caches for up to 64 pages
//! (paging-mechanisms.md A.7). An extent's number is its address divided by 256 KiB, so a number names it in the whole
//! process.

use core::sync::atomic::{AtomicU32, Ordering};

use pagekeeper_sys::lock::{RawLock, WaitWord};
use pagekeeper_units::{PAGES_PER_GRANULE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::entry::{EntryCell, Kind};

/// Pages in an extent.
pub(crate) const EXTENT_PAGES: u64 = 64;
const EXTENT_SHIFT: u32 = 6;

/// The number of an extent: its first page's number divided by 64. 47-bit addresses give 29 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExtentNumber(u32);

impl ExtentNumber {
    #[inline]
    pub(crate) const fn of(page: PageNumber) -> Self {
        Self((page.get() >> EXTENT_SHIFT) as u32)
    }

    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn first_page(self) -> PageNumber {
        PageNumber::new((self.0 as u64) << EXTENT_SHIFT)
    }

    pub(crate) const fn pages(self) -> PageRange {
        PageRange::new(self.first_page(), PageCount::new(EXTENT_PAGES))
    }

    /// The extents of its 2 MiB piece, which one page table of the kernel describes.
    pub(crate) fn piece(self) -> impl Iterator<Item = Self> {
        let first = self.0 / PIECE_EXTENTS as u32 * PIECE_EXTENTS as u32;
        (first..first + PIECE_EXTENTS as u32).map(Self)
    }
}

/// Extents of a 2 MiB piece.
pub(crate) const PIECE_EXTENTS: usize = (PAGES_PER_HUGE_PAGE / EXTENT_PAGES) as usize;

/// An extent of one arena, as a queue or a slot remembers it: its first page in the arena, in units of 64 KiB.
///
/// Arenas start at multiples of 64 KiB, so parts of up to four may lie in the same 256 KiB: the number alone would not say
/// whose extent is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtentName(u32);

impl ExtentName {
    /// The name that has these bits.
    pub(crate) const fn new(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    /// A page of the extent that lies in its arena.
    pub(crate) const fn first_page(self) -> PageNumber {
        PageNumber::new(self.0 as u64 * PAGES_PER_GRANULE)
    }

    pub(crate) const fn number(self) -> ExtentNumber {
        ExtentNumber::of(self.first_page())
    }
}

/// The extents that have a page in `range`, each with its part of the range, upwards.
pub(crate) fn extents_of(range: PageRange) -> impl Iterator<Item = (ExtentNumber, PageRange)> {
    let first = ExtentNumber::of(range.start()).get();
    let last = if range.is_empty() {
        first
    } else {
        ExtentNumber::of(PageNumber::new(range.end().get() - 1)).get() + 1
    };
    (first..last)
        .map(ExtentNumber::new)
        .map(move |extent| (extent, extent.pages().intersection(range)))
}

/// What belongs to an extent beside its pages' entries: three words in the arena's table.
#[derive(Clone, Copy)]
pub(crate) struct ExtentWords<'table> {
    /// The lock.
    pub(crate) lock: &'table AtomicU32,
    /// [`QUEUED`], [`RESCUED`] and [`HUGE`], changed under the lock only; [`EXPECTED`], under the space lock.
    pub(crate) flags: &'table AtomicU32,
    /// Moves whenever a page stops being busy.
    pub(crate) sequence: &'table AtomicU32,
}

/// The extent stands in its working set's queue.
pub(crate) const QUEUED: u32 = 1;
/// A page of it was taken back from the staging area: it left too early and deserves better next time.
pub(crate) const RESCUED: u32 = 2;

/// Pages of it came in as part of a huge page, which may still be whole: no hole may be guessed at when it leaves.
pub(crate) const HUGE: u32 = 4;

/// Pages of it are committed: the queue must have room for it. Changed under the space lock.
pub(crate) const EXPECTED: u32 = 8;

/// An extent, locked. All signals must be blocked while it lives.
pub(crate) struct LockedExtent<'arena> {
    arena: &'arena Arena,
    number: ExtentNumber,
    words: ExtentWords<'arena>,
}

impl<'arena> LockedExtent<'arena> {
    pub(crate) fn lock(arena: &'arena Arena, number: ExtentNumber) -> Self {
        let words = arena.extent_words(number);
        RawLock::of(words.lock).lock();
        Self {
            arena,
            number,
            words,
        }
    }

    /// Locks an extent of the arena if nobody has it; for those that lock another one already.
    pub(crate) fn try_lock(arena: &'arena Arena, number: ExtentNumber) -> Option<Self> {
        if number.pages().intersection(arena.range()).is_empty() {
            return None;
        }
        let words = arena.extent_words(number);
        // Not `then_some`: a guard made in vain would unlock what another thread holds.
        RawLock::of(words.lock).try_lock().then(|| Self {
            arena,
            number,
            words,
        })
    }

    pub(crate) fn arena(&self) -> &'arena Arena {
        self.arena
    }

    pub(crate) fn number(&self) -> ExtentNumber {
        self.number
    }

    /// What a queue or a slot remembers it by.
    pub(crate) fn name(&self) -> ExtentName {
        ExtentName((self.pages().start().get() / PAGES_PER_GRANULE) as u32)
    }

    /// Whether one of its pages is in the mapping.
    pub(crate) fn has_present_pages(&self) -> bool {
        self.pages()
            .pages()
            .any(|page| self.entry(page).load().kind() == Kind::Present)
    }

    /// How many of its pages are in the mapping, and in how many runs.
    pub(crate) fn present_pages_and_runs(&self) -> (u64, u64) {
        let (mut pages, mut runs, mut inside) = (0, 0, false);
        for entry in self.arena.entries(self.pages()) {
            let present = entry.load().kind() == Kind::Present;
            pages += u64::from(present);
            runs += u64::from(present && !inside);
            inside = present;
        }
        (pages, runs)
    }

    /// Takes it out of the queue when none of its pages is in the mapping any more: places in the queue are counted.
    pub(crate) fn leave_queue_if_empty(&self) {
        if self.has_flag(QUEUED) && !self.has_present_pages() {
            self.clear_flag(QUEUED | HUGE);
            self.arena.set().dequeue(self.name());
        }
    }

    /// The extent's pages that lie in the arena.
    pub(crate) fn pages(&self) -> PageRange {
        self.number.pages().intersection(self.arena.range())
    }

    pub(crate) fn entry(&self, page: PageNumber) -> EntryCell<'arena> {
        self.arena.entry(page)
    }

    /// Sets a flag; says whether it was set before.
    pub(crate) fn set_flag(&self, flag: u32) -> bool {
        self.words.flags.fetch_or(flag, Ordering::Relaxed) & flag != 0
    }

    pub(crate) fn has_flag(&self, flag: u32) -> bool {
        self.words.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Clears a flag; says whether it was set before.
    pub(crate) fn clear_flag(&self, flag: u32) -> bool {
        self.words.flags.fetch_and(!flag, Ordering::Relaxed) & flag != 0
    }

    /// A page of the extent stopped being busy: wakes whoever waits. No system call when nobody does.
    pub(crate) fn wake_waiters(&self) {
        WaitWord::of(self.words.sequence).wake_all();
    }

    /// Unlocks the extent and waits until a busy page of it is done. The caller looks again.
    pub(crate) fn wait_for_busy_page(self) {
        let word = WaitWord::of(self.words.sequence);
        // Read under the lock: whoever ends the business takes the lock first, so the number moves afterwards.
        let seen = word.current();
        drop(self);
        // The time limit is a safety net only: a missed wake-up costs a look, not a hang.
        word.wait(seen, Some(core::time::Duration::from_millis(20)));
    }
}

impl Drop for LockedExtent<'_> {
    fn drop(&mut self) {
        RawLock::of(self.words.lock).unlock();
    }
}
