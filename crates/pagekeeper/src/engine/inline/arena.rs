//! An arena: one large mapping registered with userfaultfd, and the table of its pages.
//!
//! Reservations are slices of arenas. Reserved, untouched, guarded, inaccessible and paged-out pages are all the same to
//! the kernel: no page there. So reserving, committing and decommitting untouched memory make no system call, and
//! the number of page states is limited by memory alone.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: registers the mapping with userfaultfd and changes its protection"
)]

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_sys::map::{self, Access, Mapping, Treatment, ZeroedTable};
use pagekeeper_sys::userfaultfd::Modes;
use pagekeeper_units::{PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::entry::{Entry, EntryCell, Kind};
use super::extent::{EXPECTED, ExtentNumber, ExtentWords, LockedExtent};
use super::working_set::WorkingSet;
use crate::error::EngineError;

#[cfg(test)]
std::thread_local! {
    /// How many changes of the right to execute this thread gets through before the kernel refuses one; for tests.
    pub(crate) static REFUSE_EXECUTABLE_AFTER: core::cell::Cell<Option<u32>> = const { core::cell::Cell::new(None) };
}

/// How the memory of every arena is treated.
const TREATMENT: Treatment = Treatment::NOT_INHERITED
    .union(Treatment::NOT_DUMPED)
    .union(Treatment::NO_HUGE_PAGES);

/// Words of the extent table that belong to one extent.
const WORDS: usize = 3;

/// See the module text.
pub(crate) struct Arena {
    range: PageRange,
    /// Until the arena is closed.
    memory: Mutex<Option<Mapping>>,
    set: Arc<WorkingSet>,
    /// States and locations of the pages: see [`super::entry`].
    states: ZeroedTable<AtomicU16>,
    locations: ZeroedTable<AtomicU32>,
    extents: ZeroedTable<AtomicU32>,
    first_extent: u32,
}

/// Lets the faults of fresh memory come to us.
///
/// # Safety
/// Nothing lives in it, and this engine answers every fault there.
unsafe fn register(set: &WorkingSet, range: PageRange) -> Result<(), EngineError> {
    // SAFETY: the caller's promise.
    let registered = unsafe {
        set.userfaultfd()
            .register(range, Modes::MISSING | Modes::WRITE_PROTECT)
    };
    registered.map(drop).map_err(|errno| EngineError::Kernel {
        call: "UFFDIO_REGISTER",
        errno,
    })
}

impl Arena {
    /// Maps and registers an arena: `at` exactly, or `pages` anywhere, aligned to a huge page where that large.
    pub(crate) fn open(
        set: &Arc<WorkingSet>,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<Self, EngineError> {
        super::drop::refuse_future_locks()?;
        let (treatment, access) = (TREATMENT, Access::READ_WRITE);
        let memory = match at {
            Some(start) => map::reserve_at(PageRange::new(start, pages), access, treatment)
                .map_err(|errno| match errno {
                    pagekeeper_sys::Errno::EXIST => EngineError::AddressTaken,
                    other => EngineError::AddressSpace(other),
                })?,
            None => map::reserve_aligned(
                pages,
                PageCount::new(PAGES_PER_HUGE_PAGE),
                access,
                treatment,
            )
            .map_err(EngineError::AddressSpace)?,
        };
        let range = memory.range();
        // SAFETY: the mapping is ours and new, nothing lives in it; from now on every fault in it is answered by this
        // engine from the table below, and it stays registered until it is unmapped, or something else takes its place.
        unsafe { register(set, range) }?;
        let first_extent = ExtentNumber::of(range.start()).get();
        let last_extent = ExtentNumber::of(PageNumber::new(range.end().get() - 1)).get();
        let extents = (last_extent - first_extent + 1) as usize;
        Ok(Self {
            set: Arc::clone(set),
            states: ZeroedTable::new(range.count().as_usize())
                .map_err(EngineError::AddressSpace)?,
            locations: ZeroedTable::new(range.count().as_usize())
                .map_err(EngineError::AddressSpace)?,
            extents: ZeroedTable::new(extents * WORDS).map_err(EngineError::AddressSpace)?,
            first_extent,
            range,
            memory: Mutex::new(Some(memory)),
        })
    }

    pub(crate) fn range(&self) -> PageRange {
        self.range
    }

    /// Whether it has its address space still.
    pub(crate) fn is_open(&self) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.is_some()
    }

    /// Pages that were lent are memory of the arena again, all of them reserved. On an error they are out of reach.
    pub(crate) fn take_back(&self, range: PageRange) -> Result<(), EngineError> {
        let failed = |call| move |errno| EngineError::Kernel { call, errno };
        super::drop::refuse_future_locks()?;
        // Out of reach until faults come to us: a page that came in before would be in the engine's way.
        // SAFETY: the range lies in the arena, no page of it is committed, and what was there has been taken away.
        unsafe { map::reserve_over(range, Access::NONE, TREATMENT) }.map_err(failed("mmap"))?;
        // SAFETY: as in `open`.
        unsafe { register(&self.set, range) }?;
        // SAFETY: as above.
        unsafe { map::protect(range, Access::READ_WRITE) }.map_err(failed("mprotect"))
    }

    /// Gives the address space back at once. All of it is reserved by nobody, so a fault that still looks at the arena finds
    /// nothing to do; its tables stay until the last such fault has gone.
    pub(crate) fn close(&self) {
        drop(
            self.memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    pub(crate) fn set(&self) -> &Arc<WorkingSet> {
        &self.set
    }

    /// The entry of a page of the arena. A page outside, which no caller asks for, has one that belongs to nobody.
    #[inline]
    pub(crate) fn entry(&self, page: PageNumber) -> EntryCell<'_> {
        static NO_STATE: AtomicU16 = AtomicU16::new(0);
        static NO_LOCATION: AtomicU32 = AtomicU32::new(0);
        debug_assert!(self.range().contains(page));
        let index = page.get().wrapping_sub(self.range().start().get()) as usize;
        match (self.states.get(index), self.locations.get(index)) {
            (Some(state), Some(location)) => EntryCell::new(state, location),
            _ => EntryCell::new(&NO_STATE, &NO_LOCATION),
        }
    }

    /// The states of a range of its pages, for loops over many; empty where the range is not all the arena's.
    pub(crate) fn entries(&self, range: PageRange) -> impl ExactSizeIterator<Item = EntryCell<'_>> {
        let start = range.start().get().wrapping_sub(self.range().start().get()) as usize;
        let places = start..start.saturating_add(range.count().as_usize());
        let states = self.states.get(places.clone()).unwrap_or_default();
        let locations = self.locations.get(places).unwrap_or_default();
        states
            .iter()
            .zip(locations)
            .map(|(state, location)| EntryCell::new(state, location))
    }

    pub(crate) fn extent_words(&self, number: ExtentNumber) -> ExtentWords<'_> {
        let index = number.get().wrapping_sub(self.first_extent) as usize * WORDS;
        let words = self
            .extents
            .get(index..index + WORDS)
            .unwrap_or(&self.extents[..WORDS]);
        ExtentWords {
            lock: &words[0],
            flags: &words[1],
            sequence: &words[2],
        }
    }

    /// A page of the extent is being committed: whether none was before. Under the space lock.
    pub(crate) fn expect_extent(&self, number: ExtentNumber) -> bool {
        let flags = self.extent_words(number).flags;
        flags.fetch_or(EXPECTED, Ordering::Relaxed) & EXPECTED == 0
    }

    /// Whether the extent was [`EXPECTED`] and no page of it is committed any more: then it is not from now on. Under the
    /// space lock.
    pub(crate) fn is_emptied(&self, number: ExtentNumber) -> bool {
        let flags = self.extent_words(number).flags;
        let mut pages = number.pages().intersection(self.range).pages();
        flags.load(Ordering::Relaxed) & EXPECTED != 0
            && pages.all(|page| self.entry(page).load().kind() == Kind::Reserved)
            && flags.fetch_and(!EXPECTED, Ordering::Relaxed) & EXPECTED != 0
    }

    pub(crate) fn lock_extent(&self, number: ExtentNumber) -> LockedExtent<'_> {
        LockedExtent::lock(self, number)
    }

    /// Gives back the table memory of `range`, all of whose pages are reserved and pinned by nobody.
    pub(crate) fn forget_entries(&self, range: PageRange) {
        debug_assert!(
            range
                .pages()
                .take(64)
                .all(|page| self.entry(page).load() == Entry::RESERVED)
        );
        let first = range.start().since(self.range().start()).as_usize();
        let places = first..first + range.count().as_usize();
        self.states.discard(places.clone());
        self.locations.discard(places);
    }

    /// Lets the processor execute (or not) what lies in `range`; a page's own rights still decide who may be present.
    pub(crate) fn set_executable(
        &self,
        range: PageRange,
        executable: bool,
    ) -> Result<(), EngineError> {
        #[cfg(test)]
        if let Some(left) = REFUSE_EXECUTABLE_AFTER.get() {
            REFUSE_EXECUTABLE_AFTER.set(left.checked_sub(1));
            if left == 0 {
                return Err(EngineError::Kernel {
                    call: "mprotect",
                    errno: pagekeeper_sys::Errno::NOMEM,
                });
            }
        }
        let access = if executable {
            Access::READ_WRITE | Access::EXECUTE
        } else {
            Access::READ_WRITE
        };
        // SAFETY: the range lies in our own mapping, and read and write rights stay as they are.
        unsafe { map::protect(range, access) }.map_err(|errno| EngineError::Kernel {
            call: "mprotect",
            errno,
        })
    }

    /// Bytes of RAM that the tables use.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.states.resident_bytes()
            + self.locations.resident_bytes()
            + self.extents.resident_bytes()
    }
}
