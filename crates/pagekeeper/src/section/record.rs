//! What other processes are told of a named section that has a file: a page of memory that only the user can have made.
//!
//! Memory without a file carries its own header; a file of the program's cannot. So who announces the name of such a section
//! announces this record, which says the name, what the section is, and where the file's descriptor is to be found.

use std::os::fd::{AsFd, BorrowedFd};

use pagekeeper_model::{AllocationKind, Protection};
use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::apart::ApartDescriptor;
use pagekeeper_sys::file;

use crate::engine::views::LONGEST_NAME;

/// What a record begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"PKfile\x00\x01");
/// Bytes of the fixed part; the name follows.
const FIXED: usize = 64;

/// A section of a file, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    /// Bytes.
    pub(super) size: u64,
    pub(super) protection: Protection,
    /// What its views are: of a file, or of an image.
    pub(super) kind: AllocationKind,
    /// The number of the file's descriptor, in the table of whoever made the record.
    pub(super) number: u32,
    /// Device and inode of the file.
    pub(super) identity: (u64, u64),
    /// The full name.
    pub(super) name: String,
}

impl FileRecord {
    fn encode(&self) -> Vec<u8> {
        let is_image = u64::from(self.kind == AllocationKind::ImageView);
        let words = [
            MAGIC,
            self.size,
            u64::from(self.protection.to_windows()) | is_image << 32,
            u64::from(self.number),
            self.identity.0,
            self.identity.1,
            self.name.len() as u64,
            0,
        ];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let eight = bytes.get(at * 8..at * 8 + 8)?;
            Some(u64::from_le_bytes(eight.try_into().ok()?))
        };
        if word(0)? != MAGIC || word(2)? >> 32 > 1 {
            return None;
        }
        let length = usize::try_from(word(6)?).ok()?;
        let name = bytes.get(FIXED..FIXED.checked_add(length)?)?;
        Some(Self {
            size: word(1)?,
            protection: Protection::from_windows(word(2)? as u32).ok()?,
            kind: if word(2)? >> 32 == 1 {
                AllocationKind::ImageView
            } else {
                AllocationKind::FileView
            },
            number: u32::try_from(word(3)?).ok()?,
            identity: (word(4)?, word(5)?),
            name: String::from_utf8(name.to_vec()).ok()?,
        })
    }

    /// Makes memory that says it, closed to others. To be called where files are out of the program's reach.
    pub(super) fn publish(&self) -> Result<ApartDescriptor, Errno> {
        let memory = file::create_in_memory("pagekeeper-name")?;
        file::make_private(&memory)?;
        file::write_at(memory.as_fd(), &self.encode(), 0)?;
        ApartDescriptor::adopt(memory)
    }

    /// Reads what somebody published. `None`: it is no record.
    pub(super) fn read(memory: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let mut bytes = [0; FIXED + LONGEST_NAME];
        let length = file::read_at(memory, &mut bytes, 0)?;
        Ok(Self::decode(&bytes[..length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_nothing_else_is_believed() {
        let record = FileRecord {
            size: 12_345,
            protection: Protection::WRITE_COPY,
            kind: AllocationKind::ImageView,
            number: 77,
            identity: (u64::MAX, 5),
            name: "Global\\prices".to_owned(),
        };
        let published = record.publish().unwrap();
        let read = published.with(FileRecord::read).unwrap().unwrap();
        assert_eq!(read.as_ref(), Some(&record));
        let bytes = record.encode();
        assert_eq!(FileRecord::decode(&bytes), Some(record));
        for length in 0..bytes.len() {
            assert_eq!(FileRecord::decode(&bytes[..length]), None, "{length}");
        }
        for at in [0, 7, 19, 20, 52] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5A;
            assert_eq!(FileRecord::decode(&damaged), None, "byte {at}");
        }
    }
}
