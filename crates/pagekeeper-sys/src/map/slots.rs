//! A fixed pool of equal byte areas, taken and given back without a lock.
//!
//! Bounce pages and codec work areas come from here: the fault path may neither allocate nor use
//! thread locals, and must not wait for memory. A slot is held by one owner at a time, so its bytes
//! are an ordinary mutable slice and users need no unsafe code.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lends each slot's bytes to whoever won its bit"
)]

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber};

use super::{Purpose, SharedBytes, Treatment};
use crate::Errno;

const WORDS: usize = 16;

/// Up to 1,024 equal, page-aligned byte areas, handed out without locks or allocation.
///
/// ```
/// use pagekeeper_sys::map::SlotPool;
/// use pagekeeper_units::PageCount;
/// let pool = SlotPool::new(2, PageCount::ONE).unwrap();
/// let mut first = pool.take().unwrap();
/// first[0] = 1;
/// let _second = pool.take().unwrap();
/// assert!(pool.take().is_none());
/// drop(first);
/// assert!(pool.take().is_some());
/// ```
#[derive(Debug)]
pub struct SlotPool {
    bytes: SharedBytes,
    slot_length: usize,
    count: usize,
    /// One bit a slot, set while it is free.
    free: [AtomicU64; WORDS],
    /// Where the last one was found; only a hint.
    hint: AtomicUsize,
}

/// One slot of a [`SlotPool`], given back when dropped. Its contents are what the last owner left.
#[derive(Debug)]
pub struct Slot<'a> {
    pool: &'a SlotPool,
    index: usize,
}

impl SlotPool {
    /// The largest number of slots.
    pub const MAX_SLOTS: usize = WORDS * 64;

    /// A pool of `count` slots of `slot_pages` pages each. Nothing is resident until used.
    ///
    /// # Errors
    /// `EINVAL` for no slots or more than [`Self::MAX_SLOTS`], `ENOMEM` without address space.
    pub fn new(count: usize, slot_pages: PageCount) -> Result<Self, Errno> {
        if count == 0 || count > Self::MAX_SLOTS || slot_pages.is_zero() {
            return Err(Errno::INVAL);
        }
        let pages = slot_pages
            .get()
            .checked_mul(count as u64)
            .ok_or(Errno::NOMEM)?;
        let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED;
        let bytes = SharedBytes::new(PageCount::new(pages), treatment, Purpose::Buffers)?;
        let free = core::array::from_fn(|word| {
            let bits = count.saturating_sub(word * 64).min(64);
            AtomicU64::new(if bits == 64 { !0 } else { (1 << bits) - 1 })
        });
        Ok(Self {
            bytes,
            slot_length: slot_pages.as_usize() * PAGE_SIZE,
            count,
            free,
            hint: AtomicUsize::new(0),
        })
    }

    /// How many slots there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes a free slot, or `None` when all are held. Never waits; bounded.
    #[inline]
    pub fn take(&self) -> Option<Slot<'_>> {
        let start = self.hint.load(Ordering::Relaxed);
        for step in 0..WORDS {
            let word = (start + step) % WORDS;
            let cell = &self.free[word];
            let mut bits = cell.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                // Clearing one's own bit never fails because of the others'.
                let before = cell.fetch_and(!bit, Ordering::Acquire);
                if before & bit != 0 {
                    self.hint.store(word, Ordering::Relaxed);
                    let index = word * 64 + bit.trailing_zeros() as usize;
                    return Some(Slot { pool: self, index });
                }
                bits = before & !bit & !(bit - 1);
            }
        }
        None
    }

    /// Bytes of memory that the pool occupies now (an estimate).
    pub fn resident_bytes(&self) -> u64 {
        self.bytes.resident_bytes()
    }

    /// Bytes of one slot.
    pub fn slot_length(&self) -> usize {
        self.slot_length
    }
}

impl Slot<'_> {
    /// Which slot of the pool this is: 0 up to, not including, the count.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// First page of the slot, for calls that take addresses.
    #[inline]
    pub fn first_page(&self) -> PageNumber {
        PageNumber::containing(self.as_ptr() as u64)
    }
}

impl Deref for Slot<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self
            .pool
            .bytes
            .base()
            .wrapping_add(self.index * self.pool.slot_length);
        // SAFETY: 1. The index is below the count, so this lies inside the area. 2. The slot's bit
        // is ours, and the acquire/release pair on it orders the previous owner's writes before.
        unsafe { core::slice::from_raw_parts(start, self.pool.slot_length) }
    }
}

impl DerefMut for Slot<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self
            .pool
            .bytes
            .base()
            .wrapping_add(self.index * self.pool.slot_length);
        // SAFETY: As for deref; the mutable borrow of the guard makes it exclusive.
        unsafe { core::slice::from_raw_parts_mut(start, self.pool.slot_length) }
    }
}

impl Drop for Slot<'_> {
    #[inline]
    fn drop(&mut self) {
        let bit = 1u64 << (self.index % 64);
        self.pool.free[(self.index / 64) % WORDS].fetch_or(bit, Ordering::Release);
    }
}
