//! Byte areas that several threads fill and read: staging, pools, bounce buffers.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: copies between shared bytes and slices, with bounds checked here"
)]

use core::arch::asm;
use core::ops::Range;
use core::slice;

use pagekeeper_units::{PageCount, PageRange};

use super::{Access, Advice, Mapping, Purpose, Treatment, advise, reserve};
use crate::{Errno, pagemap};

/// A range of bytes that does not lie inside the area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the byte range lies outside of the area")]
pub struct OutOfRange;

/// A page-aligned area of bytes for several threads, zero until written, resident when touched.
///
/// Discipline: [`copy_in`](Self::copy_in) and [`copy_out`](Self::copy_out) are safe from any number
/// of threads; when two of them meet in the same bytes, the bytes may come out mixed (as with a
/// hardware copy) but nothing worse happens. Slices are for whoever holds a range alone; that is
/// the caller's promise.
#[derive(Debug)]
pub struct SharedBytes {
    memory: Mapping,
}

/// Copies with the processor's string instruction. To the compiler that is a foreign access that
/// happens one byte after the other, so two copies that race are no undefined behaviour, as they
/// would be with `ptr::copy`.
///
/// # Safety
/// Both areas must be mapped for `length` bytes, readable and writable respectively.
#[inline]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: The caller's duty; the direction flag is clear by the calling convention.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

impl SharedBytes {
    /// An area of `pages` pages.
    ///
    /// # Errors
    /// `ENOMEM` without address space.
    pub fn new(pages: PageCount, treatment: Treatment, purpose: Purpose) -> Result<Self, Errno> {
        let memory = reserve(pages, Access::READ_WRITE, treatment)?.held_for(purpose);
        Ok(Self { memory })
    }

    /// Takes over a mapping that is readable and writable.
    ///
    /// # Safety
    /// It must be both, and stay so.
    pub unsafe fn from_mapping(memory: Mapping) -> Self {
        Self { memory }
    }

    /// First byte.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.memory.base()
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there is nothing in it; never so.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// The pages.
    #[inline]
    pub fn range(&self) -> PageRange {
        self.memory.range()
    }

    #[inline]
    fn check(&self, offset: usize, length: usize) -> Result<*mut u8, OutOfRange> {
        match offset.checked_add(length) {
            Some(end) if end <= self.len() => Ok(self.base().wrapping_add(offset)),
            _ => Err(OutOfRange),
        }
    }

    /// Copies `bytes` into the area at `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`], with nothing copied.
    #[inline]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfRange> {
        let to = self.check(offset, bytes.len())?;
        // SAFETY: Checked; the area is writable.
        unsafe { copy_bytes(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Copies the area's bytes from `offset` on into `bytes`, filling it.
    ///
    /// # Errors
    /// [`OutOfRange`], with nothing copied.
    #[inline]
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        let from = self.check(offset, bytes.len())?;
        // SAFETY: Checked; the area is readable.
        unsafe { copy_bytes(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// The bytes of `range`.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Safety
    /// While the slice lives nobody may write into that range, by whatever way.
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> Result<&[u8], OutOfRange> {
        let length = range.end.checked_sub(range.start).ok_or(OutOfRange)?;
        let from = self.check(range.start, length)?;
        // SAFETY: In bounds and mapped; aliasing is the caller's promise.
        Ok(unsafe { slice::from_raw_parts(from, length) })
    }

    /// The bytes of `range`, to be written.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Safety
    /// While the slice lives nobody else may read or write that range, by whatever way.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "exclusiveness is the caller's promise")]
    pub unsafe fn slice_mut(&self, range: Range<usize>) -> Result<&mut [u8], OutOfRange> {
        let length = range.end.checked_sub(range.start).ok_or(OutOfRange)?;
        let from = self.check(range.start, length)?;
        // SAFETY: In bounds and mapped; aliasing is the caller's promise.
        Ok(unsafe { slice::from_raw_parts_mut(from, length) })
    }

    /// Gives the whole pages inside `range` (bytes) back to the system; they read as zero.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for locked pages.
    ///
    /// # Safety
    /// No slice of that range may be alive.
    #[inline]
    pub unsafe fn discard(&self, range: Range<usize>) -> Result<(), Errno> {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        let base = self.base() as u64;
        let whole =
            PageRange::within(base + start as u64, (end - start) as u64).unwrap_or_default();
        if whole.is_empty() {
            return Ok(());
        }
        // SAFETY: Ours; no slice is alive, which is the caller's promise.
        unsafe { advise(whole, Advice::Discard) }
    }

    /// Bytes of memory that the area occupies now (an estimate).
    pub fn resident_bytes(&self) -> u64 {
        pagemap::resident_pages(self.range()).map_or(0, |pages| pages.bytes().get())
    }
}
