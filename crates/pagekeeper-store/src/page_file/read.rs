//! Pages from the disk, every page checked on its way in.
//!
//! Nothing here allocates or panics: the fault path reads through it. [`PageFiles::read_many`] needs 6 KiB of stack for its
//! batch, the others less than 1 KiB. With direct I/O every buffer must be page-aligned, else the kernel answers `EINVAL`.

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::Request;
use pagekeeper_units::PAGE_SIZE;

use super::file::PageFile;
use super::{PageFiles, Slot};
use crate::checksum::ChecksumKey;
use crate::codec::Page;
use crate::sync::{AtomicU64, Relaxed};

/// The most pages of one read: the bits of an outcome.
pub const READ_PAGES_MAX: usize = 64;

/// Requests handed to the disk at once.
const BATCH: usize = 64;

/// Why a page could not be read back: an in-page error. Windows: `STATUS_IN_PAGE_ERROR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk returned other bytes than were written.
    #[error("the disk returned other bytes than were written")]
    Damaged,
    /// The disk failed, with this number.
    #[error("the disk failed: {0}")]
    Io(Errno),
}

/// How the pages of one read came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOutcome {
    damaged: u64,
    failed: u64,
    errno: Errno,
}

impl ReadOutcome {
    const GOOD: Self = Self {
        damaged: 0,
        failed: 0,
        errno: Errno::IO,
    };

    /// Whether all pages are what was written.
    #[inline]
    pub const fn is_good(&self) -> bool {
        self.damaged | self.failed == 0
    }

    /// How page `index` of the read came back.
    ///
    /// # Errors
    /// [`ReadError`]; the bytes in the buffer are then not to be used.
    #[inline]
    pub fn page(&self, index: usize) -> Result<(), ReadError> {
        let bit = 1u64.checked_shl(index as u32).unwrap_or(0);
        if self.failed & bit != 0 {
            Err(ReadError::Io(self.errno))
        } else if self.damaged & bit != 0 {
            Err(ReadError::Damaged)
        } else {
            Ok(())
        }
    }

    fn all_failed(pages: usize, errno: Errno) -> Self {
        Self {
            failed: if pages >= READ_PAGES_MAX {
                !0
            } else {
                (1 << pages) - 1
            },
            errno,
            ..Self::GOOD
        }
    }

    fn set(&mut self, index: usize, result: Result<(), ReadError>) {
        let bit = 1u64.checked_shl(index as u32).unwrap_or(0);
        self.damaged &= !bit;
        self.failed &= !bit;
        match result {
            Ok(()) => {}
            Err(ReadError::Damaged) => self.damaged |= bit,
            Err(ReadError::Io(errno)) => {
                self.failed |= bit;
                self.errno = errno;
            }
        }
    }
}

/// One read of a batch: neighbouring slots into one buffer.
#[derive(Debug)]
pub struct SlotRead<'a> {
    first: Slot,
    bytes: &'a mut [u8],
    outcome: ReadOutcome,
}

impl<'a> SlotRead<'a> {
    /// Fills `bytes`, a whole number of pages and at most [`READ_PAGES_MAX`], from `first` on.
    pub fn new(first: Slot, bytes: &'a mut [u8]) -> Self {
        let outcome = ReadOutcome::all_failed(READ_PAGES_MAX, Errno::CANCELED);
        Self {
            first,
            bytes,
            outcome,
        }
    }

    /// How it went; every page `ECANCELED` before it was carried out.
    pub fn outcome(&self) -> ReadOutcome {
        self.outcome
    }

    /// The bytes read.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    fn pages(&self) -> usize {
        self.bytes.len() / PAGE_SIZE
    }

    fn is_whole(&self) -> bool {
        self.bytes.len().is_multiple_of(PAGE_SIZE) && self.pages() <= READ_PAGES_MAX
    }
}

impl PageFiles {
    /// Reads the page in `slot` and checks it. For the fault path.
    ///
    /// # Errors
    /// [`ReadError`]; the page's bytes are then not to be used.
    pub fn read_page(&self, slot: Slot, page: &mut Page) -> Result<(), ReadError> {
        let read = |file: &PageFile, slot| file.read(slot, page, self.key()).page(0);
        self.with_file_of(slot, read)
            .unwrap_or(Err(ReadError::Io(Errno::INVAL)))
    }

    /// Reads neighbouring pages with one transfer and checks each; where the transfer fails, page
    /// by page, so that one bad page does not take its neighbours along. For the fault path.
    ///
    /// `bytes` is a whole number of pages, at most [`READ_PAGES_MAX`].
    pub fn read_run(&self, first: Slot, bytes: &mut [u8]) -> ReadOutcome {
        let pages = bytes.len() / PAGE_SIZE;
        if !bytes.len().is_multiple_of(PAGE_SIZE) || pages > READ_PAGES_MAX {
            return ReadOutcome::all_failed(READ_PAGES_MAX, Errno::INVAL);
        }
        self.with_file_of(first, |file, first| file.read(first, bytes, self.key()))
            .unwrap_or_else(|| ReadOutcome::all_failed(pages, Errno::INVAL))
    }

    /// Reads neighbouring pages without checking them, ahead of need: whoever uses one compares it with
    /// [`PageFiles::checksum_of`] its slot first. `bytes` is a whole number of pages.
    ///
    /// # Errors
    /// The disk's; `EINVAL` where the slots are in no file.
    pub fn read_unchecked(&self, first: Slot, bytes: &mut [u8]) -> Result<(), Errno> {
        let read = |file: &PageFile, first| {
            add(&file.traffic.requests_in, 1);
            add(&file.traffic.bytes_in, bytes.len() as u64);
            file.disk.read_at(PageFile::offset(first), bytes)
        };
        self.with_file_of(first, read).unwrap_or(Err(Errno::INVAL))
    }

    /// Carries out many reads at once, as many in flight as the disk takes, and checks every page.
    pub fn read_many(&self, reads: &mut [SlotRead<'_>]) {
        let mut rest = reads;
        while !rest.is_empty() {
            // A batch goes to one disk: cut where the file changes.
            let file = rest.first().and_then(|read| self.file_of(read.first));
            let same = rest
                .iter()
                .take_while(|read| self.file_of(read.first) == file)
                .count();
            let (batch, others) = rest.split_at_mut(same.clamp(1, BATCH));
            self.read_batch(batch);
            rest = others;
        }
    }

    fn read_batch(&self, batch: &mut [SlotRead<'_>]) {
        let Some(first) = batch.first().map(|read| read.first) else {
            return;
        };
        let done = self.with_file_of(first, |file, _| {
            let base = self.base_of(first);
            let local = |slot: Slot| slot.bits().wrapping_sub(base);
            let mut results = [Err(Errno::CANCELED); BATCH];
            file.submit_reads(batch, local, &mut results);
            for (read, result) in batch.iter_mut().zip(results) {
                read.outcome = if read.is_whole() {
                    file.check(local(read.first), read.bytes, self.key(), result)
                } else {
                    ReadOutcome::all_failed(READ_PAGES_MAX, Errno::INVAL)
                };
            }
        });
        if done.is_none() {
            for read in batch {
                read.outcome = ReadOutcome::all_failed(READ_PAGES_MAX, Errno::INVAL);
            }
        }
    }
}

impl PageFile {
    fn read(&self, first: u32, bytes: &mut [u8], key: &ChecksumKey) -> ReadOutcome {
        add(&self.traffic.requests_in, 1);
        let result = self.disk.read_at(Self::offset(first), bytes);
        self.check(first, bytes, key, result)
    }

    fn submit_reads(
        &self,
        batch: &mut [SlotRead<'_>],
        local: impl Fn(Slot) -> u32,
        results: &mut [Result<(), Errno>; BATCH],
    ) {
        let count = batch.len().min(BATCH);
        let mut reads = batch.iter_mut();
        let mut requests: [Request<'_>; BATCH] = core::array::from_fn(|_| match reads.next() {
            Some(read) if read.is_whole() => {
                Request::read(Self::offset(local(read.first)), read.bytes)
            }
            _ => Request::read(0, &mut []),
        });
        let Some(requests) = requests.get_mut(..count) else {
            return;
        };
        self.disk.submit_and_wait(requests);
        for (result, request) in results.iter_mut().zip(requests) {
            *result = request.result();
        }
        add(&self.traffic.requests_in, count as u64);
    }

    /// Compares what a transfer brought with the kept checksums. Where something is wrong, the
    /// pages concerned are read once more, one by one: the neighbours of a bad page are good, and a
    /// second look at a flipped one costs nothing that matters.
    fn check(
        &self,
        first: u32,
        bytes: &mut [u8],
        key: &ChecksumKey,
        result: Result<(), Errno>,
    ) -> ReadOutcome {
        let mut outcome = ReadOutcome::GOOD;
        // A disk that fails each request only after its time-out is not asked for every page: the others come with faults of
        // their own.
        let mut hopeless = None;
        add(&self.traffic.bytes_in, bytes.len() as u64);
        for (index, page) in bytes.as_chunks_mut::<PAGE_SIZE>().0.iter_mut().enumerate() {
            let slot = first.wrapping_add(index as u32);
            let mut found = match result {
                Ok(()) => self.check_page(slot, page, key),
                Err(errno) => Err(ReadError::Io(errno)),
            };
            if let Some(errno) = hopeless {
                outcome.set(index, Err(ReadError::Io(errno)));
                continue;
            }
            if found.is_err() && self.checksum(slot).is_some() {
                found = match self.disk.read_at(Self::offset(slot), page) {
                    Ok(()) => self.check_page(slot, page, key),
                    Err(errno) => {
                        hopeless = result.err();
                        Err(ReadError::Io(errno))
                    }
                };
            }
            match found {
                Ok(()) => {}
                Err(ReadError::Damaged) => add(&self.traffic.damaged, 1),
                Err(ReadError::Io(_)) => add(&self.traffic.errors, 1),
            }
            outcome.set(index, found);
        }
        outcome
    }

    fn check_page(&self, slot: u32, page: &Page, key: &ChecksumKey) -> Result<(), ReadError> {
        // A slot without a checksum holds nothing: whoever reads it has a stale number.
        match self.checksum(slot) {
            Some(sum) if key.checksum(page) == sum => Ok(()),
            _ => Err(ReadError::Damaged),
        }
    }
}

#[inline]
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
