//! A file of the folder: opened without surprises, and whether it is still the one that was loaded.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64;

/// An open regular file.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Its length when it was opened.
    pub(super) length: u64,
    /// Changes when the file is changed or replaced.
    pub(super) stamp: u64,
}

impl Source {
    /// Opens `path`. Never follows a link, never waits for the other end of a pipe.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` when it is no regular file (any more).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            file,
            length: found.len(),
            stamp: stamp(&found),
        })
    }

    /// Reads as much as `buffer` holds from `offset` on; less only at the end of the file.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Whether the file has not changed since it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|now| stamp(&now) == self.stamp)
    }
}

/// Size, time of the last change, and which file it is, as one number.
fn stamp(found: &Metadata) -> u64 {
    let parts = [
        found.dev(),
        found.ino(),
        found.len(),
        found.mtime() as u64,
        found.mtime_nsec() as u64,
    ];
    let mut bytes = [0; 40];
    for (place, part) in bytes.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_change_is_noticed() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"first").expect("written");
        let source = Source::open(file.path()).expect("opened");
        let mut buffer = [0; 16];
        assert_eq!(source.read_at(&mut buffer, 1).expect("read"), 4);
        assert_eq!(&buffer[..4], b"irst");
        assert!(source.is_unchanged());
        file.write_all(b"more").expect("written");
        assert!(!source.is_unchanged());
        let again = Source::open(file.path()).expect("opened");
        assert!(again.length == 9 && again.stamp != source.stamp);
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("linked");
        assert!(Source::open(&link).is_err());
        assert!(Source::open(folder.path()).is_err());
        assert!(Source::open(Path::new("/dev/null")).is_err());
    }
}
