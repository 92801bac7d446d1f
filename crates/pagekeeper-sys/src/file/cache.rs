//! Steering the page cache of a file without privilege: write out, forget, fetch, count.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: two bare system calls that fill a struct of ours"
)]

use core::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};

use linux_raw_sys::general as c;
use rustix::fs::Advice;

use super::retry;
use crate::{Errno, raw};

// Not in linux-raw-sys; from the kernel's fs.h.
const SYNC_FILE_RANGE_WAIT_BEFORE: usize = 1;
const SYNC_FILE_RANGE_WRITE: usize = 2;
const SYNC_FILE_RANGE_WAIT_AFTER: usize = 4;

/// How far [`write_out`] goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteOut {
    /// Start writing and return.
    Start,
    /// Write, and wait until all of it is at the device.
    AndWait,
}

/// Writes the changed pages of a part of the file to the device (`sync_file_range`).
///
/// That makes them droppable; it is no promise for a power failure, which a page file needs none
/// of. **The first error must be believed**: the kernel marks a page that could not be written as
/// clean, and says so once.
///
/// # Errors
/// `EIO`, `ENOSPC`, `EDQUOT`: pages could not be written, now or before. `ESPIPE` for no file.
pub fn write_out(
    file: impl AsFd,
    offset: u64,
    length_bytes: u64,
    how: WriteOut,
) -> Result<(), Errno> {
    let flags = match how {
        WriteOut::Start => SYNC_FILE_RANGE_WRITE,
        WriteOut::AndWait => {
            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
        }
    };
    sync_range(file, offset, length_bytes, flags)
}

/// Whether pages of the file could not be written since this was asked last by the same open file, by whomever they were
/// changed and to be written. Waits for nothing.
///
/// # Errors
/// `EIO`, `ENOSPC`, `EDQUOT`: that is so. `ESPIPE` for no file.
pub fn write_error(file: impl AsFd) -> Result<(), Errno> {
    // Behind every file: no page is being written there, and the file's error is looked at all the same.
    const BEHIND_ALL: u64 = 1 << 62;
    sync_range(file, BEHIND_ALL, 4096, SYNC_FILE_RANGE_WAIT_BEFORE)
}

fn sync_range(file: impl AsFd, offset: u64, length_bytes: u64, flags: usize) -> Result<(), Errno> {
    let number = file.as_fd().as_raw_fd() as usize;
    retry(|| {
        // SAFETY: Touches no memory of the process.
        unsafe {
            raw::call(
                c::__NR_sync_file_range,
                [number, offset as usize, length_bytes as usize, flags],
            )
        }
    })?;
    Ok(())
}

/// Drops clean cached pages of a part of the file that no mapping holds
/// (`posix_fadvise(DONTNEED)`). Length zero means: to the end.
///
/// The cache holds folios, and only whole ones go: a large write or a long read-ahead may lie in
/// one folio of up to 2 MiB (seen: half of a file written by one call of 1 MiB was not dropped).
/// So forget aligned, generous ranges, and count afterwards.
///
/// # Errors
/// `ESPIPE` for no file.
pub fn forget(file: impl AsFd, offset: u64, length_bytes: u64) -> Result<(), Errno> {
    rustix::fs::fadvise(
        file,
        offset,
        NonZeroU64::new(length_bytes),
        Advice::DontNeed,
    )
}

/// Starts reading a part of the file into the cache. Length zero means: to the end.
///
/// # Errors
/// `ESPIPE` for no file.
pub fn prefetch(file: impl AsFd, offset: u64, length_bytes: u64) -> Result<(), Errno> {
    rustix::fs::fadvise(
        file,
        offset,
        NonZeroU64::new(length_bytes),
        Advice::WillNeed,
    )
}

/// How many pages of a part of a file are in the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CacheState {
    /// Pages cached.
    pub cached_pages: u64,
    /// Of these, changed and not written.
    pub dirty_pages: u64,
    /// Of these, being written now.
    pub writeback_pages: u64,
    /// Pages that were cached and went.
    pub evicted_pages: u64,
    /// Of these, not long ago.
    pub recently_evicted_pages: u64,
}

/// Counts the cached pages of a part of the file (`cachestat`, 6.5). Length zero means: to the end.
///
/// # Errors
/// `ENOSYS` on older kernels or under a filter, `EOPNOTSUPP` on hugetlbfs, `EPERM` for a file that
/// is neither writable nor one's own.
pub fn cache_state(file: impl AsFd, offset: u64, length_bytes: u64) -> Result<CacheState, Errno> {
    let mut range = c::cachestat_range {
        off: offset,
        len: length_bytes,
    };
    let mut found = c::cachestat {
        nr_cache: 0,
        nr_dirty: 0,
        nr_writeback: 0,
        nr_evicted: 0,
        nr_recently_evicted: 0,
    };
    // SAFETY: The kernel reads one struct and fills the other; both are ours and of its layout.
    unsafe {
        raw::call(
            c::__NR_cachestat,
            [
                file.as_fd().as_raw_fd() as usize,
                (&raw mut range).expose_provenance(),
                (&raw mut found).expose_provenance(),
                0,
            ],
        )?;
    }
    Ok(CacheState {
        cached_pages: found.nr_cache,
        dirty_pages: found.nr_dirty,
        writeback_pages: found.nr_writeback,
        evicted_pages: found.nr_evicted,
        recently_evicted_pages: found.nr_recently_evicted,
    })
}
