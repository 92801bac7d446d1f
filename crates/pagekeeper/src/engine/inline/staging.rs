//! The staging area: where pages wait between the mapping and their storage. Windows' modified and standby lists.
//!
//! The area is divided into slots of 64 frames; one evicted extent fills (part of) one slot. A slot goes round:
//!
//! ```text
//! free --evict--> modified --clean--> standby --recycle--> free
//! ```
//!
//! *Clean* stores each page (pool, page file, or as a repeated word); *recycle* drops the frames. Until it is recycled,
//! a page of the slot that is touched again is copied back: a soft fault. The program cannot see the area, so nobody
//! writes to a staged page, and whoever holds a slot may read it at leisure.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads frames that the slot's holder owns, drops them when recycled"
)]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pagekeeper_store::codec::Page;
use pagekeeper_sys::lock::FutexLock;
use pagekeeper_sys::map::Mapping;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::drop::drop_pages;
use super::entry::Kind;
use super::extent::{EXTENT_PAGES, ExtentName};

/// A slot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotNumber(u32);

/// A frame's number: slot times 64 plus the page's place in its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameNumber(u32);

impl SlotNumber {
    pub(crate) const fn frame(self, place: u64) -> FrameNumber {
        FrameNumber(self.0 * EXTENT_PAGES as u32 + place as u32)
    }
}

impl FrameNumber {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// Where a staged page's contents are stored besides its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Nowhere yet.
    No,
    /// Perhaps in this page-file slot: it held the same bytes when the page came in.
    Perhaps(u32),
    /// There, for certain; the kind is `Fill`, `Pool` or `File`.
    At(Kind, u32),
}

impl Stored {
    const PERHAPS: u64 = 1 << 40;
    const CERTAIN: u64 = 1 << 41;

    const fn to_bits(self) -> u64 {
        match self {
            Self::No => 0,
            Self::Perhaps(slot) => Self::PERHAPS | slot as u64,
            Self::At(kind, location) => Self::CERTAIN | ((kind as u64) << 32) | location as u64,
        }
    }

    const fn from_bits(bits: u64) -> Self {
        let location = bits as u32;
        if bits & Self::PERHAPS != 0 {
            Self::Perhaps(location)
        } else if bits & Self::CERTAIN != 0 {
            let kind = match (bits >> 32) & 0xF {
                1 => Kind::Fill,
                4 => Kind::Pool,
                _ => Kind::File,
            };
            Self::At(kind, location)
        } else {
            Self::No
        }
    }
}

/// What is remembered of a frame. Changed under the lock of the owner's extent only.
struct Frame {
    /// Number of the page whose contents are here and nowhere in the mapping; 0 for none.
    owner: AtomicU64,
    stored: AtomicU64,
}

struct Slot {
    /// The extent that was put here.
    extent: AtomicU32,
    /// Frames that hold memory, one bit each: returned to the budget when they are dropped.
    held: AtomicU64,
    frames: [Frame; EXTENT_PAGES as usize],
}

/// The area. See the module text.
pub(crate) struct Staging {
    memory: Mapping,
    slots: Box<[Slot]>,
    lists: FutexLock<Lists>,
}

/// First in, first out, in a ring of fixed size.
struct Ring {
    cells: Box<[u32]>,
    first: usize,
    count: usize,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self {
            cells: vec![0; capacity].into_boxed_slice(),
            first: 0,
            count: 0,
        }
    }

    fn push(&mut self, number: u32) {
        // There are as many cells as slots, so there is always one free.
        let at = (self.first + self.count) % self.cells.len();
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = number;
            self.count += 1;
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.count).filter_map(|step| {
            self.cells
                .get((self.first + step) % self.cells.len())
                .copied()
        })
    }

    fn pop(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let number = self.cells.get(self.first).copied();
        self.first = (self.first + 1) % self.cells.len();
        self.count -= 1;
        number
    }
}

struct Lists {
    free: Ring,
    modified: Ring,
    standby: Ring,
}

/// A list that a slot can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Free,
    Modified,
    Standby,
}

impl Staging {
    /// An area of `slots` slots in `memory`, which the caller has registered and never touches.
    pub(crate) fn new(memory: Mapping, slots: usize) -> Self {
        debug_assert_eq!(memory.range().count().get(), slots as u64 * EXTENT_PAGES);
        let mut free = Ring::new(slots);
        for number in 0..slots {
            free.push(number as u32);
        }
        let new_frame = || Frame {
            owner: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        };
        Self {
            memory,
            slots: (0..slots)
                .map(|_| Slot {
                    extent: AtomicU32::new(0),
                    held: AtomicU64::new(0),
                    frames: core::array::from_fn(|_| new_frame()),
                })
                .collect(),
            lists: FutexLock::new(Lists {
                free,
                modified: Ring::new(slots),
                standby: Ring::new(slots),
            }),
        }
    }

    /// Takes the oldest slot of a list; the taker owns it until it puts it back.
    pub(crate) fn take(&self, list: List) -> Option<SlotNumber> {
        let mut lists = self.lists.lock();
        match list {
            List::Free => lists.free.pop(),
            List::Modified => lists.modified.pop(),
            List::Standby => lists.standby.pop(),
        }
        .map(SlotNumber)
    }

    /// Puts an owned slot at the end of a list.
    pub(crate) fn put(&self, list: List, slot: SlotNumber) {
        let mut lists = self.lists.lock();
        match list {
            List::Free => lists.free.push(slot.0),
            List::Modified => lists.modified.push(slot.0),
            List::Standby => lists.standby.push(slot.0),
        }
    }

    /// Slots in the list now.
    pub(crate) fn count(&self, list: List) -> usize {
        let lists = self.lists.lock();
        match list {
            List::Free => lists.free.count,
            List::Modified => lists.modified.count,
            List::Standby => lists.standby.count,
        }
    }

    /// Frames that the slots of a list hold.
    pub(crate) fn count_frames(&self, list: List) -> u64 {
        let lists = self.lists.lock_outside_handler();
        let ring = match list {
            List::Free => &lists.free,
            List::Modified => &lists.modified,
            List::Standby => &lists.standby,
        };
        ring.numbers()
            .map(|slot| {
                u64::from(
                    self.slot(SlotNumber(slot))
                        .held
                        .load(Ordering::Relaxed)
                        .count_ones(),
                )
            })
            .sum()
    }

    fn slot(&self, slot: SlotNumber) -> &Slot {
        // Slot numbers are made here only.
        self.slots.get(slot.0 as usize).unwrap_or(&self.slots[0])
    }

    fn frame_of(&self, frame: FrameNumber) -> &Frame {
        let slot = self.slot(SlotNumber(frame.0 / EXTENT_PAGES as u32));
        &slot.frames[(frame.0 % EXTENT_PAGES as u32) as usize]
    }

    /// The address space of a slot.
    pub(crate) fn range(&self, slot: SlotNumber) -> PageRange {
        let start = self.memory.page(u64::from(slot.0) * EXTENT_PAGES);
        PageRange::new(start, PageCount::new(EXTENT_PAGES))
    }

    /// The page of address space that a frame is.
    pub(crate) fn page_of(&self, frame: FrameNumber) -> PageNumber {
        self.memory.page(u64::from(frame.0))
    }

    /// The bytes of a frame.
    ///
    /// # Safety
    /// The frame must hold memory (it was moved in and its slot not recycled since), and stay so while the reference
    /// lives: the caller owns the slot, or holds the lock of the extent whose entry names the frame.
    pub(crate) unsafe fn bytes(&self, frame: FrameNumber) -> &Page {
        let address = self.page_of(frame).address() as *const Page;
        // SAFETY: the frame holds memory by the caller's promise; nobody writes to staged frames.
        unsafe { &*address }
    }

    /// Enters an extent that is being moved into an owned slot.
    pub(crate) fn begin(&self, slot: SlotNumber, extent: ExtentName) {
        self.slot(slot)
            .extent
            .store(extent.get(), Ordering::Relaxed);
    }

    pub(crate) fn extent(&self, slot: SlotNumber) -> ExtentName {
        ExtentName::new(self.slot(slot).extent.load(Ordering::Relaxed))
    }

    /// A frame received `page`. Under the extent's lock.
    pub(crate) fn receive(&self, frame: FrameNumber, page: PageNumber, stored: Stored) {
        let record = self.frame_of(frame);
        record.owner.store(page.get(), Ordering::Relaxed);
        record.stored.store(stored.to_bits(), Ordering::Relaxed);
        let slot = self.slot(SlotNumber(frame.0 / EXTENT_PAGES as u32));
        let place = frame.0 % EXTENT_PAGES as u32;
        slot.held.fetch_or(1 << place, Ordering::Relaxed);
    }

    /// The page whose contents are in the frame, if any still.
    pub(crate) fn owner(&self, frame: FrameNumber) -> Option<PageNumber> {
        match self.frame_of(frame).owner.load(Ordering::Relaxed) {
            0 => None,
            number => Some(PageNumber::new(number)),
        }
    }

    /// Where the frame's contents are stored besides.
    pub(crate) fn stored(&self, frame: FrameNumber) -> Stored {
        Stored::from_bits(self.frame_of(frame).stored.load(Ordering::Relaxed))
    }

    /// Notes where the frame's contents are stored. Under the extent's lock.
    pub(crate) fn set_stored(&self, frame: FrameNumber, stored: Stored) {
        self.frame_of(frame)
            .stored
            .store(stored.to_bits(), Ordering::Relaxed);
    }

    /// The page went back into the mapping or was dropped. Under the extent's lock.
    pub(crate) fn disown(&self, frame: FrameNumber) -> Stored {
        let record = self.frame_of(frame);
        record.owner.store(0, Ordering::Relaxed);
        Stored::from_bits(record.stored.swap(0, Ordering::Relaxed))
    }

    /// Drops the frames of owned slots that no page owns any more; returns how many held memory. Neighbours in the list
    /// that are neighbours in the area go by one call.
    pub(crate) fn empty_all(&self, slots: &[Option<SlotNumber>]) -> u64 {
        let mut held = 0;
        let mut run: Option<PageRange> = None;
        for slot in slots.iter().flatten() {
            let frames = self.slot(*slot).held.swap(0, Ordering::Relaxed);
            if frames == 0 {
                continue;
            }
            held += u64::from(frames.count_ones());
            let range = self.range(*slot);
            run = match run {
                Some(before) if before.end() == range.start() => {
                    Some(PageRange::between(before.start(), range.end()))
                }
                Some(before) => {
                    drop_frames(before);
                    Some(range)
                }
                None => Some(range),
            };
        }
        if let Some(last) = run {
            drop_frames(last);
        }
        held
    }

    /// Drops the frames of an owned slot that hold memory for no page any more; how many.
    pub(crate) fn empty_unowned(&self, slot: SlotNumber) -> u64 {
        let mut count = 0;
        for place in 0..EXTENT_PAGES {
            let frame = slot.frame(place);
            let bit = 1 << place;
            let held = self.slot(slot).held.load(Ordering::Relaxed) & bit != 0;
            if held && self.owner(frame).is_none() {
                drop_frames(PageRange::new(self.page_of(frame), PageCount::ONE));
                self.slot(slot).held.fetch_and(!bit, Ordering::Relaxed);
                count += 1;
            }
        }
        count
    }

    /// Makes sure that an owned slot into which nothing could be moved is really empty.
    pub(crate) fn sweep(&self, slot: SlotNumber) {
        drop_frames(self.range(slot));
    }

    /// Bytes of RAM that the area's records use (the frames themselves are in the budget).
    pub(crate) fn record_bytes(&self) -> u64 {
        (self.slots.len() * size_of::<Slot>()) as u64
    }
}

/// The range lies in a staging area and no page owns a frame of it.
fn drop_frames(range: PageRange) {
    // SAFETY: the only callers are the owners of the slots, whose frames nobody needs.
    let dropped = unsafe { drop_pages(range) };
    debug_assert!(dropped, "frames could not be dropped");
}
