//! Memory held in RAM for a moment, for whoever the wrapped libc calls do not cover: bare system calls, io_uring, devices.

use core::ops::RangeBounds;

use pagekeeper_model::Refusal;
use pagekeeper_sys::Errno;
use pagekeeper_units::{ByteCount, PageRange};

use crate::engine::EngineKind;
use crate::engine::inline::fault::Want;
use crate::engine::inline::pin::{PinRefused, Pinned, Share};
use crate::error::{EngineError, Error};
use crate::reservation::Reservation;

impl Reservation {
    /// Runs `work` with the pages that the bytes of `range` (offsets from the base) touch in RAM and kept there: the kernel
    /// may be given pointers to them in any way. `work` gets the address of the first byte and the length.
    ///
    /// With the inline engine at most a quarter of the budget can be held at a time, by all threads together; the other engines
    /// need no holding, since the kernel brings their pages in itself.
    ///
    /// # Errors
    /// [`EngineError::LockedTooMuch`] for more than can be held now, `NotAccessible` for pages that are not committed or may
    /// not be read, an input/output error when a page cannot be brought back. `work` has not run then.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, EngineKind, Protection, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let reservation = space.reserve(ByteCount::mib(1)).build()?;
    /// reservation.commit(.., Protection::READ_WRITE)?;
    /// let length = reservation.with_resident(100..300, |address, length| {
    ///     assert!(!address.is_null());
    ///     length
    /// })?;
    /// assert_eq!(length, 200);
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn with_resident<R>(
        &self,
        range: impl RangeBounds<u64>,
        work: impl FnOnce(*mut u8, usize) -> R,
    ) -> Result<R, Error> {
        let (address, size) = self.part(range);
        let refused = |refusal| Error::Refused {
            operation: "hold",
            address,
            size: ByteCount::new(size),
            refusal,
        };
        let pages = PageRange::touched_by(address, size).unwrap_or_default();
        if !self.pages().covers(pages) {
            return Err(refused(Refusal::LeavesAllocation {
                allocation: self.pages(),
            }));
        }
        let _pinned = match self.engine() {
            EngineKind::Inline if !pages.is_empty() => Some(
                Pinned::new(pages, Want::Read, Share::Program).map_err(|why| match why {
                    PinRefused::Forbidden => refused(Refusal::NotAccessible {
                        page: pages.start(),
                    }),
                    PinRefused::Busy => self.failed(address, size, EngineError::LockedTooMuch),
                    PinRefused::Lost => {
                        let cause = EngineError::Kernel {
                            call: "read",
                            errno: Errno::IO,
                        };
                        self.failed(address, size, cause)
                    }
                })?,
            ),
            _ => None,
        };
        let first = self
            .base()
            .wrapping_add((address - self.pages().address()) as usize);
        Ok(work(first, size as usize))
    }

    fn failed(&self, address: u64, size: u64, cause: EngineError) -> Error {
        Error::Engine {
            operation: "hold",
            address,
            size: ByteCount::new(size),
            cause,
        }
    }
}
