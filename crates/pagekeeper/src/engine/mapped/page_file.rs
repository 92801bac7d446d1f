//! One page file: unlinked from birth, its space really allocated, read and written by the kernel.
//!
//! The mappings hold the contents; the descriptor is needed only for allocating, steering the cache and writing
//! back. It is kept so that the program cannot take it away (`close_range`, `dup2`), and looked at before each use.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lends our own descriptor number to std for a positioned write"
)]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use pagekeeper_sys::descriptor::KeptDescriptor;
use pagekeeper_sys::file::{self, AllocateHow, Allocated, FileSystemKind, WriteOut};
use pagekeeper_sys::{Errno, rlimit};

use super::page_set::PIECE_PAGES;
use crate::error::EngineError;

/// Bytes of a piece.
pub(super) const PIECE_BYTES: u64 = (PIECE_PAGES as u64) << 12;

/// What the brake writes at most.
const SCRATCH_BYTES: u64 = 1 << 20;

/// From so many pages on, zeroing is left to the file system: it then costs neither memory nor a write.
const ZERO_RANGE_PAGES: usize = 16;

/// An open page file without a name.
#[derive(Debug)]
pub(super) struct PageFile {
    descriptor: KeptDescriptor,
    /// Pages of its own, for the brake.
    scratch_offset: Option<u64>,
}

impl PageFile {
    pub(super) fn create(path: &Path, allow_ram_disk: bool) -> Result<Self, EngineError> {
        let refused = |reason: String| EngineError::PageFileSpace(reason);
        let created = file::create(path).map_err(|error| refused(error.to_string()))?;
        let kind = file::file_system_of(&created.file)
            .map_err(|errno| EngineError::Kernel {
                call: "statfs",
                errno,
            })?
            .kind;
        if kind == FileSystemKind::Ram && !allow_ram_disk {
            let path = path.display();
            return Err(refused(format!(
                "'{path}' is in RAM, which a page file is to relieve"
            )));
        }
        let descriptor =
            KeptDescriptor::keep(created.file).map_err(|errno| EngineError::Kernel {
                call: "fcntl(F_DUPFD)",
                errno,
            })?;
        Ok(Self {
            descriptor,
            scratch_offset: None,
        })
    }

    /// Allocates the brake's pages. Without them there is no brake, which is no reason to refuse a page file.
    pub(super) fn use_scratch(&mut self, offset: u64) {
        self.scratch_offset = self
            .allocate(offset, SCRATCH_BYTES)
            .is_ok()
            .then_some(offset);
    }

    /// The descriptor, after making sure that it still is this file (the program may have closed or replaced
    /// every descriptor), and taking it back where it is not.
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        if !self.descriptor.verify() {
            self.descriptor.recover().map_err(|lost| lost.0)?;
        }
        Ok(self.descriptor.as_fd())
    }

    /// Allocates space for good. Asks `RLIMIT_FSIZE` first, so no SIGXFSZ comes.
    pub(super) fn allocate(&self, offset: u64, length: u64) -> Result<(), Errno> {
        self.descriptor()?;
        let Allocated { error, .. } = file::allocate(
            // Not the number that it has now: the program may ask for that one before the file has grown.
            &self.descriptor,
            offset,
            length,
            length,
            AllocateHow::Best,
        );
        error.map_or(Ok(()), Err)
    }

    /// Gives space back, cached pages included, without writing them.
    pub(super) fn punch(&self, offset: u64, length: u64) -> Result<(), Errno> {
        match file::punch(self.descriptor()?, offset, length) {
            // Where the file system cannot, the place stays allocated, and is zeroed before it is used again.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.zero(offset, (length >> 12) as usize),
            other => other,
        }
    }

    /// Starts writing changed pages, or writes them and waits. The first error must stop paging.
    pub(super) fn write_out(&self, offset: u64, length: u64, how: WriteOut) -> Result<(), Errno> {
        file::write_out(self.descriptor()?, offset, length, how)
    }

    /// Drops clean pages that no mapping holds.
    pub(super) fn forget(&self, offset: u64, length: u64) -> Result<(), Errno> {
        file::forget(self.descriptor()?, offset, length)
    }

    /// Starts reading.
    pub(super) fn prefetch(&self, offset: u64, length: u64) -> Result<(), Errno> {
        file::prefetch(self.descriptor()?, offset, length)
    }

    /// Pages in the page cache, and of these the changed ones and those being written. The descriptor is not
    /// looked at first: a wrong figure does no harm until the next call that does look.
    pub(super) fn cached(&self, offset: u64, length: u64) -> Result<(u64, u64), Errno> {
        let state = match file::cache_state(self.descriptor.as_fd(), offset, length) {
            Err(Errno::BADF) => file::cache_state(self.descriptor()?, offset, length)?,
            other => other?,
        };
        Ok((
            state.cached_pages,
            state.dirty_pages + state.writeback_pages,
        ))
    }

    /// Makes `count` pages read as zero again. The space stays allocated.
    pub(super) fn zero(&self, offset: u64, count: usize) -> Result<(), Errno> {
        static ZEROS: [u8; 4096 * ZERO_RANGE_PAGES] = [0; 4096 * ZERO_RANGE_PAGES];
        let length = count as u64 * 4096;
        let descriptor = self.descriptor()?;
        // A write beyond the limit would raise SIGXFSZ, also inside the file.
        let may_write = || rlimit::file_size_bytes() >= offset + length;
        if count >= ZERO_RANGE_PAGES || !may_write() {
            match file::zero_range(descriptor, offset, length) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if may_write() => {}
                other => return other,
            }
        }
        let mut done = 0;
        while done < length {
            let part = (length - done).min(ZEROS.len() as u64) as usize;
            self.write_at(&ZEROS[..part], offset + done)?;
            done += part as u64;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Errno> {
        let number = self.descriptor()?.as_raw_fd();
        // SAFETY: The number has just been verified to be ours; the value is not dropped, so nothing is closed.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        file.write_all_at(bytes, offset)
            .map_err(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap_or(5)))
    }

    /// Makes every fault that needs a page of this file wait until `pages` pages (at most 256) are written:
    /// while zeroing them again the kernel holds the file, and waits for their write-back.
    pub(super) fn brake(&self, pages: u64) -> Result<(), Errno> {
        static ZEROS: [u8; SCRATCH_BYTES as usize] = [0; SCRATCH_BYTES as usize];
        let offset = self.scratch_offset.ok_or(Errno::NOSPC)?;
        let length = (pages << 12).clamp(4096, SCRATCH_BYTES);
        if rlimit::file_size_bytes() < offset + length {
            return Err(Errno::FBIG);
        }
        self.write_at(&ZEROS[..length as usize], offset)?;
        let descriptor = self.descriptor()?;
        file::write_out(descriptor, offset, length, WriteOut::Start)?;
        file::zero_range(descriptor, offset, length)
    }
}
