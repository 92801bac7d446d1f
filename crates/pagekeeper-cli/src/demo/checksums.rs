//! A small table of checksums, taken of what was read from the files, before it went into managed memory.
//!
//! One 32-bit sum a record. Records are 4 KiB up to 1 GiB of data and grow beyond, so that the table stays within
//! 1 MiB. It lies in ordinary memory: what it says does not depend on what it checks.

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The smallest record.
const LEAST_RECORD: u64 = 4096;
/// The most sums.
const MOST_SUMS: u64 = 256 << 10;

/// The sums of the records, filled from front to back.
#[derive(Clone)]
pub(super) struct Checksums {
    record_bytes: u64,
    sums: Vec<u32>,
    state: Xxh3,
    /// Bytes of the current record so far.
    filled: u64,
}

/// A place to go back to.
pub(super) struct Mark {
    sums: usize,
    state: Xxh3,
    filled: u64,
}

impl Checksums {
    /// An empty table for `data_bytes` bytes.
    pub(super) fn new(data_bytes: u64) -> Self {
        let record_bytes = data_bytes
            .div_ceil(MOST_SUMS)
            .next_power_of_two()
            .max(LEAST_RECORD);
        Self {
            record_bytes,
            sums: Vec::with_capacity(data_bytes.div_ceil(record_bytes) as usize),
            state: Xxh3::new(),
            filled: 0,
        }
    }

    /// Takes the next bytes of the data.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (self.record_bytes - self.filled).min(bytes.len() as u64);
            let (now, later) = bytes.split_at(room as usize);
            self.state.update(now);
            self.filled += room;
            bytes = later;
            if self.filled == self.record_bytes {
                self.end_record();
            }
        }
    }

    fn end_record(&mut self) {
        self.sums.push(self.state.digest() as u32);
        self.state.reset();
        self.filled = 0;
    }

    /// Remembers this place.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            sums: self.sums.len(),
            state: self.state.clone(),
            filled: self.filled,
        }
    }

    /// Forgets what was added since.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.sums.truncate(mark.sums);
        self.state = mark.state;
        self.filled = mark.filled;
    }

    /// All data has been added: the last record may be short.
    pub(super) fn finish(&mut self) {
        if self.filled > 0 {
            self.end_record();
        }
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.sums.len()
    }

    /// Size of a record.
    pub(super) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// The records that a part of the data touches.
    pub(super) fn touched_by(&self, part: &Range<u64>) -> Range<usize> {
        (part.start / self.record_bytes) as usize..part.end.div_ceil(self.record_bytes) as usize
    }

    /// The bytes of a record in `data`.
    pub(super) fn record<'data>(&self, number: usize, data: &'data [u8]) -> &'data [u8] {
        let start = number * self.record_bytes as usize;
        &data[start..data.len().min(start + self.record_bytes as usize)]
    }

    /// The sum that a record should have, and the one that it has in `data`.
    pub(super) fn expected_and_found(&self, number: usize, data: &[u8]) -> (u32, u32) {
        (self.sums[number], xxh3_64(self.record(number, data)) as u32)
    }

    /// Whether a record in `data` is what was read from the files.
    pub(super) fn is_good(&self, number: usize, data: &[u8]) -> bool {
        let (expected, found) = self.expected_and_found(number, data);
        expected == found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_records() {
        let data: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        let mut sums = Checksums::new(10_000);
        for piece in data.chunks(777) {
            sums.add(piece);
        }
        sums.finish();
        assert_eq!(sums.records(), 3);
        assert!((0..3).all(|record| sums.is_good(record, &data)));
        let mut wrong = data.clone();
        wrong[9_999] ^= 1;
        assert!(sums.is_good(1, &wrong) && !sums.is_good(2, &wrong));
        assert_eq!(sums.touched_by(&(4095..4097)), 0..2);
        assert_eq!(sums.touched_by(&(4096..8192)), 1..2);
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut sums = Checksums::new(1 << 20);
        sums.add(&[1; 5000]);
        let mark = sums.mark();
        sums.add(&[2; 100_000]);
        sums.go_back(mark);
        sums.add(&[3; 5000]);
        sums.finish();
        let data = [[1_u8; 5000], [3; 5000]].concat();
        assert!((0..sums.records()).all(|record| sums.is_good(record, &data)));
    }

    #[test]
    fn the_table_stays_small() {
        for data in [1_u64 << 20, 1 << 30, 4 << 30, 1 << 40] {
            assert!(data.div_ceil(Checksums::new(data).record_bytes()) <= MOST_SUMS);
        }
        assert_eq!(Checksums::new(1 << 30).record_bytes(), 4096);
        assert_eq!(Checksums::new(4 << 30).record_bytes(), 16_384);
    }
}
