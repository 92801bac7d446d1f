//! Differences between what is in memory and what should be, counted, the first few kept.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::catalogue::{Catalogue, Piece};
use super::checksums::Checksums;

/// So many are shown.
const SHOWN: usize = 8;
/// Bytes shown of each.
const BYTES_SHOWN: usize = 8;

/// The data and everything that is known about it.
#[derive(Clone, Copy)]
pub(super) struct Known<'loaded> {
    pub(super) data: &'loaded [u8],
    pub(super) checksums: &'loaded Checksums,
    pub(super) catalogue: &'loaded Catalogue,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Difference {
    /// The file.
    pub(super) file: String,
    /// Where in it, in bytes.
    pub(super) offset: u64,
    /// What should be there: bytes, or the sum of a record.
    pub(super) expected: String,
    /// What is there.
    pub(super) found: String,
}

/// All differences of a run.
#[derive(Debug, Default)]
pub(super) struct Differences {
    count: AtomicU64,
    first: Mutex<First>,
}

#[derive(Debug, Default)]
struct First {
    differences: Vec<Difference>,
    /// Where they lie in the data, so that a place that is looked at often is shown once.
    places: HashSet<u64>,
}

impl Differences {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first few.
    pub(super) fn first(&self) -> Vec<Difference> {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .differences
            .clone()
    }

    /// Compares a record with its sum; whether it is good.
    pub(super) fn check_record(&self, known: Known<'_>, record: usize) -> bool {
        let (expected, found) = known.checksums.expected_and_found(record, known.data);
        if expected != found {
            let start = record as u64 * known.checksums.record_bytes();
            let piece = known.catalogue.pieces(start..start + 1).next();
            self.note(start, || {
                let (expected, found) = (format!("sum {expected:08x}"), format!("sum {found:08x}"));
                describe(known.catalogue, piece, 0, expected, found)
            });
        }
        expected == found
    }

    /// Notes that `expected`, which stands in the file at the beginning of `piece`, differs from the memory.
    pub(super) fn note_bytes(&self, known: Known<'_>, piece: &Piece, expected: &[u8]) {
        let found = &known.data[piece.data.start as usize..][..expected.len()];
        let Some(first) = expected
            .iter()
            .zip(found)
            .position(|(one, other)| one != other)
        else {
            return;
        };
        self.note(piece.data.start + first as u64, || {
            let (expected, found) = (hex(&expected[first..]), hex(&found[first..]));
            describe(
                known.catalogue,
                Some(piece.clone()),
                first as u64,
                expected,
                found,
            )
        });
    }

    fn note(&self, place: u64, describe: impl FnOnce() -> Difference) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.differences.len() < SHOWN && first.places.insert(place) {
            first.differences.push(describe());
        }
    }
}

fn describe(
    catalogue: &Catalogue,
    piece: Option<Piece>,
    further: u64,
    expected: String,
    found: String,
) -> Difference {
    let mut path = PathBuf::new();
    let offset = piece.map_or(0, |piece| {
        catalogue.path(piece.file, &mut path);
        piece.file_offset + further
    });
    Difference {
        file: path.display().to_string(),
        offset,
        expected,
        found,
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes
        .iter()
        .take(BYTES_SHOWN)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    shown.join(" ")
}
