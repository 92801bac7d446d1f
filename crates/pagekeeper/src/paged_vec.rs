//! A vector that may be larger than RAM and never moves.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use pagekeeper_model::Protection;
use pagekeeper_units::{ByteCount, PageRange};

use crate::engine::{EngineKind, Residence};
use crate::error::{EngineError, Error, SettingsError};
use crate::reservation::Reservation;
use crate::space::Space;

/// Plain data: any bytes are a value, there is no padding, nothing to drop and nothing shared inside, so values may be
/// packed, written to a disk and brought back.
///
/// # Safety
/// Every bit pattern of the type's size must be a value of it, all zeros included; it must have no padding, no interior
/// mutability and no references.
#[allow(unsafe_code, reason = "UNSAFETY: a promise about a type")]
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

macro_rules! plain {
    ($($type:ty),*) => {$(
        #[allow(unsafe_code, reason = "UNSAFETY: numbers have no padding and no forbidden values")]
        // SAFETY: a number: any bits, no padding.
        unsafe impl Plain for $type {}
    )*};
}
plain!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64
);

#[allow(
    unsafe_code,
    reason = "UNSAFETY: arrays add nothing between their elements"
)]
// SAFETY: an array of plain values has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Commits grow by a sixteenth of what is there, within these bounds: few calls, little waste.
const LEAST_STEP: u64 = 256 << 10;
const LARGEST_STEP: u64 = 64 << 20;

/// A growable array of plain data in paged memory.
///
/// Address space for the largest length is reserved at the start, which costs nothing; memory is committed as the vector
/// grows. So elements never move, a push never copies, and a slice of everything is always there.
///
/// Uses the inline engine (compressed pool, checksums, exact budget), or the mapped one where userfaultfd is not to be
/// had. With the inline engine the kernel cannot touch pages that are out: system calls through libc and `std` are
/// taken care of, others need [`Reservation::with_resident`].
///
/// ```
/// use pagekeeper::{ByteCount, PagedVec, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let mut squares = PagedVec::<u64>::with_capacity(&space, 1 << 30)?;
/// for number in 0..1_000_000 {
///     squares.push(number * number)?;
/// }
/// assert_eq!(squares[999_999], 999_999 * 999_999);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
pub struct PagedVec<T: Plain> {
    reservation: Reservation,
    length: usize,
    /// Bytes committed from the base on.
    committed: u64,
    elements: PhantomData<T>,
}

impl<T: Plain> PagedVec<T> {
    /// An empty vector that can grow to `most` elements.
    ///
    /// # Errors
    /// [`Error::Refused`] without so much address space.
    pub fn with_capacity(space: &Space, most: usize) -> Result<Self, Error> {
        Self::with_engine(space, most, EngineKind::Inline).or_else(|error| match error {
            Error::Engine {
                cause: EngineError::Unavailable { .. },
                ..
            }
            | Error::Settings(SettingsError::Engine(_)) => {
                Self::with_engine(space, most, EngineKind::Mapped)
            }
            other => Err(other),
        })
    }

    /// The same on a given engine.
    ///
    /// # Errors
    /// As [`PagedVec::with_capacity`]; [`EngineError::Unavailable`] where the engine cannot run.
    pub fn with_engine(space: &Space, most: usize, engine: EngineKind) -> Result<Self, Error> {
        let bytes = (most as u64).saturating_mul(size_of::<T>() as u64).max(1);
        let reservation = space
            .reserve(ByteCount::new(bytes))
            .engine(engine)
            .build()?;
        Ok(Self::from_reservation(reservation))
    }

    /// An empty vector in a reservation made for it, which holds nothing committed.
    pub fn from_reservation(reservation: Reservation) -> Self {
        Self {
            reservation,
            length: 0,
            committed: 0,
            elements: PhantomData,
        }
    }

    /// Elements that fit into the address space.
    pub fn capacity(&self) -> usize {
        (self.reservation.size().get() / (size_of::<T>() as u64).max(1)) as usize
    }

    /// Adds an element.
    ///
    /// # Errors
    /// [`Error::Refused`] when RAM budget and page files can promise no more, or the address space is full.
    #[inline]
    pub fn push(&mut self, element: T) -> Result<(), Error> {
        self.ensure(self.length + 1)?;
        let at = self.length;
        self.length += 1;
        self[at] = element;
        Ok(())
    }

    /// Adds the elements of a slice.
    ///
    /// # Errors
    /// As [`PagedVec::push`]; then nothing is added.
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<(), Error> {
        let start = self.length;
        self.resize_zeroed(start + elements.len())?;
        self[start..].copy_from_slice(elements);
        Ok(())
    }

    /// Sets the length; new elements are all zero bits, elements above it are dropped and their pages decommitted.
    ///
    /// # Errors
    /// As [`PagedVec::push`].
    pub fn resize_zeroed(&mut self, length: usize) -> Result<(), Error> {
        if length < self.length {
            self.truncate(length);
            return Ok(());
        }
        self.ensure(length)?;
        self.length = length;
        Ok(())
    }

    /// Drops the elements from `length` on, and decommits what they alone occupied.
    pub fn truncate(&mut self, length: usize) {
        if length >= self.length {
            return;
        }
        let bytes = |count: usize| count as u64 * size_of::<T>() as u64;
        let page = pagekeeper_units::PAGE_SIZE as u64;
        let kept = bytes(length).next_multiple_of(page);
        // The rest of the last page must read as zero when it is grown into again.
        let tail_end = (kept.min(bytes(self.length)) - bytes(length)) as usize;
        let base = self.reservation.base();
        #[allow(unsafe_code, reason = "UNSAFETY: zeroes elements that are dropped")]
        // SAFETY: the bytes lie between the new and the old length, which are committed and ours.
        unsafe {
            base.add(bytes(length) as usize).write_bytes(0, tail_end);
        }
        self.length = length;
        if kept < self.committed && self.reservation.decommit(kept..self.committed).is_ok() {
            self.committed = kept;
        }
    }

    /// Where each page of the vector is right now.
    pub fn residence(&self) -> Vec<(PageRange, Residence)> {
        self.reservation.residence(..self.committed)
    }

    /// Brings the elements of `range` in ahead of time, with many reads in flight.
    ///
    /// # Errors
    /// As [`Space::prefetch_at`].
    pub fn prefetch(&self, range: core::ops::Range<usize>) -> Result<(), Error> {
        let bytes = |count: usize| count.min(self.length) as u64 * size_of::<T>() as u64;
        if range.is_empty() || range.start >= self.length {
            return Ok(());
        }
        self.reservation
            .prefetch(bytes(range.start)..bytes(range.end))
    }

    /// Takes the vector's pages out of the working set now; contents stay.
    pub fn trim(&self) {
        self.reservation.trim(..self.committed);
    }

    /// The engine that serves it.
    pub fn engine(&self) -> EngineKind {
        self.reservation.engine()
    }

    /// The reservation underneath.
    ///
    /// # Safety
    /// Nothing that the vector has committed is decommitted, discarded or protected while the vector or a slice of it
    /// is alive.
    #[allow(
        unsafe_code,
        reason = "UNSAFETY: its safe methods change memory behind the vector's slices"
    )]
    pub unsafe fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Makes sure that `length` elements are committed.
    #[inline]
    fn ensure(&mut self, length: usize) -> Result<(), Error> {
        let wanted = length as u64 * size_of::<T>() as u64;
        if wanted <= self.committed {
            Ok(())
        } else {
            self.grow(wanted)
        }
    }

    #[cold]
    fn grow(&mut self, wanted: u64) -> Result<(), Error> {
        let step = (self.committed / 16).clamp(LEAST_STEP, LARGEST_STEP);
        let size = self.reservation.size().get();
        let page = pagekeeper_units::PAGE_SIZE as u64;
        let generous = (self.committed + step)
            .max(wanted)
            .next_multiple_of(page)
            .min(size.max(wanted));
        let commit = |end: u64| {
            self.reservation
                .commit(self.committed..end, Protection::READ_WRITE)
                .map(|()| end)
        };
        // Where there is no room for a step there may be room for what is needed.
        self.committed = commit(generous).or_else(|_| commit(wanted.next_multiple_of(page)))?;
        Ok(())
    }
}

impl<T: Plain> Deref for PagedVec<T> {
    type Target = [T];

    #[inline]
    #[allow(unsafe_code, reason = "UNSAFETY: a slice over the committed part")]
    fn deref(&self) -> &[T] {
        // SAFETY: `length` elements are committed from the base on, which is aligned to 64 KiB; any bytes are values
        // of T; the shared borrow of self keeps writers away.
        unsafe { core::slice::from_raw_parts(self.reservation.base().cast::<T>(), self.length) }
    }
}

impl<T: Plain> DerefMut for PagedVec<T> {
    #[inline]
    #[allow(unsafe_code, reason = "UNSAFETY: a slice over the committed part")]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; the exclusive borrow of self makes it exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.reservation.base().cast::<T>(), self.length) }
    }
}

impl<T: Plain> core::fmt::Debug for PagedVec<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PagedVec")
            .field("length", &self.length)
            .field("capacity", &self.capacity())
            .field("reservation", &self.reservation)
            .finish()
    }
}
