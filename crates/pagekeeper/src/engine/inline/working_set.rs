//! A working set: a RAM budget with everything that serves it.
//!
//! A space has one; a reservation with its own budget has its own. Working sets share nothing but the page files, so
//! neither takes RAM, compressed pool or attention from another.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: registers the staging area; fills huge pages"
)]

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pagekeeper_model::policy::{
    Directions, ExtentQueue, ExtentStorage, Insertion, PoolShare, ReadAhead, Watermarks,
};
use pagekeeper_store::page_file::PageFiles;
use pagekeeper_store::pool::Pool;
use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::{Event, FutexLock, SignalsBlocked};
use pagekeeper_sys::map::{self, Access, Mapping, Purpose, Treatment};
use pagekeeper_sys::userfaultfd::{Modes, Userfaultfd};
use pagekeeper_units::{ByteCount, PAGE_SIZE, PAGES_PER_HUGE_PAGE, PageCount, PageNumber};

use super::ahead::ReadingAhead;
use super::balance;
use super::counters::Counters;
use super::extent::{EXTENT_PAGES, ExtentName};
use super::frames::Frames;
use super::in_place::Yield;
use super::outlook::Outlook;
use super::staging::{List, Staging};
use super::work_area::{HUGE_AT_ONCE, WorkAreas};
use crate::error::EngineError;
use crate::statistics::EngineStatistics;

/// The smallest budget that works: an extent.
pub(crate) const MINIMUM_RAM: PageCount = PageCount::new(EXTENT_PAGES);

/// The sizes that follow from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Frames that faults leave to the way out.
    pub(crate) headroom: PageCount,
    /// Pages that one eviction takes at most.
    pub(crate) batch: u64,
    /// Slots that stand by for soft faults before their frames are reused.
    pub(crate) standby_slots: usize,
    /// The compressed pool's largest size.
    pub(crate) pool: PageCount,
}

impl Shape {
    /// For a budget of at least [`MINIMUM_RAM`].
    pub(crate) fn of(ram: PageCount) -> Self {
        let pages = ram.get();
        Self {
            // A pool block for each of several size classes must fit, or a full budget could not be packed.
            headroom: PageCount::new((pages / 64).clamp(8, 2048)),
            batch: (pages / 8).clamp(8, EXTENT_PAGES),
            standby_slots: (pages / 32 / EXTENT_PAGES) as usize,
            pool: PoolShare::for_budget(ram).most,
        }
    }

    /// RAM that commit may count on: all but the headroom, and what must be able to leave so that others can come: with
    /// every slot of the page files taken, a page can only come in when others found slots to leave for.
    pub(crate) fn usable(ram: PageCount) -> PageCount {
        let shape = Self::of(ram);
        ram.saturating_sub(shape.headroom)
            .saturating_sub(PageCount::new(2 * shape.batch))
    }
}

/// See the module text.
pub(crate) struct WorkingSet {
    userfaultfd: Userfaultfd,
    frames: Frames,
    queue: FutexLock<ExtentQueue>,
    read_ahead: FutexLock<ReadAhead>,
    staging: Staging,
    pool: Pool,
    files: Arc<PageFiles>,
    areas: WorkAreas,
    zeros: Mapping,
    counters: Counters,
    yield_in_place: Yield,
    outlook: Outlook,
    /// Until then no second copies are looked for, by the monotonic clock in nanoseconds.
    no_copies_until: AtomicU64,
    ahead: ReadingAhead,
    /// Pages committed in the set's arenas: when they all fit the budget, huge pages waste nothing.
    committed: AtomicU64,
    locked: AtomicI64,
    /// Extents with committed pages: so many can hold pages.
    expected_extents: AtomicU64,
    queue_capacity: AtomicU64,
    standby_slots: AtomicU64,
    batch: AtomicU64,
    pool_limit: AtomicU64,
    pub(crate) wake_balancer: Event,
    pub(crate) stop: AtomicBool,
    balancer: Mutex<Option<JoinHandle<()>>>,
    /// The error number of the last write that failed on every slot tried; 0 for none.
    write_error: AtomicI32,
}

impl WorkingSet {
    /// A set with a budget of `ram` and a thread that keeps it balanced.
    pub(crate) fn start(ram: PageCount, files: Arc<PageFiles>) -> Result<Arc<Self>, EngineError> {
        let mut userfaultfd = super::descriptor::open()?;
        super::descriptor::keep(&mut userfaultfd)?;
        let shape = Shape::of(ram);
        let staging = make_staging(&userfaultfd, shape)?;
        let address_space = EngineError::AddressSpace;
        let zeros = map::reserve(
            PageCount::new(EXTENT_PAGES),
            Access::READ,
            Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED,
        )
        .map_err(address_space)?
        .held_for(Purpose::Buffers);
        // Room for a budget that is raised later; address space only.
        let pool_address_space = PoolShare::for_budget(ram).most.get().max(4096) * 4;
        let set = Arc::new(Self {
            userfaultfd,
            frames: Frames::new(ram, shape.headroom),
            queue: FutexLock::new(ExtentQueue::new(QUEUE_START)),
            read_ahead: FutexLock::new(ReadAhead::new(
                Directions::Up,
                PageCount::new(EXTENT_PAGES),
            )),
            staging,
            pool: Pool::new(PageCount::new(pool_address_space).bytes()).map_err(address_space)?,
            files,
            areas: WorkAreas::new()?,
            zeros,
            counters: Counters::default(),
            yield_in_place: Yield::new(),
            outlook: Outlook::default(),
            no_copies_until: AtomicU64::new(0),
            ahead: ReadingAhead::new()?,
            committed: AtomicU64::new(0),
            locked: AtomicI64::new(0),
            expected_extents: AtomicU64::new(0),
            queue_capacity: AtomicU64::new(QUEUE_START as u64),
            standby_slots: AtomicU64::new(shape.standby_slots as u64),
            batch: AtomicU64::new(shape.batch),
            pool_limit: AtomicU64::new(shape.pool.bytes().get()),
            wake_balancer: Event::new(),
            stop: AtomicBool::new(false),
            balancer: Mutex::new(None),
            write_error: AtomicI32::new(0),
        });
        let balancer = balance::start(&set)?;
        *set.balancer.lock().unwrap_or_else(PoisonError::into_inner) = Some(balancer);
        Ok(set)
    }

    pub(crate) fn userfaultfd(&self) -> &Userfaultfd {
        &self.userfaultfd
    }

    pub(crate) fn frames(&self) -> &Frames {
        &self.frames
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn files(&self) -> &PageFiles {
        &self.files
    }

    pub(crate) fn areas(&self) -> &WorkAreas {
        &self.areas
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is read before a fault asks for it.
    pub(super) fn ahead(&self) -> &ReadingAhead {
        &self.ahead
    }

    /// Whether packing pages where they are pays.
    pub(super) fn yield_in_place(&self) -> &Yield {
        &self.yield_in_place
    }

    /// Whether packing a page is worth a try.
    #[inline]
    pub(super) fn no_copies_until(&self) -> &AtomicU64 {
        &self.no_copies_until
    }

    #[inline]
    pub(super) fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// 64 pages of zeros.
    pub(crate) fn zeros(&self) -> *const u8 {
        self.zeros.base()
    }

    /// Pages that one eviction takes at most.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.load(Ordering::Relaxed)
    }

    pub(crate) fn standby_wanted(&self) -> usize {
        self.standby_slots.load(Ordering::Relaxed) as usize
    }

    /// Whether the pool stands at its limit.
    pub(crate) fn pool_is_full(&self) -> bool {
        self.pool.usage().resident_bytes >= self.pool_limit.load(Ordering::Relaxed)
    }

    /// An extent got its first page in memory; `rescued`: it had been thrown out too early.
    pub(crate) fn enqueue(&self, extent: ExtentName, rescued: bool) -> bool {
        let mut queue = self.queue.lock();
        let entered = if rescued {
            queue.rescue(extent.get())
        } else {
            queue.insert(extent.get())
        };
        entered != Insertion::Full
    }

    /// An extent has no page in memory any more.
    pub(crate) fn dequeue(&self, extent: ExtentName) {
        self.queue.lock().remove(extent.get());
    }

    /// A victim kept some or all of its pages.
    pub(crate) fn requeue(&self, extent: ExtentName) {
        self.queue.lock().requeue(extent.get());
    }

    /// Whether the extent may leave together with the victim beside it; it is out of the queue then.
    pub(crate) fn join_victim(&self, extent: ExtentName, victim: ExtentName) -> bool {
        self.queue.lock().join(extent.get(), victim.get())
    }

    /// The extent that should leave next.
    pub(crate) fn next_victim(&self) -> Option<ExtentName> {
        self.queue.lock().next_victim().map(ExtentName::new)
    }

    /// Walks the queue without changing it; see [`ExtentQueue::queued_from`].
    pub(crate) fn queued_from(&self, from: usize) -> (Option<ExtentName>, Option<usize>) {
        let (extent, next) = self.queue.lock().queued_from(from, 256);
        (extent.map(ExtentName::new), next)
    }

    /// How many pages from `page` up are worth bringing in, by what the last faults looked like.
    pub(crate) fn pages_ahead(&self, page: PageNumber) -> u64 {
        // A tiny budget has no room for guesses.
        let most = (self.frames.limit().get() / 16).clamp(1, EXTENT_PAGES);
        self.read_ahead
            .lock()
            .fault(page)
            .range
            .count()
            .get()
            .clamp(1, most)
    }

    /// Counts committed pages; see the field.
    pub(crate) fn note_committed(&self, more: PageCount, fewer: PageCount) {
        self.committed.fetch_add(more.get(), Ordering::Relaxed);
        self.committed.fetch_sub(fewer.get(), Ordering::Relaxed);
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Counts pages that `VirtualLock` keeps.
    pub(crate) fn note_locked(&self, more: i64) {
        self.locked.fetch_add(more, Ordering::Relaxed);
    }

    /// Pages that `VirtualLock` keeps.
    pub(crate) fn locked_pages(&self) -> u64 {
        u64::try_from(self.locked.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether everything that is committed fits the budget, so that nothing will ever have to leave.
    pub(super) fn everything_fits(&self) -> bool {
        let room = self.frames.limit().saturating_sub(self.frames.headroom());
        self.committed() + HUGE_AT_ONCE * PAGES_PER_HUGE_PAGE <= room.get()
    }

    /// Frames in use at which the balancer begins and ends its work. Never above what faults may use.
    pub(crate) fn marks(&self) -> Watermarks {
        let ceiling = self.frames.limit().saturating_sub(self.frames.headroom());
        let marks = Watermarks::for_budget(ceiling);
        if marks.high < ceiling {
            return marks;
        }
        // Below the smallest budget that has marks of its own.
        let high = ceiling.saturating_sub(PageCount::new(8));
        let low = high.saturating_sub(PageCount::new(4));
        Watermarks {
            budget: ceiling,
            high,
            low,
        }
    }

    pub(crate) fn wake_balancer_when_low(&self) {
        if self.frames.used() > self.marks().high {
            self.wake_balancer.set();
        }
    }

    pub(crate) fn note_write_error(&self, errno: Errno) {
        self.write_error
            .store(errno.raw_os_error(), Ordering::Relaxed);
    }

    pub(crate) fn clear_write_error(&self) {
        self.write_error.store(0, Ordering::Relaxed);
    }

    /// Why the last write failed, if it did.
    pub(crate) fn last_write_error(&self) -> Option<Errno> {
        match self.write_error.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Errno::from_raw_os_error(number)),
        }
    }

    pub(crate) fn health(&self) -> Result<(), EngineError> {
        match self.last_write_error() {
            None => Ok(()),
            Some(errno) => Err(EngineError::PagingStopped(errno)),
        }
    }

    /// A new budget.
    pub(crate) fn set_ram(&self, ram: PageCount) {
        let shape = Shape::of(ram);
        self.frames.set_limit(ram, shape.headroom);
        self.standby_slots
            .store(shape.standby_slots as u64, Ordering::Relaxed);
        self.batch.store(shape.batch, Ordering::Relaxed);
        self.pool_limit
            .store(shape.pool.bytes().get(), Ordering::Relaxed);
        let wanted = self.expected_extents.load(Ordering::Relaxed).min(ram.get()) as usize;
        if wanted > self.queue_capacity.load(Ordering::Relaxed) as usize {
            self.grow_queue(wanted);
        }
        self.wake_balancer.set();
    }

    /// Throws out what is above the budget, as far as it can leave. User context.
    pub(crate) fn settle(&self) {
        let _blocked = SignalsBlocked::new();
        let mut area = self.areas.take();
        while self.frames.excess() > 0 && self.make_room(&mut area) {}
    }

    /// Extents more that may hold pages: the queue must have room for each before the first fault. User context.
    pub(crate) fn expect_extents(&self, more: u64) {
        if more == 0 {
            return;
        }
        let expected = self.expected_extents.fetch_add(more, Ordering::Relaxed) + more;
        // No more extents than frames can be in memory, however thinly they are spread; those that a search for victims
        // holds in its hand come on top.
        let wanted = expected.min(self.frames.limit().get()) as usize + QUEUE_START;
        if wanted > self.queue_capacity.load(Ordering::Relaxed) as usize {
            self.grow_queue(wanted);
        }
    }

    /// Extents with committed pages.
    #[cfg(test)]
    pub(crate) fn expected_extents(&self) -> u64 {
        self.expected_extents.load(Ordering::Relaxed)
    }

    /// Extents whose last committed page has gone.
    pub(crate) fn expect_fewer_extents(&self, fewer: u64) {
        self.expected_extents.fetch_sub(fewer, Ordering::Relaxed);
    }

    #[cold]
    fn grow_queue(&self, wanted: usize) {
        let capacity = (wanted * 2).min(self.frames.limit().as_usize() + 2 * QUEUE_START);
        let storage = ExtentStorage::new(capacity);
        let mut queue = self.queue.lock_outside_handler();
        let old = queue.grow(storage);
        self.queue_capacity
            .store(queue.capacity() as u64, Ordering::Relaxed);
        drop(queue);
        // Freed with the lock and the signals back.
        drop(old);
    }

    pub(crate) fn statistics(&self) -> EngineStatistics {
        let modified = self.staging.count_frames(List::Modified);
        let standby = self.staging.count_frames(List::Standby);
        let usage = self.pool.usage();
        let pool_pages = usage.resident_bytes / PAGE_SIZE as u64;
        let used = self.frames.used().get();
        EngineStatistics {
            budget: self.frames.limit(),
            resident: PageCount::new(used.saturating_sub(pool_pages + modified + standby)),
            modified: PageCount::new(modified),
            standby: PageCount::new(standby),
            compressed: PageCount::new(usage.objects),
            pool: ByteCount::new(usage.resident_bytes),
            page_file: PageCount::ZERO,
            peak: self.frames.peak(),
            ..self.counters.statistics()
        }
    }

    /// Bytes of RAM that tables and buffers use beside the budget.
    pub(crate) fn overhead(&self) -> u64 {
        self.areas.bytes()
            + self.ahead.bytes()
            + self.staging.record_bytes()
            + self.pool.overhead_bytes()
    }

    /// Ends the balancer and waits for it. The set answers no fault afterwards.
    pub(crate) fn shut_down(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake_balancer.set();
        let thread = self
            .balancer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        // After the balancer, which starts the other.
        self.ahead.shut_down();
    }
}

/// Extents that a queue has room for at first (128 MiB of neighbouring pages).
const QUEUE_START: usize = 512;

fn make_staging(userfaultfd: &Userfaultfd, shape: Shape) -> Result<Staging, EngineError> {
    // Enough for the standby list, and for every work area to hold one on the way.
    let slots =
        shape.standby_slots * 2 + 2 * super::work_area::AREAS + 2 * super::out::RECYCLED_AT_ONCE;
    let pages = PageCount::new(slots as u64 * EXTENT_PAGES);
    let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_INHERITED | Treatment::NOT_DUMPED;
    let memory = map::reserve_aligned(
        pages,
        PageCount::new(EXTENT_PAGES),
        Access::READ_WRITE,
        treatment,
    )
    .map_err(EngineError::AddressSpace)?
    .held_for(Purpose::Buffers);
    // SAFETY: the mapping is new and ours; only moved-in frames of it are ever read.
    unsafe { userfaultfd.register(memory.range(), Modes::MISSING | Modes::WRITE_PROTECT) }
        .map_err(|errno| EngineError::Kernel {
            call: "UFFDIO_REGISTER",
            errno,
        })?;
    Ok(Staging::new(memory, slots))
}
