//! `/proc/PID/pagemap`: one word a page. The twin of the scan for kernels before 6.7.

use std::os::fd::OwnedFd;

use pagekeeper_units::PageRange;
use rustix::fs::{Mode, OFlags};

use crate::Errno;

/// The kernel's word about one page. Frame numbers are hidden from ordinary users and not offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry(u64);

impl Entry {
    /// In memory and in the page table.
    pub const fn is_present(self) -> bool {
        self.0 & 1 << 63 != 0
    }

    /// In the kernel's swap (or a marker that looks so).
    pub const fn is_swapped(self) -> bool {
        self.0 & 1 << 62 != 0
    }

    /// A page of a file, or of shared memory.
    pub const fn is_file(self) -> bool {
        self.0 & 1 << 61 != 0
    }

    /// A guard marker lies there (6.15 and later say so).
    pub const fn is_guard(self) -> bool {
        self.0 & 1 << 58 != 0
    }

    /// Write-protected by a userfaultfd.
    pub const fn is_write_protected(self) -> bool {
        self.0 & 1 << 57 != 0
    }

    /// Mapped here only.
    pub const fn is_exclusive(self) -> bool {
        self.0 & 1 << 56 != 0
    }

    /// Written since the soft-dirty bits were cleared.
    pub const fn is_soft_dirty(self) -> bool {
        self.0 & 1 << 55 != 0
    }
}

/// The open page map of a process.
///
/// The own one still shows the parent after fork: open another.
#[derive(Debug)]
pub struct Entries {
    file: OwnedFd,
}

impl Entries {
    /// Opens `/proc/self/pagemap`.
    ///
    /// # Errors
    /// `ENOENT` without `/proc`, `EACCES` when the process is not dumpable.
    pub fn open() -> Result<Self, Errno> {
        Self::open_at("/proc/self/pagemap")
    }

    /// Opens another process's.
    ///
    /// # Errors
    /// `ENOENT` when it is gone, `EACCES` without the right to look into it.
    pub fn open_of(pid: u32) -> Result<Self, Errno> {
        Self::open_at(&format!("/proc/{pid}/pagemap"))
    }

    fn open_at(path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { file })
    }

    /// Fills `words` with the entries of the first pages of `range`; says how many were filled
    /// (the smaller of the two lengths). Unmapped pages give empty entries.
    ///
    /// # Errors
    /// What reading gives; `EIO` when the file ends early.
    pub fn read(&self, range: PageRange, words: &mut [Entry]) -> Result<usize, Errno> {
        const CHUNK: usize = 128;
        let count = words.len().min(range.count().as_usize());
        let mut done = 0;
        while done < count {
            let mut bytes = [0_u8; CHUNK * 8];
            let wanted = (count - done).min(CHUNK) * 8;
            let offset = (range.start().get() + done as u64) * 8;
            let got = match rustix::io::pread(&self.file, &mut bytes[..wanted], offset) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if got < 8 {
                return Err(Errno::IO);
            }
            let (eights, _) = bytes[..got].as_chunks::<8>();
            for (word, eight) in words[done..].iter_mut().zip(eights) {
                *word = Entry(u64::from_ne_bytes(*eight));
            }
            done += got / 8;
        }
        Ok(count)
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}
