//! The last pass: every byte of the data against the files, read once more, with all threads.
//!
//! A file that changed since it was loaded, or that cannot be read any more, has nothing to be compared with: its
//! records are checked against their sums instead, so that no byte of the memory goes unchecked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue::Piece;
use super::differences::{Differences, Known};
use super::progress::Phase;
use super::source::Source;
use crate::failure::Failure;

/// Bytes that a thread takes at a time.
const SHARE: u64 = 4 << 20;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Bytes compared with files.
    pub(super) compared_bytes: u64,
    /// Bytes checked by their records' sums, because their files changed or went away.
    pub(super) summed_bytes: u64,
    /// Files found changed or gone now.
    pub(super) changed: u64,
}

/// Compares everything.
pub(super) fn verify(
    known: Known<'_>,
    differences: &Differences,
    threads: usize,
    buffer_bytes: usize,
    phase: &Phase,
) -> Result<Outcome, Failure> {
    let cursor = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut verifier = Verifier {
                known,
                differences,
                buffer: vec![0; buffer_bytes],
                path: PathBuf::new(),
                outcome: Outcome::default(),
            };
            let end = known.data.len() as u64;
            loop {
                let start = cursor.fetch_add(SHARE, Ordering::Relaxed);
                if start >= end {
                    return verifier.outcome;
                }
                let share = start..end.min(start + SHARE);
                let length = share.end - share.start;
                for piece in known.catalogue.pieces(share) {
                    verifier.check(&piece);
                }
                phase.add(length);
            }
        };
        let mut handles = Vec::new();
        for _ in 0..threads {
            let started = std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, work);
            match started {
                Ok(handle) => handles.push(handle),
                // One is enough to get through.
                Err(error) if handles.is_empty() => return Err(super::no_thread(&error)),
                Err(_) => break,
            }
        }
        let mut sum = Outcome::default();
        for handle in handles {
            let outcome = handle
                .join()
                .map_err(|_| Failure::Broken("a comparing thread failed".to_owned()))?;
            sum.compared_bytes += outcome.compared_bytes;
            sum.summed_bytes += outcome.summed_bytes;
            sum.changed += outcome.changed;
        }
        Ok(sum)
    })
}

struct Verifier<'run> {
    known: Known<'run>,
    differences: &'run Differences,
    buffer: Vec<u8>,
    path: PathBuf,
    outcome: Outcome,
}

impl Verifier<'_> {
    fn check(&mut self, piece: &Piece) {
        let length = piece.data.end - piece.data.start;
        if self.compare(piece) {
            self.outcome.compared_bytes += length;
            return;
        }
        if self.known.catalogue.mark_gone(piece.file) {
            self.outcome.changed += 1;
        }
        self.outcome.summed_bytes += length;
        for record in self.known.checksums.touched_by(&piece.data) {
            self.differences.check_record(self.known, record);
        }
    }

    /// Compares a piece with its file; `false` when the file is not the one that was loaded.
    fn compare(&mut self, piece: &Piece) -> bool {
        if self.known.catalogue.is_gone(piece.file) {
            return false;
        }
        self.known.catalogue.path(piece.file, &mut self.path);
        let Ok(source) = Source::open(&self.path) else {
            return false;
        };
        if source.stamp != self.known.catalogue.stamp(piece.file) {
            return false;
        }
        let length = piece.data.end - piece.data.start;
        let mut done = 0;
        while done < length {
            let count = (length - done).min(self.buffer.len() as u64) as usize;
            match source.read_at(&mut self.buffer[..count], piece.file_offset + done) {
                Ok(read) if read == count => {}
                _ => return false,
            }
            let start = piece.data.start + done;
            if self.buffer[..count] != self.known.data[start as usize..][..count] {
                let part = Piece {
                    file: piece.file,
                    file_offset: piece.file_offset + done,
                    data: start..start + count as u64,
                };
                if self.file_is_to_blame(&source, &part) {
                    return false;
                }
                self.differences
                    .note_bytes(self.known, &part, &self.buffer[..count]);
            }
            done += count as u64;
        }
        true
    }

    /// Whether a difference comes from the file: it has just changed, or it did so without a new time stamp and the
    /// memory still has the sums of what was loaded.
    fn file_is_to_blame(&self, source: &Source, part: &Piece) -> bool {
        let Known {
            data, checksums, ..
        } = self.known;
        let memory_is_good = || {
            checksums
                .touched_by(&part.data)
                .all(|record| checksums.is_good(record, data))
        };
        !source.is_unchanged() || memory_is_good()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::path::Path;

    use super::super::catalogue::Catalogue;
    use super::super::checksums::Checksums;
    use super::super::progress::Unit;
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        data: Vec<u8>,
        checksums: Checksums,
        catalogue: Catalogue,
    }

    /// Three files, loaded twice.
    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let mut catalogue = Catalogue::default();
        let mut data = Vec::new();
        for (name, length) in [("a", 10_000_usize), ("b", 1), ("c", 300_000)] {
            let bytes: Vec<u8> = (0..length)
                .map(|at| (at * 31 / 7) as u8 ^ name.as_bytes()[0])
                .collect();
            let path = folder.path().join(name);
            fs::write(&path, &bytes).expect("written");
            let source = Source::open(&path).expect("opened");
            catalogue
                .add(folder.path(), OsStr::new(name), source.length, source.stamp)
                .expect("room");
            data.extend_from_slice(&bytes);
        }
        catalogue.complete();
        data.extend_from_within(..);
        let mut checksums = Checksums::new(data.len() as u64);
        checksums.add(&data);
        checksums.finish();
        Fixture {
            folder,
            data,
            checksums,
            catalogue,
        }
    }

    fn check(fixture: &Fixture) -> (Outcome, Differences) {
        let Fixture {
            data,
            checksums,
            catalogue,
            ..
        } = fixture;
        let phase = Phase::new("verify", Unit::Bytes, data.len() as u64, false);
        let differences = Differences::default();
        let outcome = verify(
            Known {
                data,
                checksums,
                catalogue,
            },
            &differences,
            2,
            64 << 10,
            &phase,
        )
        .expect("done");
        assert_eq!(
            outcome.compared_bytes + outcome.summed_bytes,
            data.len() as u64
        );
        (outcome, differences)
    }

    #[test]
    fn equal_is_equal() {
        let (outcome, differences) = check(&fixture());
        assert_eq!(
            (outcome.summed_bytes, outcome.changed, differences.count()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_flipped_bit_in_memory_is_found_and_named() {
        let mut fixture = fixture();
        fixture.data[10_001 + 200_000] ^= 0x40;
        let (outcome, differences) = check(&fixture);
        assert_eq!((outcome.changed, differences.count()), (0, 1));
        let first = &differences.first()[0];
        assert_eq!(
            (Path::new(&first.file), first.offset),
            (fixture.folder.path().join("c").as_path(), 200_000)
        );
        assert_ne!(first.expected, first.found);
    }

    #[test]
    fn changed_and_missing_files_are_skipped_and_counted() {
        let fixture = fixture();
        fs::write(fixture.folder.path().join("a"), "shorter").expect("written");
        fs::remove_file(fixture.folder.path().join("b")).expect("removed");
        let (outcome, differences) = check(&fixture);
        assert_eq!((outcome.changed, outcome.summed_bytes), (2, 2 * 10_001));
        assert_eq!(differences.count(), 0);
    }

    #[test]
    fn a_change_with_an_old_time_stamp_is_still_the_files() {
        let fixture = fixture();
        let path = fixture.folder.path().join("c");
        let time = fs::metadata(&path)
            .and_then(|found| found.modified())
            .expect("a time");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("opened");
        std::os::unix::fs::FileExt::write_all_at(&file, b"other", 1000).expect("written");
        file.set_modified(time).expect("set back");
        let (outcome, differences) = check(&fixture);
        assert_eq!((outcome.changed, differences.count()), (1, 0));
    }

    #[test]
    fn memory_of_a_changed_file_is_checked_all_the_same() {
        let mut fixture = fixture();
        fs::remove_file(fixture.folder.path().join("c")).expect("removed");
        fixture.data[150_000] ^= 1;
        let (outcome, differences) = check(&fixture);
        assert_eq!(outcome.changed, 1);
        assert!(differences.count() >= 1);
        assert!(differences.first()[0].expected.starts_with("sum"));
    }
}
