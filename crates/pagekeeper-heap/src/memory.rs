//! The seam below: where address space and pages come from.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares a trait whose implementors promise usable memory"
)]

/// Gives address space and pages, and takes them back.
///
/// A heap calls it with its lock held: an implementation must not use the heap.
///
/// # Safety
/// [`Memory::reserve`] gives ranges that nobody else has, at multiples of 64 KiB. After [`Memory::commit`] the pages can be read
/// and written until they are decommitted or released, and those that were not committed before read as zero.
pub unsafe trait Memory: Send + Sync {
    /// Reserves `size` bytes (whole pages); the address, a multiple of 64 KiB.
    fn reserve(&self, size: usize) -> Option<usize>;

    /// Commits pages; false when that many cannot be promised. Committing committed pages changes nothing.
    fn commit(&self, address: usize, size: usize) -> bool;

    /// Gives pages back; what they held is lost. Whether that worked: where it did not they are still committed.
    ///
    /// # Safety
    /// The heap uses the pages no more.
    unsafe fn decommit(&self, address: usize, size: usize) -> bool;

    /// Releases a whole reservation.
    ///
    /// # Safety
    /// The heap uses the range no more.
    unsafe fn release(&self, address: usize, size: usize);

    /// Makes every running thread of the process pass a full memory barrier before it returns; false where that cannot be
    /// had. It is what makes the fast way free of atomic instructions; without it they take a fence each.
    fn barrier(&self) -> bool {
        false
    }
}
