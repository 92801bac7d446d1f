//! Which file lies where in the data.
//!
//! A file costs 24 bytes and its name; a folder's path is kept once. When the folder is repeated, the same
//! files follow again in the same order with the same lengths, so one cycle is all that is kept.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::Names;

/// One file of the cycle. Its name has the same number.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where it lies in the cycle.
    offset: u64,
    /// What would change if the file changed.
    stamp: u64,
    folder: u32,
}

/// See the module text.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    folders: Names,
    names: Names,
    records: Vec<Record>,
    /// Bytes in one cycle.
    cycle_bytes: u64,
    /// One bit a file: it changed or went away after it was loaded.
    gone: Vec<AtomicU64>,
}

/// A part of a file that lies in a part of the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// The file's number.
    pub(super) file: usize,
    /// Where the piece lies in the file.
    pub(super) file_offset: u64,
    /// Where it lies in the data.
    pub(super) data: Range<u64>,
}

impl Catalogue {
    /// Adds a file of `length` bytes behind the others. `None` when it holds too many.
    pub(super) fn add(
        &mut self,
        folder: &Path,
        name: &OsStr,
        length: u64,
        stamp: u64,
    ) -> Option<()> {
        let folder = folder.as_os_str().as_bytes();
        let last = self.folders.len().checked_sub(1);
        let folder = match last {
            Some(last) if self.folders.get(last) == folder => last as u32,
            _ => self.folders.push(folder)?,
        };
        self.names.push(name.as_bytes())?;
        self.records.push(Record {
            offset: self.cycle_bytes,
            stamp,
            folder,
        });
        self.cycle_bytes += length;
        Some(())
    }

    /// The cycle is complete: from now on files can be marked as gone.
    pub(super) fn complete(&mut self) {
        self.records.shrink_to_fit();
        self.gone = (0..self.records.len().div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
    }

    /// Files of the cycle.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of the cycle.
    pub(super) fn cycle_bytes(&self) -> u64 {
        self.cycle_bytes
    }

    /// The stamp that a file had when it was loaded.
    pub(super) fn stamp(&self, file: usize) -> u64 {
        self.records[file].stamp
    }

    /// Writes a file's path into `path`.
    pub(super) fn path(&self, file: usize, path: &mut PathBuf) {
        path.clear();
        path.push(OsStr::from_bytes(
            self.folders.get(self.records[file].folder as usize),
        ));
        path.push(OsStr::from_bytes(self.names.get(file)));
    }

    /// Marks a file as changed or gone; whether it was not marked before.
    pub(super) fn mark_gone(&self, file: usize) -> bool {
        let bit = 1 << (file % 64);
        self.gone[file / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Whether a file was marked.
    pub(super) fn is_gone(&self, file: usize) -> bool {
        self.gone[file / 64].load(Ordering::Relaxed) & 1 << (file % 64) != 0
    }

    /// The bytes of a file in the cycle.
    pub(super) fn place(&self, file: usize) -> Range<u64> {
        let end = self
            .records
            .get(file + 1)
            .map_or(self.cycle_bytes, |next| next.offset);
        self.records[file].offset..end
    }

    /// The pieces of files that make up a part of the data, upwards.
    pub(super) fn pieces(&self, part: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let mut at = part.start;
        std::iter::from_fn(move || {
            if at >= part.end || self.cycle_bytes == 0 {
                return None;
            }
            let in_cycle = at % self.cycle_bytes;
            let file = self
                .records
                .partition_point(|record| record.offset <= in_cycle)
                - 1;
            let place = self.place(file);
            let end = (at + (place.end - in_cycle)).min(part.end);
            let piece = Piece {
                file,
                file_offset: in_cycle - place.start,
                data: at..end,
            };
            at = end;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (folder, name, length) in [("/a", "x", 10), ("/a", "y", 1), ("/b", "z", 5)] {
            catalogue
                .add(Path::new(folder), OsStr::new(name), length, length * 7)
                .expect("room");
        }
        catalogue.complete();
        catalogue
    }

    #[test]
    fn files_are_found_by_their_place() {
        let catalogue = catalogue();
        assert_eq!(
            (
                catalogue.len(),
                catalogue.cycle_bytes(),
                catalogue.folders.len()
            ),
            (3, 16, 2)
        );
        let piece = |file, file_offset, data| Piece {
            file,
            file_offset,
            data,
        };
        let pieces: Vec<_> = catalogue.pieces(4..20).collect();
        assert_eq!(
            pieces,
            [
                piece(0, 4, 4..10),
                piece(1, 0, 10..11),
                piece(2, 0, 11..16),
                piece(0, 0, 16..20)
            ]
        );
        assert_eq!(
            catalogue.pieces(31..32).collect::<Vec<_>>(),
            [piece(2, 4, 31..32)]
        );
        assert_eq!(catalogue.pieces(7..7).count(), 0);
        assert_eq!(catalogue.place(1), 10..11);
    }

    #[test]
    fn paths_and_marks_are_kept() {
        let catalogue = catalogue();
        let mut path = PathBuf::new();
        catalogue.path(2, &mut path);
        assert_eq!(
            (path.as_path(), catalogue.stamp(2)),
            (Path::new("/b/z"), 35)
        );
        assert!(!catalogue.is_gone(1) && catalogue.mark_gone(1));
        assert!(catalogue.is_gone(1) && !catalogue.mark_gone(1) && !catalogue.is_gone(0));
    }
}
