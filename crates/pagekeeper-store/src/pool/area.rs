//! The bytes of the pool: objects with their headers, addressed by block, class and index.
//!
//! An object's header is one word: the owner's page number and the packed length. It is zero while
//! the object is free or not yet written, so that whoever lists a block skips such objects. Headers
//! are atomics, because a block may be listed while its objects change; the packed bytes behind
//! them are plain memory that belongs to one thread at a time.
//!
//! The boundary of the unsafe reasoning is the folder: which blocks and objects are whose is
//! decided by the bitmaps and lists of `super`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lends parts of one mapping whose owners the pool's bitmaps keep apart"
)]

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{Purpose, SharedBytes, Treatment};
use pagekeeper_units::{PageCount, PageNumber};

use super::classes::{BLOCK_BYTES, BLOCK_PAGES, Class, HEADER_BYTES};
use crate::codec::Damaged;
use crate::sync::{Acquire, AtomicU64, Release};

const LENGTH_BITS: u32 = 12;

/// Whose object it is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) owner: PageNumber,
    /// Bytes of the packed form, not zero.
    pub(super) length: u16,
}

impl Header {
    fn unpack(word: u64) -> Option<Self> {
        let length = (word & ((1 << LENGTH_BITS) - 1)) as u16;
        (length != 0).then_some(Self {
            owner: PageNumber::new(word >> LENGTH_BITS),
            length,
        })
    }
}

/// The memory of the pool.
#[derive(Debug)]
pub(super) struct Area {
    bytes: SharedBytes,
}

impl Area {
    pub(super) fn new(blocks: u32) -> Result<Self, Errno> {
        let pages = PageCount::new(u64::from(blocks) * u64::from(BLOCK_PAGES));
        // Huge pages would make RAM resident that nobody granted; a child would copy what it cannot
        // use; packed pages tell nothing in a core dump.
        let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_INHERITED | Treatment::NOT_DUMPED;
        Ok(Self {
            bytes: SharedBytes::new(pages, treatment, Purpose::Pool)?,
        })
    }

    /// Offset of an object, or `None` when it lies past its block or the block past the area.
    #[inline]
    fn offset(&self, block: u32, class: Class, object: u32) -> Option<usize> {
        let inside = object as usize * class.size();
        let offset = block as usize * BLOCK_BYTES + inside;
        (inside + class.size() <= BLOCK_BYTES && offset + class.size() <= self.bytes.len())
            .then_some(offset)
    }

    #[inline]
    fn header_word(&self, block: u32, class: Class, object: u32) -> Option<&AtomicU64> {
        let offset = self.offset(block, class, object)?;
        let word = self.bytes.base().wrapping_add(offset).cast::<u64>();
        // SAFETY: 1. The offset lies inside the mapping, which is readable, writable and lives as
        // long as self. 2. Blocks are page-aligned and object sizes are multiples of 8. 3. Headers
        // are only ever accessed through here, except while a block is private (`zero`,
        // `discard`).
        Some(unsafe { AtomicU64::from_ptr(word) })
    }

    /// Writes an object that the caller has just taken, bytes first, then its header.
    #[inline]
    pub(super) fn write(
        &self,
        block: u32,
        class: Class,
        object: u32,
        owner: PageNumber,
        packed: &[u8],
    ) {
        let (Some(offset), Some(header)) = (
            self.offset(block, class, object),
            self.header_word(block, class, object),
        ) else {
            return;
        };
        let start = offset + HEADER_BYTES;
        let end = start + packed.len().min(class.size() - HEADER_BYTES);
        // SAFETY: The object's bit was free and is now ours; nobody else reaches its bytes before
        // its name is known, and its name is known when this has returned.
        if let Ok(bytes) = unsafe { self.bytes.slice_mut(start..end) }
            && let Some(packed) = packed.get(..bytes.len())
        {
            bytes.copy_from_slice(packed);
        }
        header.store(owner.get() << LENGTH_BITS | packed.len() as u64, Release);
    }

    #[inline]
    pub(super) fn header(&self, block: u32, class: Class, object: u32) -> Option<Header> {
        Header::unpack(self.header_word(block, class, object)?.load(Acquire))
    }

    /// Marks an object as free; what it was, or `None` when it already was.
    #[inline]
    pub(super) fn clear_header(&self, block: u32, class: Class, object: u32) -> Option<Header> {
        Header::unpack(self.header_word(block, class, object)?.swap(0, Acquire))
    }

    /// Calls `reader` with the packed bytes of an object.
    ///
    /// # Safety
    /// The caller owns the object: nobody removes it before this returns.
    #[inline]
    pub(super) unsafe fn with_packed<R>(
        &self,
        block: u32,
        class: Class,
        object: u32,
        reader: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Damaged> {
        let header = self.header(block, class, object).ok_or(Damaged)?;
        let length = usize::from(header.length);
        if length > class.size() - HEADER_BYTES {
            return Err(Damaged);
        }
        let start = self.offset(block, class, object).ok_or(Damaged)? + HEADER_BYTES;
        // SAFETY: The caller owns the object, so its bytes do not change while the slice lives.
        let packed = unsafe { self.bytes.slice(start..start + length) };
        packed.map(reader).map_err(|_| Damaged)
    }

    /// Fills an unused block with zeros, so that it has no headers.
    pub(super) fn zero(&self, block: u32) {
        let start = block as usize * BLOCK_BYTES;
        // SAFETY: The block is in no class and in no list, so the caller alone reaches it. A
        // latecomer that holds a name of the block's former life breaks the pool's contract.
        if let Ok(bytes) = unsafe { self.bytes.slice_mut(start..start + BLOCK_BYTES) } {
            bytes.fill(0);
        }
    }

    /// Returns an unused block's memory to the system; whether the system took it.
    pub(super) fn discard(&self, block: u32) -> bool {
        let start = block as usize * BLOCK_BYTES;
        // SAFETY: As for `zero`; no slice of the block is alive.
        unsafe { self.bytes.discard(start..start + BLOCK_BYTES) }.is_ok()
    }

    /// Bytes that the kernel says are resident (an estimate).
    #[cfg(test)]
    pub(super) fn resident_bytes(&self) -> u64 {
        self.bytes.resident_bytes()
    }
}

const _: () = assert!(crate::codec::PACKED_MAX < 1 << LENGTH_BITS);
const _: () = assert!(HEADER_BYTES == size_of::<AtomicU64>());
