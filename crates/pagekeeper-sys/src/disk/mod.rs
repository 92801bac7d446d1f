//! Block I/O for page files: batches of reads and writes that are whole or failed.
//!
//! Two twins behind one trait: [`Uring`] puts many requests in flight at once, [`Positioned`] makes
//! one system call after the other and works everywhere. [`Faulty`] wraps either and misbehaves on
//! demand. None of them allocates per call or touches `errno`, so a fault handler may use them.
//!
//! A request that succeeded was transferred in full: short transfers and interruptions are dealt
//! with in here.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: requests carry raw buffers to the kernel; their makers answer for them"
)]

mod faulty;
mod polling;
mod positioned;
mod ring;
mod uring;

use core::fmt::Debug;
use core::marker::PhantomData;
use std::io::{IoSlice, IoSliceMut};

pub use faulty::{Fault, Faulty};
pub use positioned::{OneTransfer, Positioned};
pub use uring::{Uring, probe_ring};

use crate::Errno;
use crate::handle::Handle;
use crate::probe::{Feature, Features};

/// Buffers of one request at most (the kernel's own limit is the same).
pub const MAX_BUFFERS: usize = 1024;

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// A piece of memory, as the kernel takes it (`struct iovec`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct RawBuffer {
    /// First byte.
    pub base: *mut u8,
    /// Bytes.
    pub length: usize,
}

// IoSlice and IoSliceMut are promised to be layout-compatible with iovec on Unix.
const _: () = assert!(size_of::<RawBuffer>() == size_of::<IoSlice<'_>>());

/// Where a request's bytes are in memory.
#[derive(Clone, Copy, Debug)]
enum Buffers {
    One(RawBuffer),
    /// An array that outlives the request, and its length.
    Many(*const RawBuffer, usize),
}

/// One transfer between a file and memory.
///
/// ```
/// use pagekeeper_sys::disk::{BlockIo, Positioned, Request};
/// let created = pagekeeper_sys::file::create_in_folder(&std::env::temp_dir()).unwrap();
/// let disk = Positioned::new(created.file);
/// let mut back = [0; 4];
/// disk.write_at(8192, b"page").unwrap();
/// let mut batch = [Request::read(8192, &mut back)];
/// disk.submit_and_wait(&mut batch);
/// assert_eq!(batch[0].result(), Ok(()));
/// assert_eq!(&back, b"page");
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    direction: Direction,
    offset: u64,
    buffers: Buffers,
    result: Result<(), Errno>,
    borrowed: PhantomData<&'a mut [u8]>,
}

// SAFETY: The buffers are borrowed from data that may be sent (bytes), or promised by the maker.
unsafe impl Send for Request<'_> {}

impl<'a> Request<'a> {
    fn new(direction: Direction, offset: u64, buffers: Buffers) -> Self {
        Self {
            direction,
            offset,
            buffers,
            // Until somebody carries it out, it has not happened.
            result: Err(Errno::CANCELED),
            borrowed: PhantomData,
        }
    }

    /// Fills `bytes` from the file at `offset` (bytes).
    pub fn read(offset: u64, bytes: &'a mut [u8]) -> Self {
        let buffer = RawBuffer {
            base: bytes.as_mut_ptr(),
            length: bytes.len(),
        };
        Self::new(Direction::Read, offset, Buffers::One(buffer))
    }

    /// Stores `bytes` in the file at `offset` (bytes).
    pub fn write(offset: u64, bytes: &'a [u8]) -> Self {
        let buffer = RawBuffer {
            base: bytes.as_ptr().cast_mut(),
            length: bytes.len(),
        };
        Self::new(Direction::Write, offset, Buffers::One(buffer))
    }

    /// Fills the buffers one after the other from the file at `offset` on. At most
    /// [`MAX_BUFFERS`].
    pub fn read_scattered(offset: u64, buffers: &'a mut [IoSliceMut<'_>]) -> Self {
        let many = Buffers::Many(buffers.as_ptr().cast(), buffers.len());
        Self::new(Direction::Read, offset, many)
    }

    /// Stores the buffers one after the other in the file from `offset` on. At most
    /// [`MAX_BUFFERS`].
    pub fn write_gathered(offset: u64, buffers: &'a [IoSlice<'_>]) -> Self {
        let many = Buffers::Many(buffers.as_ptr().cast(), buffers.len());
        Self::new(Direction::Write, offset, many)
    }

    /// The same over bare addresses.
    ///
    /// # Safety
    /// Until the request is done, every buffer must be mapped, and belong to the caller alone
    /// (reading) or not change (writing).
    pub unsafe fn raw(direction: Direction, offset: u64, buffers: &'a [RawBuffer]) -> Self {
        let many = Buffers::Many(buffers.as_ptr(), buffers.len());
        Self::new(direction, offset, many)
    }

    /// The same over one bare address.
    ///
    /// # Safety
    /// As for [`Request::raw`].
    pub unsafe fn raw_one(direction: Direction, offset: u64, buffer: RawBuffer) -> Self {
        Self::new(direction, offset, Buffers::One(buffer))
    }

    /// Which way.
    #[inline]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Where in the file, in bytes.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes in all.
    #[inline]
    pub fn length_bytes(&self) -> u64 {
        self.raw_buffers().iter().map(|b| b.length as u64).sum()
    }

    /// How it went: all of it, or the reason. `ECANCELED` before it was carried out; `ENODATA` when
    /// the file ended too early; `EINVAL` for too many buffers.
    #[inline]
    pub fn result(&self) -> Result<(), Errno> {
        self.result
    }

    #[inline]
    pub(crate) fn set_result(&mut self, result: Result<(), Errno>) {
        self.result = result;
    }

    /// The pieces of memory.
    #[inline]
    pub(crate) fn raw_buffers(&self) -> &[RawBuffer] {
        match &self.buffers {
            Buffers::One(buffer) => core::slice::from_ref(buffer),
            // SAFETY: Made from a slice that is borrowed as long as the request lives; IoSlice and
            // IoSliceMut have the layout of RawBuffer.
            Buffers::Many(first, count) => unsafe { core::slice::from_raw_parts(*first, *count) },
        }
    }
}

/// The best block I/O over `file` that this kernel has: `rings` rings of `entries` entries, or plain
/// calls where rings are missing, switched off or refused.
pub fn block_io(
    file: impl Into<Handle>,
    features: &Features,
    rings: usize,
    entries: u32,
) -> Box<dyn BlockIo> {
    let file = file.into();
    if features.has(Feature::IoUring)
        && let Ok(rings) = uring::set_up(&file, rings, entries)
    {
        return Box::new(Uring::with_rings(file, rings));
    }
    Box::new(Positioned::new(file))
}

/// A device for pages: whole transfers, many at a time.
pub trait BlockIo: Send + Sync + Debug {
    /// Carries all requests out and leaves the outcome in each. Returns when the last is done, so no
    /// buffer is in use afterwards. They may happen in any order and at once.
    fn submit_and_wait(&self, requests: &mut [Request<'_>]);

    /// Reads exactly `bytes.len()` bytes.
    ///
    /// # Errors
    /// The device's; `ENODATA` when the file ends too early.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let mut request = Request::read(offset, bytes);
        self.submit_and_wait(core::slice::from_mut(&mut request));
        request.result()
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The device's.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut request = Request::write(offset, bytes);
        self.submit_and_wait(core::slice::from_mut(&mut request));
        request.result()
    }

    /// What it is, for people.
    fn name(&self) -> &'static str;
}

#[cfg(test)]
mod tests;
