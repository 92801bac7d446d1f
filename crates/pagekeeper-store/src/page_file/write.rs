//! Pages to the disk: one run, or several at once.
//!
//! Nothing here allocates or panics: the fault path writes through it. [`PageFiles::write_runs`] needs 2 KiB of stack for its
//! batch. With direct I/O every buffer must be page-aligned, else the kernel answers `EINVAL`.

use std::io::IoSlice;

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::Request;
use pagekeeper_sys::file::AlignedPage;
use pagekeeper_sys::rlimit;
use pagekeeper_units::PAGE_SIZE;

use super::file::PageFile;
use super::read::add;
use super::{PageFiles, SlotRun};
use crate::checksum::Checksum;

/// The most runs that are written together.
pub const RUNS_AT_ONCE: usize = 16;

/// The disk refused to store a run. The run is no longer the caller's: it is withdrawn until
/// [`PageFiles::mend`] can write it, or free again when the slots were not to blame. Take another
/// and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pages could not be written: {errno}")]
pub struct WriteError {
    /// The disk's or the kernel's answer. `EFBIG`: `RLIMIT_FSIZE` was lowered below the file.
    pub errno: Errno,
    /// Whether the slots are withdrawn.
    pub withdrawn: bool,
}

impl WriteError {
    /// The lengths do not fit, or the run is in no file: nothing was done.
    const NOT_OURS: Self = Self {
        errno: Errno::INVAL,
        withdrawn: false,
    };
}

impl PageFiles {
    /// Stores pages in a run that was taken: `pages` together are the run's bytes, in any pieces,
    /// and `sums` the pages' checksums in order. One transfer; for the fault path.
    ///
    /// # Errors
    /// [`WriteError`]: the run is not the caller's any more. `EINVAL` when the lengths do not fit
    /// or the run is in no file; the run is then left alone.
    pub fn write_run(
        &self,
        run: SlotRun,
        pages: &[IoSlice<'_>],
        sums: &[Checksum],
    ) -> Result<(), WriteError> {
        let length: usize = pages.iter().map(|piece| piece.len()).sum();
        let fits = length == run.count as usize * PAGE_SIZE && sums.len() == run.count as usize;
        let written = fits.then(|| {
            self.with_file_of(run.first, |file, first| {
                let request = Request::write_gathered(PageFile::offset(first), pages);
                file.write(first, run.count, request, sums)
            })
        });
        let result = written.flatten().unwrap_or(Err(WriteError::NOT_OURS));
        if result.is_err_and(|error| error.withdrawn) {
            self.note_withdrawn();
        }
        result
    }

    /// Stores pages in several runs, at most [`RUNS_AT_ONCE`], as many transfers in flight as the disk takes: when the holes
    /// of a page file are short, waiting for one write after the other costs more than the writes. `pages` has a piece a
    /// page and `sums` a checksum a page, those of the first run first. One answer a run; for the fault path.
    pub fn write_runs(
        &self,
        runs: &[SlotRun],
        pages: &[IoSlice<'_>],
        sums: &[Checksum],
    ) -> [Result<(), WriteError>; RUNS_AT_ONCE] {
        let mut results = [Err(WriteError::NOT_OURS); RUNS_AT_ONCE];
        let wanted: usize = runs.iter().map(|run| run.count as usize).sum();
        let whole = pages.iter().all(|piece| piece.len() == PAGE_SIZE);
        let fits = whole && wanted == pages.len() && wanted == sums.len();
        if !fits || runs.len() > RUNS_AT_ONCE {
            return results;
        }
        let (mut done, mut page) = (0, 0);
        while let Some(first) = runs.get(done).map(|run| run.first) {
            // A batch goes to one disk: cut where the file changes.
            let file = self.file_of(first);
            let rest = runs.get(done..).unwrap_or_default();
            let same = rest
                .iter()
                .take_while(|run| self.file_of(run.first) == file);
            let (count, length) = same.fold((0, 0), |(count, length), run| {
                (count + 1, length + run.count as usize)
            });
            let (runs_end, pages_end) = (done + count, page + length);
            self.with_file_of(first, |file, _| {
                let base = self.base_of(first);
                file.write_batch(
                    &runs[done..runs_end],
                    base,
                    &pages[page..pages_end],
                    &sums[page..pages_end],
                    &mut results[done..runs_end],
                );
            });
            (done, page) = (runs_end, pages_end);
        }
        if results
            .iter()
            .any(|result| result.is_err_and(|error| error.withdrawn))
        {
            self.note_withdrawn();
        }
        results
    }
}

impl PageFile {
    /// Tries a withdrawn slot: writes zeros to it.
    pub(super) fn try_slot(&self, slot: u32) -> Result<(), Errno> {
        static ZEROS: AlignedPage = AlignedPage::new();
        if Self::offset(slot + 1) > rlimit::file_size_bytes() {
            return Err(Errno::FBIG);
        }
        add(&self.traffic.requests_out, 1);
        self.disk.write_at(Self::offset(slot), ZEROS.bytes())
    }

    fn write(
        &self,
        first: u32,
        count: u32,
        mut request: Request<'_>,
        sums: &[Checksum],
    ) -> Result<(), WriteError> {
        let result = if Self::end(first, count) > rlimit::file_size_bytes() {
            Err(Errno::FBIG)
        } else {
            self.disk
                .submit_and_wait(core::slice::from_mut(&mut request));
            request.result()
        };
        self.settle_write(first, count, result, sums)
    }

    /// Writes runs of this file together; `base` is the number of its first slot.
    fn write_batch(
        &self,
        runs: &[SlotRun],
        base: u32,
        pages: &[IoSlice<'_>],
        sums: &[Checksum],
        results: &mut [Result<(), WriteError>],
    ) {
        let first_of = |run: &SlotRun| run.first.bits().wrapping_sub(base);
        let mut pieces = pages;
        let mut left = runs.iter();
        let mut requests: [Request<'_>; RUNS_AT_ONCE] = core::array::from_fn(|_| {
            let Some(run) = left.next() else {
                return Request::write(0, &[]);
            };
            let (own, others) = pieces.split_at(pieces.len().min(run.count as usize));
            pieces = others;
            Request::write_gathered(Self::offset(first_of(run)), own)
        });
        // One run alone is refused alone: the others are not to be kept from the disk by it.
        let limit = rlimit::file_size_bytes();
        let refused = |run: &SlotRun| Self::end(first_of(run), run.count) > limit;
        if let Some(requests) = requests.get_mut(..runs.len())
            && !runs.iter().any(refused)
        {
            self.disk.submit_and_wait(requests);
        } else {
            for (run, request) in runs.iter().zip(&mut requests) {
                if !refused(run) {
                    self.disk.submit_and_wait(core::slice::from_mut(request));
                }
            }
        }
        let mut sums = sums;
        for ((run, request), result) in runs.iter().zip(&requests).zip(results) {
            let (own, others) = sums.split_at(sums.len().min(run.count as usize));
            sums = others;
            let outcome = match refused(run) {
                true => Err(Errno::FBIG),
                false => request.result(),
            };
            *result = self.settle_write(first_of(run), run.count, outcome, own);
        }
    }

    /// Where a run ends in the file, in bytes. Beyond `RLIMIT_FSIZE` the kernel would raise SIGXFSZ, which ends the process.
    fn end(first: u32, count: u32) -> u64 {
        Self::offset(first) + Self::offset(count)
    }

    /// Notes how a write of a run ended: its checksums, or that its slots are to be withdrawn or free again.
    fn settle_write(
        &self,
        first: u32,
        count: u32,
        result: Result<(), Errno>,
        sums: &[Checksum],
    ) -> Result<(), WriteError> {
        add(&self.traffic.requests_out, 1);
        match result {
            Ok(()) => {
                for (slot, sum) in (first..).zip(sums) {
                    self.set_checksum(slot, Some(*sum));
                }
                add(&self.traffic.bytes_out, Self::offset(count));
                Ok(())
            }
            Err(errno) => {
                add(&self.traffic.errors, 1);
                let withdrawn = blames_the_disk(errno);
                if withdrawn {
                    self.withdraw(first, count);
                } else {
                    self.give_back(first, count);
                }
                Err(WriteError { errno, withdrawn })
            }
        }
    }
}

/// Whether an error says something about these slots, rather than about the moment or the call.
pub(super) fn blames_the_disk(errno: Errno) -> bool {
    !matches!(
        errno,
        Errno::FBIG
            | Errno::NOMEM
            | Errno::AGAIN
            | Errno::INTR
            | Errno::CANCELED
            | Errno::BADF
            | Errno::FAULT
            | Errno::INVAL
    )
}
