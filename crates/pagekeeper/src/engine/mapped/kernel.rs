//! The kernel calls of this engine, each on pages inside one of its arenas, counted.
//!
//! The trap that this file knows: memory that somebody locked behind our back (`mlockall`). The kernel refuses
//! markers and `MADV_DONTNEED` there, so the pages are unlocked and the call made again: locking everything
//! does not reach managed memory beyond what is in it at that moment.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: changes what addresses mean; every range given here lies in an arena of this engine"
)]

use std::os::fd::BorrowedFd;

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{self, Access, Advice, Treatment};
use pagekeeper_units::{PageCount, PageRange};

use super::lent::Lent;
use super::piece::Nature;
use crate::error::EngineError;
use crate::statistics::Counter;

/// How every arena is treated. Huge pages are wanted everywhere: the kernel makes one only where a
/// whole aligned 2 MiB is accessible and free of markers, which is where all of it is committed.
const TREATMENT: Treatment = Treatment::NOT_INHERITED.union(Treatment::HUGE_PAGES);

/// Makes the calls and counts them.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    calls: Counter,
    /// What no call reaches, but those that open and close arenas.
    pub(super) lent: Lent,
    /// Tests: so many calls succeed, then one is refused.
    #[cfg(test)]
    refuse_after: core::sync::atomic::AtomicI64,
}

/// The error of a call by its name.
fn named(call: &'static str) -> impl Fn(Errno) -> EngineError {
    move |errno| EngineError::Kernel { call, errno }
}

impl Kernel {
    /// Calls made so far.
    #[cfg(test)]
    pub(super) fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// Lets `count` calls succeed and refuses the one after them.
    #[cfg(test)]
    pub(super) fn refuse_after(&self, count: i64) {
        self.refuse_after
            .store(count + 1, core::sync::atomic::Ordering::Relaxed);
    }

    fn count(&self) -> Result<(), Errno> {
        self.calls.add(1);
        #[cfg(test)]
        {
            use core::sync::atomic::Ordering;
            if self.refuse_after.load(Ordering::Relaxed) > 0
                && self.refuse_after.fetch_sub(1, Ordering::Relaxed) == 1
            {
                return Err(Errno::NOMEM);
            }
        }
        Ok(())
    }

    /// Gives advice; where the range turns out to be locked, unlocks it and gives it again.
    fn advise(&self, range: PageRange, advice: Advice) -> Result<(), Errno> {
        self.lent
            .each_other(range, |part| self.advise_part(part, advice))
    }

    fn advise_part(&self, range: PageRange, advice: Advice) -> Result<(), Errno> {
        self.count()?;
        // SAFETY: Module text; what the advice drops is what the caller wants dropped.
        match unsafe { map::advise(range, advice) } {
            Err(Errno::INVAL) => {
                self.calls.add(2);
                map::unlock(range)?;
                // SAFETY: As above.
                unsafe { map::advise(range, advice) }
            }
            other => other,
        }
    }

    /// Address space of `pages` pages, inaccessible, not inherited by children.
    pub(super) fn open_arena(
        &self,
        at: Option<PageRange>,
        pages: PageCount,
        alignment: PageCount,
    ) -> Result<PageRange, Errno> {
        self.count()?;
        let mapping = match at {
            Some(range) => map::reserve_at(range, Access::NONE, TREATMENT)?,
            None => map::reserve_aligned(pages, alignment, Access::NONE, TREATMENT)?,
        };
        // Under mlockall(MCL_FUTURE) it was born locked.
        let _ = map::unlock(mapping.range());
        Ok(mapping.into_range())
    }

    /// Takes an arena out of the address space.
    pub(super) fn close_arena(&self, arena: PageRange) -> Result<(), Errno> {
        self.count()?;
        // SAFETY: Module text; the caller says that nothing is in it any more.
        unsafe { map::unmap(arena) }
    }

    /// Makes pieces what their arena is: inaccessible, empty, without markers and page tables.
    pub(super) fn close(&self, range: PageRange) -> Result<(), Errno> {
        self.lent.each_other(range, |part| {
            self.count()?;
            // SAFETY: Module text; the caller has found that nothing is committed there.
            unsafe { map::reserve_over(part, Access::NONE, TREATMENT) }
        })
    }

    /// Puts a part of the page file in the place of closed pieces, inaccessible still.
    ///
    /// Without read-ahead: around a random fault the kernel would read up to megabytes, and it would let the
    /// cache outgrow the budget. The balancer reads ahead where it pays.
    pub(super) fn map_file(
        &self,
        range: PageRange,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> Result<(), EngineError> {
        let map_part = |part: PageRange| {
            self.count()?;
            let offset = offset + part.start().since(range.start()).bytes().get();
            // SAFETY: Module text; nothing is committed there.
            unsafe { map::map_file_shared_over(part, file, offset, Access::NONE) }
        };
        self.lent
            .each_other(range, map_part)
            .map_err(named("mmap"))?;
        for advice in [Advice::DoNotInherit, Advice::Random] {
            self.advise(range, advice).map_err(named("madvise"))?;
        }
        Ok(())
    }

    /// Changes the access of pages.
    pub(super) fn protect(&self, range: PageRange, access: Access) -> Result<(), EngineError> {
        let protect_part = |part| {
            self.count()?;
            // SAFETY: Module text; the caller changes what the program asked to have changed.
            unsafe { map::protect(part, access) }
        };
        self.lent
            .each_other(range, protect_part)
            .map_err(named("mprotect"))
    }

    /// Fences pages with markers. Anonymous contents are gone afterwards, those of files stay underneath.
    pub(super) fn install_markers(&self, range: PageRange) -> Result<(), EngineError> {
        self.advise(range, Advice::GuardInstall)
            .map_err(named("madvise(MADV_GUARD_INSTALL)"))
    }

    /// Takes markers away.
    pub(super) fn remove_markers(&self, range: PageRange) -> Result<(), EngineError> {
        self.advise(range, Advice::GuardRemove)
            .map_err(named("madvise(MADV_GUARD_REMOVE)"))
    }

    /// Takes pages out of the mapping: anonymous ones are gone, those of files stay in the page cache.
    pub(super) fn zap(&self, range: PageRange) -> Result<(), EngineError> {
        self.advise(range, Advice::Discard)
            .map_err(named("madvise(MADV_DONTNEED)"))
    }

    /// Brings pages into the mapping. A hint.
    pub(super) fn populate(&self, range: PageRange) {
        let _ = self.lent.each_other(range, |part| {
            self.calls.add(1);
            // SAFETY: Changes no contents.
            unsafe { map::advise(part, Advice::PopulateRead) }
        });
    }
}

/// What markers this kernel has, found out by doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Markers {
    /// On private memory (6.13).
    pub(super) anonymous: bool,
    /// On shared mappings of files (6.15).
    pub(super) file: bool,
}

impl Markers {
    /// Whether they fence pages of pieces of that nature.
    pub(super) fn fence(self, nature: Nature) -> bool {
        match nature {
            Nature::Anonymous => self.anonymous,
            Nature::File(_) => self.file,
        }
    }
}

/// Tries a marker on a page of private memory.
pub(super) fn anonymous_markers_work() -> bool {
    map::reserve(PageCount::ONE, Access::NONE, Treatment::empty()).is_ok_and(|page| {
        let _ = map::unlock(page.range());
        // SAFETY: A fresh page of our own.
        unsafe { map::advise(page.range(), Advice::GuardInstall) }.is_ok()
    })
}

/// Tries a marker on a shared mapping of `file`.
pub(super) fn file_markers_work(file: BorrowedFd<'_>) -> bool {
    map::map_file(PageCount::ONE, file, 0, Access::NONE).is_ok_and(|page| {
        let _ = map::unlock(page.range());
        // SAFETY: A fresh mapping of our own.
        unsafe { map::advise(page.range(), Advice::GuardInstall) }.is_ok()
    })
}
