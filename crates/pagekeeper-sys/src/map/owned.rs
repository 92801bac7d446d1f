//! A mapping that unmaps itself.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: owns address space; unmaps what it alone holds"
)]

use core::mem;

use pagekeeper_units::{PageNumber, PageRange};

use super::held::{Held, Purpose};
use super::{byte_length, pointer, unmap};
use crate::Errno;

/// A range of address space that belongs to one owner and is unmapped when dropped.
///
/// It hands out only its range and its base pointer; whoever looks through the pointer answers for
/// the access and the aliasing.
#[derive(Debug)]
pub struct Mapping {
    range: PageRange,
    /// Its place in the list of what the library holds, when it is in there.
    held: Option<Held>,
}

impl Mapping {
    /// Takes over `range`.
    ///
    /// # Safety
    /// All of it must be mapped and belong to nobody else.
    pub unsafe fn from_range(range: PageRange) -> Self {
        Self { range, held: None }
    }

    /// The same, in the list of what the library [holds](super::held()) for itself.
    pub fn held_for(mut self, purpose: Purpose) -> Self {
        self.held = Held::note(self.range, purpose);
        self
    }

    /// First byte.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        pointer(self.range.start()).cast()
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        byte_length(self.range)
    }

    /// Whether there is nothing in it; never so for one that was reserved.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The pages.
    #[inline]
    pub fn range(&self) -> PageRange {
        self.range
    }

    /// Gives the range away: it is not unmapped any more.
    pub fn into_range(mut self) -> PageRange {
        let range = self.range;
        drop(self.held.take());
        mem::forget(self);
        range
    }

    /// Gives the pages outside `kept` back to the system.
    ///
    /// # Errors
    /// `EINVAL` when `kept` is empty or not inside; the kernel's when unmapping fails, with all
    /// still owned that is still mapped.
    pub fn shrink_to(&mut self, kept: PageRange) -> Result<(), Errno> {
        if kept.is_empty() || !self.range.covers(kept) {
            return Err(Errno::INVAL);
        }
        // Listed is what is held from here on or nothing, never what may be somebody else's.
        drop(self.held.take());
        let tail = PageRange::between(kept.end(), self.range.end());
        if !tail.is_empty() {
            // SAFETY: Ours, and no longer part of the mapping below.
            unsafe { unmap(tail)? };
            self.range = PageRange::between(self.range.start(), kept.end());
        }
        let head = PageRange::between(self.range.start(), kept.start());
        if !head.is_empty() {
            // SAFETY: As above.
            unsafe { unmap(head)? };
            self.range = kept;
        }
        Ok(())
    }

    /// The page at `index` from the start.
    #[inline]
    pub fn page(&self, index: u64) -> PageNumber {
        PageNumber::new(self.range.start().get() + index)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First out of the list, then out of the address space, where the next mapping may be anybody's.
        drop(self.held.take());
        if !self.range.is_empty() {
            // SAFETY: Ours alone. The only refusal is the mapping limit (unmapping the middle of a
            // merged mapping); then the pages at least are given back.
            unsafe {
                if unmap(self.range).is_err() {
                    let _ = super::advise(self.range, super::Advice::Discard);
                }
            }
        }
    }
}
