//! What a working set asks of the store: slots read, written, compared and given up; packed pages given up.

use core::num::NonZeroI32;
use std::io::IoSlice;

use pagekeeper_store::checksum::Checksum;
use pagekeeper_store::codec::Page;
use pagekeeper_store::page_file::{RUNS_AT_ONCE, ReadError, Slot, SlotRun};
use pagekeeper_store::pool::PoolRef;
use pagekeeper_sys::Errno;

use super::entry::Kind;
use super::extent::EXTENT_PAGES;
use super::working_set::WorkingSet;

/// What reading several slots gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadOutcome {
    /// One bit a page that is not good.
    bad: u64,
    /// And of these, one each that came back with other bytes than were written.
    damaged: u64,
    errno: Option<NonZeroI32>,
}

impl ReadOutcome {
    pub(crate) const fn is_good(self, place: usize) -> bool {
        self.bad & (1 << (place & 63)) == 0
    }

    /// Whether the page came back, with other bytes than were written: they will not get better.
    pub(crate) const fn is_damaged(self, place: usize) -> bool {
        self.damaged & (1 << (place & 63)) != 0
    }

    /// The disk's error number, if it had one; none where it returned other bytes than were written.
    pub(crate) const fn error(self) -> Option<NonZeroI32> {
        self.errno
    }
}

impl WorkingSet {
    /// Reads slots from `slot` up into whole pages, at most 64.
    pub(crate) fn read_slots(&self, slot: u32, pages: &mut [u8]) -> ReadOutcome {
        let count = pages.len() / size_of::<Page>();
        let result = self.files().read_run(Slot::from_bits(slot), pages);
        let mut outcome = ReadOutcome::default();
        if result.is_good() {
            return outcome;
        }
        for place in 0..count {
            if let Err(error) = result.page(place) {
                outcome.bad |= 1 << (place & 63);
                match error {
                    ReadError::Io(errno) => {
                        outcome.errno = NonZeroI32::new(errno.raw_os_error());
                    }
                    ReadError::Damaged => outcome.damaged |= 1 << (place & 63),
                }
            }
        }
        outcome
    }

    /// Whether a slot (still) holds the same bytes as `page`, by checksum.
    pub(crate) fn slot_holds(&self, slot: u32, page: &Page) -> bool {
        self.files().checksum_of(Slot::from_bits(slot)) == Some(self.files().checksum(page))
    }

    /// Whether a slot's file is to stay, so that a page in memory may go on relying on it.
    pub(crate) fn slot_stays(&self, slot: u32) -> bool {
        self.files().stays(Slot::from_bits(slot))
    }

    /// Takes up to `want` slots side by side, none when the files are full.
    pub(crate) fn take_slots(&self, want: u32) -> Option<SlotRun> {
        self.files().take_run(want)
    }

    /// Writes as many pages as the run has slots. On failure the run is gone.
    pub(crate) fn write_slots<'page>(
        &self,
        run: SlotRun,
        pages: impl Iterator<Item = &'page Page>,
    ) -> Result<(), Errno> {
        self.write_runs(&[run], pages)[0]
    }

    /// Writes as many pages as the runs, at most [`RUNS_AT_ONCE`], have slots together, at most 64; one answer a run. Those
    /// that failed are gone.
    pub(super) fn write_runs<'page>(
        &self,
        runs: &[SlotRun],
        pages: impl Iterator<Item = &'page Page>,
    ) -> [Result<(), Errno>; RUNS_AT_ONCE] {
        let mut pieces = [IoSlice::new(&[]); EXTENT_PAGES as usize];
        let mut sums = [None::<Checksum>; EXTENT_PAGES as usize];
        let mut count = 0;
        for ((page, piece), sum) in pages.zip(&mut pieces).zip(&mut sums) {
            *piece = IoSlice::new(page);
            *sum = Some(self.files().checksum(page));
            count += 1;
        }
        let Some(first) = sums[0] else {
            return [Err(Errno::INVAL); RUNS_AT_ONCE];
        };
        // Beyond `count` the filler is never looked at.
        let sums = sums.map(|sum| sum.unwrap_or(first));
        let results = self
            .files()
            .write_runs(runs, &pieces[..count], &sums[..count]);
        for error in results
            .iter()
            .take(runs.len())
            .filter_map(|result| result.err())
        {
            self.note_write_error(error.errno);
        }
        results.map(|result| result.map_err(|error| error.errno))
    }

    /// A page-file slot whose bytes nobody needs any more.
    pub(crate) fn forget_slot(&self, slot: u32) {
        self.files().give_back(Slot::from_bits(slot));
    }

    /// A packed page that nobody needs any more.
    pub(crate) fn forget_packed(&self, object: PoolRef) {
        self.pool().remove(object, self.frames());
    }

    /// Storage of either kind that nobody needs any more.
    pub(crate) fn forget(&self, kind: Kind, location: u32) {
        match kind {
            Kind::Pool => self.forget_packed(PoolRef::from_bits(location)),
            Kind::File => self.forget_slot(location),
            _ => {}
        }
    }
}
