//! Ordinary memory that stands in for paged memory during a call.
//!
//! Fresh mappings, not `malloc`: most of the wrapped functions may be called in signal handlers.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: copies bytes between the caller's memory and the stand-in"
)]

use core::ffi::{c_char, c_int};

use pagekeeper_sys::map::{self, Access, Mapping, Treatment};
use pagekeeper_units::{ByteCount, PAGE_SIZE};

use super::reach::{admit, pages_of};
use crate::engine::inline::pin::Want;

/// The longest path that the kernel takes, its zero byte included.
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// Zeroed bytes of our own, given back when dropped. Their memory is only used when touched.
pub(super) struct Scratch {
    memory: Option<Mapping>,
}

impl Scratch {
    /// At least `length` bytes.
    pub(super) fn new(length: usize) -> Result<Self, c_int> {
        if length == 0 {
            return Ok(Self { memory: None });
        }
        let pages = ByteCount::new(length as u64).pages();
        map::reserve(
            pages,
            Access::READ_WRITE,
            Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED,
        )
        .map(|memory| Self {
            memory: Some(memory),
        })
        .map_err(|errno| errno.raw_os_error())
    }

    /// Its first byte; a page boundary.
    pub(super) fn start(&self) -> *mut u8 {
        self.memory
            .as_ref()
            .map_or(core::ptr::dangling_mut(), |memory| memory.base())
    }
}

/// Copies bytes from the caller's memory, which may fault and be brought in.
///
/// # Safety
/// `from` must be readable and `to` writable for `length` bytes.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise. The caller's bytes may change beside us, as they may in the kernel's copy.
    unsafe { core::ptr::copy_nonoverlapping(from, to, length) };
}

/// Most pointers that one wrapped function has.
const MOST: usize = 6;

/// A stand-in for one argument.
#[derive(Clone, Copy)]
struct Part {
    caller: *mut u8,
    stand_in: *mut u8,
    length: usize,
}

/// Stand-ins for the small arguments of one call: structs, strings, results. The caller's bytes are copied in before the
/// call, and what the call changed is copied back after it, byte by byte where it differs: so bytes that the kernel
/// would have left alone are not written.
pub(super) struct StandIns {
    scratch: [Option<Scratch>; MOST],
    results: [Option<Part>; MOST],
    count: usize,
}

impl StandIns {
    pub(super) const fn new() -> Self {
        Self {
            scratch: [const { None }; MOST],
            results: [None; MOST],
            count: 0,
        }
    }

    fn place(&mut self, length: usize) -> Result<*mut u8, c_int> {
        let scratch = Scratch::new(length)?;
        let start = scratch.start();
        *self.scratch.get_mut(self.count).ok_or(libc::ENOMEM)? = Some(scratch);
        self.count += 1;
        Ok(start)
    }

    /// A copy of `length` bytes that the kernel will read.
    ///
    /// # Safety
    /// What of the bytes lies outside of paged memory must be readable.
    pub(super) unsafe fn input(
        &mut self,
        caller: *const u8,
        length: usize,
    ) -> Result<*mut u8, c_int> {
        admit(caller, length, Want::Read)?;
        let stand_in = self.place(length)?;
        // SAFETY: readable: the inline pages were looked at, the rest is the caller's promise.
        unsafe { copy(caller, stand_in, length) };
        Ok(stand_in)
    }

    /// A stand-in for `length` bytes that the kernel will fill, or read and fill.
    ///
    /// # Safety
    /// What of the bytes lies outside of paged memory must be writable.
    pub(super) unsafe fn output(
        &mut self,
        caller: *mut u8,
        length: usize,
    ) -> Result<*mut u8, c_int> {
        admit(caller, length, Want::Write)?;
        // Twice the bytes: the second half stays as it was, to find out what changed.
        let stand_in = self.place(length.checked_mul(2).ok_or(libc::EFAULT)?)?;
        // SAFETY: as in `input`; the stand-in has room for both.
        unsafe {
            copy(caller, stand_in, length);
            copy(stand_in, stand_in.add(length), length);
        }
        if let Some(result) = self.results.iter_mut().find(|result| result.is_none()) {
            *result = Some(Part {
                caller,
                stand_in,
                length,
            });
        }
        Ok(stand_in)
    }

    /// A copy of a path.
    ///
    /// # Safety
    /// What of it lies outside of paged memory must be readable.
    pub(super) unsafe fn path(&mut self, caller: *const u8) -> Result<*mut u8, c_int> {
        // SAFETY: passed on.
        let length = unsafe { string_length(caller, PATH_MAX) }?;
        if length == PATH_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        // SAFETY: passed on; as long as was measured, with its zero.
        unsafe { self.input(caller, length + 1) }
    }

    /// A copy of a string of any length.
    ///
    /// # Safety
    /// As for `path`.
    pub(super) unsafe fn text(&mut self, caller: *const u8) -> Result<*mut u8, c_int> {
        // SAFETY: passed on.
        let length = unsafe { string_length(caller, usize::MAX) }?;
        // SAFETY: passed on.
        unsafe { self.input(caller, length + 1) }
    }

    /// Copies back what the call changed.
    ///
    /// # Safety
    /// As for [`StandIns::output`].
    pub(super) unsafe fn copy_back(&self) {
        for part in self.results.iter().flatten() {
            for index in 0..part.length {
                // SAFETY: `output` made the stand-in of two halves and looked at the caller's bytes.
                unsafe {
                    let (now, before) = (
                        *part.stand_in.add(index),
                        *part.stand_in.add(part.length + index),
                    );
                    if now != before {
                        part.caller.add(index).write(now);
                    }
                }
            }
        }
    }
}

/// The length of a C string, looking at each page before touching it; at most `most`.
///
/// # Safety
/// What of it lies outside of paged memory must be readable.
pub(super) unsafe fn string_length(start: *const u8, most: usize) -> Result<usize, c_int> {
    let mut length = 0_usize;
    while length < most {
        let at = start.wrapping_add(length);
        let in_page = (PAGE_SIZE - at.addr() % PAGE_SIZE).min(most - length);
        debug_assert_eq!(pages_of(at.addr(), in_page).count().get(), 1);
        admit(at, in_page, Want::Read)?;
        for index in 0..in_page {
            // SAFETY: the page allows reading, or it is outside and readable by the caller's promise as far as the zero.
            if unsafe { *at.add(index) } == 0 {
                return Ok(length + index);
            }
        }
        length += in_page;
    }
    Ok(length)
}

/// The length of a string that a function will change in place, with its zero; one byte where it cannot be read, so that
/// looking at that byte fails as the kernel would.
pub(super) fn mutable_text(start: *const c_char) -> usize {
    if start.is_null() {
        return 0;
    }
    // SAFETY: the caller of the wrapped function promised a string.
    unsafe { string_length(start.cast(), PATH_MAX) }.map_or(1, |length| (length + 1).min(PATH_MAX))
}
