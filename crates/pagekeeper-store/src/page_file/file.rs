//! One page file: its slots, their checksums, its counters.

use std::path::PathBuf;

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::BlockIo;
use pagekeeper_sys::handle::Handle;
use pagekeeper_sys::map::ZeroedTable;
use pagekeeper_units::PAGE_SIZE;

use super::Opened;
use crate::checksum::Checksum;
use crate::slots::SlotMap;
use crate::sync::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Relaxed};

/// One page file. Slots are numbered from zero in here.
#[derive(Debug)]
pub(super) struct PageFile {
    pub(super) place: PathBuf,
    pub(super) file: Handle,
    pub(super) disk: Box<dyn BlockIo>,
    pub(super) direct: bool,
    pub(super) unkept: Option<Errno>,
    pub(super) slots: SlotMap,
    pub(super) retiring: AtomicBool,
    pub(super) traffic: Traffic,
    sums: Checksums,
}

/// What went over the wire.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) requests_in: AtomicU64,
    pub(super) requests_out: AtomicU64,
    /// Pages that came back with other bytes.
    pub(super) damaged: AtomicU64,
    /// Requests that the disk failed.
    pub(super) errors: AtomicU64,
}

/// Six bytes a slot, in two tables so that no bits are wasted. A slot belongs to one thread at a
/// time (its page is busy), so the halves are never read apart.
#[derive(Debug)]
struct Checksums {
    low: ZeroedTable<AtomicU32>,
    high: ZeroedTable<AtomicU16>,
}

impl PageFile {
    /// A page file that may grow to `capacity` slots and has none yet.
    pub(super) fn new(place: PathBuf, opened: Opened, capacity: u32) -> Result<Self, Errno> {
        Ok(Self {
            place,
            file: opened.file,
            disk: opened.disk,
            direct: opened.direct,
            unkept: opened.unkept,
            slots: SlotMap::new(capacity)?,
            retiring: AtomicBool::new(false),
            traffic: Traffic::default(),
            sums: Checksums {
                low: ZeroedTable::new(capacity as usize)?,
                high: ZeroedTable::new(capacity as usize)?,
            },
        })
    }

    /// Where a slot begins in the file, in bytes.
    #[inline]
    pub(super) fn offset(slot: u32) -> u64 {
        u64::from(slot) * PAGE_SIZE as u64
    }

    /// The checksum of what the slot holds; `None` when it holds nothing.
    #[inline]
    pub(super) fn checksum(&self, slot: u32) -> Option<Checksum> {
        let low = self.sums.low.get(slot as usize)?.load(Relaxed);
        let high = self.sums.high.get(slot as usize)?.load(Relaxed);
        Checksum::from_parts(low, high)
    }

    #[inline]
    pub(super) fn set_checksum(&self, slot: u32, sum: Option<Checksum>) {
        let (Some(low), Some(high)) = (
            self.sums.low.get(slot as usize),
            self.sums.high.get(slot as usize),
        ) else {
            return;
        };
        low.store(sum.map_or(0, Checksum::low), Relaxed);
        high.store(sum.map_or(0, Checksum::high), Relaxed);
    }

    /// Forgets what the slots of a run held and frees them; how many were in use.
    pub(super) fn give_back(&self, first: u32, count: u32) -> u32 {
        // Before the slots are free: afterwards their checksums are somebody else's.
        self.forget(first, count);
        self.slots.give_back(first, count)
    }

    /// Withdraws the slots of a run for good.
    pub(super) fn withdraw(&self, first: u32, count: u32) {
        self.forget(first, count);
        self.slots.mark_bad(first, count);
    }

    fn forget(&self, first: u32, count: u32) {
        for slot in first..first.saturating_add(count).min(self.slots.capacity()) {
            self.set_checksum(slot, None);
        }
    }

    /// Slots that can hold pages: with space behind them, and not bad.
    pub(super) fn usable(&self) -> u64 {
        let counts = self.slots.counts();
        u64::from(counts.available).saturating_sub(u64::from(counts.bad))
    }

    /// Bytes of memory that the tables occupy (an estimate; asks the kernel).
    pub(super) fn overhead_bytes(&self) -> u64 {
        self.slots.resident_bytes()
            + self.sums.low.resident_bytes()
            + self.sums.high.resident_bytes()
    }
}
