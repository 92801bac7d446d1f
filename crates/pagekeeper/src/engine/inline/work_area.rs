//! Work areas: what a thread needs to answer a fault, from a fixed pool.
//!
//! The fault path may not allocate and hardly use the stack it finds, so each area carries bounce pages, the codec's
//! tables, scratch arrays and a stack of its own. A thread that finds none free waits; a holder never waits for another
//! area. (It may wait for a page that another thread is fetching: that thread has its area already.)

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use pagekeeper_store::codec::CodecScratch;
use pagekeeper_sys::lock::WaitWord;
use pagekeeper_sys::map::{self, Access, Mapping, Purpose, SharedBytes, Treatment};
use pagekeeper_units::{PAGE_SIZE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber, PageRange};

use super::extent::EXTENT_PAGES;
use crate::error::EngineError;
use crate::fault_watch::Arrived;

/// Areas in a pool: more threads than that wait for each other, which on today's disks costs nothing.
pub(crate) const AREAS: usize = 12;

/// Pages of an area's own stack, its guard page not counted.
const STACK_PAGES: u64 = 16;

/// What one fault works with.
pub(crate) struct WorkArea {
    /// 64 pages to read, unpack and copy from.
    bounce: SharedBytes,
    /// The codec's hash table and output.
    pub(crate) codec: CodecScratch,
    /// A stack for the handler, growing down; its lowest page is inaccessible.
    stack: Mapping,
    /// What the last fault that worked here brought in.
    pub(crate) arrived: Arrived,
}

impl WorkArea {
    fn new() -> Result<Self, EngineError> {
        let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED;
        let stack = map::reserve(
            PageCount::new(STACK_PAGES + 1),
            Access::READ_WRITE,
            treatment,
        )
        .map_err(EngineError::AddressSpace)?
        .held_for(Purpose::Buffers);
        guard(&stack)?;
        Ok(Self {
            bounce: SharedBytes::new(PageCount::new(EXTENT_PAGES), treatment, Purpose::Buffers)
                .map_err(EngineError::AddressSpace)?,
            codec: CodecScratch::new(),
            stack,
            arrived: Arrived::default(),
        })
    }

    /// The address just above the stack, 16-byte aligned.
    pub(crate) fn stack_top(&self) -> *mut u8 {
        self.stack.range().end().address() as *mut u8
    }

    /// Address of bounce page `index`.
    pub(crate) fn bounce_address(&self, index: usize) -> *const u8 {
        self.bounce
            .base()
            .wrapping_add((index % EXTENT_PAGES as usize) * PAGE_SIZE)
    }

    /// The first `pages` bounce pages.
    #[allow(
        unsafe_code,
        reason = "UNSAFETY: the area is held by one thread at a time"
    )]
    pub(crate) fn bounce_mut(&mut self, pages: usize) -> &mut [u8] {
        let end = pages.min(EXTENT_PAGES as usize) * PAGE_SIZE;
        // SAFETY: the exclusive borrow of the area is the only way to its bounce pages.
        unsafe { self.bounce.slice_mut(0..end) }.unwrap_or_default()
    }
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: protects the lowest page of a new stack"
)]
fn guard(stack: &Mapping) -> Result<(), EngineError> {
    let lowest = PageRange::new(stack.range().start(), PageCount::ONE);
    // SAFETY: the mapping is new and ours; nobody uses its lowest page.
    unsafe { map::protect(lowest, Access::empty()) }.map_err(|errno| EngineError::Kernel {
        call: "mprotect",
        errno,
    })
}

/// The pool.
pub(crate) struct WorkAreas {
    areas: Box<[UnsafeCell<WorkArea>]>,
    /// One bit an area, set while it is free.
    free: AtomicU64,
    /// Moves when an area comes back.
    returned: WaitWord,
    /// Two MiB that are filled as one huge page and then moved into place; used under its own try-lock.
    pub(crate) huge: HugeSource,
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: an area is lent to the one thread that won its bit"
)]
// SAFETY: the areas are only reached through `HeldArea`, of which there is one for each won bit.
unsafe impl Sync for WorkAreas {}

impl WorkAreas {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let areas = (0..AREAS)
            .map(|_| WorkArea::new().map(UnsafeCell::new))
            .collect::<Result<Box<[_]>, _>>()?;
        Ok(Self {
            areas,
            free: AtomicU64::new((1 << AREAS) - 1),
            returned: WaitWord::new(),
            huge: HugeSource::new()?,
        })
    }

    /// An area, as soon as one is free.
    pub(crate) fn take(&self) -> HeldArea<'_> {
        loop {
            let returned = self.returned.current();
            let free = self.free.load(Ordering::Acquire);
            if free == 0 {
                self.returned
                    .wait(returned, Some(Duration::from_millis(10)));
                continue;
            }
            let index = free.trailing_zeros();
            if self.free.fetch_and(!(1 << index), Ordering::AcqRel) & (1 << index) != 0 {
                return HeldArea {
                    pool: self,
                    index: index as usize,
                };
            }
        }
    }

    /// Bytes of RAM that the areas occupy.
    pub(crate) fn bytes(&self) -> u64 {
        (AREAS * (EXTENT_PAGES as usize * PAGE_SIZE + 24 * 1024)) as u64
    }
}

/// An area on loan.
pub(crate) struct HeldArea<'pool> {
    pool: &'pool WorkAreas,
    index: usize,
}

#[allow(unsafe_code, reason = "UNSAFETY: see `WorkAreas`")]
impl Deref for HeldArea<'_> {
    type Target = WorkArea;

    fn deref(&self) -> &WorkArea {
        // SAFETY: this guard's bit was won, so nobody else reaches the area.
        unsafe { &*self.pool.areas[self.index].get() }
    }
}

#[allow(unsafe_code, reason = "UNSAFETY: see `WorkAreas`")]
impl DerefMut for HeldArea<'_> {
    fn deref_mut(&mut self) -> &mut WorkArea {
        // SAFETY: as above; the exclusive borrow of the guard makes it exclusive.
        unsafe { &mut *self.pool.areas[self.index].get() }
    }
}

impl Drop for HeldArea<'_> {
    fn drop(&mut self) {
        let others = self.pool.free.fetch_or(1 << self.index, Ordering::AcqRel);
        // Who found none free saw this change or one before it; where others were free, nobody waits.
        if others == 0 {
            self.pool.returned.wake_all();
        }
    }
}

/// Where huge pages are made before they are moved into place (paging-mechanisms.md A.2).
pub(crate) struct HugeSource {
    memory: Mapping,
    busy: AtomicU32,
}

/// Huge pages that can be made at once. With more, the cost of a fault is shared by more pages, and the program waits longer
/// for its first one (here: 0.4 ms a huge page).
pub(crate) const HUGE_AT_ONCE: u64 = 8;

impl HugeSource {
    fn new() -> Result<Self, EngineError> {
        let memory = map::reserve_aligned(
            PageCount::new(PAGES_PER_HUGE_PAGE * HUGE_AT_ONCE),
            PageCount::new(PAGES_PER_HUGE_PAGE),
            Access::READ_WRITE,
            Treatment::HUGE_PAGES | Treatment::NOT_INHERITED | Treatment::NOT_DUMPED,
        )
        .map_err(EngineError::AddressSpace)?
        .held_for(Purpose::Buffers);
        Ok(Self {
            memory,
            busy: AtomicU32::new(0),
        })
    }

    /// Makes `count` huge pages of zeros and hands their place to `with`, which moves them away. `None` when another
    /// thread is at it.
    #[allow(unsafe_code, reason = "UNSAFETY: touches and drops its own memory")]
    pub(crate) fn with_zeros<R>(&self, count: u64, with: impl FnOnce(PageRange) -> R) -> Option<R> {
        if self.busy.swap(1, Ordering::Acquire) != 0 {
            return None;
        }
        let count = count.min(HUGE_AT_ONCE);
        let range = PageRange::new(
            self.memory.range().start(),
            PageCount::new(PAGES_PER_HUGE_PAGE * count),
        );
        // Downwards: what is cleared last is still in the nearest cache when the program goes on with the first.
        for huge in (0..count).rev() {
            let page = PageNumber::new(range.start().get() + huge * PAGES_PER_HUGE_PAGE);
            // SAFETY: the memory is ours while `busy` is; the write makes the kernel put a zeroed page there.
            unsafe { (page.address() as *mut u8).write_volatile(0) };
        }
        let result = with(range);
        // SAFETY: what was not moved away is dropped, so that the next zeros are zeros.
        let _ = unsafe { map::advise(range, map::Advice::Discard) };
        self.busy.store(0, Ordering::Release);
        Some(result)
    }
}
