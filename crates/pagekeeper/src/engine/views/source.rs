//! What views show: an open file, of the program's or of ours.

use core::sync::atomic::{AtomicU64, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::KeptDescriptor;
use pagekeeper_sys::file::{self, FileFacts};
use pagekeeper_sys::handle::Handle;
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

/// A file that views show. Lives as long as the last section or view of it in this process.
#[derive(Debug)]
pub(crate) struct Source {
    handle: Handle,
    facts: FileFacts,
    /// What of it is ours to manage, where the file is one of ours.
    header: Option<Header>,
    /// Pages charged for it in this process.
    charged: AtomicU64,
    returned: Returned,
}

impl Source {
    /// A file of the program's, under a number of our own.
    pub(crate) fn of_file(descriptor: OwnedFd, returned: Returned) -> Result<Self, Errno> {
        let facts = file::facts(&descriptor)?;
        Ok(Self {
            handle: Handle::Plain(descriptor),
            facts,
            header: None,
            charged: AtomicU64::new(0),
            returned,
        })
    }

    /// A nameless file for pages of this process alone.
    pub(super) fn of_own_file(descriptor: OwnedFd) -> Result<Self, Errno> {
        let mut source = Self::of_file(descriptor, Returned::default())?;
        if KeptDescriptor::has_room() {
            let _ = source.handle.keep();
        }
        Ok(source)
    }

    /// A file of ours with a header. Kept safe from the program's closing as far as there is room.
    pub(crate) fn of_memory(
        descriptor: OwnedFd,
        header: Header,
        returned: Returned,
    ) -> Result<Self, Errno> {
        let facts = file::facts(&descriptor)?;
        let mut handle = Handle::Plain(descriptor);
        if KeptDescriptor::has_room() {
            let _ = handle.keep();
        }
        Ok(Self {
            handle,
            facts,
            header: Some(header),
            charged: AtomicU64::new(0),
            returned,
        })
    }

    /// The descriptor, after making sure that it still is this file.
    pub(crate) fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.handle.take_back_if_lost().map_err(|lost| lost.0)?;
        let descriptor = self.handle.as_fd();
        let now = file::facts(descriptor)?;
        if (now.device, now.inode) == (self.facts.device, self.facts.inode) {
            Ok(descriptor)
        } else {
            Err(Errno::BADF)
        }
    }

    /// A descriptor of its own for a thread that has left the program's descriptor table.
    pub(super) fn for_own_thread(&self) -> Result<OwnedFd, Errno> {
        let taken = file::take_from_leader(self.handle.as_raw_fd())?;
        let now = file::facts(&taken)?;
        if (now.device, now.inode) == (self.facts.device, self.facts.inode) {
            Ok(taken)
        } else {
            Err(Errno::BADF)
        }
    }

    /// The descriptor's number in the program's table.
    pub(crate) fn number(&self) -> i32 {
        self.handle.as_raw_fd()
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
    /// bits.
    pub(super) fn commit(&self, pages: PageRange) -> Result<(), Errno> {
        let Some(header) = &self.header else {
            return Ok(());
        };
        let descriptor = self.descriptor()?;
        header.commit(pages, descriptor)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let charged = *self.charged.get_mut();
        self.returned.0.fetch_add(charged, Ordering::Relaxed);
    }
}
