//! Loading: from the files, through an ordinary buffer, to the end of the growing array.

use std::path::{Path, PathBuf};

use pagekeeper::PagedVec;

use super::catalogue::Catalogue;
use super::checksums::Checksums;
use super::progress::Phase;
use super::source::Source;
use super::walk::Walk;
use crate::failure::Failure;

/// Bytes read at once.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// A folder is not repeated more often than this: tiny files would be opened for hours.
const MOST_ROUNDS: u64 = 65_536;

/// What was loaded.
pub(super) struct Loaded {
    pub(super) data: PagedVec<u8>,
    pub(super) catalogue: Catalogue,
    pub(super) checksums: Checksums,
    /// Files that could not be opened or read.
    pub(super) unreadable: u64,
    /// Files that changed while they were being read, or between two rounds.
    pub(super) changed: u64,
    /// Folders that could not be read.
    pub(super) unreadable_folders: u64,
}

/// Why a file did not become part of the data.
enum Skipped {
    Unreadable,
    Changed,
}

/// Loads the files under `folder` until `wanted` bytes are there.
pub(super) fn load(
    folder: &Path,
    wanted: u64,
    data: PagedVec<u8>,
    phase: &Phase,
) -> Result<Loaded, Failure> {
    let mut loader = Loader {
        loaded: Loaded {
            data,
            catalogue: Catalogue::default(),
            checksums: Checksums::new(wanted),
            unreadable: 0,
            changed: 0,
            unreadable_folders: 0,
        },
        wanted,
        buffer: vec![0; BUFFER_BYTES],
        phase,
    };
    loader.first_round(folder)?;
    loader.refuse_tiny(folder)?;
    loader.further_rounds()?;
    loader.loaded.checksums.finish();
    Ok(loader.loaded)
}

struct Loader<'phase> {
    loaded: Loaded,
    wanted: u64,
    buffer: Vec<u8>,
    phase: &'phase Phase,
}

impl Loader<'_> {
    /// Bytes that are still to come.
    fn missing(&self) -> u64 {
        self.wanted - self.loaded.data.len() as u64
    }

    fn first_round(&mut self, folder: &Path) -> Result<(), Failure> {
        let mut walk = Walk::begin(folder).map_err(|error| {
            Failure::Usage(format!(
                "'{}': {error}: name a folder with files that you may read",
                folder.display()
            ))
        })?;
        let mut path = PathBuf::new();
        while self.missing() > 0 {
            let Some((folder, name)) = walk.next_file() else {
                break;
            };
            path.clear();
            path.push(folder);
            path.push(name);
            let Ok(source) = Source::open(&path) else {
                self.loaded.unreadable += 1;
                continue;
            };
            if source.length == 0 {
                continue;
            }
            let length = source.length.min(self.missing());
            match self.append_file(&source, length)? {
                Ok(()) => self
                    .loaded
                    .catalogue
                    .add(folder, name, length, source.stamp)
                    .ok_or_else(|| {
                        Failure::Usage(
                            "the folder holds too many files: give less --data".to_owned(),
                        )
                    })?,
                Err(Skipped::Unreadable) => self.loaded.unreadable += 1,
                Err(Skipped::Changed) => self.loaded.changed += 1,
            }
        }
        self.loaded.unreadable_folders = walk.unreadable_folders();
        self.loaded.catalogue.complete();
        Ok(())
    }

    fn refuse_tiny(&self, folder: &Path) -> Result<(), Failure> {
        let (cycle, folder) = (self.loaded.catalogue.cycle_bytes(), folder.display());
        if cycle == 0 {
            return Err(Failure::Usage(format!(
                "'{folder}' has no file that can be read and is not empty: name another folder"
            )));
        }
        if self.wanted / cycle > MOST_ROUNDS {
            return Err(Failure::Usage(format!(
                "the files in '{folder}' hold {cycle} bytes, which would have to be loaded more than \
                 {MOST_ROUNDS} times: name a larger folder or give less --data"
            )));
        }
        Ok(())
    }

    /// The same files again, until the data is complete.
    fn further_rounds(&mut self) -> Result<(), Failure> {
        let mut path = PathBuf::new();
        while self.missing() > 0 {
            for file in 0..self.loaded.catalogue.len() {
                let place = self.loaded.catalogue.place(file);
                let length = (place.end - place.start).min(self.missing());
                if length == 0 {
                    break;
                }
                self.loaded.catalogue.path(file, &mut path);
                if self.repeat_file(file, &path, length)? {
                    continue;
                }
                // Its place has to be filled all the same: with what was loaded in the first round.
                if self.loaded.catalogue.mark_gone(file) {
                    self.loaded.changed += 1;
                }
                self.append_copy(place.start, length)?;
            }
        }
        Ok(())
    }

    /// Loads a file once more; `false` when it is not the same any more.
    fn repeat_file(&mut self, file: usize, path: &Path, length: u64) -> Result<bool, Failure> {
        if self.loaded.catalogue.is_gone(file) {
            return Ok(false);
        }
        match Source::open(path) {
            Ok(source) if source.stamp == self.loaded.catalogue.stamp(file) => {
                Ok(self.append_file(&source, length)?.is_ok())
            }
            _ => Ok(false),
        }
    }

    /// Appends the first `length` bytes of a file. When that fails nothing of it stays.
    fn append_file(
        &mut self,
        source: &Source,
        length: u64,
    ) -> Result<Result<(), Skipped>, Failure> {
        let start = self.loaded.data.len();
        let mark = self.loaded.checksums.mark();
        let mut done = 0;
        let skipped = loop {
            if done == length {
                if source.is_unchanged() {
                    return Ok(Ok(()));
                }
                break Skipped::Changed;
            }
            let piece = (length - done).min(self.buffer.len() as u64) as usize;
            match source.read_at(&mut self.buffer[..piece], done) {
                Ok(count) if count == piece => {
                    self.append_buffer(piece)?;
                    done += piece as u64;
                }
                Ok(_) => break Skipped::Changed,
                Err(_) => break Skipped::Unreadable,
            }
        };
        self.loaded.data.truncate(start);
        self.loaded.checksums.go_back(mark);
        self.phase.take_back(done);
        Ok(Err(skipped))
    }

    /// Appends `length` bytes that are in the array already, from `from` on.
    fn append_copy(&mut self, from: u64, length: u64) -> Result<(), Failure> {
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(self.buffer.len() as u64) as usize;
            let start = (from + done) as usize;
            self.buffer[..piece].copy_from_slice(&self.loaded.data[start..start + piece]);
            self.append_buffer(piece)?;
            done += piece as u64;
        }
        Ok(())
    }

    fn append_buffer(&mut self, length: usize) -> Result<(), Failure> {
        let bytes = &self.buffer[..length];
        self.loaded.checksums.add(bytes);
        self.loaded.data.extend_from_slice(bytes)?;
        self.phase.add(length as u64);
        Ok(())
    }
}
