//! Memory held in RAM while something runs that must not meet a page that is out: a raw system call, io_uring, a device.
//!
//! libc's functions look after themselves (`docs/kernel-touches.md`). For everything else that hands addresses to the
//! kernel, these functions bring the pages in, hold them, and let them go when the closure returns. Only memory of the
//! inline engine needs it; any other memory may be given and costs nothing.
//!
//! Limits: at most a quarter of the RAM budget can be held at once, by all threads together, wrapped calls included.
//! What is asked for beyond that is refused at once. A request that is still under way when the closure returns (an
//! asynchronous one) is the caller's to wait for, inside.

#![allow(unsafe_code, reason = "UNSAFETY: takes ranges by address")]

use core::ops::RangeBounds;

use pagekeeper_model::Refusal;
use pagekeeper_sys::Errno;
use pagekeeper_units::{ByteCount, PageNumber, PageRange};

use crate::engine::inline::pin::{PinRefused, Pinned, Share, Stretch, Want, first_stretch};
use crate::error::{EngineError, Error};
use crate::reservation::Reservation;

const OPERATION: &str = "hold in memory";

/// Runs `with` while `bytes` are in RAM and stay there.
///
/// # Errors
/// [`Error::Refused`]: `NotAccessible` for pages that are not committed or may not be read. [`Error::Engine`]:
/// `LockedTooMuch` where the budget cannot spare so much, `EIO` for pages that could not be read back.
///
/// ```
/// let bytes = [1, 2, 3];
/// let sum: u32 = pagekeeper::with_resident(&bytes, |bytes| bytes.iter().map(|byte| u32::from(*byte)).sum())?;
/// assert_eq!(sum, 6);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
pub fn with_resident<R>(bytes: &[u8], with: impl FnOnce(&[u8]) -> R) -> Result<R, Error> {
    let _held = Resident::hold(bytes.as_ptr(), bytes.len(), Want::Read)?;
    Ok(with(bytes))
}

/// The same for memory that will be written to.
///
/// # Errors
/// As [`with_resident`]; `NotAccessible` also for pages that may not be written.
pub fn with_resident_mut<R>(
    bytes: &mut [u8],
    with: impl FnOnce(&mut [u8]) -> R,
) -> Result<R, Error> {
    let _held = Resident::hold(bytes.as_ptr(), bytes.len(), Want::Write)?;
    Ok(with(bytes))
}

/// The same for memory known by address only, and for longer than a closure: held until the value is dropped.
///
/// ```
/// let bytes = [0_u8; 100];
/// let held = pagekeeper::Resident::for_reading(bytes.as_ptr(), bytes.len())?;
/// // A raw system call, a submission to a ring and its completion ...
/// drop(held);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the pages are let go when the value is dropped"]
pub struct Resident {
    _parts: Vec<Pinned>,
}

impl Resident {
    /// Holds `length` bytes at `start` that will be read. The memory itself is not touched through the pointer.
    ///
    /// # Errors
    /// As [`with_resident`].
    pub fn for_reading(start: *const u8, length: usize) -> Result<Self, Error> {
        Self::hold(start, length, Want::Read)
    }

    /// Holds `length` bytes at `start` that will be written to.
    ///
    /// # Errors
    /// As [`with_resident_mut`].
    pub fn for_writing(start: *mut u8, length: usize) -> Result<Self, Error> {
        Self::hold(start, length, Want::Write)
    }

    fn hold(start: *const u8, length: usize, want: Want) -> Result<Self, Error> {
        let mut parts = Vec::new();
        if length == 0 || !crate::registry::has_inline() || crate::fork::is_child() {
            return Ok(Self { _parts: parts });
        }
        let (address, size) = (start.addr() as u64, ByteCount::new(length as u64));
        let failed = |cause| Error::Engine {
            operation: OPERATION,
            address,
            size,
            cause,
        };
        let forbidden = |page| Error::Refused {
            operation: OPERATION,
            address,
            size,
            refusal: Refusal::NotAccessible { page },
        };
        let last = start.addr().saturating_add(length - 1);
        let end = PageNumber::containing(last as u64).get() + 1;
        let mut at = PageNumber::containing(start.addr() as u64);
        while at.get() < end {
            let rest = PageRange::between(at, PageNumber::new(end));
            match first_stretch(rest, want) {
                Stretch::Forbidden => return Err(forbidden(at)),
                Stretch::Foreign(count) => at = at.plus(count),
                Stretch::Inline { count, .. } => {
                    let pinned = Pinned::new(PageRange::new(at, count), want, Share::Program);
                    parts.push(pinned.map_err(|refused| match refused {
                        PinRefused::Busy => failed(EngineError::LockedTooMuch),
                        PinRefused::Forbidden => forbidden(at),
                        PinRefused::Lost => failed(EngineError::Kernel {
                            call: "read",
                            errno: Errno::IO,
                        }),
                    })?);
                    at = at.plus(count);
                }
            }
        }
        Ok(Self { _parts: parts })
    }
}

impl Reservation {
    /// Runs `work` with the pages that the bytes of `range` (offsets from the base) touch in RAM and kept there: the kernel
    /// may be given pointers to them in any way; to write through, where all of them may be written to. `work` gets the
    /// address of the first byte and the length.
    ///
    /// # Errors
    /// As [`with_resident`]; `LeavesAllocation` for a range that does not lie in the reservation. `work` has not run then.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, Protection, Space};
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
        let pages = PageRange::touched_by(address, size).unwrap_or_default();
        if !self.pages().covers(pages) {
            return Err(Error::Refused {
                operation: OPERATION,
                address,
                size: ByteCount::new(size),
                refusal: Refusal::LeavesAllocation {
                    allocation: self.pages(),
                },
            });
        }
        let offset = address - self.pages().address();
        let (first, length) = (self.base().wrapping_add(offset as usize), size as usize);
        let _held = match Resident::for_writing(first, length) {
            Err(Error::Refused { .. }) => Resident::for_reading(first, length)?,
            held => held?,
        };
        Ok(work(first, length))
    }
}
