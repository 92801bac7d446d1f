//! Space on the disk, really allocated before it is promised.
//!
//! Commit asks here, outside the fault path, before it grants: afterwards a write cannot fail for
//! want of space. Files grow in steps, the most preferred first. What a refused commit had already
//! taken from the disk is given back.

use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::{AllocateHow, allocate, file_system_of, truncate};
use pagekeeper_sys::rlimit;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount};

use super::file::PageFile;
use super::set::Growth;
use super::{PageFileError, PageFileId, PageFiles};

/// Files grow by at least this many slots while they may: 64 MiB.
const STEP: u32 = (64 << 20) / PAGE_SIZE as u32;

impl PageFiles {
    /// Makes sure that `pages` pages can be stored, whatever is stored now: the commit charge that
    /// RAM does not cover. Allocates disk space in steps; never gives any back, because it will be
    /// wanted again. Returns what is usable now, at least `pages`. Not for the fault path.
    ///
    /// # Errors
    /// [`PageFileError::DiskFull`], [`PageFileError::FileSizeLimit`],
    /// [`PageFileError::MaximumReached`], [`PageFileError::NoPageFile`]: the promise stays what it
    /// was.
    pub fn set_promised(&self, pages: PageCount) -> Result<PageCount, PageFileError> {
        let mut growth = self.growth();
        let usable = self.ensure(pages)?;
        growth.promised = pages;
        Ok(usable)
    }

    /// What was last promised.
    pub fn promised(&self) -> PageCount {
        let growth: &Growth = &self.growth();
        growth.promised
    }

    /// Grows the files that stay until they can hold `pages`. The growth lock is held.
    pub(super) fn ensure(&self, pages: PageCount) -> Result<PageCount, PageFileError> {
        let mut grown: Vec<(Arc<PageFile>, u32)> = Vec::new();
        let mut refusal = None;
        let mut usable = self.usable().get();
        for (_, file) in self.staying() {
            if usable >= pages.get() {
                break;
            }
            let before = file.slots.counts().available;
            let missing = pages.get() - usable;
            let (after, error) = file.extend(before, missing);
            usable += u64::from(after - before);
            if after > before {
                grown.push((file, after));
            }
            refusal = error.or(refusal);
        }
        if usable >= pages.get() {
            for (file, available) in grown {
                file.slots.grow_to(available);
            }
            return Ok(PageCount::new(usable));
        }
        for (file, _) in grown {
            let length = PageFile::offset(file.slots.counts().available);
            // Worst case: the disk keeps space that is used again later.
            if file.file.take_back_if_lost().is_ok() {
                let _ = truncate(&file.file, length);
            }
        }
        Err(refusal.unwrap_or_else(|| self.beyond_maximum(pages)))
    }

    pub(super) fn allocate_initial(
        &self,
        file: &PageFile,
        initial: ByteCount,
    ) -> Result<(), PageFileError> {
        let wanted = initial.pages().get();
        let (available, error) = file.extend_exactly(0, wanted);
        if u64::from(available) < wanted {
            return Err(error.unwrap_or(PageFileError::TooSmall(initial)));
        }
        file.slots.grow_to(available);
        Ok(())
    }

    fn beyond_maximum(&self, pages: PageCount) -> PageFileError {
        let wanted = pages.bytes();
        if PageFileId::all().all(|id| self.file(id).is_none()) {
            return PageFileError::NoPageFile(wanted);
        }
        let maximum = self.maximum().bytes();
        PageFileError::MaximumReached { wanted, maximum }
    }
}

impl PageFile {
    /// Allocates space for `missing` more slots behind the `from` that there are, a whole step if
    /// that is possible. Returns how many slots have space now, and why not more.
    fn extend(&self, from: u32, missing: u64) -> (u32, Option<PageFileError>) {
        if missing < u64::from(STEP) {
            let (available, error) = self.extend_exactly(from, u64::from(STEP));
            if error.is_none() || u64::from(available - from) >= missing {
                return (available, None);
            }
        }
        self.extend_exactly(from, missing)
    }

    fn extend_exactly(&self, from: u32, wanted: u64) -> (u32, Option<PageFileError>) {
        let room = self.slots.capacity() - from;
        let count = u64::from(room).min(wanted) as u32;
        if count == 0 {
            return (from, None);
        }
        let (start, length) = (Self::offset(from), Self::offset(count));
        // The number may stand for a file of the program's by now, which must not grow for us.
        if self.file.take_back_if_lost().is_err() {
            let (place, errno) = (self.place.clone(), Errno::BADF);
            return (from, Some(PageFileError::Kernel { place, errno }));
        }
        if let Some(refusal) = self.foresee_refusal(start, length) {
            return (from, Some(refusal));
        }
        let step = Self::offset(STEP);
        let done = allocate(&self.file, start, length, step, AllocateHow::Best);
        let slots = (done.done_bytes / PAGE_SIZE as u64) as u32;
        if let Some(errno) = done.error {
            // A file system may keep part of a step that it refused; it is not ours to use.
            let _ = truncate(&self.file, start + Self::offset(slots));
            return (from + slots, Some(self.refusal(errno, start, length)));
        }
        (from + slots, None)
    }

    /// Refuses what cannot succeed before trying it: filling the disk to find out that it is too
    /// small would hurt everybody else who uses it.
    fn foresee_refusal(&self, start: u64, length: u64) -> Option<PageFileError> {
        if start + length > rlimit::file_size_bytes() {
            return Some(self.refusal(Errno::FBIG, start, length));
        }
        let free = file_system_of(&self.file).map_or(u64::MAX, |fs| fs.free_bytes);
        (length > free).then(|| self.refusal(Errno::NOSPC, start, length))
    }

    fn refusal(&self, errno: Errno, start: u64, length: u64) -> PageFileError {
        let place = self.place.clone();
        match errno {
            Errno::NOSPC | Errno::DQUOT => PageFileError::DiskFull {
                place,
                allocated: ByteCount::new(start),
                wanted: ByteCount::new(length),
            },
            Errno::FBIG => PageFileError::FileSizeLimit {
                place,
                limit: ByteCount::new(rlimit::file_size_bytes()),
            },
            errno => PageFileError::Kernel { place, errno },
        }
    }
}
