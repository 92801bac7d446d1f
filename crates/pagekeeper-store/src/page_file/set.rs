//! All page files of a space behind one numbering of slots.
//!
//! Each file has a range of the 2^32 slot numbers for as long as it lives. The fault path finds the
//! file of a slot by looking through sixteen ranges, and keeps it alive by a count while it uses
//! it; nothing is allocated or freed there, because whoever takes a file away waits until nobody
//! else holds it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount};

use super::file::PageFile;
use super::mend::Mending;
use super::{
    FILES_MAX, Opener, PageFileError, PageFileId, PageFileSettings, Slot, SlotRun, open_disk, place,
};
use crate::checksum::{Checksum, ChecksumKey};
use crate::codec::Page;
use crate::sync::{AtomicU32, AtomicU64, Lock, Relaxed};

/// The page files of a space.
pub struct PageFiles {
    cells: [Cell; FILES_MAX],
    /// Cells in order of preference: a permutation of their numbers, four bits each, the most
    /// preferred lowest.
    order: AtomicU64,
    key: ChecksumKey,
    settings: PageFileSettings,
    opener: Opener,
    /// Held by whoever changes the files or their sizes; the fault path never takes it.
    growth: Mutex<Growth>,
    pub(super) mending: Mending,
}

/// A place for a page file.
#[derive(Debug, Default)]
struct Cell {
    /// The slots that are its file's: from `start`, up to but not including `end`.
    start: AtomicU32,
    end: AtomicU32,
    file: Lock<Option<Arc<PageFile>>>,
}

#[derive(Debug, Default)]
pub(super) struct Growth {
    /// What [`PageFiles::set_promised`] was last told.
    pub(super) promised: PageCount,
}

/// Where a slot lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// In which file.
    pub file: PageFileId,
    /// From which byte on.
    pub offset: u64,
}

/// One page file in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFileUsage {
    /// Which.
    pub id: PageFileId,
    /// The folder or file that was named.
    pub place: PathBuf,
    /// Whether transfers go past the page cache.
    pub direct: bool,
    /// Why its descriptors are not safe from being closed by the program, where they are not.
    pub unkept: Option<Errno>,
    /// By what transfers go: `io_uring` or `positioned`.
    pub disk: &'static str,
    /// Whether it is being taken away.
    pub retiring: bool,
    /// Slots with pages in them.
    pub used: PageCount,
    /// Slots that the disk refused to write.
    pub bad: PageCount,
    /// Space really allocated.
    pub allocated: ByteCount,
    /// Size up to which it grows.
    pub maximum: ByteCount,
    /// Read from it.
    pub bytes_in: ByteCount,
    /// Written to it.
    pub bytes_out: ByteCount,
    /// Read requests.
    pub requests_in: u64,
    /// Write requests.
    pub requests_out: u64,
    /// Pages that came back with other bytes than were written.
    pub damaged: u64,
    /// Transfers that failed.
    pub errors: u64,
}

impl PageFiles {
    /// Makes the page files that the settings name and allocates their initial space.
    ///
    /// # Errors
    /// Every refusal of [`PageFileError`]; nothing is left behind then.
    pub fn open(settings: PageFileSettings) -> Result<Self, PageFileError> {
        Self::open_with(settings, Box::new(open_disk))
    }

    /// The same with an [`Opener`] of the caller's, also for files that are added later.
    ///
    /// # Errors
    /// As [`PageFiles::open`].
    pub fn open_with(settings: PageFileSettings, opener: Opener) -> Result<Self, PageFileError> {
        let places = place::resolve(&settings.places);
        let files = Self {
            cells: core::array::from_fn(|_| Cell::default()),
            order: AtomicU64::new(0xFEDC_BA98_7654_3210),
            key: ChecksumKey::random(),
            settings,
            opener,
            growth: Mutex::default(),
            mending: Mending::default(),
        };
        for place in &places {
            files.add_file(place)?;
        }
        Ok(files)
    }

    /// Makes one more page file, the least preferred one, with the sizes of the settings.
    ///
    /// # Errors
    /// As [`PageFiles::open`], and [`PageFileError::TooManyFiles`].
    pub fn add_file(&self, place: &Path) -> Result<PageFileId, PageFileError> {
        let _growth = self.growth();
        let new = place::create(place, &self.settings)?;
        let capacity = new.maximum.get() / PAGE_SIZE as u64;
        let too_large = PageFileError::TooLarge(new.maximum);
        let capacity = u32::try_from(capacity).map_err(|_| too_large.clone())?;
        let id = PageFileId::all()
            .find(|&id| self.file(id).is_none())
            .ok_or(PageFileError::TooManyFiles(FILES_MAX))?;
        let start = self.free_range(capacity).ok_or(too_large)?;
        let kernel = |errno| PageFileError::Kernel {
            place: place.to_owned(),
            errno,
        };
        let opened = (self.opener)(new.file, &self.settings).map_err(kernel)?;
        let file = PageFile::new(new.place, opened, capacity).map_err(PageFileError::Tables)?;
        self.allocate_initial(&file, new.initial)?;
        if let Some(cell) = self.cells.get(id.index()) {
            // The file last, its lock publishes the rest: from then on slots are taken from it, whose numbers follow from the
            // start, and a number is found by its range. Before, no slot of the range can be in anybody's hands.
            cell.start.store(start, Relaxed);
            cell.end.store(start + capacity, Relaxed);
            self.prefer_least(id);
            *cell.file.lock_outside_handler() = Some(Arc::new(file));
        }
        Ok(id)
    }

    /// Takes slots that lie side by side for up to `want` pages (at most [`super::RUN_MAX`]), in the
    /// most preferred file that has any. `None` when all are full. For the fault path.
    pub fn take_run(&self, want: u32) -> Option<SlotRun> {
        let mut order = self.order.load(Relaxed);
        for _ in 0..FILES_MAX {
            let cell = self.cells.get((order & 0xF) as usize)?;
            order >>= 4;
            let Some(file) = cell.file() else {
                continue;
            };
            if let Some((first, count)) = file.slots.take_run(want) {
                return Some(SlotRun {
                    first: Slot::from_bits(cell.start.load(Relaxed).wrapping_add(first)),
                    count,
                });
            }
        }
        None
    }

    /// Gives one slot back. For the fault path.
    pub fn give_back(&self, slot: Slot) {
        self.give_back_run(SlotRun::one(slot));
    }

    /// Gives the slots of a run back; returns how many of them were in use (the others are left
    /// alone). For the fault path.
    pub fn give_back_run(&self, run: SlotRun) -> u32 {
        self.with_file_of(run.first, |file, first| file.give_back(first, run.count))
            .unwrap_or(0)
    }

    /// The checksum of what a slot holds; `None` when it holds nothing. A page whose own checksum is
    /// the same need not be written again. For the fault path.
    #[inline]
    pub fn checksum_of(&self, slot: Slot) -> Option<Checksum> {
        self.with_file_of(slot, |file, slot| file.checksum(slot))
            .flatten()
    }

    /// Whether the slots from `first` up hold these pages, by their checksums. For the fault path.
    pub fn holds_run(&self, first: Slot, pages: &[Page]) -> bool {
        let all_match = |file: &PageFile, first: u32| {
            (first..)
                .zip(pages)
                .all(|(slot, page)| file.checksum(slot) == Some(self.key.checksum(page)))
        };
        self.with_file_of(first, all_match).unwrap_or(false)
    }

    /// The checksum of a page under this space's key. For the fault path.
    #[inline]
    pub fn checksum(&self, page: &Page) -> Checksum {
        self.key.checksum(page)
    }

    /// Which file a slot lies in, and where. For the fault path.
    pub fn placement(&self, slot: Slot) -> Option<Placement> {
        let file = self.file_of(slot)?;
        let offset = PageFile::offset(slot.bits().wrapping_sub(self.base_of(slot)));
        Some(Placement { file, offset })
    }

    /// One more descriptor of a page file, for mapping it.
    ///
    /// # Errors
    /// [`PageFileError::NotThere`]; [`PageFileError::Kernel`] without descriptors.
    pub fn clone_descriptor(&self, id: PageFileId) -> Result<OwnedFd, PageFileError> {
        let file = self.file(id).ok_or(PageFileError::NotThere(id))?;
        file.file
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| PageFileError::Kernel {
                place: file.place.clone(),
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })
    }

    /// Whether no slot is free. For the fault path.
    pub fn is_full(&self) -> bool {
        let has_free = |cell: &Cell| cell.file().is_some_and(|file| file.slots.has_free());
        !self.cells.iter().any(has_free)
    }

    /// Whether there is any page file.
    pub fn is_empty(&self) -> bool {
        PageFileId::all().all(|id| self.file(id).is_none())
    }

    /// What all files together may hold: their maximum sizes, less files that are being taken away and slots that the
    /// disk refused to write.
    pub fn maximum(&self) -> PageCount {
        let most = |file: &PageFile| {
            u64::from(file.slots.capacity()).saturating_sub(u64::from(file.slots.counts().bad))
        };
        PageCount::new(self.staying().map(|(_, file)| most(&file)).sum())
    }

    /// Slots that the disk refused to write, in all files.
    pub fn withdrawn(&self) -> PageCount {
        let bad = |(_, file): (_, Arc<PageFile>)| u64::from(file.slots.counts().bad);
        PageCount::new(self.in_order().map(bad).sum())
    }

    /// Slots that can hold pages now: with space behind them, not bad, in files that stay.
    pub fn usable(&self) -> PageCount {
        PageCount::new(self.staying().map(|(_, file)| file.usable()).sum())
    }

    /// Slots with pages in them, in all files.
    pub fn used(&self) -> PageCount {
        let used = |id| Some(u64::from(self.file(id)?.slots.counts().used));
        PageCount::new(PageFileId::all().filter_map(used).sum())
    }

    /// Every file in figures, most preferred first.
    pub fn usage(&self) -> Vec<PageFileUsage> {
        self.in_order()
            .map(|(id, file)| usage_of(id, &file))
            .collect()
    }

    /// Bytes of memory that the tables of all files occupy (an estimate; asks the kernel).
    pub fn overhead_bytes(&self) -> u64 {
        self.in_order().map(|(_, file)| file.overhead_bytes()).sum()
    }

    pub(super) fn key(&self) -> &ChecksumKey {
        &self.key
    }

    /// The same, unless somebody is growing a file just now.
    pub(super) fn try_growth(&self) -> Option<MutexGuard<'_, Growth>> {
        match self.growth.try_lock() {
            Ok(growth) => Some(growth),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn growth(&self) -> MutexGuard<'_, Growth> {
        // What it guards is valid at every step.
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files, most preferred first. Not for the fault path.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (PageFileId, Arc<PageFile>)> {
        let order = self.order.load(Relaxed);
        (0..FILES_MAX).filter_map(move |position| {
            let id = PageFileId((order >> (4 * position) & 0xF) as u8);
            Some((id, self.file(id)?))
        })
    }

    /// The files that are not being taken away, most preferred first.
    pub(super) fn staying(&self) -> impl Iterator<Item = (PageFileId, Arc<PageFile>)> {
        self.in_order()
            .filter(|(_, file)| !file.retiring.load(Relaxed))
    }

    /// The file in a place of the table. Not for the fault path.
    pub(super) fn file(&self, id: PageFileId) -> Option<Arc<PageFile>> {
        let _blocked = SignalsBlocked::new();
        self.cells.get(id.index())?.file()
    }

    /// Which file a slot number belongs to.
    #[inline]
    pub(super) fn file_of(&self, slot: Slot) -> Option<PageFileId> {
        let found = self.cells.iter().position(|cell| cell.holds(slot))?;
        Some(PageFileId(found as u8))
    }

    /// The first slot number of the file that a slot belongs to.
    #[inline]
    pub(super) fn base_of(&self, slot: Slot) -> u32 {
        self.cells
            .iter()
            .find(|cell| cell.holds(slot))
            .map_or(0, |cell| cell.start.load(Relaxed))
    }

    /// Calls `use_it` with the file of a slot and the slot's number in it.
    #[inline]
    pub(super) fn with_file_of<R>(
        &self,
        slot: Slot,
        use_it: impl FnOnce(&PageFile, u32) -> R,
    ) -> Option<R> {
        let cell = self.cells.iter().find(|cell| cell.holds(slot))?;
        let file = cell.file()?;
        Some(use_it(
            &file,
            slot.bits().wrapping_sub(cell.start.load(Relaxed)),
        ))
    }

    /// Takes a file out of the table and waits until nobody else uses it.
    pub(super) fn take_out(&self, id: PageFileId) -> Option<PageFile> {
        let cell = self.cells.get(id.index())?;
        let mut file = cell.file.lock_outside_handler().take()?;
        cell.end.store(0, Relaxed);
        cell.start.store(0, Relaxed);
        loop {
            match Arc::try_unwrap(file) {
                Ok(file) => return Some(file),
                // A transfer in flight holds it; it cannot be freed there, so it is freed here.
                Err(shared) => file = shared,
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }

    /// A range of slot numbers that no file has.
    fn free_range(&self, capacity: u32) -> Option<u32> {
        let mut ranges: Vec<(u32, u32)> = self
            .cells
            .iter()
            .map(|cell| (cell.start.load(Relaxed), cell.end.load(Relaxed)))
            .filter(|(start, end)| start < end)
            .collect();
        ranges.sort_unstable();
        let mut free = 0;
        for (start, end) in ranges {
            if start - free >= capacity {
                break;
            }
            free = end;
        }
        free.checked_add(capacity).map(|_| free)
    }

    /// Moves a file to the end of the order.
    fn prefer_least(&self, id: PageFileId) {
        let order = self.order.load(Relaxed);
        let others = (0..FILES_MAX).map(|position| order >> (4 * position) & 0xF);
        let moved = others
            .filter(|&cell| cell as usize != id.index())
            .chain([id.index() as u64])
            .enumerate()
            .fold(0, |order, (position, cell)| order | cell << (4 * position));
        self.order.store(moved, Relaxed);
    }
}

impl Cell {
    #[inline]
    fn holds(&self, slot: Slot) -> bool {
        (self.start.load(Relaxed)..self.end.load(Relaxed)).contains(&slot.bits())
    }

    /// The file, kept alive until the caller lets go. All signals are blocked.
    #[inline]
    fn file(&self) -> Option<Arc<PageFile>> {
        self.file.lock().clone()
    }
}

impl core::fmt::Debug for PageFiles {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PageFiles")
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

fn usage_of(id: PageFileId, file: &PageFile) -> PageFileUsage {
    let counts = file.slots.counts();
    let pages = |count: u32| PageCount::new(u64::from(count));
    let bytes = |counter: &AtomicU64| ByteCount::new(counter.load(Relaxed));
    PageFileUsage {
        id,
        place: file.place.clone(),
        direct: file.direct,
        unkept: file.unkept,
        disk: file.disk.name(),
        retiring: file.retiring.load(Relaxed),
        used: pages(counts.used),
        bad: pages(counts.bad),
        allocated: pages(counts.available).bytes(),
        maximum: pages(file.slots.capacity()).bytes(),
        bytes_in: bytes(&file.traffic.bytes_in),
        bytes_out: bytes(&file.traffic.bytes_out),
        requests_in: file.traffic.requests_in.load(Relaxed),
        requests_out: file.traffic.requests_out.load(Relaxed),
        damaged: file.traffic.damaged.load(Relaxed),
        errors: file.traffic.errors.load(Relaxed),
    }
}
