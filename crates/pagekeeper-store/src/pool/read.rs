//! Unpacking an object without a lock.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: passes on the caller's promise that it owns the object"
)]

use super::{Pool, PoolRef};
use crate::codec::{Damaged, Page, decompress};

impl Pool {
    /// Unpacks an object into `page`. Takes no lock; for the fault path: no allocation, no panic.
    ///
    /// # Errors
    /// [`Damaged`] when there is no such object or it does not unpack to a page.
    ///
    /// # Safety
    /// The caller owns the page that the object holds (its BUSY bit is set), so that nobody removes
    /// the object before this returns.
    #[inline]
    pub unsafe fn read(&self, object: PoolRef, page: &mut Page) -> Result<(), Damaged> {
        let class = self.blocks.state(object.block()).ok_or(Damaged)?.class;
        // SAFETY: The caller's promise, handed on.
        unsafe {
            self.area
                .with_packed(object.block(), class, object.object(), |packed| {
                    decompress(packed, page)
                })
        }?
    }
}
