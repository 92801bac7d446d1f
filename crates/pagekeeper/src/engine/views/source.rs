//! What views show: an open file, of the program's or of ours.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::apart::ApartDescriptor;
use pagekeeper_sys::file::{self, FileFacts};
use pagekeeper_units::{PageCount, PageRange};

use super::memory::Header;

/// Pages of commit charge that went with a section; the space takes them off its account at its next step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Returned(Arc<AtomicU64>);

impl Returned {
    /// What was returned since the last look.
    pub(crate) fn take(&self) -> PageCount {
        if self.0.load(Ordering::Relaxed) == 0 {
            return PageCount::ZERO;
        }
        PageCount::new(self.0.swap(0, Ordering::Relaxed))
    }
}

/// An open file whose descriptor is out of the program's reach, and whose closing takes nothing from the program's.
#[derive(Debug)]
pub(crate) struct Backing {
    file: ApartDescriptor,
    /// The first failed write-back, as an error number; 0 while all is well.
    failure: AtomicI32,
}

impl Backing {
    pub(super) fn new(file: ApartDescriptor) -> Self {
        Self {
            file,
            failure: AtomicI32::new(0),
        }
    }

    /// Does `work` with the descriptor, where it is known.
    ///
    /// # Errors
    /// As [`ApartDescriptor::with`].
    pub(super) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(BorrowedFd<'_>) -> R + Send + 'static,
    ) -> Result<R, Errno> {
        self.file.with(work)
    }

    /// A page could not be written. The kernel takes it for clean now, so nothing of this file is dropped by us any more; other
    /// files are not concerned.
    pub(super) fn fail(&self, errno: Errno) {
        let number = errno.raw_os_error();
        let _ = self
            .failure
            .compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The first error, if there was one.
    pub(super) fn failure(&self) -> Option<Errno> {
        match self.failure.load(Ordering::Acquire) {
            0 => None,
            number => Some(Errno::from_raw_os_error(number)),
        }
    }
}

/// What views show. Lives as long as the last section or view of it in this process.
#[derive(Debug)]
pub(crate) struct Source {
    backing: Arc<Backing>,
    facts: FileFacts,
    /// What of it is ours to manage, where the file is one of ours.
    header: Option<Header>,
    /// Pages charged for it in this process.
    charged: AtomicU64,
    returned: Returned,
}

impl Source {
    /// A file of the program's.
    pub(crate) fn of_file(file: ApartDescriptor, returned: Returned) -> Result<Self, Errno> {
        Self::new(file, None, returned)
    }

    /// A file of ours with a header.
    pub(crate) fn of_memory(
        file: ApartDescriptor,
        header: Header,
        returned: Returned,
    ) -> Result<Self, Errno> {
        Self::new(file, Some(header), returned)
    }

    fn new(
        file: ApartDescriptor,
        header: Option<Header>,
        returned: Returned,
    ) -> Result<Self, Errno> {
        let facts = file.with(|file| file::facts(file))??;
        Ok(Self {
            backing: Arc::new(Backing::new(file)),
            facts,
            header,
            charged: AtomicU64::new(0),
            returned,
        })
    }

    /// Does `work` with the descriptor, where it is known.
    ///
    /// # Errors
    /// As [`ApartDescriptor::with`].
    pub(crate) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(BorrowedFd<'_>) -> R + Send + 'static,
    ) -> Result<R, Errno> {
        self.backing.with(work)
    }

    /// The file alone, which may be written for some time after the last view has gone.
    pub(super) fn backing(&self) -> &Arc<Backing> {
        &self.backing
    }

    /// Thread and number by which other processes of the user find the descriptor.
    pub(crate) fn place(&self) -> (u32, u32) {
        self.backing.file.place()
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.facts.device, self.facts.inode)
    }

    /// Its header, if it is memory without a file.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Where in the file the section's first byte lies.
    pub(crate) fn data_offset(&self) -> u64 {
        self.header.as_ref().map_or(0, Header::data_offset)
    }

    /// Charges pages to this process's space, which the caller has recorded.
    pub(crate) fn charge(&self, pages: PageCount) {
        self.charged.fetch_add(pages.get(), Ordering::Relaxed);
    }

    /// Commits pages of a reserved section, counted from its first, for all its views: room on the disk first, then the
    /// bits. Says how often somebody had committed before, where that is counted.
    pub(super) fn commit(self: &Arc<Self>, pages: PageRange) -> Result<Option<u64>, Errno> {
        let own = Arc::clone(self);
        self.with(move |file| match &own.header {
            Some(header) => header.commit(pages, file),
            None => Ok(None),
        })?
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let charged = *self.charged.get_mut();
        self.returned.0.fetch_add(charged, Ordering::Relaxed);
    }
}
