//! Direct I/O: past the page cache, found out by doing it.
//!
//! File systems refuse it in different ways (at opening, at the first transfer, by alignment) and
//! some accept the flag and ignore it, so a real block is written and read.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::retry;
use crate::Errno;

/// One page, aligned as direct I/O wants it.
#[derive(Debug)]
#[repr(align(4096))]
pub struct AlignedPage([u8; 4096]);

impl Default for AlignedPage {
    fn default() -> Self {
        Self::new()
    }
}

impl AlignedPage {
    /// A page of zeros.
    pub const fn new() -> Self {
        Self([0; 4096])
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 4096] {
        &self.0
    }

    /// The bytes, to be written.
    pub const fn bytes_mut(&mut self) -> &mut [u8; 4096] {
        &mut self.0
    }
}

/// What was found out about direct I/O on a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DirectIo {
    /// A page-sized, page-aligned transfer works both ways.
    Works,
    /// Refused: with this error number, when switching on, writing or reading.
    Refused(Errno),
}

/// Switches direct I/O on or off for an open file (all descriptors of the same opening).
///
/// # Errors
/// `EINVAL` where the file system refuses it.
pub fn set_direct(file: impl AsFd, on: bool) -> Result<(), Errno> {
    let file = file.as_fd();
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    rustix::fs::fcntl_setfl(file, flags)
}

/// Opens the same file once more with flags of its own (a direct and a cached descriptor side by
/// side), also when it has no name.
///
/// # Errors
/// `ENOENT` without `/proc`, `EINVAL` when the file system refuses the flags.
pub fn reopen(file: impl AsFd, direct: bool) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut flags = OFlags::RDWR | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECT, direct);
    retry(|| rustix::fs::open(&path, flags, Mode::empty()))
}

/// Finds out whether direct transfers work on `file`, by writing one page at `offset` and reading it
/// back. Destroys that page (a new page file has nothing to lose). The file's flags stay as they
/// were.
pub fn probe_direct(file: impl AsFd, offset: u64) -> DirectIo {
    let file = file.as_fd();
    let Ok(before) = rustix::fs::fcntl_getfl(file) else {
        return DirectIo::Refused(Errno::BADF);
    };
    let found = match set_direct(file, true) {
        Ok(()) => match transfer(file, offset) {
            Ok(()) => DirectIo::Works,
            Err(errno) => DirectIo::Refused(errno),
        },
        Err(errno) => DirectIo::Refused(errno),
    };
    // Switching the flag back cannot be refused: it was so a moment ago.
    let _ = rustix::fs::fcntl_setfl(file, before);
    found
}

fn transfer(file: rustix::fd::BorrowedFd<'_>, offset: u64) -> Result<(), Errno> {
    let mut page = AlignedPage::new();
    for (index, byte) in page.0.iter_mut().enumerate() {
        *byte = (index * 7 + 1) as u8;
    }
    if retry(|| rustix::io::pwrite(file, page.bytes(), offset))? != page.0.len() {
        return Err(Errno::IO);
    }
    let mut back = AlignedPage::new();
    if retry(|| rustix::io::pread(file, &mut back.0[..], offset))? != back.0.len() {
        return Err(Errno::IO);
    }
    if back.0 != page.0 {
        return Err(Errno::IO);
    }
    Ok(())
}
